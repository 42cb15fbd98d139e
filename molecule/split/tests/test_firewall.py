"""What comes through the firewall, tried from each tier and from a neighbour on the same network that belongs to nobody."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import ADDRESSES, Run

# Of each host: what the site serves, what a careless service would, and what listens for the host itself.
PORTS = (22, 80, 443, 5000, 5001, 5432, 6432, 8089, 8432)
# Prints which of the given targets take a connection.
CONNECT = """
import concurrent.futures, json, socket, sys
def takes(target):
    try:
        socket.create_connection(target, timeout=2).close()
    except OSError:
        return False
    return True
targets = json.loads(sys.argv[1])
with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps([target for target, taken in zip(targets, pool.map(takes, targets)) if taken]))
"""
MISTAKE = 8099


def reachable(host: Any, targets: list[tuple[str, int]]) -> set[tuple[str, int]]:
    return {(address, port) for address, port in json.loads(host.check_output("python3 -c %s %s", CONNECT, json.dumps(targets)))}


def everywhere(*ports: int) -> list[tuple[str, int]]:
    return [(address, port) for address in ADDRESSES.values() for port in ports]


def test_a_stranger_reaches_the_edge_and_ssh_alone(on: Callable[[str], Any]) -> None:
    expected = {(address, 22) for address in ADDRESSES.values()} | {(ADDRESSES["edge1"], port) for port in (80, 443)}
    assert reachable(on("stranger"), everywhere(*PORTS)) == expected


@pytest.mark.parametrize(
    ("name", "reaches"),
    [
        ("edge1", {"app1": {443}, "app2": {443}}),
        ("app1", {"edge1": {80, 443}, "db1": {5432}, "db2": {5432}, "db3": {5432}, "store1": {5000}}),
        ("db1", {"edge1": {80, 443}, "db2": {5432}, "db3": {5432}}),
        ("store1", {"edge1": {80, 443}}),
    ],
)
def test_a_host_reaches_what_its_tier_needs(on: Callable[[str], Any], name: str, reaches: dict[str, set[int]]) -> None:
    # ssh is open to all, the backups' port to the hosts that have them.
    others = [target for target in everywhere(*PORTS) if target[0] != ADDRESSES[name] and target[1] not in (22, 8432)]
    found = reachable(on(name), others)
    assert found == {(ADDRESSES[other], port) for other, known in reaches.items() for port in known}


@pytest.fixture(scope="module")
def mistake(on: Callable[[str], Any]) -> Iterator[list[tuple[str, int]]]:
    """A container that somebody published to the whole world: its port on the host, and its own address, with a route there."""
    app, stranger = on("app1"), on("stranger")
    image = app.check_output("docker ps --format '{{ .Image }}'").splitlines()[0]
    app.check_output(
        f"docker run --detach --name mistake --publish 0.0.0.0:{MISTAKE}:8000 {image} python -m http.server --directory /venv 8000"
    )
    try:
        address = app.check_output("docker inspect --format '{{ .NetworkSettings.IPAddress }}' mistake")
        stranger.check_output(f"ip route replace {address}/32 via {ADDRESSES['app1']}")
        targets = [(ADDRESSES["app1"], MISTAKE), (address, 8000)]
        app.check_output(f"timeout 20 sh -c 'until curl --silent --output /dev/null http://{address}:8000/; do sleep 0.2; done'")
        yield targets
    finally:
        app.check_output("docker rm --force mistake")


def test_only_the_firewall_keeps_a_published_container_closed(on: Callable[[str], Any], mistake: list[tuple[str, int]]) -> None:
    """Docker itself would let it be reached: what the tests below prove is the firewall's doing."""
    on("app1").check_output("systemctl stop fairlead-firewall")
    try:
        assert reachable(on("stranger"), mistake) == set(mistake)
    finally:
        on("app1").check_output("systemctl start fairlead-firewall")


@pytest.mark.parametrize("after", ["systemctl reload fairlead-firewall", "systemctl restart docker"])
def test_a_published_container_stays_closed(on: Callable[[str], Any], mistake: list[tuple[str, int]], after: str) -> None:
    app = on("app1")
    app.check_output(after)
    assert reachable(on("stranger"), mistake) == set()
    assert reachable(app, mistake) == set(mistake)  # they are there
    assert reachable(on("edge1"), [(ADDRESSES["app1"], 443)]) == {(ADDRESSES["app1"], 443)}


def test_a_container_reaches_out(on: Callable[[str], Any], mistake: list[tuple[str, int]]) -> None:
    target = json.dumps([(ADDRESSES["edge1"], 443)])
    found = json.loads(on("app1").check_output("docker exec mistake python -c %s %s", CONNECT, target))
    assert found == [[ADDRESSES["edge1"], 443]]


def test_a_connection_outlives_a_change_of_the_rules(on: Callable[[str], Any]) -> None:
    """That of whoever runs the playbook, if nothing else: here the new rules have none for ssh."""
    app, stranger = on("app2"), on("stranger")
    ssh = [(ADDRESSES["app2"], 22)]
    talk = (
        "import pathlib, socket, sys, time; s = socket.create_connection((sys.argv[1], 22), timeout=10); s.recv(99);"
        "flag = pathlib.Path('/run/changed'); pathlib.Path('/run/connected').touch();"
        "[time.sleep(0.1) for _ in range(100) if not flag.exists()];"
        "s.sendall(b'SSH-2.0-test\\r\\n'); print(len(s.recv(99)))"
    )
    stranger.check_output("rm -f /run/changed /run/connected")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(stranger.check_output, "python3 -c %s %s", talk, *ssh[0][:1])
        stranger.check_output("timeout 10 sh -c 'until test -e /run/connected; do sleep 0.1; done'")
        try:
            app.check_output("grep -v 'comment \"ssh\"' /etc/fairlead/firewall.nft | nft --file -")
            assert reachable(stranger, ssh) == set()
            stranger.check_output("touch /run/changed")
            assert int(answer.result()) > 0
        finally:
            app.check_output("systemctl reload fairlead-firewall")
    assert reachable(stranger, ssh) == set(ssh)


def test_a_rule_that_lets_in_nobody_is_refused(playbook: Callable[..., Run]) -> None:
    run = playbook("playbooks/preflight.yml", base_firewall_ssh_from=[])
    assert run.code == 2
    assert "base_firewall_ssh_from and base_firewall_ssh_port: rule ssh lets in nobody" in run.sentence
    assert run.changes == 0
