"""What base and docker refuse before any change, and the sentence they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from conftest import ROOT

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKvq9Yb1p0 ada@example.org"
MACHINE: dict[str, Any] = {"virtualization_tech_guest": ["kvm"]}
DEBIAN = MACHINE | {"distribution": "Debian", "distribution_version": "13.1", "distribution_major_version": "13"}
BOOKWORM = MACHINE | {"distribution": "Debian", "distribution_version": "12.5", "distribution_major_version": "12"}
UBUNTU = MACHINE | {"distribution": "Ubuntu", "distribution_version": "24.04", "distribution_major_version": "24"}
CONTAINER = DEBIAN | {"virtualization_tech_guest": ["container", "docker"]}

WEB = {"name": "web", "protocol": "tcp", "port": 80}
# What a host answers to who comes over ssh: user, from where, to where.
LOGIN = {"stdout": "ada 192.0.2.7 50000 198.51.100.3 22\n"}
AS_ROOT = {"stdout": "root 192.0.2.7 50000 198.51.100.3 22\n"}

# role, facts, variables, what the sentence must hold (None: the input is good)
CASES: list[tuple[str, dict[str, Any], dict[str, Any], list[str] | None]] = [
    ("base", DEBIAN, {}, None),
    ("base", BOOKWORM, {"base_deploy_user": "", "base_deploy_keys": [KEY, "sk-ssh-ed25519@openssh.com AAAA"]}, None),
    ("base", UBUNTU, {}, ["Ubuntu 24.04", "Debian 12 or 13"]),
    ("base", DEBIAN, {"base_deploy_user": "root"}, ["base_deploy_user is 'root'"]),
    ("base", DEBIAN, {"base_deploy_user": "Ada L"}, ["base_deploy_user is 'Ada L'"]),
    ("base", DEBIAN, {"base_deploy_keys": [KEY, "/home/ada/.ssh/id.pub"]}, ["base_deploy_keys", ".pub file"]),
    ("base", DEBIAN, {"base_deploy_keys": ["-----BEGIN OPENSSH PRIVATE KEY-----"]}, ["base_deploy_keys"]),
    ("base", DEBIAN, {"ansible_user": "deploy"}, ["base_deploy_keys is empty", "deploy is the user that logs in"]),
    ("base", DEBIAN, {"ansible_user": "deploy", "base_deploy_keys": [KEY]}, None),
    ("base", DEBIAN, {"ansible_user": "admin"}, None),
    ("base", DEBIAN, {"base_nofile": 9000, "base_nofile_max": 8000}, ["base_nofile is 9000", "base_nofile_max 8000"]),
    ("base", DEBIAN, {"base_nofile": "9000", "base_nofile_max": "10000"}, None),
    ("base", DEBIAN, {"base_firewall_rules": [WEB, WEB | {"port": "8000-8010", "from": ["10.0.0.0/8", "fd00::1"]}]}, None),
    ("base", DEBIAN, {"base_firewall_rules": [{"name": "vrrp", "protocol": "vrrp", "from": ["10.0.0.9"]}]}, None),
    (
        "base",
        DEBIAN,
        {"base_firewall_rules": [WEB | {"protocol": "icmp"}]},
        ["base_firewall_rules: rule web", "'icmp'", "tcp, udp"],
    ),
    ("base", DEBIAN, {"base_firewall_rules": [WEB | {"port": 70000}]}, ["rule web has the port '70000'", "1 to 65535"]),
    ("base", DEBIAN, {"base_firewall_rules": [WEB | {"port": "90-80"}]}, ["'90-80'"]),
    ("base", DEBIAN, {"base_firewall_rules": [{"name": "web"}]}, ["has the port ''"]),
    ("base", DEBIAN, {"base_firewall_rules": [{"protocol": "vrrp", "name": "vrrp", "port": 80}]}, ["vrrp knows none"]),
    ("base", DEBIAN, {"base_firewall_rules": [WEB | {"from": ["app1", "10.0.0.0/8"]}]}, ["lets in app1, which is no address"]),
    ("base", DEBIAN, {"base_firewall_rules": [WEB | {"from": ["10.0.0.1/8"]}]}, ["10.0.0.1/8"]),
    ("base", DEBIAN, {"base_firewall_rules": [WEB | {"from": []}]}, ["rule web lets in nobody"]),
    ("base", DEBIAN, {"base_firewall_rules": [WEB | {"from": "10.0.0.1"}]}, ["list addresses"]),
    ("base", DEBIAN, {"base_firewall_rules": [WEB | {"to": ["10.0.0.1"]}]}, ["rule web has to"]),
    ("base", DEBIAN, {"base_firewall_rules": [WEB | {"name": 'a" accept'}]}, ["a rule's name is"]),
    ("base", DEBIAN, {"base_firewall_rules": [WEB | {"from": []}], "base_firewall_enabled": False}, None),
    ("base", DEBIAN, {"base_firewall_ssh_from": []}, ["base_firewall_ssh_from", "lets in nobody"]),
    ("base", DEBIAN, {"base_firewall_ssh_from": ["office"]}, ["base_firewall_ssh_from", "office"]),
    ("base", DEBIAN, {"base_firewall_ssh_port": "ssh"}, ["base_firewall_ssh_port", "has the port 'ssh'"]),
    ("base", DEBIAN, {"__base_login": LOGIN}, None),
    ("base", DEBIAN, {"__base_login": {"stdout": "root\n"}}, None),
    ("base", DEBIAN, {"__base_login": LOGIN, "base_firewall_ssh_from": ["192.0.2.0/24", "fd00::/8"]}, None),
    (
        "base",
        DEBIAN,
        {"__base_login": LOGIN, "base_firewall_ssh_from": ["198.51.100.0/24"]},
        ["base_firewall_ssh_from", "192.0.2.7", "port 22"],
    ),
    ("base", DEBIAN, {"__base_login": LOGIN, "base_firewall_ssh_port": 2222}, ["base_firewall_ssh_port", "port 22"]),
    ("base", DEBIAN, {"__base_login": LOGIN, "base_firewall_ssh_port": 2222, "base_firewall_enabled": False}, None),
    ("base", DEBIAN, {"__base_login": AS_ROOT}, ["base_ssh_root_login_enabled is off", "root is the user"]),
    ("base", DEBIAN, {"__base_login": AS_ROOT, "base_ssh_root_login_enabled": True}, None),
    ("base", DEBIAN, {"__base_login": AS_ROOT, "base_ssh_enabled": False}, None),
    ("base", DEBIAN, {"__base_login": LOGIN, "base_ssh_users": ["bob"]}, ["base_ssh_users does not hold ada"]),
    ("base", DEBIAN, {"__base_login": LOGIN, "base_ssh_users": ["bob", "ada"]}, None),
    ("base", DEBIAN, {"__base_login": LOGIN, "ansible_password": "guessed"}, ["ansible_password is set"]),
    ("base", DEBIAN, {"__base_login": LOGIN, "base_deploy_user": "ada"}, ["base_deploy_keys is empty", "ada is the user"]),
    ("base", DEBIAN, {"base_upgrades_reboot_time": "4 am"}, ["base_upgrades_reboot_time is '4 am'"]),
    ("base", DEBIAN, {"base_audit_enabled": True}, None),
    ("base", CONTAINER, {"base_audit_enabled": True}, ["base_audit_enabled is on", "one is a container"]),
    ("docker", DEBIAN, {}, None),
    ("docker", BOOKWORM, {}, ["Debian 12.5", "needs Debian 13"]),
    ("docker", UBUNTU, {}, ["Ubuntu 24.04"]),
    ("docker", DEBIAN, {"docker_source": "ce"}, ["docker_ce_key", "docker_source to debian"]),
    ("docker", DEBIAN, {"docker_source": "ce", "docker_ce_key": "-----BEGIN PGP PUBLIC KEY BLOCK-----"}, None),
    ("docker", DEBIAN, {"docker_address_pools": [{"base": "10.0.0.0", "size": 24}]}, ["docker_address_pools", "10.210.0.0/16"]),
    ("docker", DEBIAN, {"docker_address_pools": [{"base": "10.0.0.0/16", "size": 8}]}, ["size 8"]),
    ("docker", DEBIAN, {"docker_address_pools": [{"base": "10.0.0.0/16", "size": 31}]}, ["size 31"]),
    ("docker", DEBIAN, {"docker_address_pools": [{"base": "fd00::/48", "size": 64}]}, None),
    ("docker", DEBIAN, {"docker_log_max_size": "lots"}, ["docker_log_max_size is 'lots'", "20m"]),
    ("docker", DEBIAN, {"docker_log_max_files": 0}, ["docker_log_max_files is 0", "at least 1"]),
    ("docker", DEBIAN, {"docker_prune_after_hours": -1}, ["docker_prune_after_hours is -1"]),
    ("docker", DEBIAN, {"docker_nofile": -1}, ["docker_nofile is -1"]),
]


@pytest.fixture
def sentences(evaluate: Callable[..., Any]) -> Callable[..., list[str]]:
    """A function that returns the sentences with which a role's checks refuse these variables, one for each check."""

    def given(role: str, variables: dict[str, Any]) -> Iterator[str]:
        for task in yaml.safe_load((ROOT / f"roles/{role}/tasks/preflight.yml").read_text()):
            check = task.get("ansible.builtin.assert")
            if check is None:
                continue
            conditions = [check["that"]] if isinstance(check["that"], str) else check["that"]
            for item in evaluate(role, "loop", **variables, loop=task.get("loop", [None])):
                seen = {**variables, "item": item}
                if not all(evaluate(role, condition, **seen) for condition in conditions):
                    yield str(evaluate(role, "text", **seen, text=check["fail_msg"]))

    return lambda role, variables: list(given(role, variables))


@pytest.mark.parametrize(("role", "facts", "variables", "says"), CASES)
def test_preflight(
    sentences: Callable[..., list[str]], role: str, facts: dict[str, Any], variables: dict[str, Any], says: list[str] | None
) -> None:
    told = sentences(role, {**variables, "ansible_facts": facts})
    if says is None:
        assert told == []
        return
    (sentence,) = told
    for part in says:
        assert part in sentence
