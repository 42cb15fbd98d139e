"""Rules in Python: what they are asked, and what comes of their answers."""

import os
import time

import pytest
from conftest import POSTGRES, wait_for
from pgwire import Closed, bind, close, describe, execute, flush, parse, query, sync, unit

WHERE = "SELECT inet_server_port()"

# reads go to replica1, all else home
SPLIT = """
def routing_rules(username, query):
    return 'replica1' if 'inet_server_port' in query and 'stay' not in query else 'app'
"""


@pytest.fixture
def split(pooler):
    return pooler.start(routing_rules_py_module_file=pooler.rules(SPLIT))


def where(wire, *parts):
    return wire.ask(*(parts or [query(WHERE)])).value


def test_query_goes_where_the_rule_says(split, cluster):
    with split.wire() as wire:
        assert split.server_of(where(wire)) == "replica1"
        assert split.server_of(wire.query(WHERE + " /* stay */").value) == "primary"
        assert split.server_of(where(wire)) == "replica1"


def test_extended_unit_goes_where_the_rule_says(split):
    with split.wire() as wire:
        assert split.server_of(where(wire, unit(WHERE))) == "replica1"
        assert split.server_of(where(wire, unit(WHERE + " /* stay */"))) == "primary"


def test_none_keeps_the_current_pool(pooler):
    rules = """
def routing_rules(username, query):
    if 'go' in query:
        return 'replica1'
    if 'home' in query:
        return 'app'
"""
    pooler.start(routing_rules_py_module_file=pooler.rules(rules))
    with pooler.wire() as wire:
        assert pooler.server_of(where(wire)) == "primary"
        assert pooler.server_of(wire.query(WHERE + " /* go */").value) == "replica1"
        assert pooler.server_of(where(wire)) == "replica1"
        assert pooler.server_of(where(wire, unit(WHERE))) == "replica1"
        assert pooler.server_of(wire.query(WHERE + " /* home */").value) == "primary"
        assert pooler.server_of(where(wire)) == "primary"


def test_rule_may_take_in_transaction(pooler):
    log = pooler.folder / "seen"
    rules = f"""
def routing_rules(username, query, in_transaction):
    with open({str(log)!r}, 'a') as f:
        f.write(f'{{username}} {{query}} {{in_transaction}}\\n')
"""
    log.touch()
    os.chown(log, POSTGRES.pw_uid, POSTGRES.pw_gid)
    pooler.start(routing_rules_py_module_file=pooler.rules(rules))
    with pooler.wire(user="bob") as wire:
        for sql in ("SELECT 1", "BEGIN", "SELECT 2"):
            wire.query(sql)
        wire.ask(unit("SELECT 3"))
        wire.query("COMMIT")
        wire.query("SELECT 4")
    assert log.read_text().splitlines() == [
        "bob SELECT 1 False",
        "bob BEGIN False",
        "bob SELECT 2 True",
        "bob SELECT 3 True",
        "bob COMMIT True",
        "bob SELECT 4 False",
    ]


def test_never_rerouted_in_a_transaction(split):
    with split.wire() as wire:
        assert wire.query("BEGIN").state == "T"
        assert split.server_of(where(wire)) == "primary"
        assert split.server_of(where(wire, unit(WHERE))) == "primary"
        assert wire.query("SELECT 1/0").state == "E"
        assert wire.query(WHERE).error[0] == "25P02"
        assert wire.query("ROLLBACK").state == "I"
        assert split.server_of(where(wire)) == "replica1"


def test_never_rerouted_in_a_copy(split, cluster):
    with split.wire() as wire:
        wire.send(query("COPY t (v) FROM STDIN"))
        assert wire.receive()[0] == b"G"
        wire.send(b"d" + (4 + 5).to_bytes(4, "big") + b"copy\n", b"c" + (4).to_bytes(4, "big"))
        assert wire.answer().tags == ["COPY 1"]
        assert split.server_of(where(wire)) == "replica1"
        # a Query in the middle of it is the server's to refuse, not to be sent elsewhere or held
        wire.send(query("COPY t (v) FROM STDIN"), query(WHERE))
        with pytest.raises(Closed):
            while True:
                answer = wire.answer()
                assert answer.error and not answer.rows
                wire.send(query("SELECT 1"))
                raise Closed
    assert cluster.primary.sql("DELETE FROM t WHERE v = 'copy'") is None


