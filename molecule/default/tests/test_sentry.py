"""An error of the release that runs is reported. A real receiver, and deployments that are told of it: molecule/observability."""

from __future__ import annotations

import json
from typing import Any

from conftest import DOMAIN

RECEIVER = """
import gzip, http.server, sys
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        with open(sys.argv[2], "ab") as file:
            file.write(gzip.decompress(self.rfile.read(int(self.headers["Content-Length"]))) + b"\\n")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")
http.server.HTTPServer(("", int(sys.argv[1])), Receiver).serve_forever()
"""
# What a worker does for a request. The process ends when what it has to report is sent.
REQUEST = """
import config.wsgi, django.test
headers = {"host": "%s", "x-forwarded-proto": "https"}
request = django.test.RequestFactory().get("/articles/tides/", {"from": "test"}, secure=True, headers=headers)
config.wsgi.application(request.environ, print)
"""


def test_an_exception_in_the_release_arrives_where_the_dsn_says(host: Any, container: str) -> None:
    port, taken = "7990", "/run/taken-event"
    host.check_output("systemd-run --quiet --collect --unit receiver python3 -c %s %s %s", RECEIVER, port, taken)
    gateway = host.check_output("ip -4 -o address show dev docker0").split()[3].partition("/")[0]
    dsn = f"http://0123456789abcdef0123456789abcdef@{gateway}:{port}/1"
    try:
        host.check_output("timeout 5 sh -c 'until ss -Hltn | grep -q :%s; do sleep 0.1; done'", port)
        process = "docker exec --env SENTRY_DSN=%s --env DATABASE_HOST=/nowhere %s python -c %s"
        assert "\n500 Internal" in "\n" + host.check_output(process, dsn, container, REQUEST % DOMAIN)
        lines = host.file(taken).content_string.splitlines()
    finally:
        host.run("systemctl stop receiver; rm -f %s", taken)
    (event,) = [json.loads(line) for line in lines if '"exception"' in line]
    release = container.removeprefix("demo-")
    assert (event["release"], event["environment"]) == (release, "demo")
    assert event["request"]["url"] == f"https://{DOMAIN}/articles/tides/" and event["request"]["query_string"] == "from=test"
    frames = [frame for error in event["exception"]["values"] for frame in error["stacktrace"]["frames"]]
    assert any(frame["filename"].startswith("articles/") and frame["context_line"].strip() for frame in frames)
