"""Rules by hand for the poolers: they are tried before they apply, and those that answer wrong are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conftest import ADDRESSES, Run

On = Callable[[str], Any]

RULES = [{"query": r"(?i)/\* of the report \*/", "target": "split-db2"}]
# inet_server_addr() is no function that the builtin routing sends away.
QUERY = "SELECT host(inet_server_addr()) /* of the report */"
# Outside of a transaction, within which nothing is sent elsewhere.
CONNECT = "psycopg.connect(host='/run/demo-pooler', port=6432, dbname='default', autocommit=True)"
ASK = f"import psycopg; print({CONNECT}.execute('{QUERY}').fetchone()[0])"


def case(target: str) -> list[dict[str, str]]:
    return [{"username": "demo", "query": QUERY, "target": target}]


def answers(on: On) -> set[str]:
    """The servers that answer the query on the app hosts."""
    user = r"$(sed -n 's/.*\(demo_[0-9a-f]\{8\}\).*/\1/p' /etc/pgbouncer/userlist.txt | head -n 1)"
    run = (
        f"docker exec -e PGUSER={user} -e PGPASSWORD=$(cat /srv/demo/current/secrets/DATABASE_PASSWORD) "
        "$(docker ps -q | head -n 1) python -c %s"
    )
    return {on(name).check_output(run, ASK) for name in ("app1", "app2")}


@pytest.fixture
def rules(playbook: Callable[..., Run]) -> Any:
    yield lambda **cases: playbook("playbooks/pooler.yml", pgbouncer_rr_rules=RULES, **cases)
    run = playbook("playbooks/pooler.yml")
    assert run.code == 0, run.output[-3000:]


def test_rules_that_answer_wrong_are_refused(rules: Callable[..., Run], on: On, primary: Callable[[], str]) -> None:
    home = {ADDRESSES[primary()]}
    assert answers(on) == home
    run = rules(pgbouncer_rr_cases=case("default"))
    assert run.code != 0 and run.changes == 0, run.output[-3000:]
    assert "split-db2" in run.sentence and "default" in run.sentence
    assert answers(on) == home
    assert on("app1").run("ls /etc/pgbouncer/rules").stdout == ""


def test_rules_that_answer_right_apply(rules: Callable[..., Run], on: On) -> None:
    run = rules(pgbouncer_rr_cases=case("split-db2"))
    assert run.code == 0, run.output[-3000:]
    assert answers(on) == {ADDRESSES["db2"]}
