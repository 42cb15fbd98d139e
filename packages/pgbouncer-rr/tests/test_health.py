"""Replicas: who gets reads, and what becomes of them when one fails."""

import os
import shutil
import signal
import threading
import time

import pytest
from conftest import POSTGRES, new_cluster, new_pooler, wait_for
from pgwire import Closed, query

WHERE = "SELECT inet_server_port()"
FUNCTIONS = {"routing_read_functions": "inet_server_port, pg_sleep"}
BOTH = ("replica1", "replica2")


def where(pooler, wire):
    return pooler.server_of(wire.query(WHERE).value)


@pytest.fixture
def healed(cluster):
    """Replicas as they were, after a test that breaks them."""
    yield cluster
    for replica in cluster.replicas:
        if not replica.listens():
            replica.start()
        replica.signal(signal.SIGCONT)
        if not replica.sql("SELECT pg_is_in_recovery()"):
            continue
        replica.sql("SELECT pg_wal_replay_resume()")
        replica.sql("ALTER SYSTEM RESET primary_conninfo")
        replica.configure(primary_conninfo=f"'host=127.0.0.1 port={cluster.primary.port} user=postgres'")
        replica.sql("SELECT pg_reload_conf()")
    cluster.caught_up()


def test_clients_are_spread_and_stay(pooler):
    pooler.start_builtin(BOTH, **FUNCTIONS)
    wires = [pooler.wire() for _ in range(6)]
    first = [where(pooler, wire) for wire in wires]
    assert sorted(first) == ["replica1"] * 3 + ["replica2"] * 3
    for _ in range(3):
        assert [where(pooler, wire) for wire in wires] == first
    for wire in wires:
        wire.sock.close()


def test_drained_then_stopped_loses_nothing(pooler, healed):
    pooler.start_builtin(BOTH, **FUNCTIONS)
    stop, failures, served = threading.Event(), [], []

    def client():
        try:
            with pooler.wire() as wire:
                while not stop.is_set():
                    served.append(where(pooler, wire))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    pooler.console("DRAIN replica1")
    wait_for(lambda: not [r for r in pooler.console("SHOW SERVERS") if r[2] == "replica1" and r[3] == "active"])
    healed.replicas[0].stop()
    time.sleep(1)
    at = len(served)
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert set(served[at:]) == {"replica2"}


def test_kill_9_costs_at_most_what_was_in_flight(pooler, healed):
    pooler.start_builtin(BOTH, **FUNCTIONS)
    stop, failures, served = threading.Event(), [], []

    def client():
        while not stop.is_set():
            try:
                with pooler.wire() as wire:
                    while not stop.is_set():
                        served.append(where(pooler, wire))
            except Closed as error:
                failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    healed.replicas[0].kill()
    time.sleep(1.5)
    at = len(served)
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert len(failures) <= 8
    assert set(served[at:]) == {"replica2"}
    pooler.wait_state("replica1", state="down")


def test_none_well_goes_home(pooler, healed):
    pooler.start_builtin(BOTH, **FUNCTIONS)
    with pooler.wire() as wire:
        assert where(pooler, wire) in BOTH
        for replica in healed.replicas:
            replica.stop()
        pooler.wait_state(*BOTH, state="down")
        assert where(pooler, wire) == "primary"
        for replica in healed.replicas:
            replica.start()
        pooler.wait_state(*BOTH)
        wait_for(lambda: where(pooler, wire) in BOTH)


def test_stopped_process(pooler, healed):
    """SIGSTOP: its connections stay open and nothing answers."""
    pooler.start_builtin(("replica1",), default_pool_size=2, **FUNCTIONS)
    wires = [pooler.wire() for _ in range(4)]
    try:
        assert {where(pooler, wire) for wire in wires} == {"replica1"}
        healed.replicas[0].signal(signal.SIGSTOP)
        start = time.monotonic()
        for wire in wires:
            wire.send(query(WHERE))
        # at most two have a connection to the stopped server; the rest wait for one, and go home
        time.sleep(0.1)
        answers = []
        for wire in wires:
            wire.sock.settimeout(3)
            try:
                answers.append(pooler.server_of(wire.answer().value))
            except TimeoutError:
                answers.append(None)
        assert answers.count(None) <= 2
        assert set(answers) - {None} == {"primary"}
        with pooler.wire() as fresh:
            again = time.monotonic()
            assert where(pooler, fresh) == "primary"
            assert time.monotonic() - again < 0.5
        assert time.monotonic() - start < 10
    finally:
        for wire in wires:
            wire.sock.close()


