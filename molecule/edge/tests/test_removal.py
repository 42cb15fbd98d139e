"""nginx can be taken away again; the last test of the scenario."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

SCENARIO = Path(__file__).resolve().parents[1]


def remove() -> int:
    """Run the role's removal and return how many tasks changed something."""
    run = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", SCENARIO / "inventory", SCENARIO / "remove.yml"],
        env=os.environ | {"ANSIBLE_CONFIG": str(SCENARIO.parents[1] / "ansible.cfg")},
        cwd=SCENARIO.parents[1],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return int(re.search(r"changed=(\d+)", run.stdout)[1])  # type: ignore[index]


def test_nothing_is_left(host: Any) -> None:
    assert remove() == 2
    assert remove() == 0
    assert not host.package("nginx").is_installed
    assert host.run("find /etc /usr/local /var/cache/nginx /var/lib/nginx -name '*nginx*'").stdout == ""
    assert host.run("curl -s http://127.0.0.1/").rc == 7
