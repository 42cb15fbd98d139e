"""The hosts of the scenario by their short names, a neighbour that belongs to nobody, and a visitor of the site."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import testinfra
import yaml
from scenario import DOMAIN, ROOT, Run, playbook, secrets, visiting

__all__ = ["ADDRESSES", "DOMAIN", "ROOT", "Run", "playbook", "secrets"]

_FOLDER = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "inventory"
_HOSTS: dict[str, dict[str, Any]] = {
    name: variables
    for group in yaml.safe_load((_FOLDER / "hosts.yml").read_text())["all"]["children"].values()
    for name, variables in group["hosts"].items()
    if variables
}
_PREFIX = os.path.commonprefix(list(_HOSTS))
# Address of each host by its short name: edge1, app1, db1 ...
ADDRESSES: dict[str, str] = {name.removeprefix(_PREFIX): variables["site_address"] for name, variables in _HOSTS.items()}


@pytest.fixture(scope="session")
def on() -> Callable[[str], Any]:
    """A function from a host's short name (edge1, app2, db1, store1, stranger) to testinfra's way onto it."""
    return lambda name: testinfra.get_host(f"docker://{_PREFIX}{name}")


@pytest.fixture(scope="session")
def primary() -> Callable[[], str]:
    """A function that returns the short name of the db host that the inventory calls the primary."""
    written = _FOLDER / "group_vars/all/primary.yml"

    def current() -> str:
        name: str = yaml.safe_load(written.read_text())["site_primary"] if written.exists() else f"{_PREFIX}db1"
        return name.removeprefix(_PREFIX)

    return current


@pytest.fixture
def visitor(on: Callable[[str], Any]) -> Iterator[requests.Session]:
    """A visitor of the site, who meets the edge host."""
    with visiting(on("edge1"), ADDRESSES["edge1"]) as session:
        yield session
