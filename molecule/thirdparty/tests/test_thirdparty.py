"""Bugsink as it is on PyPI is the site: deployed, upgraded with its migrations, and rolled back, while it is used."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import DOMAIN, ROOT, Run
from load import loading

SITE = f"https://{DOMAIN}"
NEWER = {
    "site_image": "{{ lookup('ansible.builtin.file', _build ~ '/bugsink.id') }}",
    "django_image_archive": str(ROOT / "build/bugsink.tar"),
}


def version(host: Any) -> str:
    program = "import importlib.metadata; print(importlib.metadata.version('bugsink'))"
    return str(host.check_output("docker exec demo-$(basename $(readlink /srv/demo/current)) python -c %s", program))


def events(host: Any) -> int:
    return int(host.check_output("runuser -u postgres -- psql -XAtq demo -c 'SELECT count(*) FROM events_event'"))


@pytest.fixture
def send(visitor: requests.Session) -> Callable[[], None]:
    """A function that reports an error to it, each time another one."""
    key = (Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "secrets/project_key.txt").read_text().strip()

    def report() -> None:
        name = uuid.uuid4().hex
        event = {"event_id": name, "platform": "python", "message": f"The test {name} failed", "timestamp": 0}
        answer = visitor.post(f"{SITE}/api/1/store/", json=event, params={"sentry_key": key})
        assert answer.status_code == 200, answer.text

    return report


def test_it_serves(host: Any, visitor: requests.Session, send: Callable[[], None]) -> None:
    assert "Bugsink" in visitor.get(f"{SITE}/accounts/login/").text
    before = events(host)
    send()
    assert events(host) == before + 1
    assert host.run("find / -xdev -name db.sqlite3 -path '*data*'").stdout == ""


def test_it_is_upgraded_and_rolled_back(
    host: Any, address: str, visitor: requests.Session, playbook: Callable[..., Run], send: Callable[[], None]
) -> None:
    older, before = version(host), events(host)
    errand = {"name": "page", "path": "/accounts/login/", "visitors": 2, "pause": 0.2}
    with loading(address, DOMAIN, str(visitor.verify), errand) as requested:
        refused = playbook("playbooks/deploy.yml", **NEWER)
        assert refused.code == 2 and "ACCEPT=destructive" in refused.sentence
        assert version(host) == older

        run = playbook("playbooks/deploy.yml", accept="destructive", **NEWER)
        assert run.code == 0, run.output
        assert version(host) > older
        send()

        # The older version could make no API token any more: a person has to know, and to say that it does not matter.
        refused = playbook("playbooks/rollback.yml")
        assert refused.code == 2 and "these migrations were applied" in refused.sentence
        assert "bsmain.0004_auth_token_capabilities" in refused.sentence
        assert version(host) > older

        run = playbook("playbooks/rollback.yml", force=True)
        assert run.code == 0, run.output
        assert version(host) == older
        send()

        run = playbook("playbooks/deploy.yml", **NEWER)
        assert run.code == 0, run.output
        assert version(host) > older
        send()
    assert requested.others("page 200") == {} and requested.of("page", 200) > 20
    assert events(host) == before + 3