def test_never_rerouted_on_a_session_link(pooler):
    pooler.start(routing_rules_py_module_file=pooler.rules(SPLIT), pool_mode="session")
    with pooler.wire() as wire:
        assert wire.query("SELECT 'stay'").value == "stay"
        assert pooler.server_of(where(wire)) == "primary"
        assert pooler.server_of(where(wire, unit(WHERE))) == "primary"


def test_unit_without_its_sync_stays_home(split):
    with split.wire() as wire:
        wire.send(parse(WHERE), bind(), execute(), flush())
        for kind in (b"1", b"2", b"D", b"C"):
            got, body = wire.receive()
            assert got == kind
            if kind == b"D":
                assert split.server_of(wire._row(body)[0]) == "primary"
        assert wire.ask(sync()).state == "I"
        wire.send(parse(WHERE), bind(), execute())
        time.sleep(0.2)
        assert split.server_of(where(wire, sync())) == "primary"
    assert split.stats()["unit_incomplete"] == 2


def test_unit_is_judged_on_all_its_statements(split):
    both = parse(WHERE) + bind() + execute() + parse("SELECT 'stay'") + bind() + execute() + sync()
    with split.wire() as wire:
        answer = wire.ask(both)
        assert [split.server_of(answer.rows[0][0]), answer.rows[1][0]] == ["primary", "stay"]
        same = (parse(WHERE) + bind() + execute()) * 3 + sync()
        assert {split.server_of(row[0]) for row in wire.ask(same).rows} == {"replica1"}


def test_unit_with_begin_stays_home(pooler):
    pooler.start(
        routing_rules_py_module_file=pooler.rules("def routing_rules(username, query): return 'replica1'")
    )
    with pooler.wire() as wire:
        answer = wire.ask(parse("BEGIN"), bind(), execute(), parse(WHERE), bind(), execute(), sync())
        assert pooler.server_of(answer.value) == "primary"
        assert answer.state == "T"
        assert wire.query("COMMIT").state == "I"
        assert pooler.server_of(where(wire)) == "replica1"


def test_unit_that_uses_a_parsed_begin_stays_home(pooler):
    pooler.start(
        routing_rules_py_module_file=pooler.rules("def routing_rules(username, query): return 'replica1'")
    )
    with pooler.wire() as wire:
        wire.ask(parse("BEGIN", name="begins"), sync())
        assert wire.ask(bind(name="begins"), execute(), sync()).state == "T"
        assert pooler.server_of(where(wire)) == "primary"
        assert wire.query("COMMIT").state == "I"
        assert pooler.server_of(where(wire)) == "replica1"


def test_pipelining_keeps_order_over_pools(split):
    stay = WHERE + " /* stay */"
    with split.wire() as wire:
        wire.send(*[query(WHERE if n % 3 else stay) + unit(stay if n % 2 else WHERE) for n in range(30)])
        got = [split.server_of(wire.answer().value) for _ in range(60)]
    want = []
    for n in range(30):
        want += ["replica1" if n % 3 else "primary", "primary" if n % 2 else "replica1"]
    assert got == want
    assert split.stats()["waits"] > 20


def test_pipelined_transaction_stays_together(split):
    with split.wire() as wire:
        wire.send(query("BEGIN"), query(WHERE), unit(WHERE), query("COMMIT"), query(WHERE))
        answers = [wire.answer() for _ in range(5)]
    assert [a.state for a in answers] == ["T", "T", "T", "I", "I"]
    assert [split.server_of(answers[n].value) for n in (1, 2, 4)] == ["primary", "primary", "replica1"]


def test_pipelined_error_keeps_order(split):
    with split.wire() as wire:
        wire.send(unit("SELECT 1/0"), unit(WHERE), query("SELECT 'stay' FROM nowhere"), query(WHERE))
        answers = [wire.answer() for _ in range(4)]
    assert answers[0].error[0] == "22012"
    assert answers[2].error[0] == "42P01"
    assert [split.server_of(answers[n].value) for n in (1, 3)] == ["replica1", "replica1"]


def test_close_between_units_does_not_hide_the_next(split):
    """A Close that the pooler answers itself is not the start of a unit."""
    with split.wire() as wire:
        wire.send(
            parse(WHERE, "a"), bind("a"), execute(), sync(),
            close("a"), parse(WHERE + " /* stay */", "b"), bind("b"), execute(), sync(),
            close("b"), parse(WHERE, "c"), bind("c"), execute(), sync(),
        )  # fmt: skip
        answers = [wire.answer() for _ in range(3)]
    assert [split.server_of(a.value) for a in answers] == ["replica1", "primary", "replica1"]
    assert [a.kinds for a in answers] == ["12DCZ", "312DCZ", "312DCZ"]


