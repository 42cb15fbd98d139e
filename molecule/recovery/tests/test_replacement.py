"""An app host and a replica are lost for good, and replaced by bare ones at the same addresses."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from conftest import ADDRESSES, DOMAIN, ROOT, Run

SITE = f"https://{DOMAIN}/"


@pytest.fixture(scope="module", params=["app2", "db2"])
def lost(request: pytest.FixtureRequest, primary: Callable[[], str]) -> str:
    """Takes an app host away with all its data, then a replica."""
    name = str(request.param)
    assert name != primary()
    subprocess.run([ROOT / "scripts/test-host", "down", f"split-{name}"], check=True)
    return name


def work_done(host: Any) -> int:
    """Requests that an app host has answered, or readings of the articles by a replica."""
    scans = "SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'articles_article'"
    replica = f'runuser -u postgres -- psql -XAtqd demo -c "{scans}"'
    return int(host.check_output(f"if [ -d /etc/postgresql/17 ]; then {replica}; else cat /var/log/nginx/access.log | wc -l; fi"))


def test_visitors_do_not_notice_the_loss(lost: str, visitor: requests.Session) -> None:
    assert [visitor.get(SITE).status_code for _ in range(30)] == [200] * 30


def test_nothing_is_changed_while_a_host_is_away(lost: str, playbook: Callable[..., Run]) -> None:
    run = playbook("site.yml")
    assert run.code != 0
    assert run.changes == 0


def test_a_bare_host_takes_its_place(
    lost: str, playbook: Callable[..., Run], visitor: requests.Session, on: Callable[[str], Any]
) -> None:
    subprocess.run(
        [ROOT / "scripts/test-host", "up", f"split-{lost}", "--network", "fairlead-split", "--ip", ADDRESSES[lost]], check=True
    )
    run = playbook("site.yml")
    assert run.code == 0, run.output[-3000:]
    before, end = work_done(on(lost)), time.monotonic() + 30
    while work_done(on(lost)) == before:
        assert time.monotonic() < end, "it does nothing"
        assert [visitor.get(SITE, headers={"Connection": "close"}).status_code for _ in range(30)] == [200] * 30
    again = playbook("site.yml")
    assert (again.code, again.changed) == (0, [])
