"""nginx from outside: the site's own, and twins of it with other variables or with a mistake on purpose."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import secrets
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

import crossplane
import pytest
from conftest import Run
from nginx_twin import Answer, Site, Twin, internal, tls, twin

SECURITY_HEADERS = {
    "Strict-Transport-Security": "max-age=3600",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
NEIGHBOUR = "neighbour.example.org"
Edit = Callable[[dict[str, str]], None]


def replace(path: str, old: str, new: str) -> Edit:
    """Plant a mistake: an edit of one rendered file."""

    def edit(files: dict[str, str]) -> None:
        assert re.search(old, files[path])
        files[path] = re.sub(old, new, files[path])

    return edit


SITE = "/etc/nginx/sites.d/site.conf"
PROXY = "/etc/nginx/conf.d/proxy.conf"
TLS = "/etc/nginx/conf.d/tls.conf"


@pytest.fixture(scope="module")
def configuration(host: Any) -> str:
    return host.check_output("nginx -T 2>/dev/null")


@pytest.fixture(scope="module")
def site(address: str, configuration: str) -> Site:
    names = re.findall(r"^\s*server_name (?!_;)(\S+?)[ ;]", configuration, re.M)
    return Site(address, names[0])


@pytest.fixture(scope="module")
def plain(host: Any, address: str) -> Iterator[Twin]:
    """A twin with the paths and files that most tests need."""
    options = {
        "nginx_streaming_paths": ["/ws/", "/events"],
        "nginx_upload_paths": {"/upload/": 3},
        "nginx_client_max_body_mb": 1,
        "nginx_upstream_read_timeout_seconds": 1,
        "nginx_client_timeout_seconds": 2,
        "nginx_worker_processes": 1,
        "nginx_media_root": "/run/twin/media",
        "nginx_acme_root": "/run/twin/acme",
        "nginx_additional_servers": [{"name": NEIGHBOUR, "upstream": "unix:/run/twin/app0.sock"}],
    }
    with twin(host, address, **options) as made:
        host.check_output(
            f"cd {made.folder}/static && seq 2000 > app.0123456789ab.css && gzip -k app.0123456789ab.css"
            " && cp app.0123456789ab.css app.0123456789ab.css.br && cp app.0123456789ab.css plain.css"
            " && mkdir ../media && echo uploaded > ../media/file.txt"
        )
        yield made


def at_once(number: int, function: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(function, range(number)))


def outcome(ask: Callable[[], Answer]) -> int:
    """The status of an answer, 0 where the connection was closed without one."""
    try:
        return ask().status
    except OSError:
        return 0
    except Exception as error:
        if type(error).__module__ == "http.client":
            return 0
        raise


# The site itself ------------------------------------------------------------------------------------------------------------


def test_site_answers_with_all_headers(site: Site) -> None:
    answer = site.ask("/")
    assert answer.status == 200
    for name in SECURITY_HEADERS:
        assert answer[name]
    assert re.fullmatch("[0-9a-f]{32}", answer["X-Request-ID"] or "")
    assert answer["Server"] == "nginx"


def test_http_leads_to_https(site: Site) -> None:
    answer = site.ask("/articles/?page=2", secure=False)
    assert answer.status == 301
    assert re.fullmatch(rf"https://{re.escape(site.name)}(:\d+)?/articles/\?page=2", answer["Location"] or "")


def test_unknown_names_are_closed(site: Site) -> None:
    assert site.raw(b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n", secure=False) == b""
    assert site.raw(b"GET / HTTP/1.0\r\n\r\n", secure=False) == b""
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        site.connect(name="other.example")


def test_tls_is_mozillas_intermediate(site: Site) -> None:
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        with site.connect(context=tls(minimum_version=version, maximum_version=version)) as sock:
            assert sock.version() == name
    weak = tls(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
    weak.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        site.connect(context=weak)
    without_forward_secrecy = tls(maximum_version=ssl.TLSVersion.TLSv1_2)
    without_forward_secrecy.set_ciphers("AES128-GCM-SHA256:AES128-SHA:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        site.connect(context=without_forward_secrecy)
    with site.connect(context=tls("h2")) as sock:
        assert sock.selected_alpn_protocol() == "h2"


def test_descriptors_suffice(host: Any, configuration: str) -> None:
    connections = int(re.search(r"worker_connections (\d+);", configuration)[1])  # type: ignore[index]
    workers = host.check_output("pgrep -P $(cat /run/nginx.pid)").split()
    for pid in workers:
        limits = host.file(f"/proc/{pid}/limits").content_string
        soft, hard = re.search(r"Max open files\s+(\d+)\s+(\d+)", limits).groups()  # type: ignore[union-attr]
        assert int(hard) >= int(soft) >= 2 * connections + 512
    # The kernel cuts a longer backlog off silently.
    backlog = int(re.search(r"backlog=(\d+)", configuration)[1])  # type: ignore[index]
    queues = [line.split()[2] for line in host.check_output("ss -Hltn 'sport = :443'").splitlines()]
    assert queues and {int(queue) for queue in queues} == {backlog}


def test_errors_go_to_a_file_of_a_good_name(host: Any) -> None:
    assert host.file("/var/log/nginx/error.log").exists
    assert not host.file("/usr/share/nginx/off").exists
    assert not host.file("/etc/nginx/off").exists
    assert "[emerg]" not in host.file("/var/log/nginx/error.log").content_string
    assert "[alert]" not in host.file("/var/log/nginx/error.log").content_string


def test_metrics_are_shown_to_this_host_only(host: Any, site: Site) -> None:
    assert "Active connections" in host.check_output("curl -s http://127.0.0.1:8089/status")
    # The firewall would hide another.
    assert host.check_output("ss -Hltn 'sport = :8089' | awk '{ print $4 }'") == "127.0.0.1:8089"
    with pytest.raises(OSError):
        socket.create_connection((site.address, 8089), timeout=1)
    assert b"Active connections" not in site.raw(f"GET /status HTTP/1.1\r\nHost: {site.name}\r\n\r\n".encode(), secure=False)


def test_log_is_json_with_the_request_id(host: Any, site: Site) -> None:
    answer = site.ask('/?a="b"', headers={"Cookie": "sessionid=x"})
    time.sleep(1.2)
    entry = json.loads(host.check_output(f"grep -F {answer['X-Request-ID']} /var/log/nginx/access.log"))
    assert entry["status"] == answer.status
    assert entry["uri"] == '/?a="b"'
    assert float(entry["upstream_response_time"]) >= 0
    assert entry["tls"] == "TLSv1.3"


def test_certificate_is_looked_at_every_day(host: Any) -> None:
    assert host.service("nginx-certificate.timer").is_running
    command = host.check_output("sed -n 's/^ExecStart=//p' /etc/systemd/system/nginx-certificate.service")
    assert host.run("systemctl start nginx-certificate.service").rc == host.run(command).rc == 0
    # Near its end for one who wants it to hold for a hundred years.
    assert host.run(re.sub(r"-checkend \d+", "-checkend 3153600000", command)).rc == 1


def test_rotation_loses_no_line(host: Any, site: Site) -> None:
    mark = f"/rotation-{time.time()}"

    def lines(file: str) -> int:
        return int(host.run(f"grep -c {mark} /var/log/nginx/{file}").stdout)

    with ThreadPoolExecutor(1) as pool:
        rotation = pool.submit(host.check_output, "logrotate --force /etc/logrotate.d/nginx")
        sent = 0
        # The workers change over within a moment, not at once.
        while not rotation.done() or (sent < 100 and not lines("access.log")):
            site.ask(mark)
            sent += 1
            time.sleep(0.1)
    time.sleep(1.5)
    assert lines("access.log") > 0
    assert lines("access.log") + lines("access.log.1") == sent


def test_reload_drops_no_request(host: Any, site: Site) -> None:
    def ask_often(_: int) -> list[int]:
        return [outcome(lambda: site.ask("/health/live")) for _ in range(15)]

    with ThreadPoolExecutor(2) as pool:
        clients = [pool.submit(ask_often, number) for number in range(2)]
        for _ in range(3):
            host.check_output("systemctl reload nginx")
        statuses = {status for client in clients for status in client.result()}
    assert statuses == {200}


def test_reload_waits_for_requests_under_way(host: Any, address: str) -> None:
    with twin(host, address, nginx_worker_processes=1) as made, ThreadPoolExecutor(1) as pool:
        before = made.worker()
        under_way = pool.submit(made.ask, "/hold")
        while not json.loads(made.ask("/count").body)["active"]:
            time.sleep(0.1)
        made.reload()
        # New workers have begun before the old one learns of it.
        told = f"grep -q 'shutting down' /proc/{before}/cmdline"
        host.check_output(f"for _ in $(seq 100); do {told} && exit 0; sleep 0.1; done; exit 1")
        assert made.ask("/").status == 200
        assert host.run(told).rc == 0
        assert made.ask("/release").status == 200
        assert under_way.result().status == 200
        host.check_output(f"for _ in $(seq 100); do [ -d /proc/{before} ] || exit 0; sleep 0.1; done; exit 1")


BROKEN = {
    "a new file": (
        {"site_nginx_snippets": {"server/x": "\n\nfoo 1;"}},
        'unknown directive "foo" in /etc/nginx/snippets.d/server/x.conf:3',
    ),
    "a file that is there": (
        {"nginx_security_headers": {"X-A B": "c"}},
        'invalid number of arguments in "map" directive in /etc/nginx/conf.d/headers.conf:',
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_error_in_an_included_file_is_named_and_changes_nothing(
    case: str, host: Any, site: Site, playbook: Callable[..., Run]
) -> None:
    variables, sentence = BROKEN[case]
    state = "pgrep -P $(cat /run/nginx.pid); cd /etc/nginx && find . -type f | sort | xargs sha256sum"
    before = host.check_output(state)
    run = playbook("playbooks/edge.yml", "--tags", "nginx", **variables)
    assert run.code == 2
    assert sentence in run.sentence.replace("\\", "")
    assert host.check_output(state) == before
    assert site.ask("/").status == 200


# TLS sessions ---------------------------------------------------------------------------------------------------------------


def greet(made: Twin, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> tuple[bool, ssl.SSLSession]:
    """Whether the server went on with the session given, and the session that the client may come back with."""
    plain = socket.create_connection((made.address, made.https), timeout=10)
    with context.wrap_socket(plain, server_hostname=made.name, session=session) as sock:
        sock.sendall(f"GET / HTTP/1.1\r\nHost: {made.name}\r\nConnection: close\r\n\r\n".encode())
        while sock.recv(65536):
            pass  # in TLS 1.3 the ticket comes after the handshake
        assert sock.session
        return bool(sock.session_reused), sock.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_goes_on_with_another_worker_and_after_a_reload(host: Any, address: str, version: ssl.TLSVersion) -> None:
    context = tls(minimum_version=version, maximum_version=version)
    with twin(host, address, nginx_worker_processes=2) as made:
        one, other = host.check_output(f"pgrep -P $(cat {made.folder}/nginx.pid)").split()
        # Which of them answers is the kernel's choice, unless one is asleep.
        host.check_output(f"kill -STOP {other}")
        reused, session = greet(made, context)
        assert not reused
        host.check_output(f"kill -CONT {other}; kill -STOP {one}")
        assert greet(made, context, session)[0]
        host.check_output(f"kill -CONT {one}")
        made.reload()
        gone = f"! [ -d /proc/{one} ] && ! [ -d /proc/{other} ]"
        host.check_output(f"for _ in $(seq 100); do {gone} && exit 0; sleep 0.1; done; exit 1")
        assert greet(made, context, session)[0]


def test_the_key_of_session_tickets_is_changed(host: Any, address: str) -> None:
    """A ticket begins with its key's name. nginx changes the key as often as sessions expire: a day, here three seconds."""
    with twin(host, address, edit=replace(TLS, "ssl_session_timeout 1d", "ssl_session_timeout 3s")) as made:

        def key() -> str:
            ask = f"openssl s_client -tls1_2 -connect 127.0.0.1:{made.https} -servername {made.name} </dev/null 2>/dev/null"
            return host.check_output(f"{ask} | grep -A 1 'TLS session ticket:$' | tail -n 1 | cut -c 1-58")

        first = key()
        assert re.fullmatch(r" *0000 -( [0-9a-f]{2}){8}-([0-9a-f]{2} ){7}[0-9a-f]{2}", first)
        assert key() == first
        time.sleep(5)
        assert key() != first


