"""A host that fails takes the run with it: nothing is built upon a layer that is not there everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

# Those after the application: nothing follows from what they do.
LAST = {"bugsink.yml", "agents.yml", "observability.yml"}


def plays(path: Path) -> list[dict[str, Any]]:
    """The plays of a playbook and of those that it imports."""
    found: list[dict[str, Any]] = []
    for play in yaml.safe_load(path.read_text()):
        imported = play.get("ansible.builtin.import_playbook") or play.get("import_playbook")
        found += plays(path.parent / imported) if imported else [play]
    return found


@pytest.mark.parametrize("name", sorted({"site.yml"} | {f"playbooks/{name}.yml" for name in ("deploy", "rollback")}))
def test_each_layer_stops_all_hosts(name: str) -> None:
    # Who cannot be reached is told by the next task of the same play.
    last = [play for path in LAST for play in plays(ROOT / "playbooks" / path)]
    kept = [play for play in plays(ROOT / name) if play not in last and not play.get("ignore_unreachable")]
    fatal = {play["name"]: play.get("any_errors_fatal", False) for play in kept if play["hosts"] != "app[0]"}
    assert set(fatal.values()) == {True}, fatal


def test_no_release_goes_into_service_on_some_of_the_hosts(
    tmp_path: Path, run_plays: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Where a play let it happen: the first host, which migrates, is no longer there."""
    inventory = tmp_path / "hosts.json"
    hosts = dict.fromkeys(("one", "two"), {"ansible_connection": "local", "ansible_python_interpreter": sys.executable})
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    role = {"name": "fairlead.site.django", "tasks_from": "inspect"}
    book = [
        {"hosts": "all", "gather_facts": False, "tasks": [{"fail": {"msg": "x"}, "when": "inventory_hostname == 'one'"}]},
        {"hosts": "all", "gather_facts": False, "tasks": [{"include_role": role, "vars": {"django_root": str(tmp_path / "site")}}]},
    ]
    done = run_plays(book, "-i", str(inventory))
    assert done.returncode == 2
    assert "one failed earlier in this run, so no release is put into service" in " ".join(done.stdout.split())
