"""The site's host and the one that watches it, visitors of the site and of its Bugsink, who is told of alerts, and an error that
really happens."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import testinfra
import yaml
from scenario import ROOT, Run, playbook, secrets, visiting

__all__ = ["ROOT", "Run", "playbook", "secrets"]

INVENTORY = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "inventory"
_GROUPS = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["children"]
SITE = _GROUPS["app"]["hosts"]["obs-site"]["site_address"]
WATCH = _GROUPS["db"]["hosts"]["obs-watch"]["site_address"]


def until(found: Callable[[], Any], seconds: int, what: str) -> Any:
    """The first true value of found, asked once a second."""
    for _ in range(seconds):
        if value := found():
            return value
        time.sleep(1)
    pytest.fail(f"{what} within {seconds} s")


@pytest.fixture(scope="session")
def host() -> Any:
    """The site's host: its application, its primary, and Bugsink."""
    return testinfra.get_host("docker://obs-site")


@pytest.fixture(scope="session")
def watch() -> Any:
    """The host that watches it, with a replica and the backups."""
    return testinfra.get_host("docker://obs-watch")


@pytest.fixture(scope="session")
def site(host: Any) -> Iterator[requests.Session]:
    """A visitor."""
    with visiting(host, SITE) as session:
        session.verify = str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "tls/ca.pem")
        yield session


@pytest.fixture
def container(host: Any) -> str:
    """Name of the running release's container."""
    return "demo-" + host.check_output("readlink /srv/demo/current").rsplit("/", 1)[1]


def holds(host: Any, command: str, secret: str) -> bool:
    """Whether what a command prints has the secret in it. The secret is not in the command."""
    return secret.encode() in host.run(f"({command}) 2>&1").stdout_bytes


@contextmanager
def without_articles(host: Any) -> Iterator[None]:
    """The site's pages fail: their table is away."""

    def rename(old: str, new: str) -> None:
        psql = "runuser -u postgres -- psql -XAtqd demo -c %s"
        host.check_output(psql, f"ALTER TABLE {old} RENAME TO {new}")
        replayed = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()"
        until(lambda: host.check_output(psql, replayed) == "1", 20, "the replica has not followed")

    rename("articles_article", "away")
    try:
        yield
    finally:
        rename("away", "articles_article")


@pytest.fixture(scope="session")
def bugsink(host: Any) -> Callable[..., Any]:
    """A function (path, **query) that asks Bugsink's own interface, as somebody with a token."""
    name = host.check_output("docker ps --quiet --filter label=fairlead.site=bugsink")
    token = host.check_output("docker exec %s python manage.py create_auth_token", name).split()[-1]

    def ask(path: str, **query: Any) -> Any:
        arguments = " ".join(f"--data-urlencode {key}={value}" for key, value in query.items())
        address = f"https://errors.example.org/api/canonical/0/{path}"
        return json.loads(host.check_output(f"curl -sSfG -H 'Authorization: Bearer {token}' {arguments} {address}"))

    return ask


def events(bugsink: Callable[..., Any], title: str, newest: int | None = None) -> list[dict[str, Any]]:
    """Bugsink's events of all issues whose type or value holds the title, the newest first; of each issue so many at most."""
    issues = bugsink("issues/", project=1, sort="last_seen", order="desc")["results"]
    wanted = [issue for issue in issues if title in f"{issue['calculated_type']}: {issue['calculated_value']}"]
    return [
        bugsink(f"events/{event['id']}/")
        for issue in wanted
        for event in bugsink("events/", issue=issue["id"], order="desc")["results"][:newest]
    ]


def own_lines(event: dict[str, Any]) -> list[str]:
    """Lines of the site's own source in the way to an exception."""
    frames = [frame for error in event["exception"]["values"] for frame in error["stacktrace"]["frames"]]
    return [line for frame in frames if frame["filename"].startswith("articles/") and (line := frame["context_line"].strip())]


class Receiver:
    """What was told to people, and when."""

    FILE = "/srv/received"

    def __init__(self, host: Any) -> None:
        self.host = host
        self.start()

    def start(self) -> None:
        if not self.host.run("systemctl is-active --quiet receiver").rc:
            return
        self.host.check_output("systemd-run --quiet --unit=receiver python3 /srv/receiver.py 9900 9925 %s", self.FILE)

    def stop(self) -> None:
        self.host.check_output("systemctl stop receiver")

    def notes(self, way: str) -> list[dict[str, Any]]:
        found = self.host.run("cat %s", self.FILE).stdout
        return [note for note in map(json.loads, found.splitlines()) if note["way"] == way]

    def alerts(self, name: str, status: str, since: float) -> list[dict[str, Any]]:
        """Alerts of the name that the webhook was told of since then."""
        return [
            alert
            for note in self.notes("alerts")
            if note["at"] > since
            for alert in note["content"]["alerts"]
            if alert["labels"]["alertname"] == name and alert["status"] == status
        ]


@pytest.fixture(scope="session")
def receiver(watch: Any) -> Receiver:
    return Receiver(watch)


@pytest.fixture(scope="session")
def prometheus(watch: Any) -> Callable[[str], list[tuple[dict[str, str], float]]]:
    """A function that asks a query."""

    def ask(query: str) -> list[tuple[dict[str, str], float]]:
        said = watch.check_output("curl -sfG http://127.0.0.1:9090/api/v1/query --data-urlencode query=%s", query)
        return [(row["metric"], float(row["value"][1])) for row in json.loads(said)["data"]["result"]]

    return ask
