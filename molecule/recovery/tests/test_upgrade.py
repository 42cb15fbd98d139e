"""What updates itself, what waits for the upgrade playbook, and a host that goes through it with the site running."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from conftest import DOMAIN, Run

HOST = "app2"
REPLICA = "db2"
# One package that updates itself, and one whose name begins as PostgreSQL's do. Version 1 is installed; Debian's security archive,
# as it seems, has 2. A service runs a program of the second.
PACKAGES = ("fairlead-probe", "postgresql-fairlead-probe")
ARCHIVE = r"""
set -e
mkdir -p /srv/archive && cd /srv/archive
for package in fairlead-probe postgresql-fairlead-probe; do
  for version in 1 2; do
    root=$(mktemp -d)
    mkdir -p $root/DEBIAN $root/usr/lib/$package
    cp /usr/bin/sleep $root/usr/lib/$package/program
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: tests\nDescription: probe\n' \
      $package $version >$root/DEBIAN/control
    dpkg-deb --build --root-owner-group $root ${package}_$version.deb >/dev/null
  done
done
for file in *_2.deb; do
  dpkg-deb --field $file Package Version Architecture Maintainer Description
  printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' $file $(stat -c %s $file) $(sha256sum $file | cut -d' ' -f1)
done >Packages
release=$(. /etc/os-release && echo $VERSION_CODENAME)
printf 'Origin: Debian\nLabel: Debian-Security\nCodename: %s-security\nDate: %s\nSHA256:\n %s %s Packages\n' \
  $release "$(date -uR)" $(sha256sum Packages | cut -d' ' -f1) $(stat -c %s Packages) >Release
dpkg --install *_1.deb >/dev/null
echo 'deb [trusted=yes] file:/srv/archive ./' >/etc/apt/sources.list.d/probe.list
systemd-run --quiet --unit probe.service /usr/lib/postgresql-fairlead-probe/program infinity
apt-get update -q
"""
CLEAN = f"""
systemctl stop probe.service
set -e
dpkg --purge {" ".join(PACKAGES)}
rm -rf /srv/archive /etc/apt/sources.list.d/probe.list /run/reboot-required
apt-get update -q
"""


def versions(host: Any) -> dict[str, str]:
    found = host.check_output("dpkg-query --show --showformat '${Package} ${Version}\n' " + " ".join(PACKAGES))
    return dict(line.split() for line in found.splitlines())


@pytest.fixture(scope="module")
def host(on: Callable[[str], Any]) -> Iterator[Any]:
    found = on(HOST)
    found.check_output(ARCHIVE)
    yield found
    found.check_output(CLEAN)


@pytest.fixture
def replica(on: Callable[[str], Any]) -> Iterator[Any]:
    """A replica with something to upgrade, whose server runs a program that has been replaced."""
    found = on(REPLICA)
    found.check_output(ARCHIVE)
    program = "/usr/lib/postgresql/17/bin/postgres"
    found.check_output(f"cp -p {program} {program}.new && mv {program}.new {program}")
    yield found
    found.check_output(CLEAN)


@contextmanager
def visitors(session: requests.Session) -> Iterator[list[int | str]]:
    """Somebody who asks for the page all the time; the answers."""
    answers: list[int | str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                answers.append(session.get(f"https://{DOMAIN}/", timeout=20).status_code)
            except requests.RequestException as error:
                answers.append(type(error).__name__)
            time.sleep(0.1)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


@contextmanager
def revived() -> Iterator[None]:
    """A host in a container ends as it restarts: somebody has to start it again."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(1):
            subprocess.run(["docker", "start", f"split-{HOST}"], capture_output=True)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_security_updates_come_by_themselves_but_for_what_is_held(host: Any) -> None:
    host.check_output("unattended-upgrade --verbose")
    assert versions(host) == {"fairlead-probe": "2", "postgresql-fairlead-probe": "1"}


def test_the_rest_is_upgraded_with_no_failed_request(
    host: Any, visitor: requests.Session, playbook: Callable[..., Run], on: Callable[[str], Any]
) -> None:
    began = host.check_output("systemctl show --property InvocationID probe.service")
    with visitors(visitor) as answers:
        run = playbook("playbooks/upgrade.yml")
    assert run.code == 0, run.output[-3000:]
    assert "postgresql-fairlead-probe 1 2" in run.output
    assert versions(host) == dict.fromkeys(PACKAGES, "2")
    assert host.check_output("systemctl show --property InvocationID probe.service") != began, "it runs what was replaced"
    assert set(answers) == {200} and len(answers) > 50
    assert " down;" not in on("edge1").check_output("grep 'server 10' /etc/nginx/sites.d/site.conf")


def test_a_replica_is_upgraded_with_no_failed_request(
    replica: Any, visitor: requests.Session, playbook: Callable[..., Run]
) -> None:
    ask = "runuser -u postgres -- psql -XAtqc %s"
    began = replica.check_output(ask, "SELECT pg_postmaster_start_time()")
    with visitors(visitor) as answers:
        run = playbook("playbooks/upgrade.yml", "--limit", f"split-{REPLICA}")
    assert run.code == 0, run.output[-3000:]
    assert replica.check_output(ask, "SELECT pg_postmaster_start_time()") != began, "the server runs what was replaced"
    assert replica.check_output(ask, "SELECT status FROM pg_stat_wal_receiver") == "streaming"
    assert set(answers) == {200} and len(answers) > 50


def test_a_host_that_asks_for_it_is_restarted_when_wanted(
    host: Any, visitor: requests.Session, playbook: Callable[..., Run]
) -> None:
    host.check_output("touch /run/reboot-required")
    began = host.check_output("systemctl show --property UserspaceTimestampMonotonic")
    told = playbook("playbooks/upgrade.yml", "--limit", f"split-{HOST}")
    assert (told.code, told.changes) == (0, 0), told.output[-3000:]
    assert "Nothing to upgrade. The host asks for a restart" in told.sentence
    assert host.check_output("systemctl show --property UserspaceTimestampMonotonic") == began
    with visitors(visitor) as answers, revived():
        run = playbook("playbooks/upgrade.yml", "--limit", f"split-{HOST}", reboot="auto")
    assert run.code == 0, run.output[-3000:]
    assert host.check_output("systemctl show --property UserspaceTimestampMonotonic") != began
    assert set(answers) == {200} and len(answers) > 50


def test_an_unknown_wish_is_refused(playbook: Callable[..., Run]) -> None:
    run = playbook("playbooks/upgrade.yml", reboot="maybe")
    assert (run.code, run.changes) == (2, 0)
    assert "reboot is 'maybe': use auto" in run.sentence