def test_named_statement_is_prepared_where_it_runs(split):
    with split.wire() as wire:
        wire.ask(parse(WHERE, "read"), describe("read"), sync())
        wire.ask(parse(WHERE + " /* stay */", "write"), sync())
        for _ in range(3):
            assert split.server_of(where(wire, bind("read"), execute(), sync())) == "replica1"
            assert split.server_of(where(wire, bind("write"), execute(), sync())) == "primary"
        assert wire.query("BEGIN").state == "T"
        assert split.server_of(where(wire, bind("read"), execute(), sync())) == "primary"
        wire.query("COMMIT")
        assert split.server_of(where(wire, describe("read"), bind("read"), execute(), sync())) == "replica1"


def test_unnamed_statement_is_bound_where_it_was_parsed(split):
    with split.wire() as wire:
        # bound later: parsed at home
        assert wire.ask(parse(WHERE), describe(), sync()).error is None
        assert split.server_of(where(wire, bind(), execute(), sync())) == "primary"
        # bound at once, and again later
        assert split.server_of(where(wire, unit(WHERE))) == "replica1"
        assert split.server_of(where(wire, bind(), execute(), sync())) == "replica1"


def test_cancel_reaches_the_routed_server(split):
    with split.wire() as wire:
        wire.send(query("SELECT pg_sleep(30), inet_server_port()"))
        wait_for(
            lambda: split.cluster.replicas[0].sql(
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' AND pid <> pg_backend_pid()"
            ),
            what="the query on the replica",
        )
        wire.cancel()
        assert wire.answer().error[0] == "57014"
        assert split.server_of(where(wire)) == "replica1"


def test_long_query_is_routed_too(split):
    for length in [4000, 4080, 4090, 4096, 4097, 5000, 8192, 20480, 24570, 24576, 100000, 1048000]:
        with split.wire() as wire:
            pad = "x" * length
            assert split.server_of(wire.query(f"{WHERE} /* {pad} */").value) == "replica1", length
            assert split.server_of(wire.query(f"{WHERE} /* stay {pad} */").value) == "primary", length


def test_long_queries_of_every_length_around_the_buffer(split):
    with split.wire() as wire:
        for length in [*range(4050, 4110), *range(20400, 20600, 3)]:
            assert split.server_of(wire.query(f"{WHERE} /* {'x' * length} */").value) == "replica1", length
            assert split.server_of(wire.query(f"{WHERE} /* stay {'x' * length} */").value) == "primary", length


def test_long_queries_pipelined_over_pools(split):
    sizes = [10, 4060, 5000, 4096 * 5, 300, 100000, 4070, 20000]
    with split.wire() as wire:
        wire.sock.settimeout(60)
        for n, size in enumerate(sizes * 2):
            wire.send(query(f"{WHERE} /* {'stay' if n % 2 else ''} {'x' * size} */"))
        got = [split.server_of(wire.answer().value) for _ in range(2 * len(sizes))]
    assert got == ["replica1", "primary"] * len(sizes)


def test_query_past_routing_max_query_goes_home(pooler):
    pooler.start(routing_rules_py_module_file=pooler.rules(SPLIT), routing_max_query=1000)
    with pooler.wire() as wire:
        assert pooler.server_of(wire.query(f"{WHERE} /* {'x' * 2000} */").value) == "primary"
        assert pooler.server_of(wire.query(f"{WHERE} /* {'x' * 20000} */").value) == "primary"
        assert pooler.server_of(where(wire, unit(f"{WHERE} /* {'x' * 2000} */"))) == "primary"
        assert pooler.server_of(where(wire)) == "replica1"


BAD_RULES = {
    "raises": "def routing_rules(username, query):\n    return 1 / 0 if 'port' in query else 'replica1'",
    "wrong type": "def routing_rules(username, query):\n    return 7 if 'port' in query else 'replica1'",
    "unknown key": "def routing_rules(username, query):\n    return 'nowhere' if 'port' in query else 'replica1'",
    "console": "def routing_rules(username, query):\n    return 'pgbouncer' if 'port' in query else 'replica1'",
    "too long": "def routing_rules(username, query):\n    return 'x' * 1000 if 'port' in query else 'replica1'",
}


