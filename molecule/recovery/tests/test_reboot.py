"""Every host of the site restarts, one after the other; the site comes back, and stays closed."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from conftest import ADDRESSES, DOMAIN

# Prints whether a connection is taken.
TAKES = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2).close()
except OSError:
    print("closed")
else:
    print("open")
"""


def test_a_published_container_stays_closed_after_a_restart(on: Callable[[str], Any]) -> None:
    app, stranger = on("app1"), on("stranger")
    image = app.check_output("docker ps --format '{{ .Image }}'").splitlines()[0]
    app.check_output(
        "docker run --detach --name mistake --restart always --publish 0.0.0.0:8099:8000 "
        f"{image} python -m http.server --directory /venv 8000"
    )
    try:
        subprocess.run(["docker", "restart", "split-app1"], check=True, capture_output=True)
        app.check_output(
            "timeout 120 sh -c 'until curl --silent --output /dev/null http://127.0.0.1:8099/ || "
            f"curl --silent --output /dev/null http://{ADDRESSES['app1']}:8099/; do sleep 1; done'"
        )
        (container,) = json.loads(app.check_output("docker inspect mistake"))
        address = container["NetworkSettings"]["IPAddress"]
        stranger.check_output(f"ip route replace {address}/32 via {ADDRESSES['app1']}")
        for target, port in ((ADDRESSES["app1"], 8099), (address, 8000)):
            assert stranger.check_output("python3 -c %s %s %s", TAKES, target, str(port)) == "closed"
    finally:
        app.check_output("docker rm --force mistake")


@pytest.mark.parametrize("name", sorted(ADDRESSES))
def test_the_site_is_back_after_a_restart(on: Callable[[str], Any], visitor: requests.Session, name: str) -> None:
    subprocess.run(["docker", "restart", f"split-{name}"], check=True, capture_output=True)
    # Both app hosts answer: ten times in a row.
    answers: list[int] = []
    for _ in range(120):
        try:
            answers.append(visitor.get(f"https://{DOMAIN}/health/ready", timeout=5).status_code)
        except requests.RequestException:
            answers.append(0)
        if answers[-10:] == [200] * 10:
            break
        time.sleep(0.5)
    else:
        pytest.fail(f"the site was not back within a minute: {answers}")
    host = on(name)
    host.check_output("timeout 120 sh -c 'until systemctl is-system-running | grep -E \"running|degraded\"; do sleep 1; done'")
    assert host.check_output("systemctl list-units --failed --plain --no-legend") == ""
    assert host.check_output("systemctl is-active fairlead-firewall") == "active"
    # Something listens that nobody is meant to reach from elsewhere.
    host.check_output("systemd-run --quiet --unit listener python3 -m http.server 8099")
    try:
        mine = f"http://{ADDRESSES[name]}:8099/"
        host.check_output(f"timeout 10 sh -c 'until curl -s -o /dev/null {mine}; do sleep 0.2; done'")
        assert on("stranger").check_output("python3 -c %s %s %s", TAKES, ADDRESSES[name], "8099") == "closed"
    finally:
        host.check_output("systemctl stop listener")
