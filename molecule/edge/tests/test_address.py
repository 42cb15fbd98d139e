"""Two edge hosts, one address: whatever dies, soon exactly one of them holds it, and never both."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import testinfra

testinfra_hosts = ["ansible://fairlead-edge"]
PAIR = {name: testinfra.get_host(f"docker://{name}") for name in ("fairlead-pair1", "fairlead-pair2")}
ADDRESS = "10.207.0.100"
SECONDS = 20


def holders() -> list[str]:
    return [name for name, host in PAIR.items() if ADDRESS in host.check_output("ip -4 -o address show")]


def other(name: str) -> str:
    return next(one for one in PAIR if one != name)


def holder(name: str | None = None) -> str:
    """Wait until exactly one host (that of this name) holds the address; both is never right."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found = holders()
        if len(found) == 1 and found[0] == (name or found[0]):
            return found[0]
        time.sleep(0.3)
    raise AssertionError(f"{holders()} hold the address")


@pytest.fixture(autouse=True)
def well() -> Iterator[None]:
    yield
    for host in PAIR.values():
        host.check_output("systemctl reset-failed nginx keepalived; systemctl start nginx keepalived")
    holder()


def test_one_holds_the_address_and_answers() -> None:
    first = PAIR[holder()]
    asked = PAIR[other(holder())].check_output(
        f"curl -sk -o /dev/null -w '%{{http_code}}' --resolve www.example.org:80:{ADDRESS} http://www.example.org/"
    )
    assert asked == "301"
    assert first.service("keepalived").is_enabled


def test_a_host_whose_nginx_died_gives_the_address_away() -> None:
    first = holder()
    # systemd would start it again before anybody noticed.
    PAIR[first].check_output("systemctl kill --signal KILL nginx; systemctl stop nginx")
    assert holder(other(first)) == other(first)
    PAIR[first].check_output("systemctl reset-failed nginx; systemctl start nginx")
    # It stays where it is: the host is back, but nothing is won by moving.
    time.sleep(6)
    assert holders() == [other(first)]


@pytest.mark.parametrize("victims", ["pgrep --oldest keepalived", "pgrep --newest keepalived", "pgrep keepalived"])
def test_a_killed_keepalived_leaves_no_second_holder(victims: str) -> None:
    first = holder()
    PAIR[first].check_output(f"kill -KILL $({victims})")
    time.sleep(1.5)
    end = time.monotonic() + SECONDS
    seen = []
    while time.monotonic() < end and seen[-6:] != [1] * 6:
        seen.append(len(holders()))
        time.sleep(0.3)
    assert seen[-6:] == [1] * 6, seen
    assert 2 not in seen, seen


def test_a_keepalived_that_stays_dead_gives_the_address_away() -> None:
    first = holder()
    PAIR[first].check_output("systemctl stop keepalived")
    assert holder(other(first)) == other(first)