# 1. File descriptors --------------------------------------------------------------------------------------------------------

SMALL = {"nginx_worker_processes": 1, "nginx_worker_connections": 256, "nginx_limit_connections": 0}


def wide_open() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))


def test_holds_the_connections_it_is_made_for(host: Any, address: str) -> None:
    wide_open()
    with twin(host, address, **SMALL) as made:
        idle = []
        for _ in range(int(0.9 * 256)):
            connection = made.open(secure=False)
            assert made.ask("/", connection=connection, secure=False).status == 301
            idle.append(connection)
        assert made.ask("/").status == 200
        for connection in idle:
            connection.close()
        busy = int(0.45 * 256)
        assert at_once(busy, lambda _: outcome(lambda: made.ask("/?sleep=1"))) == [200] * busy
        # More than it has room for: some are turned away, and then it answers again.
        statuses = at_once(400, lambda _: outcome(lambda: made.ask("/?sleep=1")))
        assert statuses.count(200) >= 90
        assert set(statuses) <= {0, 200, 500}
        assert made.ask("/").status == 200
        assert "Too many open files" not in made.errors()


def test_mistake_too_few_descriptors(host: Any, address: str) -> None:
    wide_open()
    with twin(host, address, **SMALL, nginx_worker_rlimit_nofile=128) as made:
        busy = int(0.45 * 256)
        assert at_once(busy, lambda _: outcome(lambda: made.ask("/?sleep=1"))) != [200] * busy
        assert "Too many open files" in made.errors()


