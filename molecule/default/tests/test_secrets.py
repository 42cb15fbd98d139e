"""No secret is where it need not be."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from secrets import token_hex
from typing import Any

from conftest import ROOT, Run
from leaks import found, leaked


def test_no_secret_is_where_it_need_not_be(host: Any, secrets: dict[str, str]) -> None:
    values = secrets.values()
    assert {path.rsplit("/", 1)[1] for path in found(host, values)} == {"SECRET_KEY", "DATABASE_PASSWORD"}
    assert leaked(host, values) == {}


def test_a_leak_is_found(host: Any) -> None:
    secret = token_hex(20)
    leak = "logger %s; echo -n pull:%s | base64 --wrap 0 >/var/tmp/leak; nohup sh -c 'sleep 60; true' %s >/dev/null 2>&1 & echo $!"
    process = host.check_output(leak.replace("%s", secret))
    try:
        places = leaked(host, [secret]).keys()
    finally:
        host.check_output("kill %s; rm /var/tmp/leak", process)
    assert {"journal", "/var/tmp/leak", f"process-{process}"} <= places


def test_in_no_layer_of_the_image(secrets: dict[str, str]) -> None:
    read = 0
    with tarfile.open(ROOT / "build/site.tar") as image:
        for member in image:
            stream = image.extractfile(member) if member.isfile() else None
            if stream:
                content = stream.read()
                read += len(content)
                assert not any(secret.encode() in content for secret in secrets.values()), member.name
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
