"""The connections that the capacity model counts on, held by real clients."""

from __future__ import annotations

import re
import resource
import socket
import time
from typing import Any

REQUEST = b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n"


def test_idle_clients_are_held(host: Any) -> None:
    """0.9 x workers x worker_connections clients on keep-alive, and room for a new one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    address = host.check_output("hostname -I").split()[0]
    connections = int(re.search(r"worker_connections (\d+);", host.check_output("nginx -T 2>/dev/null"))[1])  # type: ignore[index]
    workers = len(host.check_output("pgrep -P $(cat /run/nginx.pid)").split())
    wanted = min(int(0.9 * workers * connections), hard - 500)
    clients = []
    try:
        for _ in range(wanted):
            client = socket.create_connection((address, 80), timeout=10)
            clients.append(client)
            client.sendall(REQUEST)
            assert client.recv(4096).startswith(b"HTTP/1.1 301 ")
        held = int(re.search(r"Active connections: (\d+)", host.check_output("curl -s http://127.0.0.1:8089/status"))[1])  # type: ignore[index]
        assert held >= wanted
        with socket.create_connection((address, 80), timeout=10) as client:
            begun = time.monotonic()
            client.sendall(REQUEST)
            assert client.recv(4096).startswith(b"HTTP/1.1 301 ")
            assert time.monotonic() - begun < 1
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    errors = host.file("/var/log/nginx/error.log").content_string
    assert "Too many open files" not in errors
    assert "worker_connections are not enough" not in errors
