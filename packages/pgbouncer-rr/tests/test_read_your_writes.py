"""After a write, reads go home until a replica has it."""

import multiprocessing
import random
import time
from collections import Counter

import psycopg
import pytest
from conftest import wait_for
from pgwire import bind, execute, parse, query, sync, unit

WHERE = "SELECT inet_server_port()"
FUNCTIONS = {"routing_read_functions": "inet_server_port"}


def where(pooler, wire):
    return pooler.server_of(wire.query(WHERE).value)


@pytest.fixture
def held(cluster):
    """A primary whose replica1 replays late, by hand."""
    replica = cluster.replicas[0]
    replica.sql("ALTER SYSTEM SET recovery_min_apply_delay = '1500ms'")
    replica.sql("SELECT pg_reload_conf()")
    yield cluster
    replica.sql("ALTER SYSTEM RESET recovery_min_apply_delay")
    replica.sql("SELECT pg_reload_conf()")
    cluster.primary.sql("DELETE FROM t WHERE v = 'mine'")
    cluster.caught_up()


WRITE = "INSERT INTO t (v) VALUES ('mine')"
WRITES = {
    "query": lambda wire: wire.query(WRITE),
    "extended": lambda wire: wire.ask(unit(WRITE)),
    "named": lambda wire: wire.ask(parse(WRITE, "w"), bind("w"), execute(), sync()),
    "transaction": lambda wire: [wire.query(sql) for sql in ("BEGIN", WRITE, "SELECT 1", "COMMIT")],
    "pipelined": lambda wire: [wire.send(query(WRITE), query("SELECT 1")), wire.answer(), wire.answer()],
    "function": lambda wire: wire.query("DO $$BEGIN INSERT INTO t (v) VALUES ('mine'); END$$"),
    "copy": lambda wire: wire.ask(
        query("COPY t (v) FROM STDIN"), b"d\0\0\0\x09mine\n", b"c\0\0\0\x04"
    ),
}


@pytest.mark.parametrize("scope", ["database", "user"])
def test_two_groups_of_one_server_see_each_others_writes(pooler, held, scope):
    """As with Django's aliases `default` and `replica`, both at home on the primary."""
    pooler.databases["other"] = pooler.databases["app"]
    pooler.groups["others"] = "other: replica1"
    pooler.start_builtin(routing_read_your_writes_scope=scope, **FUNCTIONS)
    count = "SELECT count(*) FROM t WHERE v = 'mine'"
    with pooler.wire() as app, pooler.wire("other") as other:
        # The replica is looked at once more for this group.
        wait_for(lambda: where(pooler, other) == "replica1", 5)
        before = int(app.query(count).value)
        for writer, reader in ((app, other), (other, app)):
            writer.query(WRITE)
            before += 1
            assert int(reader.query(count).value) == before
        wait_for(lambda: where(pooler, other) == "replica1", 5)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_by_lsn(pooler, held, write):
    pooler.start_builtin(**FUNCTIONS)
    count = "SELECT count(*) FROM t WHERE v = 'mine'"
    with pooler.wire() as wire, pooler.wire(user="bob") as other:
        assert where(pooler, wire) == "replica1"
        before = int(wire.query(count).value)
        start = time.monotonic()
        write(wire)
        for client in (wire, other):
            # on a busy machine the replica may have it by now
            assert where(pooler, client) == "primary" or time.monotonic() - start > 1.4
            assert int(client.query(count).value) == before + 1
        wait_for(lambda: where(pooler, wire) == "replica1", 5)
        assert time.monotonic() - start > 0.5
        assert int(wire.query(count).value) == before + 1


def test_failed_and_read_only_work_is_no_write(pooler, held):
    pooler.start_builtin(**FUNCTIONS)
    with pooler.wire() as wire:
        for sql in ("BEGIN", "SELECT 1", "COMMIT", "SET work_mem = '4MB'", "SHOW work_mem", ""):
            wire.query(sql)
        assert where(pooler, wire) == "replica1"


def test_open_write_counts_from_its_commit(pooler, held):
    pooler.start_builtin(**FUNCTIONS)
    with pooler.wire() as writer, pooler.wire() as reader:
        writer.query("BEGIN")
        writer.query(WRITE)
        time.sleep(0.2)
        assert where(pooler, reader) == "replica1"
        writer.query("COMMIT")
        assert where(pooler, reader) == "primary"


@pytest.mark.parametrize(
    "scope, homes", {"client": "w", "user": "ws", "database": "wso"}.items(), ids=["client", "user", "database"]
)
def test_scope(pooler, held, scope, homes):
    pooler.start_builtin(routing_read_your_writes_scope=scope, **FUNCTIONS)
    with pooler.wire() as writer, pooler.wire() as same, pooler.wire(user="bob") as other:
        clients = {"w": writer, "s": same, "o": other}
        for client in clients.values():
            assert where(pooler, client) == "replica1"
        writer.query(WRITE)
        assert "".join(k for k, client in clients.items() if where(pooler, client) == "primary") == homes


def test_other_entry_of_the_same_server(pooler, held):
    """What migrations write over a session-mode entry counts too."""
    pooler.databases["direct"] = pooler.databases["app"] + " pool_mode=session"
    pooler.start_builtin(**FUNCTIONS)
    with pooler.wire() as wire, pooler.wire("direct") as direct:
        assert where(pooler, wire) == "replica1"
        direct.query(WRITE)
        assert where(pooler, wire) == "primary"