# 2. error_log off -----------------------------------------------------------------------------------------------------------


def test_mistake_error_log_off(host: Any, address: str) -> None:
    with twin(host, address, edit=replace("/etc/nginx/nginx.conf", r"error_log .*;", "error_log off;")):
        assert host.file("/usr/share/nginx/off").exists


# 3. Upstream keepalive ------------------------------------------------------------------------------------------------------


def ask_under_load(made: Twin) -> None:
    """200 requests, of eight clients at a time."""

    def ask_often(_: int) -> set[int]:
        connection = made.open()
        return {made.ask("/", connection=connection).status for _ in range(25)}

    assert at_once(8, ask_often) == [{200}] * 8


def connects(made: Twin) -> int:
    """Connections to the app for 200 requests, of eight clients at a time."""
    before = json.loads(made.ask("/count").body)["connections"]
    ask_under_load(made)
    return json.loads(made.ask("/count").body)["connections"] - before


def test_connections_to_the_app_are_kept(plain: Twin) -> None:
    """No more than there are requests at a time."""
    assert connects(plain) <= 8


def left_in_time_wait(host: Any, address: str, edit: Edit) -> int:
    """Connections from an edge host to an app host that wait for their end after 200 requests, of eight clients at a time."""
    ours = internal(host)
    with twin(host, address, nginx_edges=["127.0.0.1"], **ours) as behind:
        before = {"nginx_upstream_servers": [f"127.0.0.1:{behind.https}"], "nginx_static_root": ""}
        with twin(host, address, apps=0, edit=edit, **before, **ours) as edge:
            ask_under_load(edge)
            waiting = f"ss -Htan state time-wait '( sport = :{behind.https} or dport = :{behind.https} )'"
            return len(host.check_output(waiting).splitlines())


def test_connections_to_app_hosts_are_kept(host: Any, address: str) -> None:
    assert left_in_time_wait(host, address, lambda files: None) <= 2


def test_mistake_no_keepalive_to_app_hosts(host: Any, address: str) -> None:
    assert left_in_time_wait(host, address, replace(SITE, r"keepalive \d+;", "")) >= 180


def test_mistake_no_upstream_keepalive(host: Any, address: str) -> None:
    with twin(host, address, edit=replace(SITE, r"keepalive \d+;", "")) as made:
        assert connects(made) >= 200


# 4. Inheritance of headers --------------------------------------------------------------------------------------------------

