"""fairlead.site.controller_file as a playbook's user meets it, on a host that cannot be reached."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Play = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def keep(run_plays: Play, tmp_path: Path) -> Callable[..., str]:
    """Run the task with these options; returns what Ansible said."""
    inventory = tmp_path / "hosts.json"
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    inventory.write_text(json.dumps({"all": {"hosts": {"gone": gone}}}))

    def run(*flags: str, **options: Any) -> str:
        task = {"fairlead.site.controller_file": options, "become": True}
        done = run_plays([{"hosts": "all", "gather_facts": False, "tasks": [task]}], "-i", str(inventory), *flags)
        return done.stdout

    return run


def test_a_file_is_what_is_given_and_goes_where_nothing_is(keep: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "kept.yml"
    assert "changed=1" in keep(path=str(path), content="one\n")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("one\n", 0o644)
    assert "changed=0" in keep(path=str(path), content="one\n")
    assert "changed=1" in keep(path=str(path), content="")
    assert not path.exists()
    assert "changed=0" in keep(path=str(path), content="")
    assert sorted(tmp_path.glob(".kept*")) == []


def test_lines_are_added_to_those_that_are_there(keep: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    assert "changed=1" in keep(path=str(path), lines=["one", "two"])
    assert "changed=1" in keep(path=str(path), lines=["two", "three"])
    assert path.read_text() == "one\ntwo\nthree\n"
    assert "changed=0" in keep(path=str(path), lines=[])


def test_check_mode_shows_and_writes_nothing(keep: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "kept.yml"
    path.write_text("one\n")
    said = keep("--check", "--diff", path=str(path), content="two\n")
    assert "changed=1" in said and "+two" in said and "-one" in said
    assert path.read_text() == "one\n"


def test_a_link_is_followed(keep: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "link.yml").symlink_to("kept.yml")
    keep(path=str(tmp_path / "link.yml"), content="one\n")
    assert (tmp_path / "link.yml").is_symlink() and (tmp_path / "kept.yml").read_text() == "one\n"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"path": "/nowhere/kept.yml", "content": "x"}, "/nowhere/kept.yml on the controller cannot be kept up to date"),
        ({"path": "/tmp/kept.yml"}, "controller_file takes path and either content or lines"),  # noqa: S108 - never written
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(keep: Callable[..., str], options: dict[str, Any], sentence: str) -> None:
    assert sentence in " ".join(keep(**options).split())
