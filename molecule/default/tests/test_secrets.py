"""No secret is where it need not be."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from typing import Any

from conftest import Run
from leaks import command_lines, found, leaked


def test_no_secret_is_where_it_need_not_be(host: Any, secrets: dict[str, str]) -> None:
    values = secrets.values()
    assert {path.rsplit("/", 1)[1] for path in found(host, values)} == {"SECRET_KEY", "DATABASE_PASSWORD"}
    assert leaked(host, values) == {}


def test_a_leak_is_found(host: Any) -> None:
    secret = token_hex(20)
    leak = "logger %s; echo -n pull:%s | base64 --wrap 0 >/var/tmp/leak; nohup sh -c 'sleep 60; true' %s >/dev/null 2>&1 & echo $!"
    layer = (
        "container=$(docker create $(docker images -q | head -n 1)) && echo %s >/run/leak && docker cp -q /run/leak $container:/"
        " && docker commit $container leak >/dev/null && docker rm $container >/dev/null && rm /run/leak"
    )
    with command_lines(host) as lines:
        process = host.check_output(leak.replace("%s", secret))
        host.check_output(layer, secret)
    try:
        places = leaked(host, [secret]).keys()
    finally:
        host.check_output("kill %s; rm /var/tmp/leak; docker rmi leak", process)
    assert {"journal", "/var/tmp/leak", f"process-{process}"} <= places
    assert any(path.startswith(("/var/lib/docker/", "/var/lib/containerd/")) for path in places), "a layer of an image"
    assert any(secret in line for line in lines)


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
