"""No secret is where it need not be, on any host."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ADDRESSES
from leaks import found, leaked

# The first whole line of base64: of a host's key the one with the secret number.
LINE = re.compile(r"^[A-Za-z0-9+/]{64}$", re.M)


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    """A line of each private key that the controller keeps."""
    folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "authority"
    return {path.stem.removeprefix("split-"): LINE.findall(path.read_text())[0] for path in folder.rglob("*.key")}


@pytest.mark.parametrize("name", sorted(ADDRESSES))
def test_no_secret_is_where_it_need_not_be(
    on: Callable[[str], Any], name: str, secrets: dict[str, str], keys: dict[str, str]
) -> None:
    assert leaked(on(name), [*secrets.values(), *keys.values()]) == {}


def test_a_host_has_its_own_secrets_alone(on: Callable[[str], Any], secrets: dict[str, str], keys: dict[str, str]) -> None:
    application = found(on("app1"), [secrets["secret_key"], secrets["database_password"]])
    assert {path.rsplit("/", 1)[1] for path in application} == {"SECRET_KEY", "DATABASE_PASSWORD"}
    registry = [secrets["registry_pull_password"], secrets["registry_push_password"]]
    for name in ("app1", "store1"):  # which has hashes of them
        assert found(on(name), registry) == {}
    assert found(on("db1"), [keys["db1"]]) != {}
    assert found(on("db1"), [key for owner, key in keys.items() if owner != "db1"]) == {}