# By the location that answers: what is asked, how, and the status of the answer.
WALK: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "page": ("@public", "/", {}, 200),
    "signed in": ("@private", "/", {"headers": {"Cookie": "sessionid=1"}}, 200),
    "static file": ("/static/", "/static/plain.css", {}, 200),
    "no such static file": ("/static/", "/static/none.css", {}, 404),
    "static file posted to": ("/static/", "/static/plain.css", {"method": "POST", "body": b"x"}, 405),
    "uploaded file": ("/media/", "/media/file.txt", {}, 200),
    "error of the app": ("@public", "/?status=500", {}, 500),
    "upload": ("/upload/", "/upload/", {"method": "POST", "body": b"x" * 2_000_000}, 200),
    "too large": ("/", "/", {"method": "POST", "body": b"x" * 2_000_000}, 413),
    "long address": ("/", "/" + "x" * 9000, {}, 414),
    "too slow": ("@public", "/?sleep=2", {}, 504),
    "no answer": ("@public", "/die", {}, 502),
    "stream": ("/ws/", "/ws/", {}, 200),
    "events": ("/events", "/events", {}, 200),
    "redirect": ("@public", "/?status=302&header=Location:/x", {}, 302),
    "not modified": ("@public", "/?status=304", {}, 304),
    "error page asked for": ("/_errors/", "/_errors/404.html", {}, 404),
    "plain HTTP": ("http /", "/", {"secure": False}, 301),
    "ACME's file": ("http /.well-known/acme-challenge/", "/.well-known/acme-challenge/x", {"secure": False}, 404),
    "neighbour": (f"{NEIGHBOUR} /", "/", {"name": NEIGHBOUR}, 200),
    "neighbour's plain HTTP": (f"http {NEIGHBOUR} /", "/", {"name": NEIGHBOUR, "secure": False}, 301),
    "neighbour's ACME": (
        f"http {NEIGHBOUR} /.well-known/acme-challenge/",
        "/.well-known/acme-challenge/x",
        {"name": NEIGHBOUR, "secure": False},
        404,
    ),
}


def walk(made: Twin, path: str) -> Answer:
    _, url, options, status = WALK[path]
    asked = replace_fields(made, name=options.get("name", made.name))
    answer = asked.ask(url, **{name: value for name, value in options.items() if name != "name"})
    assert answer.status == status
    return answer


def has_all_headers(answer: Answer, secure: bool = True) -> bool:
    """Whether all of them are there, each once and with the value that it should have."""
    wanted = SECURITY_HEADERS if secure else SECURITY_HEADERS | {"Strict-Transport-Security": None}
    assert {name: answer[name] for name in wanted} == wanted
    return bool(answer["X-Request-ID"])


@pytest.mark.parametrize("path", WALK)
def test_every_answer_has_all_headers(plain: Twin, path: str) -> None:
    assert has_all_headers(walk(plain, path), WALK[path][2].get("secure", True))


def test_every_location_is_walked(plain: Twin, tmp_path: Path) -> None:
    """Of the servers that answer visitors: not nginx's own page for this host, nor who is turned away without an answer."""
    (tmp_path / "nginx.conf").write_text(plain.host.check_output(f"cat {plain.folder}/etc/nginx/sites.d/*.conf"))
    found = set()
    for server in crossplane.parse(str(tmp_path / "nginx.conf"), check_ctx=False)["config"][0]["parsed"]:
        inside = [(one["directive"], one["args"], one.get("block", [])) for one in server.get("block", [])]
        names = [args[0] for directive, args, _ in inside if directive == "server_name"]
        if server["directive"] == "server" and names and names != ["_"]:
            secure = any("ssl" in args for directive, args, _ in inside if directive == "listen")
            before = ("" if secure else "http ") + ("" if names == [plain.name] else f"{names[0]} ")
            found |= {before + args[-1] for directive, args, _ in inside if directive == "location"}
    assert found == {location for location, *_ in WALK.values()}


def test_app_headers_win_and_are_sent_once(plain: Twin) -> None:
    headers = "X-Frame-Options:SAMEORIGIN|Strict-Transport-Security:max-age=1|X-Request-ID:x|Cache-Control:private"
    answer = plain.ask(f"/?header={headers}")
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    assert answer["Strict-Transport-Security"] == "max-age=3600"
    assert answer["X-Request-ID"] != "x"
    assert answer["Cache-Control"] == "private"


def test_error_pages_are_ours(plain: Twin) -> None:
    for path in ("no such static file", "too large", "too slow"):
        assert b"<!doctype html>" in walk(plain, path).body


def test_mistake_header_in_a_location(host: Any, address: str) -> None:
    with twin(host, address, edit=replace(SITE, r"location @public \{", "location @public { add_header X-Mine 1;")) as made:
        answer = made.ask("/")
        assert answer["X-Mine"]
        assert answer["X-Frame-Options"] is None


def test_app_hears_the_truth_from_nginx_only(plain: Twin, host: Any) -> None:
    lies = {
        "Forwarded": "for=192.0.2.66",
        "Host": f"{plain.name}:8443",
        "Proxy": "http://192.0.2.66",
        "X-Forwarded-For": "192.0.2.66",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "http",
        "X-Request-ID": "0123456789abcdef",
        "X_Forwarded_For": "192.0.2.66",
    }
    answer = plain.ask("/", headers=lies)
    heard = {name.lower(): value for name, value in json.loads(answer.body)["headers"].items()}
    assert heard["host"] == f"{plain.name}:8443"
    assert heard["x-forwarded-proto"] == "https"
    assert heard["x-forwarded-for"] == heard["x-real-ip"] != "192.0.2.66"
    assert heard["x-request-id"] == answer["X-Request-ID"] != "0123456789abcdef"
    assert not {"forwarded", "proxy", "x-forwarded-host", "x_forwarded_for", "connection", "upgrade"} & set(heard)


def test_host_comes_from_the_request_line(plain: Twin) -> None:
    request = f"GET https://{plain.name}/ HTTP/1.1\r\nHost: evil.example:99\r\nConnection: close\r\n\r\n"
    received = plain.raw(request.encode())
    assert b"evil.example" not in received
    assert json.loads(received.partition(b"\r\n\r\n")[2])["headers"]["Host"].startswith(plain.name)


