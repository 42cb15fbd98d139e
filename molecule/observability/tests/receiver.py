#!/usr/bin/python3
"""Takes what Alertmanager sends, over HTTP and as mail, a line of JSON each: receiver.py HTTP-PORT SMTP-PORT FILE."""

from __future__ import annotations

import json
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HTTP_PORT, SMTP_PORT, FILE = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
LOCK = threading.Lock()


def note(way: str, content: object) -> None:
    with LOCK, FILE.open("a") as file:
        file.write(json.dumps({"at": time.time(), "way": way, "content": content}) + "\n")


class Web(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        note(self.path.lstrip("/"), json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")


class Mail(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 receiver\r\n")
        lines: list[str] | None = None
        for raw in self.rfile:
            line = raw.decode().rstrip("\r\n")
            if lines is not None:
                if line == ".":
                    note("mail", "\n".join(lines))
                    lines = None
                    self.wfile.write(b"250 taken\r\n")
                else:
                    lines.append(line)
            elif line.upper().startswith("DATA"):
                lines = []
                self.wfile.write(b"354 go on\r\n")
            elif line.upper().startswith("QUIT"):
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 ok\r\n")


socketserver.ThreadingTCPServer.allow_reuse_address = True
mail = socketserver.ThreadingTCPServer(("127.0.0.1", SMTP_PORT), Mail)
threading.Thread(target=mail.serve_forever, daemon=True).start()
ThreadingHTTPServer(("127.0.0.1", HTTP_PORT), Web).serve_forever()
