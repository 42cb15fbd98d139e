"""An app that does what the query says, on a unix socket; for tests of what is in front of it.

/?status=404&size=1000&type=text/html&sleep=1&header=Name:value answers so; without size the answer is what was received, as JSON.
/count tells how many connections and requests there were, and how many requests are under way. /hold answers after /release.
/events sends an event each 0.3 s; an upgrade to websocket gets back what it sends; /die closes without an answer.
"""

from __future__ import annotations

import json
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

count = {"connections": 0, "requests": 0, "active": 0}
released = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        count["connections"] += 1

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        if url.path == "/count":
            return self.answer(json.dumps(count).encode(), {})
        count["requests"] += 1
        count["active"] += 1
        try:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if url.path == "/die":
                self.close_connection = True
            elif url.path == "/events":
                self.events()
            elif url.path == "/hold":
                released.wait()
                self.answer(b"held", {})
            elif url.path == "/release":
                released.set()
                self.answer(b"released", {})
            elif self.headers.get("Upgrade"):
                self.upgrade()
            else:
                time.sleep(float(query.get("sleep", 0)))
                received = {"path": self.path, "method": self.command, "headers": dict(self.headers), "body": len(body)}
                size = int(query.get("size", 0))
                self.answer(b"x" * size if size else json.dumps({**received, "server": self.server.server_address}).encode(), query)
        finally:
            count["active"] -= 1
        return None

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 (the names that the base class calls)

    def answer(self, body: bytes, query: dict[str, str]) -> None:
        self.send_response(int(query.get("status", 200)))
        self.send_header("Content-Type", query.get("type", "application/json"))
        self.send_header("Content-Length", str(len(body)))
        for header in query.get("header", "").split("|"):
            if header:
                self.send_header(*header.split(":", 1))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def events(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("X-Accel-Buffering", "no")
        self.send_header("Connection", "close")
        self.end_headers()
        for number in range(3):
            self.wfile.write(b"data: %d\n\n" % number)
            time.sleep(0.3)

    def upgrade(self) -> None:
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        while data := self.connection.recv(4096):
            self.connection.sendall(data)
        self.close_connection = True


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 1024


Server(sys.argv[1], Handler).serve_forever()
