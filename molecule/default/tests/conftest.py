"""The one host of the scenario, and a visitor of its site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from scenario import DOMAIN, ROOT, Run, playbook, secrets, visiting

__all__ = ["DOMAIN", "ROOT", "Run", "playbook", "secrets"]


@pytest.fixture(scope="module")
def address(host: Any) -> str:
    """The host's address on the machine's network; it has others of its own, for its containers."""
    found = re.search(r"inet ([0-9.]+)/", host.check_output("ip -4 -o address show dev eth0"))
    assert found
    return found[1]


@pytest.fixture
def container(host: Any) -> str:
    """Name of the running release's container."""
    return "demo-" + host.check_output("readlink /srv/demo/current").rsplit("/", 1)[1]


@pytest.fixture
def visitor(host: Any, address: str) -> Iterator[requests.Session]:
    """A visitor of the site."""
    with visiting(host, address) as session:
        yield session
