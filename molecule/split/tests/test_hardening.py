"""What a checklist for servers (CIS Debian Linux) asks of a host, answered by the host and not by its files."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

KERNEL = {
    "fs.protected_hardlinks": 1,
    "fs.protected_symlinks": 1,
    "fs.suid_dumpable": 0,
    "kernel.dmesg_restrict": 1,
    "kernel.kptr_restrict": 2,
    "kernel.randomize_va_space": 2,
    "net.ipv4.conf.all.accept_redirects": 0,
    "net.ipv4.conf.all.accept_source_route": 0,
    "net.ipv4.conf.all.rp_filter": 2,
    "net.ipv4.conf.all.send_redirects": 0,
    "net.ipv4.icmp_echo_ignore_broadcasts": 1,
    "net.ipv4.tcp_syncookies": 1,
}


@pytest.fixture(params=["app1", "db1", "edge1", "store1"])
def host(request: pytest.FixtureRequest, on: Callable[[str], Any]) -> Any:
    found = on(request.param)
    # What it sets as it boots: the kernel is the machine's, which other hosts in containers write to as well.
    found.check_output("/lib/systemd/systemd-sysctl")
    return found


def test_kernel(host: Any) -> None:
    found = host.check_output("sysctl " + " ".join(KERNEL))
    assert {line.split(" = ")[0]: int(line.split(" = ")[1]) for line in found.splitlines()} == KERNEL


def test_nothing_leaves_a_core_dump(host: Any) -> None:
    assert host.check_output("systemd-run --quiet --wait --pipe sh -c 'ulimit -Hc'") == "0"
    # A container of Docker's has no such limit: the kernel throws its dump away.
    assert host.check_output("cat /proc/sys/kernel/core_pattern") == "|/bin/false"


def test_accounts(host: Any) -> None:
    passwords = [line.split(":") for line in host.check_output("getent shadow").splitlines()]
    assert [fields[0] for fields in passwords if fields[1] == ""] == []
    accounts = [line.split(":") for line in host.check_output("getent passwd").splitlines()]
    assert [fields[0] for fields in accounts if fields[2] == "0"] == ["root"]
    shells = {fields[0] for fields in accounts if not re.search(r"/(nologin|false|sync)$", fields[6])}
    assert shells <= {"root", "deploy", "postgres"}


def test_nobody_else_can_write_what_the_system_reads(host: Any) -> None:
    assert host.check_output("find /etc /usr/local /usr/lib/systemd -xdev ! -type l -perm /o+w") == ""
    assert host.check_output("find /etc -xdev \\( -nouser -o -nogroup \\)") == ""


def test_secrets_of_the_system_are_roots(host: Any) -> None:
    for path in ("/etc/shadow", "/etc/gshadow"):
        assert (host.file(path).user, host.file(path).group, host.file(path).mode & 0o137) == ("root", "shadow", 0)


def test_what_sudo_does_is_written_down(host: Any) -> None:
    host.check_output("sudo --user nobody true fairlead-was-here")
    log = host.file("/var/log/sudo.log")
    assert "COMMAND=/usr/bin/true fairlead-was-here" in " ".join(log.content_string.split())
    assert (log.user, log.mode & 0o077) == ("root", 0)


def test_a_module_that_nobody_needs_is_not_loaded(host: Any) -> None:
    assert "/bin/false" in host.check_output("modprobe --show-depends sctp")


def test_only_security_updates_come_by_themselves_and_what_is_felt_stays(host: Any) -> None:
    said = host.check_output("unattended-upgrade --dry-run --verbose 2>&1")
    assert re.search(r"Allowed origins are: origin=Debian,codename=\w+-security,label=Debian-Security$", said, re.M)
    assert re.search(r"Initial blacklist: containerd docker libnginx-mod- nginx pgbouncer postgresql runc$", said, re.M)
    assert host.check_output("systemctl is-enabled apt-daily-upgrade.timer") == "enabled"


def test_no_unit_has_failed(host: Any) -> None:
    assert host.check_output("systemctl list-units --failed --plain --no-legend") == ""
