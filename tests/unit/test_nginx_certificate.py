"""The certificate that nginx shows: kept while an ACME authority's is to come, replaced by what certbot got or renewed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

SITE: dict[str, Any] = {
    "nginx_server_names": ["www.example.org", "new.example.org"],
    "nginx_upstream_servers": ["unix:/run/site-app/gunicorn.sock"],
    "nginx_acme_enabled": True,
}
BEFORE = "/etc/ssl/private/nginx-0123456789ab"
OTHER = "/etc/letsencrypt/live/nginx-0123456789ab"


class Host:
    """A folder that stands for a host's file system, on which the role's scripts are run."""

    def __init__(self, top: Path) -> None:
        self.top = top
        for program in ("nginx", "systemctl"):
            self.write(f"/bin/{program}", "#!/bin/sh\n").chmod(0o755)

    def write(self, path: str, content: str) -> Path:
        file = self.top / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def read(self, path: str) -> str:
        return (self.top / path.lstrip("/")).read_text()

    def names(self, folder: str) -> set[str]:
        return {file.name for file in (self.top / folder.lstrip("/")).iterdir()}

    def run(self, script: str, **environment: str) -> None:
        given = {name: f"{self.top}{value}" for name, value in environment.items()}
        path = f"{self.top}/bin:{os.environ['PATH']}"
        script = script.replace("/etc/", f"{self.top}/etc/")
        subprocess.run(["sh", "-c", script], env={**os.environ, **given, "PATH": path}, check=True)

    def got(self, lineage: str) -> None:
        self.write(f"{lineage}/privkey.pem", f"key of {lineage}")
        self.write(f"{lineage}/fullchain.pem", f"certificate of {lineage}")
        self.write(f"{lineage.replace('live', 'renewal')}.conf", "")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """One that shows the certificate for the names of before."""
    host = Host(tmp_path)
    host.write(f"{BEFORE}.key", "former key").chmod(0o600)
    host.write(f"{BEFORE}.crt", "former certificate")
    host.got(OTHER)
    return host


@pytest.fixture
def now(evaluate: Callable[..., Any]) -> str:
    return str(evaluate("nginx", "_nginx_self_signed_path", **SITE))


@pytest.fixture
def wanted(evaluate: Callable[..., Any]) -> str:
    return f"/etc/letsencrypt/live/{evaluate('nginx', '_nginx_acme_name', **SITE)}"


@pytest.fixture
def keep(host: Host, evaluate: Callable[..., Any]) -> Callable[[str, str], None]:
    """A function that does what the role does before it writes a configuration for other names than the one that is there."""
    tasks = yaml.safe_load((ROOT / "roles/nginx/tasks/configure.yml").read_text())
    [script] = [task["ansible.builtin.shell"]["cmd"] for task in tasks if task["name"] == "Keep the certificate that nginx shows"]

    def run(certificate: str, key: str) -> None:
        shown = f"ssl_certificate {certificate};\nssl_certificate_key {key};\nssl_protocols TLSv1.3;\n"
        host.write("/etc/nginx/conf.d/tls.conf", shown.replace("/etc/", f"{host.top}/etc/"))
        host.run(evaluate("nginx", "script", script=script, **SITE))

    return run


@pytest.fixture
def hook(host: Host, render_tree: Callable[..., dict[str, str]]) -> Callable[[str], None]:
    """A function that does what certbot does once it has got or renewed a certificate."""
    script = render_tree("nginx", **SITE)["/usr/local/sbin/nginx-certificate"]
    return lambda lineage: host.run(script, RENEWED_LINEAGE=lineage)


def test_names_of_before_keep_their_certificate(host: Host, now: str, keep: Callable[..., None]) -> None:
    keep(f"{BEFORE}.crt", f"{BEFORE}.key")
    assert (host.read(f"{now}.crt"), host.read(f"{now}.key")) == ("former certificate", "former key")
    assert (host.top / f"{now}.key".lstrip("/")).stat().st_mode & 0o777 == 0o600


def test_a_certificate_of_ones_own_is_kept_too(host: Host, now: str, keep: Callable[..., None]) -> None:
    host.write("/etc/nginx/tls/site.crt", "own certificate")
    host.write("/etc/nginx/tls/site.key", "own key")
    keep("tls/site.crt", "tls/site.key")
    assert (host.read(f"{now}.crt"), host.read(f"{now}.key")) == ("own certificate", "own key")


def test_a_certificate_that_is_gone_is_not_kept(host: Host, now: str, keep: Callable[..., None]) -> None:
    keep("tls/site.crt", "tls/site.key")
    assert not (host.top / f"{now}.crt".lstrip("/")).exists()


def test_what_the_authority_gave_replaces_all_of_before(host: Host, now: str, wanted: str, hook: Callable[..., None]) -> None:
    host.got(wanted)
    hook(wanted)
    assert (host.read(f"{now}.crt"), host.read(f"{now}.key")) == (f"certificate of {wanted}", f"key of {wanted}")
    assert host.names("/etc/ssl/private") == {f"{Path(now).name}.crt", f"{Path(now).name}.key"}
    assert host.names("/etc/letsencrypt/live") == {Path(wanted).name}
    assert host.names("/etc/letsencrypt/renewal") == {f"{Path(wanted).name}.conf"}


def test_names_of_before_are_renewed_while_the_others_are_refused(host: Host, now: str, hook: Callable[..., None]) -> None:
    hook(OTHER)
    assert (host.read(f"{now}.crt"), host.read(f"{now}.key")) == (f"certificate of {OTHER}", f"key of {OTHER}")
    assert host.names("/etc/letsencrypt/live") == {Path(OTHER).name}


def test_nothing_else_takes_the_place_of_the_certificate(host: Host, now: str, wanted: str, hook: Callable[..., None]) -> None:
    host.got(wanted)
    hook(wanted)
    host.got(OTHER)
    for lineage in (OTHER, "/etc/letsencrypt/live/another"):
        hook(lineage)
        assert host.read(f"{now}.crt") == f"certificate of {wanted}"