def test_for_a_time(pooler):
    pooler.start_builtin(routing_read_your_writes="time", routing_read_your_writes_time=1, **FUNCTIONS)
    with pooler.wire() as wire:
        assert where(pooler, wire) == "replica1"
        wire.query("UPDATE t SET v = v WHERE id = 1")
        start = time.monotonic()
        assert where(pooler, wire) == "primary"
        wait_for(lambda: where(pooler, wire) == "replica1", 3)
        assert 0.9 < time.monotonic() - start < 2


def test_off(pooler, held):
    pooler.start_builtin(routing_read_your_writes="off", **FUNCTIONS)
    with pooler.wire() as wire:
        wire.query(WRITE)
        assert where(pooler, wire) == "replica1"


def test_reads_come_back_soon_when_replicas_are_quick(pooler, cluster):
    pooler.start_builtin(**FUNCTIONS)
    with pooler.wire() as wire:
        for _ in range(5):
            wire.query("UPDATE t SET v = v WHERE id = 1")
            wait_for(lambda: where(pooler, wire) == "replica1", 1)


def test_never_an_older_read_after_a_switch(pooler, held):
    """replica2 has it, replica1 not yet: a client of replica2 that must move does not move there."""
    pooler.start_builtin(("replica1", "replica2"), routing_read_your_writes="off", **FUNCTIONS)
    wires = [pooler.wire() for _ in range(2)]
    on_two = next(wire for wire in wires if where(pooler, wire) == "replica2")
    held.primary.sql(WRITE)
    held.caught_up(held.replicas[1])
    assert on_two.query("SELECT count(*) FROM t WHERE v = 'mine'").value == "1"
    pooler.console("DRAIN replica2")
    seen = []
    while not seen or seen[-1][0] != "replica1":
        seen.append((where(pooler, on_two), on_two.query("SELECT count(*) FROM t WHERE v = 'mine'").value))
        assert seen[-1][1] == "1"
        assert len(seen) < 100000
    assert seen[0][0] == "primary"
    for wire in wires:
        wire.sock.close()


PROTOCOLS = {
    "simple": {"cursor_factory": psycopg.ClientCursor},
    "extended": {"prepare_threshold": None},
    "prepared": {"prepare_threshold": 0},
}


# What the database must show at least, as far as the processes know.
WRITTEN = multiprocessing.Array("q", 4)


def checker(port, protocol, seed, results):
    """One process: writes and reads back; how many answers came from which server, or what was wrong."""
    rng, seen, servers = random.Random(seed), [0] * len(WRITTEN), Counter()
    try:
        with psycopg.connect(
            host="127.0.0.1", port=port, dbname="app", user="alice", autocommit=True, connect_timeout=10, **protocol
        ) as conn:
            for _ in range(1000):
                i = rng.randrange(len(WRITTEN))
                if rng.random() < 0.03:
                    row = conn.execute("UPDATE counter SET n = n + 1 WHERE id = %s RETURNING n", [i]).fetchone()
                    with WRITTEN.get_lock():
                        WRITTEN[i] = max(WRITTEN[i], row[0])
                    servers["written"] += 1
                else:
                    least = max(WRITTEN[i], seen[i])
                    row = conn.execute("SELECT n, inet_server_port() FROM counter WHERE id = %s", [i]).fetchone()
                    servers[row[1]] += 1
                    assert row[0] >= least, f"stale: {row[0]} after {least}, from port {row[1]}"
                seen[i] = row[0]
                time.sleep(rng.random() * 0.01)
    except Exception as error:
        results.put(f"{type(error).__name__}: {error}")
    else:
        results.put(servers)


@pytest.mark.parametrize("commit", ["on", pytest.param("off", marks=pytest.mark.slow)])
@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_checker(pooler, cluster, protocol, commit):
    """Processes write and read back, a thousand times each: no stale own read, no older read after a newer, no write lost."""
    pooler.start_builtin(("replica1", "replica2"), **FUNCTIONS)
    cluster.primary.sql("CREATE TABLE IF NOT EXISTS counter (id int PRIMARY KEY, n int NOT NULL)")
    cluster.primary.sql("TRUNCATE counter; INSERT INTO counter SELECT i, 0 FROM generate_series(0, 3) i")
    cluster.primary.sql(f"ALTER ROLE alice SET synchronous_commit = {commit}")
    cluster.caught_up()
    WRITTEN[:] = [0] * len(WRITTEN)
    results = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=checker, args=(pooler.port, protocol, seed, results)) for seed in range(4)]
    for process in processes:
        process.start()
    found = [results.get(timeout=100) for _ in processes]
    for process in processes:
        process.join()
    cluster.primary.sql("ALTER ROLE alice RESET synchronous_commit")
    assert [result for result in found if isinstance(result, str)] == []
    total = sum(found, Counter())
    assert cluster.primary.sql("SELECT sum(n) FROM counter") == total["written"]
    away = sum(total[replica.port] for replica in cluster.replicas)
    assert away > 100 and total[cluster.primary.port] > 0, total
