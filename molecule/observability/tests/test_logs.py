"""Whatever a host logs arrives at a receiver elsewhere, over TLS, also when that was away for a while."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from conftest import until

FORWARDER = "fairlead-log-forwarder"


@pytest.fixture(scope="module")
def taken(watch: Any) -> Iterator[Any]:
    """A function (host) → the lines that the receiver has of it."""

    def lines(name: str) -> list[str]:
        found = watch.run("cat /srv/logs-%s", name).stdout
        return [line for line in found.splitlines() if line]

    # Its own forwarder has brought the other protocol.
    watch.check_output("apt-get install -y --no-install-recommends rsyslog-relp")
    start(watch)
    yield lines
    watch.run("systemctl stop log-receiver")


def start(watch: Any) -> None:
    if watch.run("systemctl is-active --quiet log-receiver").rc:
        watch.check_output("systemd-run --quiet --unit log-receiver rsyslogd -n -i NONE -f /srv/log_receiver.conf")


def write(host: Any, words: str, count: int) -> None:
    host.check_output("for number in $(seq %s); do echo %s $number; done | systemd-cat -t counting", str(count), words)


def counted(lines: list[str], words: str) -> set[int]:
    return {int(found[1]) for line in lines if (found := re.fullmatch(rf"counting +{words} (\d+)", line))}


@pytest.mark.parametrize("name", ["obs-site", "obs-watch"])
def test_the_journal_arrives_by_either_protocol(host: Any, watch: Any, taken: Any, name: str) -> None:
    write(host if name == "obs-site" else watch, "hello", 3)
    # Who could not connect at first tries again, a minute later at the most.
    until(lambda: counted(taken(name), "hello") == {1, 2, 3}, 90, "the lines did not arrive")


def test_a_request_can_be_followed_by_its_id_there(taken: Any, site: requests.Session, container: str) -> None:
    number = site.get("https://www.example.org/articles/no-such/").headers["X-Request-ID"]

    def found() -> dict[str, str]:
        return dict(line.split(" ", 1) for line in taken("obs-site") if number in line)

    lines = until(lambda: found() if len(found()) == 2 else None, 60, "nginx's and the application's lines did not arrive")
    assert set(lines) == {"nginx-access", container}
    assert all(json.loads(line)["request_id"] == number for line in lines.values())


def test_a_receiver_that_is_away_misses_nothing(host: Any, watch: Any, taken: Any) -> None:
    write(host, "sent", 3000)
    watch.check_output("systemctl stop log-receiver")  # while they are on their way
    write(host, "away", 3000)
    start(watch)
    for words in ("sent", "away"):
        until(lambda words=words: counted(taken("obs-site"), words) == set(range(1, 3001)), 120, f"{words}: not all have arrived")


def test_what_waits_outlives_the_forwarder(host: Any, watch: Any, taken: Any) -> None:
    """But for what it holds for a connection that has broken: docs/monitoring.md."""
    watch.check_output("systemctl stop log-receiver")
    write(host, "waiting", 15000)
    until(lambda: not host.run("ls /var/lib/fairlead-log-forwarder/waiting.0*").rc, 60, "nothing waits on disk")
    host.check_output("systemctl restart %s", FORWARDER)
    write(host, "late", 500)
    start(watch)
    until(lambda: counted(taken("obs-site"), "late") == set(range(1, 501)), 120, "late: not all have arrived")
    until(lambda: max(counted(taken("obs-site"), "waiting")) == 15000, 60, "waiting: the last has not arrived")
    assert len(counted(taken("obs-site"), "waiting")) > 14500


def test_nobody_else_is_told(host: Any, watch: Any, taken: Any) -> None:
    """A receiver whose certificate is not for the name gets nothing."""
    config, address = "/etc/fairlead/log-forwarder/forwarder.conf", watch.check_output("getent ahostsv4 logs.example.org")
    host.check_output("cp /etc/hosts /srv/hosts && echo %s stranger.example.net >>/etc/hosts", address.split()[0])
    host.check_output("sed -i.kept s/logs.example.org/stranger.example.net/g %s", config)
    try:
        host.check_output("systemctl restart %s", FORWARDER)
        write(host, "secret", 3)
        time.sleep(20)
        assert not counted(taken("obs-site"), "secret")
        said = host.check_output("journalctl -u %s --since -60s", FORWARDER)
        assert "omrelp[stranger.example.net:2514]: authentication error" in said
    finally:
        host.check_output("cat /srv/hosts >/etc/hosts; mv %s.kept %s; systemctl restart %s", config, config, FORWARDER)

    def arrived() -> bool:
        # By RELP over TLS a receiver may look at the last lines only when the next one comes.
        write(host, "next", 1)
        return counted(taken("obs-site"), "secret") == {1, 2, 3}

    until(arrived, 90, "the lines did not arrive afterwards")
