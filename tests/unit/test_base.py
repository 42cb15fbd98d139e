from __future__ import annotations

from collections.abc import Callable
from typing import Any

Render = Callable[..., dict[str, str]]
Evaluate = Callable[..., Any]


def test_only_what_is_asked_for_is_written(render_tree: Render) -> None:
    assert sorted(render_tree("base")) == [
        "/etc/security/limits.d/fairlead.conf",
        "/etc/systemd/journald.conf.d/fairlead.conf",
        "/etc/systemd/system.conf.d/fairlead.conf",
    ]


def test_limits(render_tree: Render) -> None:
    files = render_tree("base", base_nofile=10000, base_nofile_max=20000)
    assert "DefaultLimitNOFILE=10000:20000" in files["/etc/systemd/system.conf.d/fairlead.conf"]
    limits = [line.split() for line in files["/etc/security/limits.d/fairlead.conf"].splitlines() if line[0] != "#"]
    assert sorted(limits) == sorted(
        [who, kind, "nofile", value] for who in ("*", "root") for kind, value in (("soft", "10000"), ("hard", "20000"))
    )


def test_sudo_rule_of_the_deploy_user(render_tree: Render) -> None:
    path, rule = "/etc/sudoers.d/fairlead-deploy", "ALL=(ALL:ALL) NOPASSWD: ALL"
    assert render_tree("base", base_deploy_sudo_rule=rule)[path].splitlines()[-1] == f"deploy {rule}"
    assert path not in render_tree("base", base_deploy_sudo_rule=rule, base_deploy_user="")


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
