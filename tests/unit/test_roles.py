"""What every role promises: documented and validated variables, templates that render, independence of other roles."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from conftest import ROLES, ROOT


def load(role: str, path: str) -> Any:
    file = ROOT / "roles" / role / path
    return yaml.safe_load(file.read_text()) if file.exists() else {}


def sources(role: str) -> list[tuple[str, str]]:
    """Return (path, text) of all that a role executes or renders."""
    top = ROOT / "roles" / role
    files = [file for folder in ("tasks", "handlers", "templates", "vars", "defaults") for file in (top / folder).rglob("*")]
    return [(str(file.relative_to(ROOT)), file.read_text()) for file in files if file.is_file()]


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_specs_are_equal(role: str) -> None:
    options = load(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert {name: option.get("default") for name, option in options.items()} == load(role, "defaults/main.yml")


@pytest.mark.parametrize("role", ROLES)
def test_every_option_is_described_and_typed(role: str) -> None:
    for entry in load(role, "meta/argument_specs.yml")["argument_specs"].values():
        for name, option in entry.get("options", {}).items():
            assert option.get("description") and option.get("type"), name


@pytest.mark.parametrize("role", ROLES)
def test_every_default_has_a_comment(role: str) -> None:
    lines = (ROOT / "roles" / role / "defaults/main.yml").read_text().splitlines()
    commented = False
    for number, line in enumerate(lines):
        if line.startswith("#"):
            commented = True
        elif re.match(r"[a-z]", line):
            assert commented, f"line {number + 1} of roles/{role}/defaults/main.yml stands without a comment: {line}"
        elif not line.strip():
            commented = False


@pytest.mark.parametrize("role", ROLES)
def test_names_begin_with_the_role(role: str) -> None:
    assert [name for name in load(role, "defaults/main.yml") if not name.startswith(f"{role}_")] == []
    assert [name for name in load(role, "vars/main.yml") or {} if not name.startswith((f"_{role}_", f"__{role}_"))] == []


@pytest.mark.parametrize("role", ROLES)
def test_reads_no_other_roles_variables(role: str) -> None:
    others = {name for other in ROLES if other != role for name in load(other, "defaults/main.yml")}
    for path, text in sources(role):
        assert others & set(re.findall(r"\b[a-z][a-z0-9_]+\b", text)) == set(), path


@pytest.mark.parametrize("role", ROLES)
def test_includes_no_role(role: str) -> None:
    for path, text in sources(role):
        assert not re.search(r"(include|import)_role", text), path
    assert not load(role, "meta/main.yml").get("dependencies")


@pytest.mark.parametrize("role", ROLES)
def test_has_a_readme(role: str) -> None:
    assert (ROOT / "roles" / role / "README.md").read_text().startswith(f"# {role}\n")


@pytest.mark.parametrize("role", ROLES)
def test_every_template_renders(role: str, render_tree: Callable[..., dict[str, str]]) -> None:
    top = ROOT / "roles" / role / "templates"
    if top.exists():
        assert render_tree(role)
