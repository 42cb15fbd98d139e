"""After a write, reads go home until a replica has it."""

import random
import threading
import time

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


@pytest.mark.parametrize("commit", ["on", pytest.param("off", marks=pytest.mark.slow)])
@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_checker(pooler, cluster, protocol, commit):
    """Several clients write and read back: no stale own read, no older read after a newer, no write lost."""
    pooler.start_builtin(("replica1", "replica2"), **FUNCTIONS)
    cluster.primary.sql("CREATE TABLE IF NOT EXISTS counter (id int PRIMARY KEY, n int NOT NULL)")
    cluster.primary.sql("TRUNCATE counter; INSERT INTO counter SELECT i, 0 FROM generate_series(1, 4) i")
    cluster.primary.sql(f"ALTER ROLE alice SET synchronous_commit = {commit}")
    cluster.caught_up()
    lock, written, failures, away = threading.Lock(), {i: 0 for i in range(1, 5)}, [], [0, 0]
    end = time.monotonic() + 6

    def client(seed):
        rng = random.Random(seed)
        seen = {i: 0 for i in written}
        try:
            with pooler.connect(**protocol) as conn:
                while time.monotonic() < end:
                    i = rng.randint(1, 4)
                    if rng.random() < 0.1:
                        row = conn.execute("UPDATE counter SET n = n + 1 WHERE id = %s RETURNING n", [i]).fetchone()
                        with lock:
                            written[i] = max(written[i], row[0])
                        seen[i] = max(seen[i], row[0])
                    else:
                        with lock:
                            least = written[i]
                        n, port = conn.execute(
                            "SELECT n, inet_server_port() FROM counter WHERE id = %s", [i]
                        ).fetchone()
                        away[pooler.server_of(port) != "primary"] += 1
                        assert n >= least, f"stale: {n} after {least}, from {pooler.server_of(port)}"
                        assert n >= seen[i], f"older: {n} after {seen[i]}, from {pooler.server_of(port)}"
                        seen[i] = n
                    time.sleep(rng.random() * 0.1)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cluster.primary.sql("ALTER ROLE alice RESET synchronous_commit")
    assert not failures
    assert away[1] > 20, away
