"""A second nginx on a converged host, of the role's own templates and with any variables, before a stub of the app.

It shows how the rendered configuration behaves, and how it would with a mistake in it, without touching the site.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import importlib.util
import io
import itertools
import re
import socket
import ssl
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.template import trust_as_template

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
NAME = "twin.example.org"
numbers = itertools.count()


def render(**variables: Any) -> dict[str, str]:
    """Return the role's files below /etc/nginx, rendered as the unit tests render them."""
    spec = importlib.util.spec_from_file_location("rendering", ROOT / "tests/unit/conftest.py")
    assert spec
    assert spec.loader
    rendering = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rendering)
    template = rendering.templar("nginx", variables).template
    top = ROOT / "roles/nginx/templates"
    files = {}
    for source in top.glob("etc/nginx/**/[!_]*"):
        if source.is_dir():
            continue
        text = source.read_text()
        if source.suffix == ".j2":
            text = template(trust_as_template(text), overrides={"trim_blocks": True}) or ""
        files[f"/{source.relative_to(top)}".removesuffix(".j2")] = text
    for item in template(trust_as_template("{{ _nginx_files + _nginx_snippet_files }}")):
        if item["content"]:
            files[item["path"]] = item["content"]
    return files


def tls(alpn: str = "http/1.1", **versions: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    for name, version in versions.items():
        setattr(context, name, version)
    return context


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def __getitem__(self, name: str) -> str | None:
        values = self.headers.get_all(name)
        assert not values or len(values) == 1, f"{name} is sent {len(values)} times"
        return values[0] if values else None


@dataclass
class Site:
    """An nginx that is reached at an address."""

    address: str
    name: str = NAME
    https: int = 443
    http: int = 80

    def connect(self, secure: bool = True, name: str | None = None, context: ssl.SSLContext | None = None) -> socket.socket:
        plain = socket.create_connection((self.address, self.https if secure else self.http), timeout=10)
        return (context or tls()).wrap_socket(plain, server_hostname=name or self.name) if secure else plain

    def open(self, **options: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self.name)
        connection.sock = self.connect(**options)
        return connection

    def ask(
        self,
        path: str,
        headers: dict[str, str] | None = None,
        method: str = "GET",
        body: bytes | None = None,
        connection: http.client.HTTPConnection | None = None,
        secure: bool = True,
    ) -> Answer:
        used = connection or self.open(secure=secure)
        used.request(method, path, body=body, headers={"Host": self.name, **(headers or {})})
        got = used.getresponse()
        answer = Answer(got.status, got.headers, got.read())
        if not connection:
            used.close()
        return answer

    def raw(self, request: bytes, secure: bool = True) -> bytes:
        """Send bytes as they are and return all that comes back."""
        with self.connect(secure) as sock:
            sock.sendall(request)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR) if not secure else None
            received = b""
            with contextlib.suppress(OSError):
                while data := sock.recv(65536):
                    received += data
            return received


@dataclass
class Twin(Site):
    host: Any = None
    folder: str = ""

    def log(self, words: str = "") -> str:
        time.sleep(1.2)  # the access log is flushed once a second
        return self.host.run(f"grep -F -- '{words}' {self.folder}/access.log").stdout

    def errors(self) -> str:
        return self.host.file(f"{self.folder}/error.log").content_string

    def reload(self) -> None:
        self.host.check_output(f"nginx -c {self.folder}/etc/nginx/nginx.conf -s reload")

    def worker(self) -> str:
        return self.host.check_output(f"pgrep -P $(cat {self.folder}/nginx.pid) | head -n 1")

    def app(self, number: int = 0) -> str:
        return f"twin-{self.folder.rsplit('-')[-1]}-app{number}"