def test_replay_paused(pooler, healed):
    pooler.start_builtin(**FUNCTIONS)
    with pooler.wire() as wire:
        assert where(pooler, wire) == "replica1"
        healed.replicas[0].sql("SELECT pg_wal_replay_pause()")
        pooler.wait_state("replica1", state="replay is paused")
        assert where(pooler, wire) == "primary"
        healed.replicas[0].sql("SELECT pg_wal_replay_resume()")
        pooler.wait_state("replica1")
        wait_for(lambda: where(pooler, wire) == "replica1")


def test_cut_walreceiver_does_not_look_fresh(pooler, healed):
    pooler.start_builtin(routing_max_lag=2, **FUNCTIONS)
    with pooler.wire() as wire:
        assert where(pooler, wire) == "replica1"
        replica = healed.replicas[0]
        replica.configure(primary_conninfo="'host=127.0.0.1 port=1'")
        replica.sql("SELECT pg_reload_conf()")
        wait_for(lambda: replica.sql("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == 0)
        healed.primary.sql("UPDATE t SET v = v")
        pooler.wait_state("replica1", state="behind", timeout=6)
        assert where(pooler, wire) == "primary"


def test_recovery_conflict_costs_the_query_alone(pooler, healed):
    """Replay that a read on the replica holds up cancels the read: its client hears that, and nothing else changes."""
    replica = healed.replicas[0]
    healed.primary.sql("CREATE TABLE scratch AS SELECT generate_series(1, 10) AS n")
    replica.configure(max_standby_streaming_delay=0)
    replica.sql("SELECT pg_reload_conf()")
    healed.caught_up()
    pooler.start_builtin(**FUNCTIONS)
    try:
        with pooler.wire() as reader, pooler.wire() as writer:
            reader.send(query("SELECT pg_sleep(10), inet_server_port() FROM scratch LIMIT 1"))
            wait_for(lambda: replica.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%FROM scratch%' AND state = 'active'") > 1)
            writer.query("DROP TABLE scratch")
            answer = reader.answer()
            assert answer.error[0] == "40001" and "conflict with recovery" in answer.error[1]
            assert pooler.states()["replica1"] == "well"
            wait_for(lambda: where(pooler, reader) == "replica1", 5)
    finally:
        replica.configure(max_standby_streaming_delay="'30s'")
        replica.sql("SELECT pg_reload_conf()")


def test_idle_primary_does_not_look_late(pooler):
    pooler.start_builtin(routing_max_lag=1, **FUNCTIONS)
    with pooler.wire() as wire:
        end = time.monotonic() + 4
        while time.monotonic() < end:
            assert where(pooler, wire) == "replica1"
            time.sleep(0.05)


def test_segment_switch_does_not_look_late(pooler, cluster):
    """Then the primary stands after a page's header, and a replica that has all before it."""
    pooler.start_builtin(routing_max_lag=1, **FUNCTIONS)
    with pooler.wire() as wire:
        wire.query("SELECT pg_switch_wal()")
        wait_for(lambda: where(pooler, wire) == "replica1", 3)
        time.sleep(2)
        assert where(pooler, wire) == "replica1"


def test_primary_that_cannot_be_asked(pooler, healed):
    """Nobody can tell how fresh a replica is: out, once max_lag has passed."""
    pooler.start_builtin(routing_max_lag=2, **FUNCTIONS)
    healed.primary.sql("ALTER ROLE watcher CONNECTION LIMIT 0")
    try:
        healed.primary.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'watcher'")
        healed.caught_up()
        pooler.wait_state("app", state="down")
        pooler.wait_state("replica1", state="behind", timeout=6)
    finally:
        healed.primary.sql("ALTER ROLE watcher CONNECTION LIMIT -1")
    pooler.wait_state("replica1")


def test_why_it_is_down_is_one_line(pooler, cluster):
    cluster.primary.sql("REVOKE CONNECT ON DATABASE app FROM PUBLIC")
    try:
        cluster.caught_up()
        pooler.groups["readers"] = "app: replica1"
        pooler.start(routing_builtin="readwrite", **FUNCTIONS)
        pooler.wait_state("replica1", state="down")
        assert 'routing: replica1 is down: FATAL:  permission denied for database "app"\n' in pooler.log
    finally:
        cluster.primary.sql("GRANT CONNECT ON DATABASE app TO PUBLIC")


def test_member_that_is_no_replica(pooler):
    pooler.databases["replica1"] = pooler.databases["app"]
    pooler.groups["readers"] = "app: replica1"
    pooler.start(routing_builtin="readwrite", **FUNCTIONS)
    pooler.wait_state("replica1", state="not in recovery")
    pooler.reload(routing_require_recovery=0)
    pooler.wait_state("replica1")


def test_replica_added_and_removed_by_reload(pooler):
    pooler.start_builtin(**FUNCTIONS)
    with pooler.wire() as wire:
        assert where(pooler, wire) == "replica1"
        pooler.groups["readers"] = "app: replica2"
        pooler.reload()
        pooler.wait_state("replica2")
        wait_for(lambda: where(pooler, wire) == "replica2")
        assert "replica1" not in pooler.states()
        pooler.groups.clear()
        pooler.reload()
        assert where(pooler, wire) == "primary"


def test_bad_group_is_refused(pooler):
    pooler.start_builtin(**FUNCTIONS)
    for value in ("replica1", "app:", "app: app", ": replica1"):
        pooler.groups["readers"] = value
        pooler.reload()
        assert "config file loading failed" in pooler.log
        (pooler.folder / "pgbouncer.log").write_text("")


def test_promotion_starts_a_new_history(pooler, cluster):
    """A replica of a replica, promoted under the pooler."""
    new = cluster.add_replica("promoted")
    pooler.databases["new"] = f"host=127.0.0.1 port={new.port} dbname=app"
    pooler.groups["readers"] = "new: replica1"
    pooler.start(routing_builtin="readwrite", **FUNCTIONS)
    try:
        pooler.wait_state("new", state="in recovery")
        with pooler.wire("new") as wire:
            new.sql("SELECT pg_promote()")
            pooler.wait_state("new", state="well")
            assert "is on another timeline" not in pooler.log
            wire.query("CREATE TABLE only_here ()")
            # replica1 follows the old primary: it never has this write
            for _ in range(20):
                assert wire.query("SELECT count(*) FROM only_here").value == "0"
                time.sleep(0.05)
    finally:
        new.stop()


def restore(server, copy):
    shutil.rmtree(server.data)
    shutil.copytree(copy, server.data)
    for path in [server.data, *server.data.rglob("*")]:
        os.chown(path, POSTGRES.pw_uid, POSTGRES.pw_gid)


def test_a_restored_primary_starts_a_new_history():
    """A write of before is on no timeline any more: nobody waits until the replicas have its LSN."""
    with new_cluster(replicas=1) as cluster, new_pooler(cluster) as pooler:
        servers = [cluster.primary, *cluster.replicas]
        for server in servers:
            server.stop()
            shutil.copytree(server.data, f"{server.data}.copy")
            server.start()
        pooler.start_builtin(**FUNCTIONS)
        with pooler.wire() as wire:
            for _ in range(3):
                wire.query("SELECT pg_switch_wal()")
                wire.query("INSERT INTO t (v) VALUES ('lost')")
            wait_for(lambda: where(pooler, wire) == "replica1")
            # The last write is seen by no replica.
            cluster.replicas[0].stop()
            wire.query("INSERT INTO t (v) VALUES ('lost')")
            assert where(pooler, wire) == "primary"
        cluster.primary.stop("immediate")
        for server in servers:
            restore(server, f"{server.data}.copy")
        # Another timeline, whose LSNs are below that of the lost write.
        (cluster.primary.data / "standby.signal").touch()
        for server in servers:
            server.start()
        cluster.primary.sql("SELECT pg_promote()")
        pooler.wait_state("app", "replica1")
        assert "app is on another timeline: 00000002" in pooler.log
        with pooler.wire() as wire:
            wait_for(lambda: where(pooler, wire) == "replica1")
            wire.query("INSERT INTO t (v) VALUES ('new')")
            assert wire.query("SELECT count(*) FROM t WHERE v = 'new'").value == "1"
            assert wire.query("SELECT count(*) FROM t WHERE v = 'lost'").value == "0"
