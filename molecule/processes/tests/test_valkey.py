"""Valkey as the containers and the host's other users meet it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

SOCKET = "/run/demo-valkey/valkey.sock"
PLAY = "playbooks/valkey.yml"
ON = {"site_valkey_enabled": True, "valkey_memory_mb": 32}


@pytest.fixture(scope="module")
def password(playbook: Callable[..., Run]) -> str:
    run = playbook(PLAY, **ON)
    assert run.code == 0, run.output
    return (Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "secrets/valkey_password.txt").read_text().strip()


@pytest.fixture
def cli(host: Any, password: str) -> Callable[..., str]:
    return lambda *words: host.run(f"REDISCLI_AUTH={password} valkey-cli -s {SOCKET} " + " ".join(words)).stdout.strip()


def test_a_second_run_changes_nothing(playbook: Callable[..., Run], password: str) -> None:
    assert playbook(PLAY, **ON).changes == 0


def test_it_is_reached_by_its_socket_its_group_and_its_password_alone(host: Any, cli: Callable[..., str], password: str) -> None:
    assert cli("ping") == "PONG"
    assert "NOAUTH" in host.check_output(f"valkey-cli -s {SOCKET} ping")
    assert "valkey" not in host.check_output("ss --listening --tcp --processes --no-header")
    as_user = "setpriv --reuid {0} --regid {0} --clear-groups env REDISCLI_AUTH=" + password + f" valkey-cli -s {SOCKET} ping"
    assert host.check_output(as_user.format(10001)) == "PONG"
    assert "Permission denied" in host.run(as_user.format(10002)).stderr
    assert host.run(f"grep -r {password} /etc/valkey /etc/systemd /proc/$(pidof valkey-server)/cmdline").rc == 1


def test_clients_do_not_administer_it(cli: Callable[..., str]) -> None:
    assert all("NOPERM" in cli(*words) for words in (("config", "get", "dir"), ("shutdown",), ("acl", "list"), ("save",)))


def test_a_full_cache_forgets_and_its_memory_is_bounded(host: Any, cli: Callable[..., str]) -> None:
    for part in range(16):  # within one script nothing is forgotten
        cli("eval", f"\"for i=1,5000 do redis.call('set','key{part}.'..i,string.rep('x',1000)) end\"", "0")
    assert 1000 < int(cli("dbsize")) < 40000
    used = int(host.check_output("systemctl show --property MemoryCurrent --value valkey-server"))
    assert used < int(host.check_output("systemctl show --property MemoryMax --value valkey-server")) == 80 * 1024**2


def test_the_application_finds_it_there_after_it_was_restarted(host: Any, playbook: Callable[..., Run], password: str) -> None:
    run = playbook("playbooks/app.yml", **ON)
    assert run.code == 0, run.output
    try:
        host.check_output("systemctl restart valkey-server")
        program = (
            "import os, socket, urllib.parse as u; url = u.urlsplit(open(os.environ['VALKEY_URL_FILE']).read().strip()); "
            "s = socket.socket(socket.AF_UNIX); s.connect(url.path); "
            "s.sendall(f'AUTH {url.password}\\r\\nPING\\r\\n'.encode()); print(s.recv(99))"
        )
        said = host.check_output(f'fairlead-processes run python -c "{program}"')
        assert "+OK" in said
    finally:
        assert playbook("playbooks/app.yml").code == 0


def test_it_is_removed_again(host: Any, playbook: Callable[..., Run], password: str, tmp_path: Path) -> None:
    play = tmp_path / "remove.yml"
    role = "{name: fairlead.site.valkey, tasks_from: remove}"
    play.write_text(
        f"- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.include_role: {role}\n"
        "      vars: {valkey_socket_dir: /run/demo-valkey, valkey_remove_data_enabled: true}\n"
    )
    run = playbook(str(play))
    assert run.code == 0, run.output
    assert not host.file("/run/demo-valkey").exists and not host.file("/var/lib/valkey").exists
    assert host.run("systemctl cat valkey-server").rc != 0
