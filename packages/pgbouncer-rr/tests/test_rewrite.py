"""rewrite_query: every Query and Parse, and what follows from it."""

import pytest
from pgwire import Closed, bind, close, describe, execute, parse, query, sync, unit

WHERE = "SELECT inet_server_port()"

REWRITE = """
def rewrite_query(username, query):
    if 'raise' in query:
        raise ValueError('no')
    if 'nothing' in query:
        return None
    if 'number' in query:
        return 5
    if 'grow' in query:
        return query + ' ' * 10000
    return query.replace('magic', username)
"""


@pytest.fixture
def rewriter(pooler):
    return pooler.start(rewrite_query_py_module_file=pooler.rules(REWRITE, "rewrite.py"))


def test_query_and_every_parse_are_rewritten(rewriter):
    with rewriter.wire() as wire:
        assert wire.query("SELECT 'magic'").value == "alice"
        assert wire.ask(unit("SELECT 'magic'")).value == "alice"
        wire.ask(parse("SELECT 'magic', $1::text", "named"), describe("named"), sync())
        for value in (b"1", b"2"):
            answer = wire.ask(bind("named", values=[value]), execute(), sync())
            assert answer.rows == [["alice", value.decode()]]
        assert wire.query("SELECT 'same'").value == "same"
    assert rewriter.stats()["rewritten"] == 3


def test_a_slow_one_is_logged(pooler):
    rules = "import time\ndef rewrite_query(username, query):\n    time.sleep(0.1)\n    return query"
    pooler.start(rewrite_query_py_module_file=pooler.rules(rules, "rewrite.py"), routing_slow_call=0.05)
    with pooler.wire() as wire:
        wire.query("SELECT 1")
    assert pooler.stats()["slow_calls"] == 1
    assert "rewrite_query: took 1" in pooler.log


def test_named_statement_of_one_text_is_each_users_own(rewriter):
    for user in ("alice", "bob", "alice"):
        with rewriter.wire(user=user) as wire:
            wire.ask(parse("SELECT 'magic'", "s"), sync())
            assert wire.ask(bind("s"), execute(), sync()).value == user


def test_unit_of_several_statements(rewriter):
    with rewriter.wire() as wire:
        parts = []
        for n in range(20):
            name = f"s{n}" if n % 2 else ""
            parts += [parse(f"SELECT '{'magic' if n % 3 else 'same'} {n}'", name), bind(name), execute()]
            if name:
                parts.append(close(name))
        rows = wire.ask(*parts, sync()).rows
    assert rows == [[f"{'alice' if n % 3 else 'same'} {n}"] for n in range(20)]


def test_pipelined_and_long_queries(rewriter):
    with rewriter.wire() as wire:
        sizes = [1, 100, 4050, 4070, 4096, 5000, 70000] * 3
        wire.send(*[query(f"SELECT 'magic {n}' /* {'x' * n} */") + unit(f"SELECT 'magic {n}' /* {'x' * n} */") for n in sizes])
        got = [wire.answer().value for _ in range(2 * len(sizes))]
    assert got == [f"alice {n}" for n in sizes for _ in (1, 2)]


def test_rewritten_in_a_transaction(rewriter):
    with rewriter.wire() as wire:
        wire.query("BEGIN")
        assert wire.query("SELECT 'magic'").value == "alice"
        assert wire.ask(unit("SELECT 'magic'")).value == "alice"
        assert wire.query("COMMIT").tags == ["COMMIT"]


FAILING = ["SELECT 'raise'", "SELECT 'nothing'", "SELECT 'number'", "SELECT 'grow'", f"SELECT '{'x' * 9000}'"]


@pytest.mark.parametrize("sql", FAILING, ids=["raises", "None", "type", "too long after", "too long before"])
def test_failure(rewriter, sql):
    rewriter.reload(rewrite_max_query=8000)
    with rewriter.wire() as wire:
        want = sql.split("'")[1]
        assert wire.query(sql).value == want
        assert wire.ask(unit(sql)).value == want
        assert rewriter.stats()["rewrite_failures"] >= 2
    rewriter.reload(rewrite_query_disconnect_on_failure="true")
    for message in (query(sql), unit(sql), parse(sql, "named") + sync()):
        with rewriter.wire() as wire, pytest.raises(Closed):
            wire.ask(message)


def test_route_after_rewrite(pooler):
    rewrite = "def rewrite_query(username, query): return query.replace('here', 'replica1').replace('yonder', 'app')"
    rules = """
def routing_rules(username, query):
    return 'replica1' if 'replica1' in query else 'app'
"""
    pooler.start(
        rewrite_query_py_module_file=pooler.rules(rewrite, "rewrite.py"),
        routing_rules_py_module_file=pooler.rules(rules),
    )
    with pooler.wire() as wire:
        for _ in range(2):
            assert pooler.server_of(wire.query(WHERE + " /* here */").value) == "replica1"
            assert pooler.server_of(wire.query(WHERE + " /* yonder */").value) == "primary"
            assert pooler.server_of(wire.ask(unit(WHERE + " /* here */")).value) == "replica1"
        wire.ask(parse(WHERE + " /* here */", "s"), sync())
        assert pooler.server_of(wire.ask(bind("s"), execute(), sync()).value) == "replica1"
        answer = wire.ask(
            parse(WHERE + " /* here */"), bind(), execute(), parse(WHERE + " /* yonder */"), bind(), execute(), sync()
        )
        assert {pooler.server_of(row[0]) for row in answer.rows} == {"primary"}
        wire.send(*[query(WHERE + (" /* here */" if n % 2 else " /* yonder */")) for n in range(20)])
        got = [pooler.server_of(wire.answer().value) for _ in range(20)]
        assert got == ["primary", "replica1"] * 10


def test_bytes_that_are_not_utf8_come_through(rewriter):
    with rewriter.wire() as wire:
        wire.query("SET client_encoding = 'LATIN1'")
        assert wire.ask(query(b"SELECT ascii('\xe9 magic')")).value == "233"