def put(host: Any, folder: str, files: dict[str, str]) -> None:
    """Write many files in one go."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(text.encode()), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    packed = base64.b64encode(buffer.getvalue()).decode()
    host.check_output(f"mkdir -p {folder} && chmod 755 {folder} && echo {packed} | base64 -d | tar xz -C {folder}")


def internal(host: Any) -> dict[str, str]:
    """A certificate authority and a certificate of its own, as the role's variables."""
    request = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 1 2>/dev/null"
    made = host.check_output(
        f"cd $(mktemp -d) && {request} -subj /CN=authority -keyout ca.key -out ca.crt && {request} -subj /CN=app"
        " -addext subjectAltName=DNS:app.twin.internal -addext basicConstraints=critical,CA:FALSE -CA ca.crt -CAkey ca.key"
        " -keyout app.key -out app.crt && tail -n +1 ca.crt app.crt app.key"
    )
    ca, certificate, key = re.split(r"==> .* <==\n", made)[1:]
    return {
        "nginx_internal_ca": ca,
        "nginx_internal_certificate": certificate,
        "nginx_internal_key": key,
        "nginx_internal_name": "app.twin.internal",
    }


@contextlib.contextmanager
def twin(
    host: Any,
    address: str,
    edit: Callable[[dict[str, str]], None] = lambda files: None,
    apps: int = 1,
    dead_apps: int = 0,
    **variables: Any,
) -> Iterator[Twin]:
    """Run such an nginx with `apps` stubs (and `dead_apps` addresses where none is); `edit` may plant a mistake in its files.

    /run/twin/ in a variable becomes the twin's own folder.
    """
    number = next(numbers)
    folder = f"/run/twin-{number}"
    # Below the ports of outgoing connections, one of which might just have had the port.
    ports = {"https": 7443 + number, "http": 7080 + number}
    sockets = [f"{folder}/app{index}.sock" for index in range(apps + dead_apps)]
    given = {
        "nginx_server_names": [NAME],
        "nginx_upstream_servers": [f"unix:{path}" for path in sockets],
        "nginx_http_port": ports["http"],
        "nginx_https_port": ports["https"],
        "nginx_status_port": 7800 + number,
        "nginx_access_log": f"{folder}/access.log",
        "nginx_error_log": f"{folder}/error.log",
        "nginx_static_root": f"{folder}/static",
        "nginx_tls_certificate_path": f"{folder}/site.crt",
        "nginx_tls_key_path": f"{folder}/site.key",
        "nginx_limit_requests_per_second": 0,
        "nginx_ipv6_enabled": False,
        **variables,
    }
    files = {
        path: re.sub(r"/run/(nginx.pid)|/var/(cache)/nginx|/(etc/nginx/errors)|/run/twin/", rf"{folder}/\1\2\3", text)
        for path, text in render(**given).items()
    }
    edit(files)
    files["/stub_app.py"] = (HERE / "nginx_stub_app.py").read_text()
    put(host, folder, files)
    made = Twin(address, https=ports["https"], http=ports["http"], host=host, folder=folder)
    starts = [
        f"cp -a /etc/nginx/mime.types /etc/nginx/modules-enabled {folder}/etc/nginx/",
        f"mkdir -p {folder}/static {folder}/cache",
        f"openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 1 -subj /CN={NAME} "
        f"-keyout {folder}/site.key -out {folder}/site.crt 2>/dev/null",
        *(
            f"systemd-run --quiet --collect --unit {made.app(index)} python3 {folder}/stub_app.py {sockets[index]}"
            for index in range(apps)
        ),
        *(f"for _ in $(seq 100); do [ -S {path} ] && break; sleep 0.05; done; chmod 666 {path}" for path in sockets[:apps]),
        f"nginx -c {folder}/etc/nginx/nginx.conf",
    ]
    try:
        host.check_output(" && ".join(starts))
        yield made
    finally:
        host.run(f"kill -QUIT $(cat {folder}/nginx.pid); kill $(cat {folder}/nginx.pid)")
        for index in range(apps):
            host.run(f"systemctl stop {made.app(index)}")
        host.run(f"rm -rf {folder} /usr/share/nginx/off")
