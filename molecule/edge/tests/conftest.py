"""An app behind the scenario's nginx."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scenario import Run, playbook

__all__ = ["Run", "playbook"]

APP = Path(__file__).with_name("edge_app.py")


@pytest.fixture(scope="module")
def app(host: Any) -> Iterator[None]:
    packed = base64.b64encode(APP.read_bytes()).decode()
    host.check_output(
        f"mkdir -p /run/app && rm -f /run/app/app.sock && echo {packed} | base64 -d > /run/app/app.py"
        " && systemd-run --quiet --collect --unit app --property LimitNOFILE=20000 --property StandardError=null"
        " python3 /run/app/app.py /run/app/app.sock /run/app/heard"
        " && for _ in $(seq 100); do [ -S /run/app/app.sock ] && break; sleep 0.1; done && chmod 666 /run/app/app.sock"
    )
    yield
    host.check_output("systemctl stop app")
