"""The program that tells Sentry of a failed unit."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

PROGRAM = ROOT / "roles/sentry/templates/usr/local/sbin/fairlead-sentry"
SETTINGS = {"environment": "demo", "server_name": "app1", "proxy": "", "ca": "", "lines": 20}


@pytest.fixture(scope="module")
def program() -> Any:
    spec = spec_from_loader("fairlead_sentry", SourceFileLoader("fairlead_sentry", str(PROGRAM)))
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Address of a receiver, and the path, the key and the body of what it got."""
    got: list[tuple[str, str, str]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            got.append((self.path, self.headers["X-Sentry-Auth"], body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", got
        server.shutdown()


def test_an_event_is_sent_as_an_envelope(program: Any, receiver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "journal", lambda unit, lines: f"{lines} last words of {unit}: ö")
    monkeypatch.setenv("MONITOR_SERVICE_RESULT", "exit-code")
    address, got = receiver
    program.send(f"http://abc@{address}/errors/7", "event", program.event("nginx.service", SETTINGS), SETTINGS)
    ((path, login, body),) = got
    assert path == "/errors/api/7/envelope/" and "sentry_key=abc" in login
    header, item, event = (json.loads(line) for line in body.splitlines())
    assert item == {"type": "event", "length": len(body.splitlines()[2].encode())}
    assert header["event_id"] == event["event_id"]
    assert event["exception"]["values"][0]["value"] == "nginx.service failed: exit-code"
    assert event["fingerprint"] == ["systemd", "nginx.service", "exit-code"]
    assert (event["environment"], event["server_name"], event["extra"]["journal"][:2]) == ("demo", "app1", "20")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("postgres://shop:hunter2@db/shop?x=1 fails", "postgres://shop:[Filtered]@db/shop?x=1 fails"),
        ("redis://:hun@er/2@cache:6379/0", "redis://:[Filtered]@cache:6379/0"),
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD=[Filtered] psql"),
        ("--secret-key=hunter2, then", "--secret-key=[Filtered] then"),
        ("password = 'hun ter2' host=db", "password = [Filtered] host=db"),
        ('token="hun\\"ter2" x', "token=[Filtered] x"),
        ('password="hun ter2\nthe next line', "password=[Filtered]\nthe next line"),
        ('{"api_key": "hun ter2", "port": 5432}', '{"api_key": [Filtered], "port": 5432}'),
        ("{'Password': 'hunter2'}", "{'Password': [Filtered]}"),
        (r'"{\"token\": \"hun ter2\", \"port\": 1}"', r'"{\"token\": [Filtered], \"port\": 1}"'),
        # What is no secret stays, so that one can see why.
        (
            'cannot load "/etc/nginx/tls/site.key": No such file; asked http://127.0.0.1:8089/status for a@example.org',
            'cannot load "/etc/nginx/tls/site.key": No such file; asked http://127.0.0.1:8089/status for a@example.org',
        ),
        ("nginx.service: Failed with result 'exit-code', status=1/FAILURE", None),
    ],
)
def test_what_the_journal_says_is_sent_without_secrets(
    program: Any, monkeypatch: pytest.MonkeyPatch, said: str, told: str | None
) -> None:
    monkeypatch.setattr(program, "journal", lambda unit, lines: said)
    assert program.event("nginx.service", SETTINGS)["extra"]["journal"] == (told or said)


def test_a_long_line_is_masked_at_once(program: Any) -> None:
    """As long as the journal takes one."""
    begun = time.monotonic()
    for text in ("x", "key", "key=", "://a:", "\\", '"key":"'):
        program.masked(text * (48 * 1024 // len(text)))
    assert time.monotonic() - begun < 10


def start(program: Any, monkeypatch: pytest.MonkeyPatch, folder: Path, dsn: str, *arguments: str) -> None:
    (folder / "reporter.json").write_text(json.dumps(SETTINGS))
    (folder / "dsn").write_text(f"{dsn}\n")
    monkeypatch.setattr(program, "FOLDER", folder)
    monkeypatch.setattr(sys, "argv", ["fairlead-sentry", *arguments])
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{dsn}\n"))
    program.main()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [(["failed", "nginx.service"], "The failure of nginx.service"), (["check-in", "nightly"], "The check-in of nightly")],
)
def test_what_cannot_be_sent_is_one_sentence_without_the_key(
    program: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], what: str
) -> None:
    monkeypatch.setattr(program, "journal", lambda unit, lines: "")
    monkeypatch.setenv("INVOCATION_ID", "1f")
    with pytest.raises(SystemExit) as end:
        start(program, monkeypatch, tmp_path, "http://unlucky@127.0.0.1:1/7", *arguments)
    assert f"{what} could not be reported: URLError" in str(end.value)
    assert "unlucky" not in str(end.value)


@pytest.mark.parametrize(
    ("result", "status"), [(None, "in_progress"), ("success", "ok"), ("exit-code", "error"), ("timeout", "error")]
)
def test_a_monitor_is_told_of_the_beginning_and_the_end(
    program: Any, receiver: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, result: str | None, status: str
) -> None:
    monkeypatch.setenv("INVOCATION_ID", "1f")
    monkeypatch.delenv("SERVICE_RESULT", raising=False)
    if result:
        monkeypatch.setenv("SERVICE_RESULT", result)
    address, got = receiver
    start(program, monkeypatch, tmp_path, f"http://abc@{address}/7", "check-in", "nightly")
    ((path, login, body),) = got
    assert path == "/api/7/envelope/" and "sentry_key=abc" in login
    header, item, sent = (json.loads(line) for line in body.splitlines())
    assert item["type"] == "check_in" and list(header) == ["sent_at"]
    assert sent == {"check_in_id": "1f", "monitor_slug": "nightly", "status": status, "environment": "demo"}


def test_the_reporter_reports_no_failure_of_its_own(render_tree: Any, evaluate: Any) -> None:
    assert "OnFailure=fairlead-sentry@%n.service" in render_tree("sentry")["/etc/systemd/system/service.d/fairlead-sentry.conf"]
    paths = {Path(file["path"]) for file in evaluate("sentry", "_sentry_silenced", sentry_ignored_units=["certbot.service"])}
    names = {path.parent.name for path in paths if path.name == "fairlead-sentry.conf"}
    assert names == {"fairlead-sentry@.service.d", "certbot.service.d"}


def test_a_monitors_unit_tells_it_as_root_and_never_fails_by_it(evaluate: Any) -> None:
    (file,) = evaluate("sentry", "_sentry_monitored", sentry_monitors={"fairlead-job@mail.service": "mail"})
    assert file["path"] == "/etc/systemd/system/fairlead-job@mail.service.d/fairlead-sentry-monitor.conf"
    call = "-+/usr/local/sbin/fairlead-sentry check-in mail"
    assert file["content"].splitlines()[1:] == ["[Service]", f"ExecStartPre={call}", f"ExecStopPost={call}"]
