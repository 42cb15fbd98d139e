"""routing_builtin = readwrite: plain reads leave, all else stays."""

import time

import psycopg
import pytest
from conftest import wait_for
from pgwire import bind, execute, parse, query, sync, unit

WHERE = "SELECT inet_server_port()"


@pytest.fixture
def builtin(pooler):
    return pooler.start_builtin(routing_read_functions="inet_server_port, pg_is_in_recovery")


@pytest.mark.parametrize("speak", [query, unit], ids=["simple", "extended"])
def test_reads_leave(builtin, speak):
    with builtin.wire() as wire:
        assert builtin.server_of(wire.ask(speak(WHERE)).value) == "replica1"
        assert wire.ask(speak("SELECT pg_is_in_recovery()")).value == "t"


HOME = [
    "INSERT INTO t (v) VALUES ('x') RETURNING inet_server_port()",
    "WITH w AS (INSERT INTO t (v) VALUES ('y') RETURNING 1) SELECT inet_server_port() FROM w",
    "SELECT inet_server_port() FROM t LIMIT 1 FOR UPDATE",
    "SELECT inet_server_port(), pg_advisory_lock(1), pg_advisory_unlock(1)",
    "SELECT inet_server_port(), set_config('work_mem', '4MB', true)",
    "SELECT inet_server_port(), nextval('t_id_seq')",
]


@pytest.mark.parametrize("sql", HOME)
def test_writes_stay(builtin, cluster, sql):
    with builtin.wire() as wire:
        for message in (query(sql), unit(sql)):
            assert builtin.server_of(wire.ask(message).value) == "primary"
    cluster.primary.sql("DELETE FROM t WHERE v IN ('x', 'y')")


def test_transactions_stay(builtin):
    with builtin.wire() as wire:
        for begin in ("BEGIN", "BEGIN READ ONLY", "START TRANSACTION"):
            wire.query(begin)
            assert builtin.server_of(wire.query(WHERE).value) == "primary"
            assert wire.query("COMMIT").state == "I"
        assert builtin.server_of(wire.query(WHERE).value) == "replica1"


def test_read_only_transactions_may_leave(pooler):
    pooler.start_builtin(routing_begin_read_only=1, routing_read_functions="inet_server_port")
    with pooler.wire() as wire:
        assert wire.query("BEGIN READ ONLY").state == "T"
        assert pooler.server_of(wire.query(WHERE).value) == "replica1"
        assert pooler.server_of(wire.ask(unit(WHERE)).value) == "replica1"
        assert wire.query("SET TRANSACTION READ WRITE").error
        assert wire.query("ROLLBACK").state == "I"
        assert wire.query("BEGIN READ ONLY, ISOLATION LEVEL SERIALIZABLE").state == "T"
        assert pooler.server_of(wire.query(WHERE).value) == "primary"
        wire.query("COMMIT")


def test_setting_of_the_session_counts(builtin):
    builtin.reload(routing_read_your_writes="off")
    with builtin.wire() as wire:
        assert builtin.server_of(wire.query(WHERE).value) == "replica1"
        wire.query("SET standard_conforming_strings = off")
        assert builtin.server_of(wire.query(WHERE).value) == "primary"
        wire.query("SET standard_conforming_strings = on")
        assert builtin.server_of(wire.query(WHERE).value) == "replica1"
        # pipelined: the setting counts for what follows it
        wire.send(query("SET standard_conforming_strings = off"), query(WHERE))
        wire.answer()
        assert builtin.server_of(wire.answer().value) == "primary"


def test_other_databases_are_not_routed(builtin):
    """A group serves the clients of its primary only."""
    builtin.databases["other"] = builtin.databases["app"]
    builtin.reload()
    with builtin.wire("other") as wire:
        assert builtin.server_of(wire.query(WHERE).value) == "primary"


def test_replica_pool_in_session_mode_is_not_used(pooler):
    pooler.databases["replica1"] += " pool_mode=session"
    pooler.start_builtin(routing_read_functions="inet_server_port")
    with pooler.wire() as wire:
        assert pooler.server_of(wire.query(WHERE).value) == "primary"
    assert "has pool_mode session" in pooler.log


