"""What the scenarios' tests share: playbooks run again against the scenario's hosts, its secrets, and a visitor."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = "www.example.org"


@dataclass
class Run:
    """What one run of a playbook said."""

    code: int
    output: str
    report: dict[str, Any]

    @property
    def changed(self) -> list[str]:
        """Names of the tasks that changed something, or in check mode would."""
        return [
            task["task"]["name"]
            for play in self.report["plays"]
            for task in play["tasks"]
            if any(result.get("changed") for result in task["hosts"].values())
        ]

    @property
    def shown(self) -> list[str]:
        """Files whose difference was shown."""
        results = [result for play in self.report["plays"] for task in play["tasks"] for result in task["hosts"].values()]
        parts = [part for result in results if isinstance(result.get("diff"), list) for part in result["diff"]]
        return [part["after_header"] for part in parts if part.get("before") != part.get("after")]

    @property
    def changes(self) -> int:
        """How many tasks changed something, counted on each host."""
        return sum(stats["changed"] for stats in self.report["stats"].values())

    @property
    def sentence(self) -> str:
        """The output in one line, so that a sentence can be looked for however it was wrapped."""
        return " ".join(self.output.split())


@pytest.fixture(scope="session")
def playbook() -> Callable[..., Run]:
    """A function (playbook, *flags, **extra variables) that runs ansible-playbook against the scenario's hosts."""
    inventory = str(Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "inventory")

    def run(name: str, *flags: str, **variables: Any) -> Run:
        done = subprocess.run(
            ["ansible-playbook", "-i", inventory, "-e", json.dumps(variables), *flags, name],
            cwd=ROOT,
            env=os.environ
            | {
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_STDOUT_CALLBACK": "json",
                "ANSIBLE_INVENTORY": inventory,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
        )
        output = done.stdout + done.stderr
        start = re.search(r"^\{$", done.stdout, re.M)
        assert start, output
        report, _ = json.JSONDecoder().raw_decode(done.stdout[start.start() :])
        return Run(done.returncode, output, report)

    return run


@pytest.fixture(scope="session")
def secrets() -> dict[str, str]:
    """The scenario's secrets by name."""
    folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "secrets"
    found = {path.stem: path.read_text().strip() for path in folder.iterdir()}
    assert {"secret_key", "database_password"} <= set(found)
    return found


@contextmanager
def visiting(host: Any, address: str) -> Iterator[requests.Session]:
    """A browser on this machine for which the site's name leads to the address, and which verifies that host's certificate."""
    resolve = socket.getaddrinfo

    def getaddrinfo(name: Any, *rest: Any, **options: Any) -> Any:
        return resolve(address if name == DOMAIN else name, *rest, **options)

    authority = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "visitor.pem"
    authority.write_text(
        host.check_output(
            "cd /etc/nginx && cat $(nginx -T 2>/dev/null | sed -n 's/^ *ssl_certificate  *\\(.*\\);/\\1/p' | head -n 1)"
        )
    )
    with pytest.MonkeyPatch.context() as patch, requests.Session() as session:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        session.trust_env = False  # or REQUESTS_CA_BUNDLE would win
        session.verify = str(authority)
        yield session


def registry_login(host: Any, registry: str, user: str, password: str) -> str:
    """What Docker on the host says to a login at the registry."""
    command = "printf %%s %s | DOCKER_CONFIG=$(mktemp -d /run/login.XXXXXX) timeout 15 docker login -u %s --password-stdin %s 2>&1"
    said: str = host.run(command, password, user, registry).stdout
    host.check_output("rm -r /run/login.*")
    return said