# 5. Buffering ---------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def slow_readers(made: Twin, number: int) -> Iterator[None]:
    """Clients that ask for a large answer and read nothing of it."""
    readers = []
    for _ in range(number):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect((made.address, made.https))
        secure = tls().wrap_socket(sock, server_hostname=made.name)
        secure.sendall(f"GET /?size=12000000 HTTP/1.1\r\nHost: {made.name}\r\n\r\n".encode())
        readers.append(secure)
    time.sleep(2)
    yield
    for reader in readers:
        reader.close()


def held_by_slow_readers(made: Twin) -> int:
    """Requests that the app still has under way while eight clients read nothing of a large answer."""
    with slow_readers(made, 8):
        return json.loads(made.ask("/count").body)["active"]


def test_slow_clients_hold_no_worker_of_the_app(plain: Twin) -> None:
    assert held_by_slow_readers(plain) == 0


def test_mistake_no_buffering(host: Any, address: str) -> None:
    with twin(host, address, edit=replace(PROXY, "proxy_buffering on", "proxy_buffering off")) as made:
        assert held_by_slow_readers(made) == 8


def test_answers_to_slow_clients_do_not_fill_the_disk(host: Any, address: str) -> None:
    """Of all clients together: so many requests, and so much of each answer in a file, which has no name any more."""
    bounds = {"nginx_requests": 6, "nginx_answer_kb": 1024, "nginx_limit_connections": 0, "nginx_worker_processes": 1}
    with twin(host, address, **bounds) as made, slow_readers(made, 6):
        files = f"find /proc/{made.worker()}/fd -lname '/var/lib/nginx/proxy/*'"
        sizes = host.check_output(f"for file in $({files}); do stat -Lc %s $file; done").split()
        assert len(sizes) == 6
        assert all(512 * 1024 < int(size) <= 1024 * 1024 for size in sizes)
        assert made.ask("/").status == 429


def test_buffering_is_off_on_streaming_paths_when_the_app_says_so(plain: Twin) -> None:
    def seconds_to_first_byte(path: str) -> float:
        connection = plain.open()
        begun = time.monotonic()
        connection.request("GET", path, headers={"Host": plain.name})
        connection.getresponse().read(9)
        connection.close()
        return time.monotonic() - begun

    assert seconds_to_first_byte("/events") < 0.25


def test_buffering_stays_on_elsewhere(host: Any, address: str) -> None:
    with twin(host, address) as made:
        begun = time.monotonic()
        made.ask("/events")
        connection = made.open()
        connection.request("GET", "/events", headers={"Host": made.name})
        connection.getresponse().read(9)
        assert time.monotonic() - begun > 0.8


def test_websockets_pass_on_their_paths(plain: Twin) -> None:
    upgrade = f"Host: {plain.name}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".encode()
    with plain.connect() as sock:
        sock.sendall(b"GET /ws/ HTTP/1.1\r\n" + upgrade)
        assert b" 101 " in sock.recv(4096)
        for word in (b"one", b"two"):
            sock.sendall(word)
            assert sock.recv(4096) == word
    with plain.connect() as sock:
        sock.sendall(b"GET /elsewhere HTTP/1.1\r\n" + upgrade)
        assert b" 200 " in sock.recv(4096)


# 7. Failing servers ---------------------------------------------------------------------------------------------------------


def tries_of_a_dead_server(made: Twin) -> int:
    """How often it is tried for 30 requests, which another one answers."""
    assert [made.ask("/").status for _ in range(30)] == [200] * 30
    return made.errors().count("connect() to unix:")


def test_a_dead_server_is_left_out(host: Any, address: str) -> None:
    with twin(host, address, apps=1, dead_apps=1, nginx_worker_processes=1) as made:
        assert 1 <= tries_of_a_dead_server(made) <= 3


def test_mistake_no_memory_of_failures(host: Any, address: str) -> None:
    with twin(
        host, address, edit=replace(SITE, r"max_fails=\d+", "max_fails=0"), apps=1, dead_apps=1, nginx_worker_processes=1
    ) as made:
        assert tries_of_a_dead_server(made) >= 10


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_post_is_sent_once(host: Any, address: str, method: str) -> None:
    """A PUT is not: by HTTP's word it does the same twice as once."""
    with twin(host, address, apps=2) as made:
        assert made.ask("/die", method=method, body=b"x").status == 502
        [line] = made.log(f'"method":"{method}"').splitlines()
        assert (json.loads(line)["upstream_status"] == "502") is (method == "POST")


# 9. Balance -----------------------------------------------------------------------------------------------------------------


def shares_of_one_network(made: Twin) -> list[int]:
    """How many of 40 clients of one /24 each app server gets."""
    answers = [made.ask("/", headers={"X-Forwarded-For": f"192.0.2.{n}"}) for n in range(1, 41)]
    return sorted(Counter(json.loads(answer.body)["server"] for answer in answers).values())


def test_clients_of_one_network_are_shared_out(host: Any, address: str) -> None:
    with twin(host, address, apps=2, nginx_trusted_proxies=["0.0.0.0/0"]) as made:
        assert shares_of_one_network(made) == [20, 20]


def test_mistake_ip_hash(host: Any, address: str) -> None:
    with twin(host, address, edit=replace(SITE, "least_conn", "ip_hash"), apps=2, nginx_trusted_proxies=["0.0.0.0/0"]) as made:
        assert shares_of_one_network(made) == [40]


# An edge host before app hosts --------------------------------------------------------------------------------------------