@pytest.mark.parametrize("rules", BAD_RULES.values(), ids=BAD_RULES)
def test_failing_rule_goes_home_or_disconnects(pooler, rules):
    pooler.start(routing_rules_py_module_file=pooler.rules(rules))
    with pooler.wire() as wire:
        assert pooler.server_of(where(wire)) == "primary"
        assert pooler.server_of(where(wire, unit(WHERE))) == "primary"
        assert pooler.stats()["failures"] == 2
        assert pooler.log.count("routing_rules:") == 1
        pooler.reload(routing_on_failure="disconnect")
        with pytest.raises(Closed):
            where(wire)


def test_console_is_not_routed(split):
    with split.wire("pgbouncer") as wire:
        assert wire.query("SHOW VERSION").value.startswith("PgBouncer")


FORBIDDEN = {
    "file of another": lambda path: os.chown(path, POSTGRES.pw_uid, -1),
    "file for a group": lambda path: path.chmod(0o664),
    "file for all": lambda path: path.chmod(0o646),
    "folder of another": lambda path: os.chown(path.parent, POSTGRES.pw_uid, -1),
    "folder for a group": lambda path: path.parent.chmod(0o775),
    "folder for all": lambda path: path.parent.chmod(0o757),
}


@pytest.mark.parametrize("spoil", FORBIDDEN.values(), ids=FORBIDDEN)
def test_rule_file_must_be_roots_alone(split, spoil):
    path = split.rules("def routing_rules(username, query): return 'app'")
    spoil(path)
    split.reload()
    assert "keeping the old rules" in split.log
    with split.wire() as wire:
        assert split.server_of(where(wire)) == "replica1"


def test_pooler_does_not_start_without_its_rules(pooler):
    with pytest.raises(AssertionError):
        pooler.start(routing_rules_py_module_file=pooler.rules("def other(): pass"))
    assert "cannot load routing_rules" in pooler.log
    pooler.process = None
    (pooler.folder / "pgbouncer.log").write_text("")


def test_python_is_isolated(pooler):
    rules = """
import sys
def routing_rules(username, query):
    assert sys.flags.isolated and sys.flags.no_user_site and '' not in sys.path
    return 'replica1'
"""
    pooler.start(routing_rules_py_module_file=pooler.rules(rules))
    with pooler.wire() as wire:
        assert pooler.server_of(where(wire)) == "replica1"


def test_reload_imports_the_rules_again(split):
    with split.wire() as wire:
        assert split.server_of(where(wire)) == "replica1"
        split.rules(SPLIT.replace("replica1", "replica2"))
        split.reload()
        assert split.server_of(where(wire)) == "replica2"
        split.rules("def routing_rules(username, query: return")
        with split.wire("pgbouncer") as console:
            answer = console.query("RELOAD")
            assert answer.tags == ["RELOAD"] and "N" in answer.kinds
        assert "SyntaxError" in split.log and "keeping the old rules" in split.log
        assert split.server_of(where(wire)) == "replica2"
        split.reload(routing_rules_py_module_file="")
        assert split.server_of(where(wire)) == "primary"


def test_reload_removes_a_database_under_routed_clients(split):
    with split.wire() as idle, split.wire() as busy, split.wire("replica2") as homeless:
        assert split.server_of(where(idle)) == "replica1"
        assert split.server_of(where(homeless)) == "replica1"
        busy.send(query("SELECT pg_sleep(60), inet_server_port()"))
        time.sleep(0.3)
        del split.databases["replica1"], split.databases["replica2"]
        split.reload()
        assert split.server_of(where(idle)) == "primary"
        with pytest.raises(Closed):
            busy.answer()
        with pytest.raises(Closed):
            where(homeless)
    assert split.stats()["failures"] >= 1


def test_client_in_the_queue_of_a_dead_target_goes_home(pooler):
    """Nobody answers at its address, or nobody is there."""
    pooler.databases["replica1"] = "host=127.0.0.1 port=1 dbname=app"
    pooler.databases["replica2"] = "host=192.0.2.1 dbname=app"
    rules = "def routing_rules(username, query): return 'replica2' if 'hole' in query else 'replica1'"
    pooler.start(routing_rules_py_module_file=pooler.rules(rules), server_connect_timeout=2)
    with pooler.wire() as wire:
        start = time.monotonic()
        assert pooler.server_of(where(wire)) == "primary"
        assert time.monotonic() - start < 2
        assert pooler.server_of(wire.query(WHERE + "/* hole */").value) == "primary"
        assert time.monotonic() - start < 8
        for _ in range(5):
            assert pooler.server_of(where(wire)) == "primary"


