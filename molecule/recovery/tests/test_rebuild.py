"""A replica that was away for longer than its primary keeps the log is made anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Run

On = Callable[[str], Any]
STREAMS = "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'split-db3' AND state = 'streaming'"


def ask(host: Any, sql: str) -> str:
    return str(host.check_output("runuser -u postgres -- psql -XAtqc %s", sql))


@pytest.fixture(scope="module")
def behind(on: On, primary: Callable[[], str]) -> str:
    """Keeps db3 away until nobody has the log any more that it needs: no slot, no file, no archive."""
    current = on(primary())
    on("db3").check_output("systemctl stop postgresql@17-main")
    ask(current, "SELECT pg_drop_replication_slot('replica_split_db3')")
    for _ in range(24):  # of 16 MB; wal_keep_size is 256 MB
        ask(current, "SELECT pg_logical_emit_message(false, 'test', 'x'), pg_switch_wal()")
    ask(current, "CHECKPOINT")
    ask(current, "CREATE TABLE IF NOT EXISTS while_it_was_away ()")
    on("db3").check_output("sed -i \"s/^restore_command = .*/restore_command = ''/\" /etc/postgresql/17/main/postgresql.conf")
    on("db3").run("systemctl start postgresql@17-main")
    time.sleep(3)
    assert ask(current, STREAMS) == "0"
    return "split-db3"


def test_it_is_rebuilt(behind: str, on: On, playbook: Callable[..., Run], primary: Callable[[], str]) -> None:
    run = playbook("playbooks/rebuild_replica.yml", host=behind)
    assert run.code == 0, run.output[-3000:]
    assert f"{behind} becomes a replica of split-{primary()} again" in run.sentence
    assert ask(on(primary()), STREAMS) == "1"
    assert ask(on("db3"), "SELECT to_regclass('while_it_was_away')") == "while_it_was_away"
    assert on("db3").check_output("ls /var/lib/postgresql/17") == "main"


def test_a_second_run_changes_nothing(behind: str, playbook: Callable[..., Run]) -> None:
    run = playbook("playbooks/rebuild_replica.yml", host=behind)
    assert (run.code, run.changed) == (0, [])
    assert "there is nothing to rebuild" in run.sentence


def test_the_primary_is_never_rebuilt(playbook: Callable[..., Run], primary: Callable[[], str]) -> None:
    run = playbook("playbooks/rebuild_replica.yml", host=f"split-{primary()}")
    assert run.code != 0 and run.changes == 0
    assert "is the primary, from which replicas are made" in run.sentence
