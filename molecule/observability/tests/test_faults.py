"""Faults that really happen are told within their promised time, and so is their end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime
from typing import Any

import pytest
from conftest import Receiver

CROWD = r"""
import socket, time
held = []
while True:  # nginx closes who says nothing
    held = held[-500:] + [socket.create_connection(("127.0.0.1", 443)) for _ in range(100)]
    time.sleep(3)
"""


@contextmanager
def app_stopped(host: Any) -> Iterator[None]:
    container = "demo-" + host.check_output("readlink /srv/demo/current").rsplit("/", 1)[1]
    # It would be started again within half a minute, by a run of the watchdog that has begun even at once.
    host.check_output("systemctl stop fairlead-watchdog.timer fairlead-watchdog.service && docker kill %s", container)
    try:
        yield
    finally:
        host.check_output("docker start %s && systemctl start fairlead-watchdog.timer", container)


@contextmanager
def disk_filled(host: Any) -> Iterator[None]:
    host.check_output("mkdir -p /srv/small && mount -t tmpfs -o size=64m tmpfs /srv/small && fallocate -l 60M /srv/small/full")
    try:
        yield
    finally:
        host.check_output("rm /srv/small/full")


@contextmanager
def certificate_near_its_end(host: Any) -> Iterator[None]:
    host.check_output("cp /srv/ending.pem /etc/nginx/tls/site.crt && systemctl reload nginx")
    try:
        yield
    finally:
        host.check_output("cp /srv/site.pem /etc/nginx/tls/site.crt && systemctl reload nginx")


@contextmanager
def descriptors_used_up(host: Any) -> Iterator[None]:
    """A crowd of connections before workers that may have few files open."""
    host.check_output(
        "sed -i.kept 's/^worker_rlimit_nofile .*/worker_rlimit_nofile 220;/' /etc/nginx/nginx.conf && systemctl reload nginx"
    )
    host.check_output("systemd-run --quiet --unit=crowd python3 -c %s", CROWD)
    try:
        yield
    finally:
        host.check_output("systemctl stop crowd; mv /etc/nginx/nginx.conf.kept /etc/nginx/nginx.conf && systemctl reload nginx")


@contextmanager
def stopped(host: Any, unit: str) -> Iterator[None]:
    host.check_output("systemctl stop %s", unit)
    try:
        yield
    finally:
        host.check_output("systemctl start %s", unit)


# What each fault raises. Faults of one round do not hide each other: who cannot be asked shows no certificate.
Fault = Callable[[Any, Any], AbstractContextManager[None]]
ROUNDS: list[dict[Fault, list[str]]] = [
    {
        lambda site, _: app_stopped(site): ["AppDown", "SiteDown"],
        lambda site, _: disk_filled(site): ["DiskNearlyFull"],
        lambda site, _: certificate_near_its_end(site): ["CertificateEndsNow"],
    },
    {
        lambda site, _: descriptors_used_up(site): ["DescriptorsNearlyFull"],
        lambda _, watch: stopped(watch, "postgresql@17-main"): ["DatabaseDown", "ReplicaAway"],
        lambda _, watch: stopped(watch, "prometheus-blackbox-exporter"): ["SiteNotProbed"],
    },
]
ALERTS = [name for faults in ROUNDS for names in faults.values() for name in names]

# From a fault to its message, in seconds: what it must last (docs/monitoring.md), two looks, ten to gather a group, and a busy
# machine's share.
LASTS = {"ReplicaAway": 120, "SiteNotProbed": 300}
PROMISED = {name: LASTS.get(name, 60) + 70 for name in ALERTS}


@pytest.fixture(scope="module")
def told(host: Any, watch: Any, receiver: Receiver) -> dict[str, dict[str, float]]:
    """When each fault and the end of it was told, in seconds."""
    found: dict[str, dict[str, float]] = {name: {} for name in ALERTS}

    def wait(names: set[str], status: str, seconds: float) -> None:
        begun = time.time()
        while names and time.time() < begun + seconds:
            for name in sorted(names):
                if receiver.alerts(name, status, begun):
                    found[name][status] = time.time() - begun
                    names = names - {name}
            time.sleep(2)

    for faults in ROUNDS:
        names = {name for raised in faults.values() for name in raised}
        with ExitStack() as planted:
            for fault in faults:
                planted.enter_context(fault(host, watch))
            wait(names, "firing", max(PROMISED[name] for name in names) + 60)
        # The next message of a group comes after a minute at the earliest.
        wait(names, "resolved", 240)
    host.check_output("umount /srv/small")
    return found


@pytest.mark.parametrize("name", ALERTS)
def test_a_fault_is_told_in_time(told: dict[str, dict[str, float]], name: str) -> None:
    assert told[name].get("firing", 1e9) <= PROMISED[name], told


@pytest.mark.parametrize("name", ALERTS)
def test_its_end_is_told(told: dict[str, dict[str, float]], name: str) -> None:
    assert "resolved" in told[name], told


def test_a_blind_probe_is_not_a_site_that_is_down(told: dict[str, dict[str, float]], receiver: Receiver) -> None:
    assert "firing" in told["SiteNotProbed"]
    (alert, *_) = receiver.alerts("SiteNotProbed", "firing", 0)
    blind = datetime.fromisoformat(alert["startsAt"]).timestamp() - LASTS["SiteNotProbed"]
    assert not receiver.alerts("SiteDown", "firing", blind)


def test_the_message_says_what_to_do(told: dict[str, dict[str, float]], receiver: Receiver) -> None:
    (alert, *_) = receiver.alerts("DiskNearlyFull", "firing", 0)
    assert alert["annotations"]["summary"] == "/srv/small on obs-site has 6.25% of its space left."
    assert "fairlead-docker-prune" in alert["annotations"]["action"]
    mails = [note["content"] for note in receiver.notes("mail")]
    assert any("Subject: NOW: SiteDown" in mail and "To do: Ask what fails" in mail for mail in mails)
    assert any("Subject: Over: SiteDown" in mail for mail in mails)
