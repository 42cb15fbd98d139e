from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Render = Callable[..., dict[str, str]]
Evaluate = Callable[..., Any]

DROP_IN = "/etc/systemd/system/docker.service.d/fairlead.conf"
PRUNE = "/etc/systemd/system/fairlead-docker-prune.service"


@pytest.fixture
def daemon(render_tree: Render) -> Callable[..., dict[str, Any]]:
    return lambda **variables: json.loads(render_tree("docker", **variables)["/etc/docker/daemon.json"])


def test_settings_keep_their_types(daemon: Callable[..., dict[str, Any]]) -> None:
    settings = daemon(docker_log_driver="local")
    assert settings["live-restore"] is True
    assert settings["userland-proxy"] is False
    assert settings["features"] == {"containerd-snapshotter": False}
    assert settings["log-opts"] == {"max-size": "20m", "max-file": "5"}  # the engine takes text only
    assert settings["default-address-pools"] == [{"base": "10.210.0.0/16", "size": 24}]
    assert "hosts" not in settings


def test_what_is_not_set_is_not_written(daemon: Callable[..., dict[str, Any]]) -> None:
    assert not {"registry-mirrors", "default-ulimits"} & daemon().keys()


def test_mirrors_and_limits(daemon: Callable[..., dict[str, Any]]) -> None:
    settings = daemon(docker_registry_mirrors=["https://mirror.example.org"], docker_nofile=4096)
    assert settings["registry-mirrors"] == ["https://mirror.example.org"]
    assert settings["default-ulimits"] == {"nofile": {"Name": "nofile", "Soft": 4096, "Hard": 4096}}


def test_own_settings_win_key_by_key(daemon: Callable[..., dict[str, Any]]) -> None:
    settings = daemon(docker_daemon_settings={"debug": True, "features": {"cdi": True}})
    assert settings["debug"] is True
    assert settings["features"] == {"containerd-snapshotter": False, "cdi": True}


def test_registry_authorities(evaluate: Evaluate) -> None:
    assert evaluate("docker", "_docker_ca_files") == []
    assert evaluate("docker", "_docker_ca_files", docker_registry_cas={"r.example.org:5000": "A", "s": "B"}) == [
        {"path": "/etc/docker/certs.d/r.example.org:5000/ca.crt", "content": "A"},
        {"path": "/etc/docker/certs.d/s/ca.crt", "content": "B"},
    ]


def test_repository_is_signed_by_the_key_given(evaluate: Evaluate) -> None:
    key, source = evaluate("docker", "_docker_ce_files", docker_ce_key="-----BEGIN PGP PUBLIC KEY BLOCK-----\n...")
    assert key["content"].startswith("-----BEGIN")
    fields = dict(line.split(": ") for line in source["content"].splitlines())
    assert fields == {
        "Types": "deb",
        "URIs": "https://download.docker.com/linux/debian",
        "Suites": "trixie",
        "Components": "stable",
        "Signed-By": key["path"],
    }


@pytest.mark.parametrize(
    ("changed", "restart"),
    [
        (["registry-mirrors"], False),
        (["debug", "labels"], False),
        (["log-driver"], True),
        (["debug", "log-opts"], True),
        ([], False),
    ],
)
def test_restart_only_where_a_reload_is_not_enough(evaluate: Evaluate, changed: list[str], restart: bool) -> None:
    before = json.dumps({"kept": 1})
    after = json.dumps({"kept": 1, **dict.fromkeys(changed, 1)})
    path = "/etc/docker/daemon.json"
    diff = [{"before_header": path, "after_header": path, "before": before, "after": after}]
    tree = {"diff": diff}
    assert sorted(evaluate("docker", "_docker_changed", __docker_tree=tree)) == sorted(changed)
    assert evaluate("docker", "_docker_restart_needed", __docker_tree=tree) is restart


def test_pruning(render_tree: Render) -> None:
    files = render_tree("docker", docker_prune_after_hours=48, docker_prune_keep_label="keep.me")
    assert "--filter until=48h --filter label!=keep.me" in files[PRUNE]
    assert "Wants=fairlead-docker-prune.timer" in files[DROP_IN]
    assert DROP_IN not in render_tree("docker", docker_prune_enabled=False, docker_log_driver="local")


@pytest.mark.parametrize(
    ("service", "ran"),
    [
        # Started by this run, it has read its settings; enabled only, it has not.
        ({"changed": True, "status": {"ActiveState": "inactive"}}, False),
        ({"changed": True, "status": {"ActiveState": "active"}}, True),
        ({"changed": False, "status": {"ActiveState": "active"}}, True),
        ({"changed": False, "skipped": True}, False),
    ],
)
def test_only_an_engine_that_ran_is_restarted(evaluate: Evaluate, service: dict[str, Any], ran: bool) -> None:
    assert evaluate("docker", "_docker_ran_before", __docker_service=service) is ran


@pytest.mark.parametrize(
    ("base", "good"),
    [
        ("10.210.0.0/16", True),
        ("192.168.0.0/8", True),
        ("fd00:1::/48", True),
        ("10.0.0.300/16", False),
        ("10.0.0.0", False),
        ("10.0.0.0/33", False),
        ("10x0x0x0/16", False),
        ("pool", False),
    ],
)
def test_form_of_an_address_pool(evaluate: Evaluate, base: str, good: bool) -> None:
    assert evaluate("docker", f"'{base}' is match(_docker_range)") is good


def test_the_journal_takes_all_lines_under_the_containers_names(render_tree: Render) -> None:
    files = render_tree("docker")
    settings = json.loads(files["/etc/docker/daemon.json"])
    assert (settings["log-driver"], settings["log-opts"]) == ("journald", {"tag": "{{ .Name }}"})
    assert "[Service]" in files[DROP_IN] and "LogRateLimitIntervalSec=0" in files[DROP_IN]
    assert "LogRateLimit" not in render_tree("docker", docker_log_driver="local")[DROP_IN]
