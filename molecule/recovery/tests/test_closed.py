"""A site that is closed: to visitors, and to who would log in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from conftest import ADDRESSES, DOMAIN, Run

On = Callable[[str], Any]

# A port that the firewall closes does not answer at all.
CONNECT = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{ADDRESSES['store1']}/22'"


@pytest.fixture
def maintenance(playbook: Callable[..., Run]) -> Iterator[None]:
    """Closed for all but this machine."""
    run = playbook("playbooks/maintenance.yml", state="on", message="We're back at noon.", allow="10.203.0.1, 192.0.2.0/24")
    assert run.code == 0, run.output[-3000:]
    yield
    assert playbook("playbooks/maintenance.yml", state="off").code == 0


def test_who_is_allowed_sees_a_site_in_maintenance(maintenance: None, on: On, visitor: requests.Session) -> None:
    assert visitor.get(f"https://{DOMAIN}/").status_code == 200
    ask = f"curl -sk -w '%{{http_code}}' --resolve {DOMAIN}:443:{ADDRESSES['edge1']} https://{DOMAIN}/"
    page = on("app1").run(ask).stdout
    assert "We&#39;re back at noon." in page and page.endswith("503")


@pytest.fixture
def from_app1(playbook: Callable[..., Run]) -> Iterator[None]:
    """Hosts on which one logs in from an app host alone."""
    run = playbook("site.yml", base_firewall_ssh_from=[ADDRESSES["app1"]])
    assert run.code == 0, run.output[-3000:]
    yield
    assert playbook("site.yml").code == 0


def test_one_logs_in_from_where_it_is_allowed(from_app1: None, on: On) -> None:
    assert [on(name).run(CONNECT).rc == 0 for name in ("app1", "app2", "stranger")] == [True, False, False]
