"""How a release is announced to Sentry."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

RELEASES = "/api/0/organizations/example/releases/"


@pytest.mark.parametrize(
    ("status", "asked", "says"),
    [
        (201, [RELEASES, f"{RELEASES}abc/deploys/"], ""),
        (403, [RELEASES], "release abc, which runs nevertheless: Status code was 403"),
    ],
)
def test_a_deployment_is_told_only_of_a_release_that_was_taken(
    run_plays: Callable[..., subprocess.CompletedProcess[str]], status: int, asked: list[str], says: str
) -> None:
    got: list[str] = []

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            got.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        variables = {
            "sentry_api_url": f"http://127.0.0.1:{server.server_port}",
            "sentry_organization": "example",
            "sentry_projects": ["shop"],
            "sentry_auth_token": "token",
            "sentry_release": "abc",
            "ansible_python_interpreter": sys.executable,
        }
        announce = {"ansible.builtin.include_role": {"name": "fairlead.site.sentry", "tasks_from": "announce"}}
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": [announce]}
        done = run_plays([play])
        server.shutdown()
    assert done.returncode == 0, done.stdout + done.stderr
    assert got == asked
    said = " ".join(done.stdout.split())
    assert says in said and ("nevertheless" in said) == bool(says)
