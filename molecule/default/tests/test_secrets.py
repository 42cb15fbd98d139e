"""No secret is where it need not be."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from conftest import ROOT, Run


@pytest.fixture(scope="module", params=["secret_key", "database_password"])
def secret(request: pytest.FixtureRequest, secrets: dict[str, str]) -> str:
    return secrets[request.param]


def search(host: Any, command: str, secret: str) -> str:
    """Run `command`, which reads patterns from standard input, so that the search does not find itself."""
    return host.run(f"printf %s %s | {command}", "%s", secret).stdout


def test_the_search_finds_what_is_there(host: Any, secret: str) -> None:
    assert "/srv/demo/releases/" in search(host, "grep -rlFf - /srv", secret)


def test_not_in_the_journal(host: Any, secret: str) -> None:
    assert int(host.check_output("journalctl --no-pager | wc -l")) > 100
    assert host.run("journalctl --no-pager -o cat >/run/journal.txt").rc == 0
    assert search(host, "grep -cFf - /run/journal.txt", secret).strip() == "0"


def test_not_in_a_command_line_nor_an_environment(host: Any, secret: str) -> None:
    """Of any process on the host, those in containers included."""
    found = search(host, "grep -laFf - /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null", secret)
    # The search itself has ended, and is no longer there.
    assert [path for path in found.split() if host.run("test -e %s", path).rc == 0] == []


def test_in_no_file_but_the_containers_own(host: Any, secret: str) -> None:
    found = search(host, "grep -rlsFf - /etc /opt /root /home /run /srv /tmp /usr/local /var/log /var/tmp", secret).split()
    assert found
    assert [path for path in found if not path.startswith("/srv/demo/releases/")] == []
    for path in found:
        assert host.file(path).mode == 0o440 and host.file(path).user == "root"


def test_not_in_what_docker_knows(host: Any, secret: str) -> None:
    known = host.check_output("docker inspect $(docker ps -aq) $(docker images -q)")
    assert json.loads(known)
    assert secret not in known


def test_in_no_layer_of_the_image(secret: str) -> None:
    read = 0
    with tarfile.open(ROOT / "build/site.tar") as image:
        for member in image:
            stream = image.extractfile(member) if member.isfile() else None
            if stream:
                content = stream.read()
                read += len(content)
                assert secret.encode() not in content, member.name
    assert read > 10_000_000


def test_not_in_the_output_of_a_playbook(playbook: Callable[..., Run], secrets: dict[str, str]) -> None:
    """Not even at -vvv with differences shown, where all secrets change."""
    changed = {"site_secret_key": "k" * 25 + "K" * 39, "site_database_password": "p" * 16 + "P" * 16}
    run = playbook("site.yml", "--check", "--diff", "-vvv", **changed)
    assert run.code == 0, run.output
    assert run.changes > 0
    for value in changed.values():
        # They came in by the command line here, which -vvv does not show.
        assert value not in run.output
    for value in secrets.values():
        assert value not in run.output
