"""No host has the database any more, but one has its backups: a bare host takes the primary's place, and the data comes back."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import requests
from conftest import ADDRESSES, DOMAIN, ROOT, Run
from test_restore import STORE, archive, ask

On = Callable[[str], Any]


@pytest.fixture(scope="module")
def lost(on: On, primary: Callable[[], str]) -> str:
    """Takes the primary's host away with all its data, and from the others their copies of it."""
    name = primary()
    assert name != STORE
    ask(on(name), "CREATE TABLE written_last ()")
    archive(on(name), on(STORE))
    for other in {"db1", "db2", "db3"} - {name}:
        on(other).check_output("pg_dropcluster --stop 17 main")
    host = f"split-{name}"
    subprocess.run([ROOT / "scripts/test-host", "down", host], check=True)
    subprocess.run([ROOT / "scripts/test-host", "up", host, "--network", "fairlead-split", "--ip", ADDRESSES[name]], check=True)
    return name


def test_an_empty_database_does_not_get_into_the_backups(lost: str, playbook: Callable[..., Run]) -> None:
    run = playbook("site.yml")
    assert run.code != 0
    assert "backup_stanza_upgrade_enabled" in run.sentence


def test_the_data_comes_back(lost: str, on: On, playbook: Callable[..., Run], visitor: requests.Session) -> None:
    run = playbook("playbooks/restore.yml", target="latest", keep_old=False)
    assert run.code == 0, run.output[-3000:]
    assert ask(on(lost), "SELECT to_regclass('written_last')") == "written_last"
    # They were made of the empty database.
    for other in {"db1", "db2", "db3"} - {lost}:
        on(other).check_output("pg_dropcluster --stop 17 main")
    run = playbook("site.yml")
    assert run.code == 0, run.output[-3000:]
    assert [visitor.get(f"https://{DOMAIN}/").status_code for _ in range(20)] == [200] * 20
    assert ask(on(lost), "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "2"
    ask(on(lost), "DROP TABLE written_last")
