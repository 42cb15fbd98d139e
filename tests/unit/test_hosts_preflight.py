"""What base and docker refuse before any change, and the sentence they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from conftest import ROOT

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKvq9Yb1p0 ada@example.org"
DEBIAN = {"distribution": "Debian", "distribution_version": "13.1", "distribution_major_version": "13"}
BOOKWORM = {"distribution": "Debian", "distribution_version": "12.5", "distribution_major_version": "12"}
UBUNTU = {"distribution": "Ubuntu", "distribution_version": "24.04", "distribution_major_version": "24"}

# role, facts, variables, what the sentence must hold (None: the input is good)
CASES: list[tuple[str, dict[str, str], dict[str, Any], list[str] | None]] = [
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
            check = task["ansible.builtin.assert"]
            conditions = [check["that"]] if isinstance(check["that"], str) else check["that"]
            for item in evaluate(role, "loop", **variables, loop=task.get("loop", [None])):
                seen = {**variables, "item": item}
                if not all(evaluate(role, condition, **seen) for condition in conditions):
                    yield str(evaluate(role, "text", **seen, text=check["fail_msg"]))

    return lambda role, variables: list(given(role, variables))


@pytest.mark.parametrize(("role", "facts", "variables", "says"), CASES)
def test_preflight(
    sentences: Callable[..., list[str]], role: str, facts: dict[str, str], variables: dict[str, Any], says: list[str] | None
) -> None:
    told = sentences(role, {**variables, "ansible_facts": facts})
    if says is None:
        assert told == []
        return
    (sentence,) = told
    for part in says:
        assert part in sentence