def test_client_in_the_queue_of_a_refusing_target_goes_home(pooler):
    pooler.databases["replica1"] = pooler.databases["replica1"].replace("dbname=app", "dbname=nowhere")
    pooler.start(routing_rules_py_module_file=pooler.rules(SPLIT))
    with pooler.wire() as wire:
        for _ in range(5):
            assert pooler.server_of(where(wire)) == "primary"
            time.sleep(0.5)


def test_paused_and_disabled_targets_are_not_used(split):
    with split.wire() as wire:
        for close_it, open_it in (("PAUSE", "RESUME"), ("DISABLE", "ENABLE"), ("DRAIN", "UNDRAIN")):
            split.console(f"{close_it} replica1")
            assert split.server_of(where(wire)) == "primary", close_it
            split.console(f"{open_it} replica1")
            assert split.server_of(where(wire)) == "replica1", open_it


def test_drain_takes_clients_out_of_the_queue(pooler):
    pooler.start(routing_rules_py_module_file=pooler.rules(SPLIT), default_pool_size=1)
    with pooler.wire() as busy, pooler.wire() as waiting:
        busy.send(query("SELECT pg_sleep(2), inet_server_port()"))
        time.sleep(0.3)
        waiting.send(query(WHERE))
        time.sleep(0.3)
        start = time.monotonic()
        pooler.console("DRAIN replica1")
        assert pooler.server_of(waiting.answer().value) == "primary"
        assert time.monotonic() - start < 1
        assert pooler.server_of(busy.answer().rows[0][1]) == "replica1"
    assert pooler.stats()["rehomed"] == 1


CACHE_RULES = """
def routing_rules(username, query):
    if 'stop' in query:
        raise ValueError
    return 'replica1' if username == 'alice' else 'replica2'
"""


@pytest.mark.parametrize("mode", ["exact", "fingerprint"])
def test_cache(pooler, mode):
    pooler.start(routing_rules_py_module_file=pooler.rules(CACHE_RULES), routing_cache=mode)
    with pooler.wire() as alice, pooler.wire(user="bob") as bob:
        for n in range(5):
            assert pooler.server_of(alice.query(f"{WHERE} WHERE {n} = {n}").value) == "replica1"
            assert pooler.server_of(bob.query(f"{WHERE} WHERE {n} = {n}").value) == "replica2"
        stats = pooler.stats()
        assert (stats["calls"], stats["cache_hits"]) == ((10, 0) if mode == "exact" else (2, 8))
        assert pooler.server_of(alice.query(f"{WHERE} WHERE 1 = 1").value) == "replica1"
        assert pooler.stats()["calls"] == stats["calls"]
        for _ in range(3):
            alice.query("SELECT 'stop'")
        assert pooler.stats()["failures"] == 3, "a failure is not cached"
        pooler.reload()
        assert pooler.stats()["cache_bytes"] == 0


def test_cache_is_bounded(pooler):
    pooler.start(
        routing_rules_py_module_file=pooler.rules(CACHE_RULES), routing_cache="exact", routing_cache_size=20000
    )
    with pooler.wire() as wire:
        for n in range(300):
            wire.query(f"SELECT {n}")
    stats = pooler.stats()
    assert 10000 < stats["cache_bytes"] <= 20000
    assert stats["cache_misses"] == 300


def test_slow_rule_is_logged(pooler):
    rules = "import time\ndef routing_rules(username, query):\n    time.sleep(0.1)\n    return 'replica1'"
    pooler.start(routing_rules_py_module_file=pooler.rules(rules), routing_slow_call=0.05)
    with pooler.wire() as wire:
        where(wire)
    assert pooler.stats()["slow_calls"] == 1
    assert "routing_rules: took 1" in pooler.log


def test_online_restart_is_refused(split):
    import subprocess

    from conftest import PGBOUNCER

    result = subprocess.run(
        [PGBOUNCER, "-R", split.ini], user=POSTGRES.pw_uid, group=POSTGRES.pw_gid, capture_output=True, text=True
    )
    assert result.returncode != 0
    assert "not supported with query routing" in split.log
    (split.folder / "pgbouncer.log").write_text("")


def test_show_fds_reports_the_clients_own_database(split):
    with split.wire() as wire:
        wire.send(query("SELECT pg_sleep(1), inet_server_port()"))
        time.sleep(0.3)
        with split.wire("pgbouncer") as console:
            rows = console.query("SHOW FDS").rows
        assert {row[3] for row in rows if row[1] == "client" and row[2] == "alice"} >= {"app"}
        assert "replica1" not in {row[3] for row in rows if row[1] == "client"}
        assert "replica1" in {row[3] for row in rows if row[1] == "server"}
        wire.answer()
