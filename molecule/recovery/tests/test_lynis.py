"""Lynis, which knows nothing of this project, audits the hosts: what it finds is waived with a reason, or fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

WAIVED = yaml.safe_load((Path(__file__).parent / "lynis.yml").read_text())


@pytest.mark.parametrize("name", ["app1", "db1", "edge1"])
def test_lynis_finds_nothing_that_has_no_reason(on: Callable[[str], Any], name: str) -> None:
    host = on(name)
    host.check_output("apt-get update -q && apt-get install -qy --no-install-recommends lynis")
    try:
        host.run("lynis audit system --quick --quiet --no-colors")
        report = host.file("/var/log/lynis-report.dat").content_string.splitlines()
    finally:
        host.check_output("apt-get purge -qy lynis && rm -f /var/log/lynis*")
    values = [line.partition("=")[::2] for line in report]
    for kind in ("warning", "suggestion"):
        found = {value.split("|")[0]: value for key, value in values if key == f"{kind}[]"}
        assert [text for test, text in found.items() if test not in WAIVED[f"{kind}s"]] == []
    assert int(dict(values)["hardening_index"]) >= WAIVED["floor"]
