"""The host of the scenario, visitors of its site and of its Bugsink, and an error that really happens."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import testinfra
from scenario import ROOT, Run, playbook, secrets, visiting

__all__ = ["ROOT", "Run", "playbook", "secrets"]

INVENTORY = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "inventory"
ADDRESS = re.search(r"site_address: (\S+)", (INVENTORY / "hosts.yml").read_text())[1]  # type: ignore[index]


def until(found: Callable[[], Any], seconds: int, what: str) -> Any:
    """The first true value of found, asked once a second."""
    for _ in range(seconds):
        if value := found():
            return value
        time.sleep(1)
    pytest.fail(f"{what} within {seconds} s")


@pytest.fixture(scope="session")
def host() -> Any:
    return testinfra.get_host("docker://obs-site")


@pytest.fixture(scope="session")
def site(host: Any) -> Iterator[requests.Session]:
    with visiting(host, ADDRESS) as session:
        session.verify = str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "tls/ca.pem")
        yield session


@pytest.fixture
def container(host: Any) -> str:
    """Name of the running release's container."""
    return "demo-" + host.check_output("readlink /srv/demo/current").rsplit("/", 1)[1]


def holds(host: Any, command: str, secret: str) -> bool:
    """Whether what a command prints has the secret in it. The secret is not in the command."""
    return secret.encode() in host.run(f"({command}) 2>&1").stdout_bytes


@contextmanager
def without_articles(host: Any) -> Iterator[None]:
    """The site's pages fail: their table is away."""
    rename = "runuser -u postgres -- psql -qd demo -c 'ALTER TABLE %s RENAME TO %s'"
    host.check_output(rename % ("articles_article", "away"))
    try:
        yield
    finally:
        host.check_output(rename % ("away", "articles_article"))


@pytest.fixture(scope="session")
def bugsink(host: Any) -> Callable[..., Any]:
    """A function (path, **query) that asks Bugsink's own interface, as somebody with a token."""
    name = host.check_output("docker ps --quiet --filter label=fairlead.site=bugsink")
    token = host.check_output("docker exec %s python manage.py create_auth_token", name).split()[-1]

    def ask(path: str, **query: Any) -> Any:
        arguments = " ".join(f"--data-urlencode {key}={value}" for key, value in query.items())
        address = f"https://errors.example.org/api/canonical/0/{path}"
        return json.loads(host.check_output(f"curl -sSfG -H 'Authorization: Bearer {token}' {arguments} {address}"))

    return ask