def test_edge_host_and_app_host_know_each_other(host: Any, address: str, tmp_path: Path) -> None:
    ours = internal(host)
    with twin(host, address, nginx_edges=["127.0.0.1"], **ours) as behind:
        before = {"nginx_upstream_servers": [f"127.0.0.1:{behind.https}"], "nginx_static_root": ""}
        host.check_output(f"echo static > {behind.folder}/static/app.0123456789ab.txt")
        with twin(host, address, apps=0, **before, **ours) as edge:
            lies = {"Host": f"{edge.name}:8443", "X-Forwarded-For": "192.0.2.66", "X-Request-ID": "0123456789abcdef"}
            answer = edge.ask("/", headers=lies)
            heard = json.loads(answer.body)["headers"]
            assert heard["X-Forwarded-For"] == edge.connect().getsockname()[0]
            assert heard["Host"] == f"{edge.name}:8443"
            assert heard["X-Request-ID"] == answer["X-Request-ID"] != "0123456789abcdef"
            for name, value in SECURITY_HEADERS.items():
                assert answer[name] == value
            assert answer["X-Request-ID"] in behind.log(answer["X-Request-ID"] or "")
            assert answer["X-Request-ID"] in edge.log(answer["X-Request-ID"] or "")
            static = edge.ask("/static/app.0123456789ab.txt")
            assert (static.body, static["Cache-Control"]) == (b"static\n", "public, max-age=31536000, immutable")
        # Nobody else is let in: not without a certificate, not with one from another address, and nothing listens for plain HTTP.
        assert behind.ask("/").status == 400
        (tmp_path / "app.pem").write_text(ours["nginx_internal_certificate"] + ours["nginx_internal_key"])
        certified = tls()
        certified.load_cert_chain(tmp_path / "app.pem")
        assert outcome(lambda: behind.ask("/", connection=behind.open(context=certified))) == 0
        with pytest.raises(ConnectionRefusedError):
            behind.connect(secure=False)
        # An app host of another authority is not believed.
        with twin(host, address, apps=0, **before, **internal(host)) as edge:
            assert edge.ask("/").status == 502
            assert "certificate verify error" in edge.errors()


def test_files_are_free_on_an_edge_host(host: Any, address: str) -> None:
    ours = internal(host)
    limits = {"nginx_limit_requests_per_second": 1, "nginx_limit_burst": 5}
    with twin(host, address, nginx_edges=["127.0.0.1"], nginx_media_root="/run/twin/media", **ours, **limits) as behind:
        host.check_output(f"cd {behind.folder} && mkdir -p media && echo file | tee static/app.css > media/app.css")
        before = {"nginx_upstream_servers": [f"127.0.0.1:{behind.https}"], "nginx_static_root": ""}
        with twin(host, address, apps=0, **before, **ours, **limits) as edge:
            connection = edge.open()
            for path in ("/static/app.css", "/media/app.css"):
                assert [edge.ask(path, connection=connection).body for _ in range(40)] == [b"file\n"] * 40
            # They are no way around the limit.
            assert 429 in [edge.ask("/static/../", connection=connection).status for _ in range(40)]


# Compression and caching ----------------------------------------------------------------------------------------------------

PAGE = "/?size=5000&type=text/html&header=ETag:%22abc%22"


@pytest.mark.parametrize(("accepted", "encoding"), [("gzip", "gzip"), ("gzip, br", "br"), ("identity", None)])
def test_public_pages_are_compressed(plain: Twin, accepted: str, encoding: str | None) -> None:
    answer = plain.ask(PAGE, headers={"Accept-Encoding": accepted})
    assert answer["Content-Encoding"] == encoding
    assert answer["Vary"] == "Accept-Encoding"
    # nginx no longer sends the bytes that the app named, so the name is weak.
    assert answer["ETag"] == ('W/"abc"' if encoding else '"abc"')


def test_a_condition_of_a_change_reaches_the_app(plain: Twin) -> None:
    """A signed-in visitor's ETag is the app's own: it holds in the strong comparison of If-Match, a compressed page's does not."""
    signed_in = {"Cookie": "sessionid=1", "Accept-Encoding": "gzip, br"}
    name = plain.ask(PAGE, headers=signed_in)["ETag"] or ""
    assert name == '"abc"'
    for given in (name, 'W/"abc"'):
        answer = plain.ask("/", method="PUT", body=b"x", headers={**signed_in, "If-Match": given})
        assert json.loads(answer.body)["headers"]["If-Match"] == given


@pytest.mark.parametrize("secret", [{"Cookie": "a=b; sessionid=1"}, {"Authorization": "Bearer x"}])
def test_private_pages_are_not_compressed(plain: Twin, secret: dict[str, str]) -> None:
    assert plain.ask(PAGE, headers={"Accept-Encoding": "gzip, br", **secret})["Content-Encoding"] is None


def test_what_the_app_compressed_stays(plain: Twin) -> None:
    answer = plain.ask(PAGE + "|Content-Encoding:gzip", headers={"Accept-Encoding": "gzip, br"})
    assert answer["Content-Encoding"] == "gzip"
    assert len(answer.body) == 5000


def test_static_files(plain: Twin) -> None:
    for accepted in ("gzip", "br", "identity"):
        for file in ("app.0123456789ab.css", "plain.css"):
            assert plain.ask(f"/static/{file}", headers={"Accept-Encoding": accepted})["Vary"] == "Accept-Encoding"
    hashed = plain.ask("/static/app.0123456789ab.css", headers={"Accept-Encoding": "gzip"})
    assert hashed["Content-Encoding"] == "gzip"
    assert hashed["Cache-Control"] == "public, max-age=31536000, immutable"
    assert plain.ask("/static/app.0123456789ab.css", headers={"Accept-Encoding": "br"})["Content-Encoding"] == "br"
    whole = plain.ask("/static/plain.css")
    assert whole["Content-Type"] == "text/css"
    assert whole["Cache-Control"] == "public, max-age=3600"
    assert plain.ask("/static/plain.css", headers={"If-None-Match": whole["ETag"] or ""}).status == 304
    part = plain.ask("/static/plain.css", headers={"Range": "bytes=2-5"})
    assert (part.status, part.body) == (206, whole.body[2:6])
    assert plain.ask("/static/../../etc/passwd").status in (400, 404)
    assert plain.ask("/static../app0.sock").status != 200 or b"path" in plain.ask("/static../app0.sock").body


