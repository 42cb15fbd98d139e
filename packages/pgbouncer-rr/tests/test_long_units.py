"""Units of the extended protocol that do not fit into pkt_buf are judged like any other."""

import random

import pytest
from pgwire import bind, close, describe, execute, parse, query, sync, unit

WHERE = "SELECT inet_server_port()"
RULES = """
def routing_rules(username, query):
    return 'replica1' if 'inet_server_port' in query and 'stay' not in query else 'app'
"""
# what is sent at once up to this is also received at once, in TLS too
AROUND = [*range(3950, 4110, 3), *range(8050, 8200, 7), 12000, 16000]
LONG = [20480, 100000, 900000]


@pytest.fixture(params=["plain", "tls"])
def protected(request, pooler):
    """A pooler not yet started; it and the wire may speak TLS."""
    if request.param == "tls":
        folder = request.getfixturevalue("tls")
        pooler.settings["client_tls_sslmode"] = "allow"
        pooler.settings["client_tls_key_file"] = folder / "key.pem"
        pooler.settings["client_tls_cert_file"] = folder / "cert.pem"
    return pooler


@pytest.fixture
def split(protected):
    return protected.start(routing_rules_py_module_file=protected.rules(RULES), max_prepared_statements=100)


@pytest.fixture
def wire(split):
    with split.wire(tls="client_tls_sslmode" in split.settings, timeout=60) as wire:
        yield wire


def test_long_statement(split, wire):
    for length in AROUND:
        pad = "x" * length
        assert split.server_of(wire.ask(unit(f"{WHERE} /* {pad} */")).value) == "replica1", length
        assert split.server_of(wire.ask(unit(f"{WHERE} /* stay {pad} */")).value) == "primary", length
    assert split.stats()["unit_incomplete"] == 0
    for length in LONG:
        assert split.server_of(wire.ask(unit(f"{WHERE} /* {'x' * length} */")).value) in ("replica1", "primary")


def test_long_named_statement(split, wire):
    for length in (100, 4080, 5000, 20000):
        sql = f"{WHERE} /* {'x' * length} */"
        answer = wire.ask(close("s"), parse(sql, "s"), describe("s"), bind("s"), execute(), sync())
        assert split.server_of(answer.value) == "replica1", length
        assert split.server_of(wire.ask(bind("s"), execute(), sync()).value) == "replica1", length


def test_long_values(split, wire):
    sql = "SELECT inet_server_port(), length($1)"
    wire.ask(parse(sql, "s"), sync())
    for length in AROUND:
        value = b"x" * length
        for parts in ([parse(sql), bind(values=[value])], [bind("s", values=[value])]):
            answer = wire.ask(*parts, execute(), sync())
            assert (split.server_of(answer.value), answer.rows[0][1]) == ("replica1", str(length))
    for length in LONG:
        assert wire.ask(bind("s", values=[b"x" * length]), execute(), sync()).rows[0][1] == str(length)


def test_many_statements(split, wire):
    reads = b"".join(parse(f"{WHERE} /* {'x' * 700} */") + bind() + execute() for _ in range(20))
    answer = wire.ask(reads, sync())
    assert [split.server_of(row[0]) for row in answer.rows] == ["replica1"] * 20
    answer = wire.ask(reads, parse(WHERE + " /* stay */"), bind(), execute(), sync())
    assert [split.server_of(row[0]) for row in answer.rows] == ["primary"] * 21


def test_longer_than_routing_max_query_goes_home(split, wire):
    split.reload(routing_max_query=10000)
    for length, server in ((9000, "replica1"), (15000, "primary"), (300000, "primary")):
        answer = wire.ask(parse("SELECT inet_server_port(), length($1)"), bind(values=[b"x" * length]), execute(), sync())
        assert (split.server_of(answer.value), answer.rows[0][1]) == (server, str(length))
    assert split.server_of(wire.ask(unit(WHERE)).value) == "replica1"


def test_pipelined(split, wire):
    """All that is sent at once is answered in order, whatever of it was read ahead."""
    rng = random.Random(1)
    for _ in range(60):
        wanted, data = [], b""
        for number in range(rng.randrange(2, 12)):
            home = rng.random() < 0.3
            sql = f"{WHERE}, {number} /* {'stay' if home else ''} {'x' * rng.choice([0, 100, 3900, 4090, 9000])} */"
            kind = rng.randrange(4)
            if kind == 0:
                data += query(sql)
            elif kind == 1:
                data += unit(sql)
            elif kind == 2:
                data += close("s") + parse(sql, "s") + bind("s") + execute() + sync()
            else:
                value = b"x" * rng.choice([0, 3900, 4090, 9000])
                data += parse(sql + ", $1") + bind(values=[value]) + execute() + sync()
            wanted.append((number, "primary" if home else "replica1"))
        wire.send(data)
        for number, server in wanted:
            row = wire.answer().rows[0]
            assert int(row[1]) == number
            # what has not come yet when its turn is here is at home
            assert split.server_of(row[0]) in (server, "primary")


def test_nothing_waits_unseen(protected):
    """With nothing routed: what TLS has received already, so that the socket does not tell of it."""
    protected.start(max_prepared_statements=100)
    with protected.wire(tls="client_tls_sslmode" in protected.settings) as wire:
        for length in (700, 1500, 3000, 3990):
            parts = [
                close(name) + parse(f"SELECT '{name}' /* {'x' * length} */", name) + bind(name) + execute() for name in "abcd"
            ]
            assert [row[0] for row in wire.ask(*parts, sync()).rows] == list("abcd")
