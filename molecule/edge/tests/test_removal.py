"""nginx can be taken away again; the last test of the scenario."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import testinfra

testinfra_hosts = ["ansible://fairlead-edge"]
SCENARIO = Path(__file__).resolve().parents[1]


def remove() -> list[int]:
    """Run the roles' removal and return how many tasks changed something, for each host."""
    run = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", SCENARIO / "inventory", SCENARIO / "remove.yml"],
        env=os.environ | {"ANSIBLE_CONFIG": str(SCENARIO.parents[1] / "ansible.cfg")},
        cwd=SCENARIO.parents[1],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return [int(count) for count in re.findall(r"changed=(\d+)", run.stdout)]


def test_nothing_is_left() -> None:
    assert remove() == [3, 5, 5]
    assert remove() == [0, 0, 0]
    for name in ("fairlead-edge", "fairlead-pair1", "fairlead-pair2"):
        host = testinfra.get_host(f"docker://{name}")
        assert not host.package("nginx").is_installed
        assert not host.package("keepalived").is_installed
        assert host.run("find /etc /usr/local /var/cache/nginx /var/lib/nginx -name '*nginx*' -o -name '*keepalived*'").stdout == ""
        assert host.run("curl -s http://127.0.0.1/").rc == 7
        assert "10.207.0.100" not in host.check_output("ip -4 -o address show")
