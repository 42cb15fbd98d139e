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
    fatal = {play["name"]: play.get("any_errors_fatal", False) for play in kept}
    assert set(fatal.values()) == {True}, fatal


def test_a_host_that_goes_away_leaves_the_others_to_be_put_back(
    tmp_path: Path, run_plays: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """In the playbooks, where an error is everybody's; and the record is kept of a host that is still there."""
    inventory = tmp_path / "hosts.json"
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory.write_text(json.dumps({"all": {"hosts": {"gone": gone, "here": here}}}))
    (block, *_) = yaml.safe_load((ROOT / "roles/django/tasks/release.yml").read_text())
    record = {"id": "0123456789ab", "result": "failed"}
    tasks = [
        {"ansible.builtin.ping": {}},
        {"ansible.builtin.set_fact": {"__django_settle": {"written": [record]}}, "when": "inventory_hostname == 'here'"},
        block["block"][-1],
    ]
    given = yaml.safe_load((ROOT / "roles/django/vars/main.yml").read_text())
    variables = {"_django_written": given["_django_written"], "django_records_file": str(tmp_path / "records.jsonl")}
    play = {"hosts": "all", "gather_facts": False, "any_errors_fatal": True, "vars": variables}
    done = run_plays([{**play, "tasks": [{**block, "name": "x", "module_defaults": {}, "block": tasks}]}], "-i", str(inventory))
    assert done.returncode == 0, done.stdout
    assert json.loads((tmp_path / "records.jsonl").read_text()) == record


@pytest.mark.parametrize("name", ["deploy", "rollback"])
def test_the_first_app_host_can_be_left_out(name: str, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.json"
    groups = {group: {"hosts": dict.fromkeys(hosts)} for group, hosts in {"app": ("one", "two"), "db": ("three",)}.items()}
    inventory.write_text(json.dumps({"all": {"children": groups}}))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), f"playbooks/{name}.yml"]
        + ["--limit", "!one", "--list-hosts"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    listed = [part.split(":")[-1].split() for part in done.stdout.split("  play #")[1:]]
    assert len(listed) == len(plays(ROOT / f"playbooks/{name}.yml"))
    assert all("two" in hosts and "one" not in hosts for hosts in listed), done.stdout


def test_a_rollback_asks_only_hosts_of_the_play(evaluate: Callable[..., Any]) -> None:
    book = yaml.safe_load((ROOT / "playbooks/rollback.yml").read_text())
    (given,) = [play["vars"] for play in book if "ansible.builtin.import_playbook" in play]
    hosts = {"one": {}, "two": {"__rollback": {"target": "0123456789ab"}}}
    variables = {"hostvars": hosts, "groups": {"app": list(hosts)}, "ansible_play_hosts_all": ["two"]}
    assert evaluate("django", "record_release", **given | variables) == "0123456789ab"


@pytest.mark.parametrize(
    ("settled", "left"), [({"problem": ""}, ""), ({"problem": "The disk is full."}, "The disk is full."), ({}, "no way there")]
)
def test_the_inventory_says_what_serves_although_something_is_left_to_do(
    tmp_path: Path, run_plays: Callable[..., subprocess.CompletedProcess[str]], settled: dict[str, Any], left: str
) -> None:
    (tmp_path / "group_vars/all").mkdir(parents=True)
    inventory = tmp_path / "hosts.json"
    hosts = dict.fromkeys(("one", "two"), {"ansible_connection": "local", "ansible_python_interpreter": sys.executable})
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    (play,) = plays(ROOT / "playbooks/app.yml")
    given = play["roles"][-1]["vars"] | {"role_path": str(ROOT / "roles/django"), "_django_id": "0123456789ab"}
    settle = settled or {"unreachable": True, "msg": "no way there"}
    tasks = yaml.safe_load((ROOT / "roles/django/tasks/main.yml").read_text())
    position = [task["name"] for task in tasks].index("Put the release into service") + 1
    book = {"hosts": "all", "gather_facts": False, "any_errors_fatal": True, "vars": {**given, "record_release": "0123456789ab"}}
    stub = {"ansible.builtin.set_fact": {"__django_settle": settle}, "when": "inventory_hostname == 'two'"}
    done = run_plays([{**book, "tasks": [stub, *tasks[position:]]}], "-i", str(inventory))
    assert done.returncode == (2 if left else 0), done.stdout
    assert left in done.stdout
    assert 'site_release: "0123456789ab"' in (tmp_path / "group_vars/all/release.yml").read_text()


def test_the_inventory_says_what_serves_before_the_processes_follow() -> None:
    """They may fail, and the web server is not put back for it."""
    (play,) = plays(ROOT / "playbooks/app.yml")
    assert [role["role"] for role in play["roles"]][-1] == "fairlead.site.django"
    assert [task["name"] for task in play["tasks"]][0] == "Run the processes"
    for name in ("deploy", "rollback"):
        given = yaml.safe_load((ROOT / f"playbooks/{name}.yml").read_text())[-1]["vars"]
        assert given["record_release"] in (given["site_release"], "{{ site_release }}")


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
