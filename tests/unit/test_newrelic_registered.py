"""Whether a deployment says that the application's agent has registered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("logged", "says"),
    [
        (
            "booting\nagents: newrelic has registered as Demo shop\nmore",
            "The application reports to New Relic as Demo shop.",
        ),
        (
            "newrelic.core - ERROR - certificate verify failed\nmore",
            "The application does NOT report to New Relic: its agent has not registered within 1 seconds. Check the licence key,"
            " the way to the collector and the authority of its certificate. newrelic.core - ERROR - certificate verify failed",
        ),
        ("booting", "of its certificate. The agent said nothing."),
    ],
)
def test_a_deployment_says_whether_the_agent_has_registered(
    tmp_path: Path, run_plays: Callable[..., subprocess.CompletedProcess[str]], logged: str, says: str
) -> None:
    (tmp_path / "log").write_text(f"{logged}\n")
    docker = tmp_path / "docker"
    asked = 'case "$*" in "ps --quiet --filter label=fairlead.site=demo") echo c1 ;; "logs c1")'
    docker.write_text(f"#!/bin/sh\n{asked} cat {tmp_path}/log >&2 ;; *) exit 9 ;; esac\n")
    docker.chmod(0o755)
    variables = {
        "newrelic_container_label": "fairlead.site=demo",
        "newrelic_app_name": "Demo shop",
        "newrelic_registration_seconds": 1,
        "ansible_python_interpreter": sys.executable,
    }
    registered = {"ansible.builtin.include_role": {"name": "fairlead.site.newrelic", "tasks_from": "registered"}}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": [registered]}
    done = run_plays([play])
    assert done.returncode == 0, done.stdout + done.stderr
    assert says in " ".join(done.stdout.replace("\\n", " ").split())
