"""The primary's host is lost: a replica is promoted, and the lost one comes back as a replica of it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import DOMAIN, Run

SITE = f"https://{DOMAIN}/"
On = Callable[[str], Any]


def ask(host: Any, sql: str) -> str:
    return str(host.check_output("runuser -u postgres -- psql -XAtqc %s", sql))


def followers(on: On, name: str) -> list[str]:
    return ask(on(name), "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming' ORDER BY 1").split()


def managed(on: On, *command: str) -> str:
    """What a management command of the site says."""
    release = on("app1").check_output("basename $(readlink /srv/demo/current)")
    words = " ".join(["%s"] * len(command))
    return str(on("app1").check_output(f"docker exec %s python manage.py {words}", f"demo-{release}", *command))


@pytest.fixture(scope="module")
def lost(on: On, playbook: Callable[..., Run], primary: Callable[[], str]) -> str:
    """Kills the primary's host, after a promotion was refused because it was alive."""
    assert primary() == "db1"
    run = playbook("playbooks/promote.yml", to="split-db2")
    assert run.code != 0 and run.changes == 0
    assert "split-db1 is a primary that runs: playbooks/switchover.yml -e to=split-db2 loses nothing" in run.sentence
    ask(on("db1"), "CREATE TABLE IF NOT EXISTS before_the_loss ()")
    managed(on, "createsamples")
    subprocess.run(["docker", "kill", "split-db1"], check=True, capture_output=True)
    return "db1"


def test_a_replica_is_promoted(lost: str, on: On, playbook: Callable[..., Run], primary: Callable[[], str]) -> None:
    run = playbook("playbooks/promote.yml", to="split-db2")
    assert run.code == 0, run.output[-3000:]
    assert "split-db2 replaces split-db1 as the primary" in run.sentence
    assert primary() == "db2"
    assert ask(on("db2"), "SELECT pg_is_in_recovery(), to_regclass('before_the_loss')") == "f|before_the_loss"
    assert followers(on, "db2") == ["split-db3"]


def test_the_site_reads_and_writes_again(lost: str, on: On, visitor: requests.Session) -> None:
    assert [visitor.get(SITE, timeout=60).status_code for _ in range(20)] == [200] * 20
    write = "from articles.models import Article; print(Article.objects.update(summary='after the loss') > 0)"
    assert "True" in managed(on, "shell", "-c", write)


def test_a_second_promotion_changes_nothing(lost: str, playbook: Callable[..., Run]) -> None:
    again = playbook("playbooks/promote.yml", to="split-db2")
    assert (again.code, again.changed) == (0, [])


def test_the_lost_primary_is_no_second_one(lost: str, on: On, playbook: Callable[..., Run]) -> None:
    subprocess.run(["docker", "start", "split-db1"], check=True, capture_output=True)
    end = time.monotonic() + 90
    while on("db1").run("runuser -u postgres -- psql -XAtqc 'SELECT 1'").rc != 0 and time.monotonic() < end:
        time.sleep(1)
    run = playbook("playbooks/database.yml")
    assert run.code != 0 and run.changes == 0
    assert "split-db1 has data of its own and is no replica" in run.sentence
    assert "playbooks/rebuild_replica.yml -e host=split-db1" in run.sentence


def test_it_comes_back_as_a_replica(lost: str, on: On, playbook: Callable[..., Run]) -> None:
    ask(on("db1"), "CREATE TABLE IF NOT EXISTS nobody_else_has_it ()")
    run = playbook("playbooks/rebuild_replica.yml", host="split-db1")
    assert run.code == 0, run.output[-3000:]
    assert followers(on, "db2") == ["split-db1", "split-db3"]
    assert ask(on("db1"), "SELECT to_regclass('nobody_else_has_it'), to_regclass('before_the_loss')") == "|before_the_loss"
    assert playbook("playbooks/rebuild_replica.yml", host="split-db1").changed == []
    assert playbook("playbooks/switchover.yml", to="split-db1").code == 0


def test_a_primary_that_only_the_controller_misses_is_none_to_replace(playbook: Callable[..., Run], tmp_path: Path) -> None:
    """It would go on writing."""
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(json.dumps({"all": {"hosts": {"split-db1": {"ansible_host": "split-nobody"}}}}))
    run = playbook("playbooks/promote.yml", "-i", str(elsewhere), to="split-db2")
    assert run.code != 0 and run.changes == 0
    assert "split-db1 cannot be looked at, but its server answers split-app1, split-app2" in run.sentence


def test_a_primary_that_runs_is_stopped_first_where_that_is_said(
    on: On, playbook: Callable[..., Run], primary: Callable[[], str]
) -> None:
    run = playbook("playbooks/promote.yml", to="split-db2", fence=True)
    assert run.code == 0, run.output[-3000:]
    assert primary() == "db2"
    assert on("db1").run("systemctl is-active postgresql@17-main").stdout == "inactive\n"
    assert on("db1").run("systemctl start postgresql@17-main").rc != 0
    run = playbook("playbooks/rebuild_replica.yml", host="split-db1")
    assert run.code == 0, run.output[-3000:]
    assert playbook("playbooks/switchover.yml", to="split-db1").code == 0
    assert followers(on, "db1") == ["split-db2", "split-db3"]
