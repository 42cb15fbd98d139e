"""Errors arrive at a real receiver, with what is needed to find them and nothing that is secret."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import pytest
import requests
from conftest import events, holds, own_lines, until, without_articles

PAGE = "https://www.example.org/"
Ask = Callable[..., Any]


def release(container: str) -> str:
    return container.removeprefix("demo-")


def test_an_exception_arrives_within_seconds(host: Any, site: requests.Session, bugsink: Ask, container: str) -> None:
    with without_articles(host):
        assert site.get(PAGE + "articles/tides/", params={"from": "test"}).status_code == 500

    def reported() -> list[dict[str, Any]]:
        """Of this request: the watch asks for pages, too."""
        found = [event["data"] for event in events(bugsink, "ProgrammingError")]
        return [event for event in found if event["request"]["url"] == PAGE + "articles/tides/"]

    (event, *_) = until(reported, 20, "no event has arrived")
    assert (event["release"], event["environment"], event["server_name"]) == (release(container), "demo", "obs-site")
    assert event["request"]["query_string"] == "from=test"
    assert own_lines(event)


def test_an_image_that_does_not_start_the_sdk_reports_too(host: Any, bugsink: Ask, container: str) -> None:
    """The example site starts it by itself; here it is kept from that, and the agents folder does it."""
    code = (
        "import config.errors; config.errors.report_errors = lambda *given: None; import django.core.wsgi;"
        " django.core.wsgi.get_wsgi_application(); raise LookupError('from the folder')"
    )
    assert "from the folder" in host.run("docker exec %s python -c %s", container, code).stderr
    (found, *_) = until(lambda: events(bugsink, "LookupError"), 20, "no event has arrived")
    assert (found["data"]["release"], found["data"]["server_name"]) == (release(container), "obs-site")


BY_THE_IMAGE = "import django.core.wsgi as way"
BY_THE_FOLDER = f"import config.errors; config.errors.report_errors = lambda *given: None; {BY_THE_IMAGE}"


@pytest.mark.parametrize(("start", "name"), [(BY_THE_IMAGE, "LeakOfTheImage"), (BY_THE_FOLDER, "LeakOfTheFolder")])
def test_a_secret_in_an_exceptions_words_is_filtered(
    host: Any, bugsink: Ask, container: str, secrets: dict[str, str], start: str, name: str
) -> None:
    code = (
        f"{start}; way.get_wsgi_application(); held = open('/run/secrets/DATABASE_PASSWORD').read().strip();"
        f" raise type('{name}', (Exception,), {{}})('refused: ' + held)"
    )
    assert secrets["database_password"] in host.run("docker exec %s python -c %s", container, code).stderr
    (found, *_) = until(lambda: events(bugsink, name), 20, "no event has arrived")
    (error,) = found["data"]["exception"]["values"]
    assert error["value"] == "refused: [Filtered]"
    assert secrets["database_password"] not in json.dumps(found)


def test_nothing_of_the_visitor_and_no_secret_is_in_it(host: Any, bugsink: Ask, secrets: dict[str, str]) -> None:
    text = json.dumps(events(bugsink, "ProgrammingError"))
    assert text != "[]"
    for name, value in secrets.items():
        assert value not in text, name
    event = json.loads(text)[0]["data"]
    assert not event["request"].get("cookies") and not event["request"].get("data") and not event.get("user", {}).get("ip_address")


def test_a_failed_service_arrives_with_its_last_words(host: Any, bugsink: Ask) -> None:
    host.check_output("systemd-run --quiet --unit unlucky sh -c 'echo last words; exit 3'")
    (found, *_) = until(lambda: events(bugsink, "unlucky.service failed"), 30, "no event has arrived")
    event = found["data"]
    assert (event["environment"], event["server_name"]) == ("demo", "obs-site")
    assert event["tags"]["unit"] == "unlucky.service" and "last words" in event["extra"]["journal"]


@contextmanager
def unable_to_start(host: Any, unit: str) -> Iterator[None]:
    folder = f"/run/systemd/system/{unit}.d"
    host.check_output(f"mkdir -p {folder} && printf '[Service]\nExecStart=\nExecStart=/bin/false\n' >{folder}/broken.conf")
    host.run("systemctl daemon-reload; systemctl restart %s", unit)
    try:
        yield
    finally:
        host.check_output(f"rm -r {folder} && systemctl daemon-reload && systemctl reset-failed {unit} && systemctl restart {unit}")


def test_a_door_that_cannot_start_arrives(watch: Any, bugsink: Ask) -> None:
    """Not that of obs-site, which Bugsink is behind."""
    with unable_to_start(watch, "nginx.service"):
        # systemd tries a few times, and gives up.
        until(lambda: not watch.run("systemctl is-failed --quiet nginx").rc, 30, "it has not failed")
        (found, *_) = until(lambda: events(bugsink, "nginx.service failed"), 30, "no event has arrived")
    assert (found["data"]["server_name"], found["data"]["tags"]["unit"]) == ("obs-watch", "nginx.service")
    assert watch.service("nginx").is_running


def test_a_pooler_that_cannot_start_arrives_and_takes_no_other_with_it(host: Any, bugsink: Ask) -> None:
    unit = "pgbouncer@2.service"
    with unable_to_start(host, unit):
        (found, *_) = until(lambda: events(bugsink, f"{unit} failed"), 30, "no event has arrived")
        tries = "systemctl show --property NRestarts --value pgbouncer@2"
        until(lambda: int(host.check_output(tries)) > 6, 30, "systemd does not go on trying")
        assert host.file("/run/demo-pooler/.s.PGSQL.6432").is_socket
        assert host.service("pgbouncer").is_running
    assert (found["data"]["server_name"], found["data"]["tags"]["unit"]) == ("obs-site", unit)
    assert host.service(unit).is_running


def test_a_monitor_is_told_how_a_job_ended(host: Any) -> None:
    """Bugsink knows no monitors, so that the stand-in takes its place."""
    host.check_output("cp -a /etc/fairlead/sentry/dsn /srv/dsn")
    host.check_output("echo https://monitors@collector.example.org:8443/1 >/etc/fairlead/sentry/dsn")
    try:
        host.check_output("systemctl start fairlead-job@clearsessions")
        assert host.run("systemctl start fairlead-job@broken").rc == 1
    finally:
        host.check_output("mv /srv/dsn /etc/fairlead/sentry/dsn && systemctl reset-failed fairlead-job@broken")
    calls = [json.loads(line) for line in host.check_output("cat /srv/collected").splitlines()]
    sent = [call["data"][2] for call in calls if call["method"] == "envelope"]
    assert [(told["monitor_slug"], told["status"]) for told in sent if "monitor_slug" in told][-4:] == [
        ("clearsessions", "in_progress"),
        ("clearsessions", "ok"),
        ("broken", "in_progress"),
        ("broken", "error"),
    ]
    numbers = [told["check_in_id"] for told in sent if "monitor_slug" in told][-4:]
    assert numbers[0] == numbers[1] != numbers[2] == numbers[3]


def test_the_dsn_stands_in_no_log_and_no_command(host: Any, container: str) -> None:
    key = host.check_output("cat /etc/fairlead/sentry/dsn").split("//")[1].split("@")[0]
    assert len(key) == 32
    places = {
        "journal": "journalctl --no-pager",
        "log": f"docker logs {container} 2>&1",
        "inspect": "docker inspect $(docker ps -aq)",
        "arguments": "cat /proc/[0-9]*/cmdline",
        "environments": "cat /proc/[0-9]*/environ",
        "nginx": "cat /var/log/nginx/*.log",
    }
    for place, command in places.items():
        assert not holds(host, command, key), place
    assert host.file("/etc/fairlead/sentry/dsn").mode == 0o600


def seconds(site: requests.Session) -> list[float]:
    times = []
    for _ in range(40):
        started = time.monotonic()
        assert site.get(PAGE).status_code == 500
        times.append(time.monotonic() - started)
    return times


def test_a_receiver_that_does_not_answer_slows_no_request(host: Any, site: requests.Session) -> None:
    """It takes connections and says nothing: the worst that can be."""
    with without_articles(host):
        before = seconds(site)
        host.check_output("docker pause $(docker ps -q --filter label=fairlead.site=bugsink)")
        try:
            during = seconds(site)
        finally:
            host.check_output("docker unpause $(docker ps -q --filter label=fairlead.site=bugsink)")
    # One that waited would wait for the receiver's whole timeout; the rest is what else the machine does.
    assert median(during) < median(before) + 0.03
    assert max(during) < max(before) + 1


def test_the_release_was_announced(host: Any, container: str) -> None:
    calls = [json.loads(line) for line in host.check_output("cat /srv/collected").splitlines()]
    releases = [call for call in calls if call["method"] == "sentry"]
    assert {"version": release(container), "projects": ["demo"]} in [call["data"] for call in releases]
    assert {"environment": "demo", "projects": ["demo"]} in [call["data"] for call in releases]
