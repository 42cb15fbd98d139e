#!/usr/bin/python3
"""A stand-in for what agents and deployments talk to, over TLS: New Relic's collector (agent protocol 17) and NerdGraph, Sentry's
interface of releases and its check-ins, and a receiver of OpenTelemetry's protocol.

newrelic_collector.py CERTIFICATE KEY PORT FILE: answers as the service does, refuses a key that it does not know, and appends each
call to FILE as a line of JSON: its method, and what was sent.
"""

from __future__ import annotations

import gzip
import http.server
import json
import ssl
import sys
import threading
import urllib.parse
import zlib
from pathlib import Path
from typing import Any

LICENSE = "0123456789abcdef0123456789abcdef01234567"
API_KEY = "NRAK-OF-TESTS"
SENTRY_TOKEN = "Bearer sntrys_of_tests"

EVENTS = {
    "analytic_event_data": 1200,
    "error_event_data": 100,
    "custom_event_data": 100,
    "log_event_data": 833,
    "span_event_data": 1000,
}
CONNECT = {
    "agent_run_id": "run-1",
    "account_id": "1",
    "primary_application_id": "1",
    "trusted_account_key": "1",
    "entity_guid": "guid-1",
    "cross_process_id": "1#1",
    "encoding_key": "0" * 40,
    "collect_analytics_events": True,
    "collect_errors": True,
    "collect_error_events": True,
    "collect_traces": True,
    "collect_custom_events": True,
    "collect_span_events": True,
    "sampling_target": 10,
    "sampling_target_period_in_seconds": 60,
    "data_report_period": 60,
    "apdex_t": 0.5,
    "url_rules": [],
    "transaction_name_rules": [],
    "messages": [],
    "event_harvest_config": {"report_period_ms": 5000, "harvest_limits": EVENTS},
    "span_event_harvest_config": {"report_period_ms": 5000, "harvest_limit": 1000},
}


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    file: Path
    lock = threading.Lock()

    def body(self) -> bytes:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        unpack = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(self.headers.get("Content-Encoding", ""), bytes)
        return unpack(raw)

    def note(self, method: str, known: bool, data: Any) -> None:
        with self.lock, self.file.open("a") as file:
            file.write(json.dumps({"method": method, "known": known, "data": data}) + "\n")

    def answer(self, status: int, content: Any) -> None:
        packed = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        self.wfile.write(packed)

    def do_POST(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        if address.path.endswith("/envelope/"):
            self.note("envelope", True, [json.loads(line) for line in self.body().splitlines()])
            self.answer(200, {})
            return
        if address.path.startswith("/v1/"):
            # Protocol buffers: the texts in them can be read.
            self.note(f"otlp{address.path}", self.headers.get("api-key") == LICENSE, self.body().decode("latin-1"))
            self.answer(200, None)
            return
        query = dict(urllib.parse.parse_qsl(address.query))
        graph, sentry = address.path == "/graphql", address.path.startswith("/api/0/organizations/example/releases/")
        method = "graphql" if graph else "sentry" if sentry else query.get("method", "")
        data = json.loads(self.body() or b"null")
        keys = [(graph, self.headers.get("API-Key"), API_KEY), (sentry, self.headers.get("Authorization"), SENTRY_TOKEN)]
        known = next((given == key for asked, given, key in keys if asked), query.get("license_key") == LICENSE)
        self.note(method, known, data)
        if not known:
            self.answer(401, {"exception": {"error_type": "NewRelic::Agent::LicenseException", "message": "Invalid license key"}})
        elif sentry:
            self.answer(201, {})
        elif graph:
            self.answer(200, {"data": {"changeTrackingCreateDeployment": {"deploymentId": "1"}}})
        else:
            host = self.headers["Host"].split(":")[0]
            values = {"preconnect": {"redirect_host": host, "security_policies": {}}, "connect": CONNECT}
            lists = {"get_agent_commands", "agent_settings"}
            self.answer(200 if method in values else 202, {"return_value": values.get(method, [] if method in lists else None)})

    do_PUT = do_POST  # noqa: N815 (http.server's name)

    def log_message(self, *_: Any) -> None:
        pass


if __name__ == "__main__":
    certificate, key, port, file = sys.argv[1:]
    Service.file = Path(file)
    server = http.server.ThreadingHTTPServer(("0.0.0.0", int(port)), Service)  # noqa: S104 (containers reach it)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
