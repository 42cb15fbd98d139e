"""The verbs of a running site say what is there, and change nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import DOMAIN, ROOT

Verb = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def verb() -> Verb:
    """A function (verb, **variables) that runs it as make does; `attach` leads its output into a shell, as for a terminal."""
    inventory = str(Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "inventory")

    def run(name: str, attach: bool = False, **variables: Any) -> subprocess.CompletedProcess[str]:
        play = ["ansible-playbook", "-i", inventory, f"playbooks/{name}.yml", "-e", json.dumps(variables)]
        return subprocess.run(
            ["scripts/attach", *play] if attach else play,
            cwd=ROOT,
            env=os.environ
            | {
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_INVENTORY": inventory,
                "ANSIBLE_STDOUT_CALLBACK": "fairlead.site.plain",
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
        )

    return run


def test_status_says_what_runs_and_that_it_is_as_recorded(host: Any, verb: Verb) -> None:
    done = verb("status", format="json")
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["drift"] == []
    (web,) = [row for row in said["rows"] if row["what"] == "web"]
    assert web["release"] == host.check_output("readlink /srv/demo/current").rsplit("/", 1)[1]
    assert web["state"] == "healthy"
    assert {row["what"] for row in said["rows"]} >= {"nginx.service", "pgbouncer.service", "postgresql@17-main.service"}


def test_status_fails_where_something_is_not_as_it_should_be(host: Any, verb: Verb) -> None:
    host.check_output("systemctl stop fairlead-watchdog.timer")
    try:
        done = verb("status")
    finally:
        host.check_output("systemctl start fairlead-watchdog.timer")
    assert done.returncode == 2
    assert "fairlead-watchdog.timer is inactive." in done.stdout
    assert "1 of it is not as it should be" in done.stderr


def test_doctor_tells_what_would_stop_a_deploy_and_its_remedy(verb: Verb) -> None:
    well = verb("doctor")
    assert well.returncode == 0, well.stdout
    assert "problem" not in well.stdout
    image = "sha256:" + "0" * 64
    ill = verb("doctor", django_disk_free_mb=10**9, site_image=image, django_image_archive="", site_pooler_port=6999)
    assert ill.returncode == 2
    problems = [line for line in ill.stdout.splitlines() if line.startswith("problem")]
    for words in ("(django_disk_free_mb): free some", "image sha256:000000000000 cannot be had", ".s.PGSQL.6999"):
        assert any(words in line for line in problems), ill.stdout


def test_a_request_is_followed_through_all_logs_by_its_id(verb: Verb, visitor: requests.Session) -> None:
    identifier = visitor.get(f"https://{DOMAIN}/archive/").headers["X-Request-ID"]
    done = verb("logs", since="2m", request=identifier)
    lines = [line.split(" ", 3) for line in done.stdout.splitlines()]
    assert {line[2].split("-")[0] for line in lines} == {"access.log", "demo"}, done.stdout
    assert lines == sorted(lines, key=lambda line: line[0]) and all("/archive/" in line[3] for line in lines)


def test_a_command_runs_in_the_release_in_service(host: Any, verb: Verb) -> None:
    done = verb("exec", attach=True, run="sh -c 'echo $RELEASE; exit 5'")
    assert done.returncode == 5
    assert host.check_output("readlink /srv/demo/current").endswith(done.stdout.strip())
    assert "[X] 0001_initial" in verb("exec", attach=True, run="manage showmigrations articles").stdout
    assert verb("exec", attach=True, run="dbshell -Atc 'SELECT current_user'").stdout == "demo\n"
    assert host.check_output("docker ps --all --quiet --filter label=fairlead.process.kind=run") == ""


def test_parity_lists_what_differs_and_what_of_it_is_meant(verb: Verb, tmp_path: Path) -> None:
    saved = tmp_path / "site.json"
    assert verb("parity", save=str(saved)).returncode == 0
    site = json.loads(saved.read_text())
    facts = site["facts"]
    assert facts["app / environment / SECRET_KEY_FILE"] == "set"
    facts["db / postgresql / work_mem"] = "1 kB"
    facts["app / nginx / nginx.conf / http / server_tokens"] = "on"
    saved.write_text(json.dumps(site))
    done = verb("parity", against=str(saved), format="json")
    assert done.returncode == 2
    found = {row["what"]: row["expected"] for row in json.loads(done.stdout)["rows"]}
    assert found == {
        "app / nginx / nginx.conf / http / server_tokens": "",
        "db / postgresql / work_mem": "from the capacity model",
    }


def test_a_job_of_the_site_runs_in_the_release(host: Any) -> None:
    host.check_output("systemctl start fairlead-job@clearsessions")
    assert "Finished" in host.check_output("journalctl --unit fairlead-job@clearsessions --output cat")
    assert host.check_output("systemctl is-active fairlead-job@clearsessions.timer") == "active"
