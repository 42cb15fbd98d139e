"""The replicas: what they stream, over what, and who is kept out; asked of the servers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import ADDRESSES, Run

REPLICAS = ["db2", "db3"]
On = Callable[[str], Any]
CONFIG = "/etc/postgresql/17/main"


def ask(host: Any, sql: str) -> str:
    """Return what the server answers to its administrator."""
    return str(host.check_output("runuser -u postgres -- psql -XAtq -c %s", sql))


def soon(question: Callable[[], str], answer: str) -> bool:
    """Whether the question gets this answer within ten seconds."""
    end = time.monotonic() + 10
    while question() != answer and time.monotonic() < end:
        time.sleep(0.1)
    return question() == answer


def test_replicas_stream_over_tls_each_under_its_own_name(on: On) -> None:
    streams = "SELECT application_name, state, version, client_dn FROM pg_stat_replication JOIN pg_stat_ssl USING (pid) ORDER BY 1"
    assert ask(on("db1"), streams).splitlines() == [f"split-{name}|streaming|TLSv1.3|/CN=split-{name}" for name in REPLICAS]


@pytest.mark.parametrize("replica", REPLICAS)
def test_a_replica_has_what_was_written_and_takes_no_write(on: On, replica: str) -> None:
    ask(on("db1"), "DROP TABLE IF EXISTS written; CREATE TABLE written AS SELECT 42 AS answer")
    found = "SELECT xpath('/row/answer/text()', query_to_xml('SELECT * FROM written', true, true, ''))"
    assert soon(lambda: on(replica).run("runuser -u postgres -- psql -XAtq -c %s", found).stdout.strip(), "{42}")
    refused = on(replica).run("runuser -u postgres -- psql -c 'DELETE FROM written'")
    assert refused.rc != 0 and "read-only transaction" in refused.stderr
    ask(on("db1"), "DROP TABLE written")


def test_the_lag_is_soon_nothing(on: On) -> None:
    behind = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn < pg_current_wal_flush_lsn()"
    assert soon(lambda: ask(on("db1"), behind), "0")


def test_what_a_slot_may_hold_back_is_bounded(on: On) -> None:
    slots = "SELECT slot_name, active, safe_wal_size IS NOT NULL FROM pg_replication_slots ORDER BY 1"
    assert ask(on("db1"), slots).splitlines() == [f"replica_split_{name}|t|t" for name in REPLICAS]


@pytest.mark.parametrize("replica", REPLICAS)
def test_a_replica_has_slots_for_the_others_which_hold_nothing_back(on: On, replica: str) -> None:
    held = "SELECT slot_name, restart_lsn FROM pg_replication_slots ORDER BY 1"
    others = [name for name in ["db1", *REPLICAS] if name != replica]
    assert ask(on(replica), held).splitlines() == [f"replica_split_{name}|" for name in others]


@pytest.fixture(scope="module")
def strange_authority(on: On) -> str:
    """A folder on db2 with an authority of somebody else, and a certificate of it in db2's name."""
    make = (
        "set -e; rm -rf /tmp/strange; mkdir /tmp/strange; cd /tmp/strange;"
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -subj /CN=strange;"
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj /CN=split-db2;"
        "openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -out server.crt; chown -R postgres /tmp/strange"
    )
    on("db2").check_output("bash -c %s 2>/dev/null", make)
    return "/tmp/strange"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"sslrootcert": "/tmp/strange/ca.crt"}, "certificate verify failed"),
        ({"sslcert": "/tmp/strange/server.crt", "sslkey": "/tmp/strange/server.key"}, "unknown ca"),
        ({"sslcert": "/nowhere"}, "requires a valid client certificate"),
        ({"host": "db.example.org"}, "does not match host name"),
        ({"sslmode": "disable"}, "no pg_hba.conf entry"),
        ({"dbname": "demo"}, "no pg_hba.conf entry"),
    ],
    ids=lambda value: "-".join(value) or "nothing" if isinstance(value, dict) else "",
)
def test_both_sides_verify_each_other(on: On, strange_authority: str, change: dict[str, str], words: str) -> None:
    given = {
        "host": ADDRESSES["db1"],
        "hostaddr": ADDRESSES["db1"],
        "user": "replicator",
        "dbname": "postgres",
        "sslmode": "verify-full",
        "sslrootcert": f"{CONFIG}/ca.crt",
        "sslcert": f"{CONFIG}/server.crt",
        "sslkey": f"{CONFIG}/server.key",
    } | change
    conninfo = " ".join(f"{key}={value}" for key, value in given.items())
    run = on("db2").run("runuser -u postgres -- psql %s -XAtqc 'SELECT 1'", conninfo)
    assert (run.rc == 0) == (words == "")
    assert words in run.stderr


def test_an_inventory_that_names_another_primary_is_refused(playbook: Callable[..., Run]) -> None:
    run = playbook("site.yml", "--tags", "postgresql", site_primary="split-db2")
    assert run.code != 0 and run.changes == 0
    assert "split-db2 is a replica, but the inventory says that it is the primary" in run.sentence
    assert "playbooks/switchover.yml -e to=split-db2" in run.sentence
