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
def many_files(app: None) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def room(host: Any) -> int:
    """Workers x worker_connections."""
    connections = int(re.search(r"worker_connections (\d+);", host.check_output("nginx -T 2>/dev/null"))[1])  # type: ignore[index]
    return connections * len(host.check_output("pgrep -P $(cat /run/nginx.pid)").split())


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
        held = int(re.search(r"Active connections: (\d+)", host.check_output("curl -s http://127.0.0.1:8089/status"))[1])  # type: ignore[index]
        assert held >= wanted
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


@pytest.mark.parametrize("attack", ["-H", "-B", "-X -w 10 -y 20 -n 3 -z 5 -k 3", "-R"])
def test_a_slow_attack_is_not_noticed_by_others(host: Any, attack: str) -> None:
    """slowhttptest: slow headers, slow bodies, slow readers, many ranges."""
    host.check_output(
        "systemd-run --quiet --collect --unit attack --property LimitNOFILE=20000"
        f" slowhttptest -c 1500 {attack} -i 2 -r 300 -l 12 -p 5 -u https://127.0.0.1/"
    )
    tls, slowest = anybody(), 0.0
    try:
        time.sleep(4)
        for _ in range(8):
            begun = time.monotonic()
            with connect(tls) as client:
                client.sendall(REQUEST)
                assert status(client) == 200
            slowest = max(slowest, time.monotonic() - begun)
            time.sleep(0.5)
    finally:
        host.run("systemctl stop attack")
    assert slowest < 3
