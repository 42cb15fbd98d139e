"""Faults that really happen are told within their promised time, and so is their end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
    container = "obs-" + host.check_output("readlink /srv/obs/current").rsplit("/", 1)[1]
    host.check_output("docker kill %s", container)
    try:
        yield
    finally:
        host.check_output("docker start %s", container)


@contextmanager
def disk_filled(host: Any) -> Iterator[None]:
    host.check_output("mkdir -p /srv/small && mount -t tmpfs -o size=64m tmpfs /srv/small && fallocate -l 60M /srv/small/full")
    try:
        yield
    finally:
        host.check_output("rm /srv/small/full")


@contextmanager
def certificate_near_its_end(host: Any) -> Iterator[None]:
    shown = host.check_output("nginx -T 2>/dev/null | sed -n 's/^ *ssl_certificate  *\\(.*\\);/\\1/p' | head -n 1")
    path = shown.removesuffix(".crt")
    host.check_output("cp -a %s.crt /srv/kept.crt", path)
    host.check_output("openssl x509 -in /srv/kept.crt -signkey %s.key -days 2 -out %s.crt", path, path)
    host.check_output("systemctl reload nginx")
    try:
        yield
    finally:
        host.check_output("cp -a /srv/kept.crt %s.crt && systemctl reload nginx", path)


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


# Faults that do not hide each other: who cannot be asked shows no certificate.
ROUNDS = [
    {"CertificateEndsNow": certificate_near_its_end, "DiskNearlyFull": disk_filled, "AppDown": app_stopped},
    {"DescriptorsNearlyFull": descriptors_used_up},
]
ALERTS = ["SiteDown", *(name for faults in ROUNDS for name in faults)]

# From a fault to its message, in seconds: a minute that it must last, two looks, ten to gather a group, and a busy machine's share.
PROMISED = 130


@pytest.fixture(scope="module")
def told(host: Any, receiver: Receiver) -> dict[str, dict[str, float]]:
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
        names = set(faults) | ({"SiteDown"} if "AppDown" in faults else set())
        with ExitStack() as planted:
            for fault in faults.values():
                planted.enter_context(fault(host))
            wait(names, "firing", PROMISED + 60)
        # The next message of a group comes after a minute at the earliest.
        wait(names, "resolved", 240)
    host.check_output("umount /srv/small")
    return found


@pytest.mark.parametrize("name", ALERTS)
def test_a_fault_is_told_in_time(told: dict[str, dict[str, float]], name: str) -> None:
    assert told[name].get("firing", 1e9) <= PROMISED, told


@pytest.mark.parametrize("name", ALERTS)
def test_its_end_is_told(told: dict[str, dict[str, float]], name: str) -> None:
    assert "resolved" in told[name], told


def test_the_message_says_what_to_do(told: dict[str, dict[str, float]], receiver: Receiver) -> None:
    (alert, *_) = receiver.alerts("DiskNearlyFull", "firing", 0)
    assert alert["annotations"]["summary"] == "/srv/small on obs-one has 6.25% of its space left."
    assert "fairlead-docker-prune" in alert["annotations"]["action"]
    mails = [note["content"] for note in receiver.notes("mail")]
    assert any("Subject: NOW: SiteDown" in mail and "To do: Ask what fails" in mail for mail in mails)
    assert any("Subject: Over: SiteDown" in mail for mail in mails)


def test_a_blind_probe_is_not_a_site_that_is_down(host: Any, receiver: Receiver) -> None:
    begun = time.time()
    host.check_output("systemctl stop prometheus-blackbox-exporter")
    try:
        receiver.waits_for("SiteNotProbed", "firing", begun, 400)
    finally:
        host.check_output("systemctl start prometheus-blackbox-exporter")
    assert not receiver.alerts("SiteDown", "firing", begun)
    receiver.waits_for("SiteNotProbed", "resolved", begun, 600)
