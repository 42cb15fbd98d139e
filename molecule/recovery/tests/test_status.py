"""The verb that tells when a host is not closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conftest import Run


def test_status_tells_of_a_firewall_that_is_off(on: Callable[[str], Any], playbook: Callable[..., Run]) -> None:
    on("store1").check_output("systemctl stop fairlead-firewall")
    try:
        run = playbook("playbooks/status.yml")
    finally:
        on("store1").check_output("systemctl start fairlead-firewall")
    assert run.code != 0
    assert "split-store1: fairlead-firewall.service is inactive." in run.sentence
    assert "1 of it is not as it should be" in run.sentence
    assert playbook("playbooks/status.yml").code == 0
