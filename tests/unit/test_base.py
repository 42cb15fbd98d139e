from __future__ import annotations

from collections.abc import Callable
from typing import Any

Render = Callable[..., dict[str, str]]
Evaluate = Callable[..., Any]


FIREWALL = "/etc/fairlead/firewall.nft"


def test_only_what_is_asked_for_is_written(render_tree: Render) -> None:
    switches = ("base_firewall_enabled", "base_ssh_enabled", "base_upgrades_enabled")
    everything = set(render_tree("base", base_audit_enabled=True, base_time_servers=["ntp.example.org"]))
    switched_off = set(render_tree("base", base_blocked_modules=[], **dict.fromkeys(switches, False)))
    assert everything - switched_off == {
        FIREWALL,
        "/etc/apt/apt.conf.d/90fairlead",
        "/etc/audit/rules.d/fairlead.rules",
        "/etc/modprobe.d/fairlead.conf",
        "/etc/ssh/sshd_config.d/00-fairlead.conf",
        "/etc/systemd/timesyncd.conf.d/fairlead.conf",
    }
    assert switched_off < everything


def input_rules(render_tree: Render, *rules: dict[str, Any]) -> list[str]:
    """What the firewall has for these rules, without the rule for ssh."""
    lines = render_tree("base", base_firewall_rules=list(rules))[FIREWALL].splitlines()
    return [line.strip() for line in lines if " comment " in line and 'comment "ssh"' not in line]


def test_firewall_rule_for_everyone(render_tree: Render) -> None:
    rules = input_rules(render_tree, {"name": "web", "protocol": "tcp", "port": 443})
    assert rules == ['tcp dport 443 accept comment "web"']


def test_firewall_rule_for_some_is_one_of_each_family_in_a_fixed_order(render_tree: Render) -> None:
    sources = ["10.0.0.2", "fd00::/64", "10.0.0.1", "10.0.0.2"]
    rules = input_rules(render_tree, {"name": "db", "port": "5432-5433", "from": sources})
    assert rules == [
        'ip saddr { 10.0.0.1, 10.0.0.2 } tcp dport 5432-5433 accept comment "db"',
        'ip6 saddr { fd00::/64 } tcp dport 5432-5433 accept comment "db"',
    ]


def test_firewall_rule_of_a_protocol_without_ports(render_tree: Render) -> None:
    rules = input_rules(render_tree, {"name": "vrrp", "protocol": "vrrp", "from": ["10.0.0.2"]})
    assert rules == ['ip saddr { 10.0.0.2 } meta l4proto 112 accept comment "vrrp"']


def test_firewall_replaces_no_table_but_its_own(render_tree: Render) -> None:
    text = render_tree("base")[FIREWALL]
    assert "flush" not in text
    assert [line for line in text.splitlines() if line.startswith(("table", "delete"))] == [
        "table inet fairlead",
        "delete table inet fairlead",
        "table inet fairlead {",
    ]


def test_firewall_always_lets_ssh_in(render_tree: Render) -> None:
    text = render_tree("base", base_firewall_ssh_port=2222, base_firewall_ssh_from=["192.0.2.0/24"])[FIREWALL]
    assert 'ip saddr { 192.0.2.0/24 } tcp dport 2222 accept comment "ssh"' in text


def test_forwarding_over_ssh_is_an_option(render_tree: Render) -> None:
    path = "/etc/ssh/sshd_config.d/00-fairlead.conf"
    assert "AllowTcpForwarding no" in render_tree("base")[path]
    assert "AllowTcpForwarding yes" in render_tree("base", base_ssh_forwarding_enabled=True)[path]


def test_kernel_values_can_be_changed_and_left_out(render_tree: Render) -> None:
    given = {"kernel.sysrq": 176, "kernel.yama.ptrace_scope": None, "vm.swappiness": 10}
    text = render_tree("base", base_sysctl_values=given)["/etc/sysctl.d/61-fairlead-hardening.conf"]
    assert "-kernel.sysrq = 176\n" in text and "-vm.swappiness = 10\n" in text
    assert "ptrace_scope" not in text
    assert "ip_forward" not in text


def test_no_host_restarts_by_itself_unless_told(render_tree: Render) -> None:
    path = "/etc/apt/apt.conf.d/90fairlead"
    assert 'Automatic-Reboot "false"' in render_tree("base")[path]
    assert 'Automatic-Reboot-Time "04:30"' in render_tree("base", base_upgrades_reboot_time="04:30")[path]


def test_limits(render_tree: Render) -> None:
    files = render_tree("base", base_nofile=10000, base_nofile_max=20000)
    assert "DefaultLimitNOFILE=10000:20000" in files["/etc/systemd/system.conf.d/fairlead.conf"]
    limits = [line.split() for line in files["/etc/security/limits.d/fairlead.conf"].splitlines() if line[0] != "#"]
    assert sorted(limits) == sorted(
        [who, kind, *what]
        for who in ("*", "root")
        for kind, *what in (("soft", "nofile", "10000"), ("hard", "nofile", "20000"), ("hard", "core", "0"))
    )


def test_sudo_rule_of_the_deploy_user(render_tree: Render) -> None:
    path, rule = "/etc/sudoers.d/fairlead", "ALL=(ALL:ALL) NOPASSWD: ALL"
    assert render_tree("base", base_deploy_sudo_rule=rule)[path].splitlines()[-1] == f"deploy {rule}"
    assert rule not in render_tree("base", base_deploy_sudo_rule=rule, base_deploy_user="")[path]


def test_time_servers(render_tree: Render) -> None:
    path = "/etc/systemd/timesyncd.conf.d/fairlead.conf"
    files = render_tree("base", base_time_servers=["a.example.org", "b.example.org"])
    assert "NTP=a.example.org b.example.org\n" in files[path]
    assert path not in render_tree("base", base_time_servers=["a.example.org"], base_time_sync_enabled=False)


def test_keys_are_the_whole_list(evaluate: Evaluate) -> None:
    (file,) = evaluate("base", "_base_files", base_deploy_user="ada", base_deploy_keys=["ssh-ed25519 A", "ssh-ed25519 B"])
    assert (file["path"], file["owner"], file["mode"]) == ("/home/ada/.ssh/authorized_keys", "ada", "0600")
    assert file["content"] == "ssh-ed25519 A\nssh-ed25519 B"


def test_without_a_deploy_user_nothing_is_his(evaluate: Evaluate) -> None:
    assert evaluate("base", "_base_files", base_deploy_user="") == []
    assert evaluate("base", "_base_directories", base_deploy_user="") == []


def test_a_container_has_no_clock_of_its_own(evaluate: Evaluate) -> None:
    def inside(*kinds: str) -> Any:
        return evaluate("base", "_base_in_container", ansible_facts={"virtualization_tech_guest": list(kinds)})

    assert inside("container", "docker") is True
    assert inside("kvm") is False
    assert inside() is False