def test_rules_first_then_builtin(pooler):
    rules = """
def routing_rules(username, query):
    return 'replica2' if 'two' in query else 'readers' if 'group' in query else None
"""
    pooler.start_builtin(
        routing_rules_py_module_file=pooler.rules(rules), routing_read_functions="inet_server_port"
    )
    with pooler.wire() as wire:
        assert pooler.server_of(wire.query(WHERE + " /* two */").value) == "replica2"
        assert pooler.server_of(wire.query(WHERE).value) == "replica1"
        assert pooler.server_of(wire.query("SELECT txid_current(), inet_server_port()").rows[0][1]) == "primary"
        assert wire.query("SELECT 'group', pg_is_in_recovery()").rows[0][1] in "tf"


MODES = {
    "default": {},
    "prepared": {"prepare_threshold": 0},
    "server_binding": {"cursor_factory": psycopg.ClientCursor},
    "raw": {"cursor_factory": psycopg.RawCursor},
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_psycopg(builtin, cluster, mode):
    param = "$1" if mode.get("cursor_factory") is psycopg.RawCursor else "%s"
    with builtin.connect(**mode) as conn:
        for n in range(8):
            # a number, as text would need a cast in some modes
            row = conn.execute(f"SELECT inet_server_port(), {param}::int", [n]).fetchone()
            assert (builtin.server_of(row[0]), row[1]) == ("replica1", n)
        with conn.transaction():
            port = conn.execute(f"INSERT INTO t (v) VALUES ({param}) RETURNING inet_server_port()", ["psy"]).fetchone()[0]
            assert builtin.server_of(port) == "primary"
            assert builtin.server_of(conn.execute(WHERE).fetchone()[0]) == "primary"
        assert conn.execute(f"SELECT count(*) FROM t WHERE v = {param}::text", ["psy"]).fetchone()[0] == 1
        conn.execute(f"DELETE FROM t WHERE v = {param}::text", ["psy"])
        assert conn.execute(f"SELECT count(*) FROM t WHERE v = {param}::text", ["psy"]).fetchone()[0] == 0
    with builtin.connect(**mode, autocommit=False) as conn:
        assert builtin.server_of(conn.execute(WHERE).fetchone()[0]) == "primary"
        conn.rollback()


def test_psycopg_pipeline(builtin):
    with builtin.connect(prepare_threshold=0) as conn, conn.pipeline() as pipe:
        cursors = [conn.execute("SELECT inet_server_port(), %s::int", [n]) for n in range(20)]
        pipe.sync()
        assert [c.fetchone()[1] for c in cursors] == list(range(20))


def test_asyncpg(builtin):
    asyncpg = pytest.importorskip("asyncpg")
    import asyncio

    async def run(cache):
        conn = await asyncpg.connect(
            host="127.0.0.1", port=builtin.port, user="alice", database="app", statement_cache_size=cache
        )
        ports = [await conn.fetchval("SELECT inet_server_port() + $1::int", 0) for _ in range(5)]
        await conn.execute("INSERT INTO t (v) VALUES ($1)", "async")
        assert await conn.fetchval("SELECT count(*) FROM t WHERE v = $1", "async") == 1
        await conn.execute("DELETE FROM t WHERE v = $1", "async")
        assert await conn.fetchval("SELECT count(*) FROM t WHERE v = $1", "async") == 0
        await conn.close()
        return [builtin.server_of(port) for port in ports]

    # without its cache it binds the unnamed statement in a later unit: home
    assert asyncio.run(run(0)) == ["primary"] * 5
    time.sleep(1)  # until the replica has those writes
    # with it, only what it prepares first goes home, as that has no Sync yet
    assert asyncio.run(run(100)) == ["primary"] + ["replica1"] * 4


def test_named_statements_that_are_not_tracked_stay(pooler):
    pooler.start_builtin(max_prepared_statements=0, routing_read_functions="inet_server_port")
    with pooler.wire() as wire:
        wire.ask(parse(WHERE, "s"), sync())
        assert pooler.server_of(wire.ask(bind("s"), execute(), sync()).value) == "primary"
        # what such a Bind does is not known: it counts as a write
        wait_for(lambda: pooler.server_of(wire.ask(unit(WHERE)).value) == "replica1", 5)
