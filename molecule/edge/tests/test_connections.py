"""The connections that the capacity model counts on, held by real clients."""

from __future__ import annotations

import re
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

testinfra_hosts = ["ansible://fairlead-edge"]
REQUEST = b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n"
HELD = REQUEST.replace(b"GET /", b"GET /held")


@pytest.fixture(autouse=True)
def many_files(app: None, host: Any) -> Iterator[None]:
    host.check_output("grep -q www.example.org /etc/hosts || echo 127.0.0.1 www.example.org >>/etc/hosts")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def room(host: Any) -> int:
    """Workers x worker_connections."""
    connections = int(re.search(r"worker_connections (\d+);", host.check_output("nginx -T 2>/dev/null"))[1])  # type: ignore[index]
    return connections * len(host.check_output("pgrep -P $(cat /run/nginx.pid)").split())


def active(host: Any) -> int:
    """Connections of clients."""
    return int(re.search(r"Active connections: (\d+)", host.check_output("curl -s http://127.0.0.1:8089/status"))[1])  # type: ignore[index]


def connect(tls: ssl.SSLContext | None = None) -> socket.socket:
    plain = socket.create_connection(("10.207.0.11", 443 if tls else 80), timeout=60)
    return tls.wrap_socket(plain, server_hostname="www.example.org") if tls else plain


def anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def status(client: socket.socket) -> int:
    """Of the answer that comes; 0 where the connection was closed without one."""
    try:
        found = re.match(rb"HTTP/1.1 (\d+) ", client.recv(4096))
    except OSError:
        return 0
    return int(found[1]) if found else 0


def test_idle_clients_are_held(host: Any) -> None:
    """0.9 x workers x worker_connections clients on keep-alive, and room for a new one."""
    wanted = int(0.9 * room(host))
    clients = []
    try:
        for _ in range(wanted):
            client = connect()
            clients.append(client)
            client.sendall(REQUEST)
            assert status(client) == 301
        assert active(host) >= wanted
        with connect() as client:
            begun = time.monotonic()
            client.sendall(REQUEST)
            assert status(client) == 301
            assert time.monotonic() - begun < 1
    finally:
        for client in clients:
            client.close()
    errors = host.file("/var/log/nginx/error.log").content_string
    assert "Too many open files" not in errors
    assert "worker_connections are not enough" not in errors


def test_proxied_clients_are_held_and_more_are_turned_away(host: Any) -> None:
    """0.45 x as many requests wait in the app; beyond the limit some are refused, none that was taken is lost, then all is well."""
    tls, wanted = anybody(), int(0.45 * room(host))
    taken: list[socket.socket] = []
    refused = 0
    try:
        for _ in range(wanted):
            client = connect(tls)
            client.sendall(HELD)
            taken.append(client)
        with connect(tls) as client:
            client.sendall(REQUEST)
            assert status(client) == 200
        beyond: list[socket.socket] = []
        for _ in range(int(0.12 * room(host))):
            try:
                client = connect(tls)
                client.sendall(HELD)
                beyond.append(client)
            except OSError:
                refused += 1
        host.check_output("curl -s --unix-socket /run/app/app.sock http://localhost/release")
        assert {status(client) for client in taken} == {200}
        statuses = [status(client) for client in beyond]
        refused += len(statuses) - statuses.count(200)
        assert refused > 0
        assert set(statuses) <= {0, 200, 500}
        taken += beyond
    finally:
        for client in taken:
            client.close()
    with connect(tls) as client:
        client.sendall(REQUEST)
        assert status(client) == 200
    errors = host.file("/var/log/nginx/error.log").content_string
    assert "Too many open files" not in errors
    assert "worker_connections are not enough" in errors


def attack(options: str, page: str) -> str:
    """The command of 1000 such clients. Without the site's name they would not get through the handshake."""
    return f"slowhttptest -c 1000 {options} -r 300 -l 300 -p 5 -u https://www.example.org{page}"


# What slowhttptest does to which page, and after how many seconds nginx has had enough of such a client.
ATTACKS = {
    "slow headers": ("-H -i 2", "/", "client_header_timeout"),
    "stalled bodies": ("-B -i 60", "/", "client_body_timeout"),
    # send_timeout would be sooner, but of some the kernel has taken the whole answer, and nginx waits for their next request.
    "slow readers": ("-X -w 10 -y 20 -n 3 -z 5", "/large", "keepalive_timeout"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_slow_attack_is_not_noticed_by_others_and_cut_off(host: Any, name: str) -> None:
    *options, limit = ATTACKS[name]
    seconds = int(re.search(rf"\b{limit} (\d+)s;", host.check_output("nginx -T 2>/dev/null"))[1])  # type: ignore[index]
    host.check_output(f"systemd-run --quiet --collect --unit attack --property LimitNOFILE=20000 {attack(*options)}")
    tls, slowest = anybody(), 0.0
    try:
        deadline = time.monotonic() + 40
        while active(host) < 500:
            assert time.monotonic() < deadline and host.service("attack").is_running
        begun = time.monotonic()
        for _ in range(8):
            asked = time.monotonic()
            with connect(tls) as client:
                client.sendall(REQUEST)
                assert status(client) == 200
            slowest = max(slowest, time.monotonic() - asked)
        # Nobody waited for the end of such a client.
        assert slowest < seconds / 2
        while active(host) > 50 and time.monotonic() < begun + seconds + 20:
            time.sleep(1)
        assert active(host) <= 50
    finally:
        host.run("systemctl stop attack")


def test_many_ranges_are_refused_at_once(host: Any) -> None:
    """slowhttptest ends by itself when nginx has closed all of its connections."""
    done = host.run(f"ulimit -n 20000; timeout 60 {attack('-R', '/')}")
    assert "No open connections left" in done.stdout
    tls = anybody()
    with connect(tls) as client:
        client.sendall(REQUEST)
        assert status(client) == 200
