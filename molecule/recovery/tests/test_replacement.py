"""An app host is lost for good, and replaced by a bare one at the same address."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from conftest import ADDRESSES, DOMAIN, ROOT, Run

SITE = f"https://{DOMAIN}/"


@pytest.fixture(scope="module")
def lost() -> str:
    """Takes the second app host away with all its data."""
    subprocess.run([ROOT / "scripts/test-host", "down", "split-app2"], check=True)
    return "app2"


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
    before = int(on(lost).check_output("cat /var/log/nginx/access.log | wc -l"))
    assert [visitor.get(SITE, headers={"Connection": "close"}).status_code for _ in range(30)] == [200] * 30
    time.sleep(2)  # the log is written once a second
    assert int(on(lost).check_output("cat /var/log/nginx/access.log | wc -l")) > before
    again = playbook("site.yml")
    assert (again.code, again.changed) == (0, [])