def test_micro_cache_keeps_public_pages_only(host: Any, address: str) -> None:
    with twin(host, address, nginx_cache_seconds=60) as made:

        def cached(path: str, **headers: str) -> str | None:
            made.ask(path, headers=headers)
            return made.ask(path, headers=headers)["X-Cache"]

        assert cached("/public") == "HIT"
        assert cached("/signed-in", Cookie="sessionid=1") is None
        assert cached("/authorized", Authorization="Basic x") is None
        assert cached("/?header=Set-Cookie:a=b") == "MISS"
        assert cached("/?header=Cache-Control:private") == "MISS"
        assert cached("/?header=Vary:Cookie", Cookie="a=1") == "HIT"
        assert made.ask("/?header=Vary:Cookie", headers={"Cookie": "a=2"})["X-Cache"] == "MISS"
        # What a signed-in visitor got is nobody else's.
        made.ask("/mine", headers={"Cookie": "sessionid=1"})
        assert made.ask("/mine")["X-Cache"] == "MISS"
        # An app that is gone is no reason to show nothing.
        assert cached("/stale?header=Cache-Control:max-age=1") == "HIT"
        host.check_output(f"systemctl stop {made.app()}")
        time.sleep(2)
        assert made.ask("/stale?header=Cache-Control:max-age=1").status == 200


# Limits ---------------------------------------------------------------------------------------------------------------------


def test_a_client_that_asks_too_fast_is_told_to_wait(host: Any, address: str) -> None:
    limits = {"nginx_limit_requests_per_second": 5, "nginx_limit_burst": 5, "nginx_trusted_proxies": ["0.0.0.0/0"]}
    with twin(host, address, **limits) as made:
        answers = [made.ask("/", headers={"X-Forwarded-For": "192.0.2.1"}) for _ in range(20)]
        refused = [answer for answer in answers if answer.status == 429]
        assert 8 <= len(refused) <= 14
        assert {answer["Retry-After"] for answer in refused} == {"2"}
        assert all(has_all_headers(answer) for answer in refused)
        # Another client behind the same proxy, and static files, are not refused.
        assert made.ask("/", headers={"X-Forwarded-For": "192.0.2.2"}).status == 200
        assert made.ask("/static/none", headers={"X-Forwarded-For": "192.0.2.1"}).status == 404


def test_a_client_of_ipv6_is_its_network(host: Any, address: str) -> None:
    limits = {"nginx_limit_requests_per_second": 1, "nginx_limit_burst": 1, "nginx_trusted_proxies": ["0.0.0.0/0"]}
    with twin(host, address, **limits) as made:

        def refused(prefix: str) -> int:
            statuses = [made.ask("/", headers={"X-Forwarded-For": f"{prefix}{n:x}"}).status for n in range(1, 9)]
            return statuses.count(429)

        assert refused("2001:db8:0:1::") >= 5
        assert refused("2001:db8:0:1:a00::") >= 5
        assert made.ask("/", headers={"X-Forwarded-For": "2001:db8:0:2::1"}).status == 200
        assert refused("192.0.2.") == 0


def test_requests_under_way_are_limited(host: Any, address: str) -> None:
    with twin(host, address, nginx_limit_connections=3) as made:
        statuses = at_once(8, lambda _: made.ask("/?sleep=0.5").status)
        assert (statuses.count(200), statuses.count(429)) == (3, 5)


def test_uploads_under_way_are_limited(host: Any, address: str) -> None:
    """Of all clients together: they share the disk."""
    options = {"nginx_upload_paths": {"/upload/": 3}, "nginx_upload_connections": 2, "nginx_trusted_proxies": ["0.0.0.0/0"]}

    with twin(host, address, **options) as made:

        def ask(path: str) -> list[int]:
            given = [{"X-Forwarded-For": f"192.0.2.{number}"} for number in range(6)]
            return at_once(6, lambda number: made.ask(path, method="POST", body=b"x", headers=given[number]).status)

        assert sorted(ask("/upload/?sleep=1")) == [200] * 2 + [429] * 4
        assert ask("/?sleep=0.5") == [200] * 6


def test_no_client_has_all_uploads(host: Any, address: str) -> None:
    options = {"nginx_upload_paths": {"/upload/": 3}, "nginx_upload_connections": 4, "nginx_trusted_proxies": ["0.0.0.0/0"]}
    with twin(host, address, **options) as made:

        def ask(number: int) -> int:
            client = {"X-Forwarded-For": "192.0.2.1" if number else "192.0.2.2"}
            return made.ask("/upload/?sleep=1", method="POST", body=b"x", headers=client).status

        other, *one = at_once(4, ask)
        assert (other, sorted(one)) == (200, [200, 429, 429])


def test_only_trusted_proxies_are_believed(host: Any, address: str) -> None:
    with twin(host, address, nginx_trusted_proxies=["0.0.0.0/0"]) as made:
        answer = made.ask("/", headers={"X-Forwarded-For": "192.0.2.7", "X-Request-ID": "0123456789abcdef"})
        heard = json.loads(answer.body)["headers"]
        assert heard["X-Forwarded-For"] == "192.0.2.7"
        assert heard["X-Request-ID"] == answer["X-Request-ID"] == "0123456789abcdef"


def test_a_slow_request_is_cut_off(plain: Twin) -> None:
    with plain.connect(secure=False) as sock:
        begun = time.monotonic()
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x")
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(4096) == b""
        assert 1 < time.monotonic() - begun < 5


# Maintenance ----------------------------------------------------------------------------------------------------------------


def test_a_closed_site_says_so_to_all_but_those_who_work_on_it(host: Any, address: str) -> None:
    closed = {
        "nginx_maintenance_message": "Back at <noon>.",
        "nginx_maintenance_from": ["192.0.2.0/24"],
        "nginx_trusted_proxies": ["0.0.0.0/0"],
        "nginx_upload_paths": {"/upload/": 3},
    }
    with twin(host, address, **closed) as made:
        for path, method in (("/", "GET"), ("/upload/", "POST"), ("/static/none", "GET")):
            answer = made.ask(path, method=method)
            assert answer.status == 503
            assert b"Back at &lt;noon&gt;." in answer.body
            assert answer["Retry-After"] == "300"
            assert has_all_headers(answer)
        assert made.ask("/", headers={"X-Forwarded-For": "192.0.2.7"}).status == 200


# Requests that two servers might read differently ----------------------------------------------------------------------------

SMUGGLING = {
    "two lengths": b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "length and chunks": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded header": b"X-A: b\r\n c\r\n\r\n",
    "space before colon": b"X-A : b\r\n\r\n",
    "unknown encoding": b"Transfer-Encoding: x\r\n\r\n",
    "bad length": b"Content-Length: +1\r\n\r\nx",
    "null in header": b"X-A: b\0c\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked in a list": b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "tab before chunked": b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "bad chunk size": b"Transfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n",
    "list of lengths": b"Content-Length: 1, 1\r\n\r\nx",
    "second host": b"Host: evil.example\r\n\r\n",
    "empty name": b": b\r\n\r\n",
    "bare carriage return": b"X-A: b\rX-B: c\r\n\r\n",
}


def statuses(received: bytes) -> list[bytes]:
    """Of each answer on a connection."""
    return re.findall(rb"HTTP/1\.1 (\d+) ", received)


def heard(host: Any, container: str, path: str) -> int:
    """How often the site's app, which logs each request, was asked for the path."""
    time.sleep(0.3)  # what it logs goes through Docker
    return int(host.run("docker logs --since 5m %s 2>&1 | grep -Fc %s", container, f'"path": "{path}"').stdout)


@pytest.mark.parametrize("kind", SMUGGLING)
def test_ambiguous_requests_are_refused(plain: Twin, kind: str) -> None:
    received = plain.raw(f"POST / HTTP/1.1\r\nHost: {plain.name}\r\n".encode() + SMUGGLING[kind])
    assert statuses(received) in ([b"400"], [b"501"]), received[:100]


@pytest.mark.parametrize("kind", SMUGGLING)
def test_ambiguous_requests_do_not_reach_the_sites_app(host: Any, site: Site, container: str, kind: str) -> None:
    path = f"/{secrets.token_hex(8)}"
    received = site.raw(f"POST {path} HTTP/1.1\r\nHost: {site.name}\r\n".encode() + SMUGGLING[kind])
    assert statuses(received) in ([b"400"], [b"501"]), received[:100]
    assert heard(host, container, path) == 0


def odd(name: str, mark: str = "") -> dict[str, bytes]:
    """Requests for /one that may be taken for two, the second for /two."""
    host, one = f"Host: {name}\r\n".encode(), f"/one{mark}".encode()
    two = f"GET /two{mark} HTTP/1.1\r\n".encode() + host + b"\r\n"
    post = b"POST %s HTTP/1.1\r\n%sConnection: close\r\n" % (one, host)
    return {
        "bare line feeds": (b"GET %s HTTP/1.1\r\n%sConnection: close\r\n\r\n" % (one, host)).replace(b"\r", b""),
        "absolute URI": b"GET https://%s%s HTTP/1.1\r\n%sConnection: close\r\n\r\n" % (name.encode(), one, host),
        "request in a body": b"%sContent-Length: %d\r\n\r\n%s" % (post, len(two), two),
        "request in a chunk": b"%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (post, len(two), two),
    }


@pytest.mark.parametrize("kind", odd(""))
def test_odd_requests_that_pass_reach_the_app_as_one(plain: Twin, kind: str) -> None:
    """What the app hears is nginx's own writing of what nginx understood."""
    before = json.loads(plain.ask("/count").body)["requests"]
    received = plain.raw(odd(plain.name)[kind])
    assert b'"path": "/one"' in received
    assert b"/two" not in received
    assert json.loads(plain.ask("/count").body)["requests"] == before + 1


@pytest.mark.parametrize("kind", odd(""))
def test_odd_requests_that_pass_reach_the_sites_app_as_one(host: Any, site: Site, container: str, kind: str) -> None:
    mark = secrets.token_hex(8)
    received = site.raw(odd(site.name, mark)[kind])
    assert len(statuses(received)) == 1, received
    assert heard(host, container, f"/one{mark}") == 1
    assert heard(host, container, f"/two{mark}") == 0


def test_large_headers_are_refused(plain: Twin) -> None:
    received = plain.raw(f"GET / HTTP/1.1\r\nHost: {plain.name}\r\nX-A: {'x' * 20000}\r\n\r\n".encode())
    assert received.startswith(b"HTTP/1.1 400 ")


# HTTP/3 ---------------------------------------------------------------------------------------------------------------------


def test_http3_carries_the_host_with_its_port(host: Any, address: str) -> None:
    with twin(host, address, nginx_http3_enabled=True) as made:
        url = f"https://{made.name}:{made.https}/"
        answer = host.check_output(f"curl -sk --http3-only --resolve {made.name}:{made.https}:127.0.0.1 {url}")
        assert json.loads(answer)["headers"]["Host"] == f"{made.name}:{made.https}"
        assert made.ask("/")["Alt-Svc"] == f'h3=":{made.https}"; ma=86400'
