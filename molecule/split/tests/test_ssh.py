"""Who gets in over ssh, and how, on Debian 13 and 12."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ADDRESSES

Ssh = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module", params=["app1", "store1"])
def host(request: pytest.FixtureRequest, on: Callable[[str], Any]) -> tuple[str, Any]:
    return request.param, on(request.param)


@pytest.fixture(scope="module")
def ssh(host: tuple[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ssh]:
    """A function (user, *arguments) that runs ssh with a key that deploy and root have on the host."""
    name, machine = host
    key = tmp_path_factory.mktemp("ssh") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = Path(f"{key}.pub").read_text().strip()
    for user in ("deploy", "root"):
        machine.check_output(
            "home=$(getent passwd %s | cut -d: -f6) && install -d -m 700 -o %s -g %s $home/.ssh && "
            "printf '%%s\\n' %s > $home/.ssh/authorized_keys && chown %s $home/.ssh/authorized_keys",
            user,
            user,
            user,
            public,
            user,
        )

    def run(user: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        return subprocess.run(
            ["ssh", "-F", "/dev/null", "-i", str(key), *options, *arguments[:-1], f"{user}@{ADDRESSES[name]}", arguments[-1]],
            capture_output=True,
            text=True,
            timeout=30,
        )

    yield run
    machine.check_output("rm -f /home/deploy/.ssh/authorized_keys /root/.ssh/authorized_keys")


def test_the_deploy_user_comes_in_with_a_key(ssh: Ssh) -> None:
    assert ssh("deploy", "id -un").stdout == "deploy\n"


def test_root_does_not(ssh: Ssh) -> None:
    done = ssh("root", "id -un")
    assert done.returncode == 255 and "Permission denied" in done.stderr


def test_nobody_is_asked_for_a_password(ssh: Ssh) -> None:
    done = ssh("deploy", "-o", "PubkeyAuthentication=no", "id -un")
    assert "Permission denied (publickey)" in done.stderr


def test_ports_are_not_forwarded(ssh: Ssh) -> None:
    done = ssh("deploy", "-o", "ExitOnForwardFailure=yes", "-W", "127.0.0.1:22", "")
    assert "administratively prohibited" in done.stderr


@pytest.mark.parametrize(
    "old",
    [
        "KexAlgorithms=diffie-hellman-group14-sha256",
        "KexAlgorithms=ecdh-sha2-nistp256",
        "Ciphers=aes128-cbc",
        "MACs=hmac-sha1,hmac-sha2-256",
        "HostKeyAlgorithms=ecdsa-sha2-nistp256",
    ],
)
def test_old_algorithms_are_not_spoken(ssh: Ssh, old: str) -> None:
    options = ["-o", old]
    if old.startswith("MACs"):  # the others authenticate by themselves
        options += ["-o", "Ciphers=aes128-ctr"]
    done = ssh("deploy", *options, "true")
    assert done.returncode == 255 and "Unable to negotiate" in done.stderr


def test_a_client_with_many_keys_is_sent_away(ssh: Ssh, tmp_path: Path) -> None:
    keys = []
    for number in range(5):
        key = tmp_path / str(number)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        keys += ["-i", str(key)]
    # Those named first are tried first.
    done = ssh("nobody", *keys, "true")
    assert "Too many authentication failures" in done.stderr
