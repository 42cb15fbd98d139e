"""What the role base promises, asked of the kernel, of systemd and of a login."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("name", "floor"),
    [("net.core.somaxconn", 4096), ("net.ipv4.tcp_max_syn_backlog", 8192), ("fs.file-max", 262144)],
)
def test_kernel_limit(host: Any, name: str, floor: int) -> None:
    assert int(host.sysctl(name)) >= floor


def test_ports_for_outgoing_connections(host: Any) -> None:
    first, last = map(int, host.check_output("cat /proc/sys/net/ipv4/ip_local_port_range").split())
    assert first <= 10240 and last >= 65535


def test_what_docker_needs_is_left_on(host: Any) -> None:
    assert host.sysctl("net.ipv4.ip_forward") == 1


def test_a_service_may_open_files(host: Any) -> None:
    soft, hard = host.check_output("systemd-run --quiet --wait --pipe sh -c 'ulimit -Sn; ulimit -Hn'").split()
    assert int(hard) >= int(soft) >= 8192


@pytest.mark.parametrize("user", ["deploy", "root"])
def test_a_login_may_open_files(host: Any, user: str) -> None:
    soft, hard = host.check_output("su --login %s --command 'ulimit -Sn; ulimit -Hn'", user).split()
    assert int(hard) >= int(soft) >= 8192


def test_the_deploy_user_has_no_password(host: Any) -> None:
    assert host.check_output("passwd --status deploy").split()[1] == "L"


def test_the_deploy_user_is_no_root_in_disguise(host: Any) -> None:
    assert not {"docker", "sudo", "adm", "root"} & set(host.user("deploy").groups)


def test_the_journal_is_kept_and_bounded(host: Any) -> None:
    host.check_output("logger --id --tag fairlead-test kept")
    host.check_output("journalctl --sync")
    found = host.check_output("journalctl --directory /var/log/journal --identifier fairlead-test --output cat --lines 1")
    assert found == "kept"
    said = host.check_output("journalctl --unit systemd-journald --output cat --grep 'System Journal' --lines 1")
    assert "max 1000M" in said or "max 1000.0M" in said


def test_the_clock_is_kept_right_after_the_next_boot(host: Any) -> None:
    assert host.service("systemd-timesyncd").is_enabled


def test_no_unit_has_failed(host: Any) -> None:
    assert host.check_output("systemctl list-units --failed --plain --no-legend") == ""
