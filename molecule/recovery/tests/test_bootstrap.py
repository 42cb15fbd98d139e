"""A host that has nothing but root's login over ssh becomes one that the deploy user manages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra
from conftest import ROOT

NAME, ADDRESS = "split-bare", "10.203.0.77"
TEST_HOST = str(ROOT / "scripts/test-host")
OPTIONS = ["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
# As much of a play as the role needs.
BASE = """
- hosts: all
  become: true
  gather_facts: true
  gather_subset: ["!all", "!min", distribution, virtual]
  roles: [fairlead.site.base]
"""
Play = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ssh") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", made], check=True)
    return made


@pytest.fixture(scope="module")
def bare(key: Path) -> Iterator[Any]:
    """The host as a provider hands it over: sshd, root's key, neither Python nor sudo."""
    subprocess.run([TEST_HOST, "up", NAME, "--network", "fairlead-split", "--ip", ADDRESS], check=True)
    host = testinfra.get_host(f"docker://{NAME}")
    host.check_output("apt-get update -q && apt-get install -qy --no-install-recommends openssh-server")
    host.check_output("apt-get purge -qy python3-minimal && SUDO_FORCE_REMOVE=yes apt-get purge -qy sudo")
    host.check_output("install -d -m 700 /root/.ssh && echo %s > /root/.ssh/authorized_keys", Path(f"{key}.pub").read_text())
    host.check_output("systemctl start ssh")
    assert host.run("command -v python3 || command -v sudo").rc != 0
    yield host
    subprocess.run([TEST_HOST, "down", NAME], check=True)


@pytest.fixture(scope="module")
def play(key: Path, bare: Any, tmp_path_factory: pytest.TempPathFactory) -> Play:
    """A function (playbook, **extra variables) that runs ansible-playbook over ssh against that host alone."""
    folder = tmp_path_factory.mktemp("inventory")
    variables = {
        "ansible_host": ADDRESS,
        "ansible_user": "deploy",
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": " ".join(OPTIONS),
        "base_deploy_keys": [Path(f"{key}.pub").read_text().strip()],
        "base_deploy_sudo_rule": "ALL=(ALL:ALL) NOPASSWD: ALL",
        "capacity_nofile_max": 20000,
        "base_nofile_max": 20000,
    }
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": {NAME: variables}}}))
    (folder / "base.yml").write_text(BASE)

    def run(name: str, **extra: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ansible-playbook", "-i", str(folder / "hosts.yml"), "-e", json.dumps(extra), name.replace("FOLDER", str(folder))],
            cwd=ROOT,
            env=os.environ
            | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
        )

    return run


def login(key: Path, user: str) -> str:
    done = subprocess.run(
        ["ssh", "-i", str(key), *OPTIONS, f"{user}@{ADDRESS}", "sudo -n id -un"], capture_output=True, text=True, timeout=30
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_without_keys_nothing_is_begun(play: Play, bare: Any) -> None:
    done = play("playbooks/bootstrap.yml", base_deploy_keys=[])
    assert done.returncode == 2
    assert "base_deploy_keys and base_deploy_sudo_rule must be set" in " ".join(done.stdout.split())
    assert bare.run("command -v python3").rc != 0


def test_the_deploy_user_is_let_in(play: Play, key: Path) -> None:
    done = play("playbooks/bootstrap.yml")
    assert done.returncode == 0, done.stdout
    assert login(key, "deploy") == "root"
    again = play("playbooks/bootstrap.yml")
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"ansible_user": "root"}, "base_ssh_root_login_enabled is off, but root is the user that logs in here"),
        ({"base_ssh_users": ["ada"]}, "base_ssh_users does not hold deploy"),
        ({"base_deploy_keys": []}, "base_deploy_keys is empty, but deploy is the user that logs in here"),
        (
            {"base_firewall_ssh_from": ["192.0.2.0/24"]},
            "base_firewall_ssh_from and base_firewall_ssh_port do not let in 10.203.0.1",
        ),
        ({"base_firewall_ssh_port": 2222}, "do not let in 10.203.0.1 to port 22"),
        ({"ansible_password": "guessed"}, "ansible_password is set, but ssh will take keys alone"),
    ],
)
def test_who_runs_this_is_not_shut_out(play: Play, bare: Any, variables: dict[str, Any], sentence: str) -> None:
    done = play("FOLDER/base.yml", **variables)
    assert done.returncode == 2
    assert sentence in " ".join(done.stdout.split())
    assert "changed=0" in done.stdout
    assert bare.run("test -e /etc/fairlead").rc != 0


def test_the_role_goes_on_as_that_user_and_root_stays_out(play: Play, key: Path) -> None:
    done = play("FOLDER/base.yml")
    assert done.returncode == 0, done.stdout
    assert login(key, "deploy") == "root"
    assert "Permission denied" in login(key, "root")
    again = play("FOLDER/base.yml")
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout
