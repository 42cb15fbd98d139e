"""The one host of the scenario, and the receiver of its alerts."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from scenario import ROOT, Run, playbook, secrets, visiting

__all__ = ["ROOT", "Run", "playbook", "secrets"]

HERE = Path(__file__).parent


def put(host: Any, source: Path, target: str) -> None:
    host.run_expect([0], "cat > %s <<'END-OF-FILE'\n" + source.read_text().replace("%", "%%") + "\nEND-OF-FILE", target)


class Receiver:
    """What was told to people, and when."""

    FILE = "/srv/received"

    def __init__(self, host: Any) -> None:
        self.host = host
        put(host, HERE / "receiver.py", "/srv/receiver.py")
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

    def waits_for(self, name: str, status: str, since: float, seconds: float) -> dict[str, Any]:
        while True:
            if found := self.alerts(name, status, since):
                return found[0]
            assert time.time() < since + seconds, f"{name} was not told as {status} within {seconds} s"
            time.sleep(2)


@pytest.fixture(scope="session")
def address(host: Any) -> str:
    found = re.search(r"inet ([0-9.]+)/", host.check_output("ip -4 -o address show dev eth0"))
    assert found
    return found[1]


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Any:
    import testinfra

    inventory = HERE.parent / "inventory"
    return testinfra.get_host(f"ansible://obs-one?ansible_inventory={inventory}", force_ansible=False)


@pytest.fixture(scope="session")
def receiver(host: Any) -> Receiver:
    return Receiver(host)


@pytest.fixture(scope="session")
def prometheus(host: Any) -> Callable[[str], list[tuple[dict[str, str], float]]]:
    """A function that asks a query."""

    def ask(query: str) -> list[tuple[dict[str, str], float]]:
        said = host.check_output("curl -sfG http://127.0.0.1:9090/api/v1/query --data-urlencode query=%s", query)
        return [(row["metric"], float(row["value"][1])) for row in json.loads(said)["data"]["result"]]

    return ask


@pytest.fixture
def visitor(host: Any, address: str) -> Iterator[requests.Session]:
    with visiting(host, address) as session:
        yield session
