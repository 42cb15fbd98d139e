"""The console: what was there is as it was, and ours is there."""

from pathlib import Path

import pytest
from conftest import new_pooler
from pgwire import query

RULES = "def routing_rules(username, query): return None"
STOCK = Path("/stock/usr/sbin/pgbouncer")
SHOWS = (
    "ACTIVE_SOCKETS", "CLIENTS", "CONFIG", "DATABASES", "DNS_HOSTS", "DNS_ZONES", "FDS", "LISTS", "MEM", "PEERS",
    "PEER_POOLS", "POOLS", "SERVERS", "SOCKETS", "STATE", "STATS", "STATS_AVERAGES", "STATS_TOTALS", "TOTALS", "USERS",
    "VERSION",
)  # fmt: skip


@pytest.fixture
def console(pooler):
    pooler.start(routing_rules_py_module_file=pooler.rules(RULES))
    with pooler.wire("pgbouncer") as wire:
        yield wire


def test_help_names_our_commands(console):
    answer = console.ask(query("SHOW HELP"))
    assert answer.error is None and answer.tags == ["SHOW"]


def test_our_shows(console):
    stats = dict(console.query("SHOW RR_STATS").rows)
    assert {"home", "away", "waits", "rehomed", "failures", "cache_hits", "rewritten"} <= stats.keys()
    assert console.query("SHOW RR_TARGETS").rows == []


def test_no_column_differs_from_debians_pgbouncer(console, cluster):
    with new_pooler(cluster, STOCK) as stock:
        for name in [name for name in stock.settings if name.startswith("routing_")]:
            del stock.settings[name]
        stock.start()
        with stock.wire("pgbouncer") as theirs:
            for show in SHOWS:
                columns, ours = (wire.query(f"SHOW {show}").columns for wire in (theirs, console))
                assert columns and ours == columns, show


def test_drain_needs_a_database_and_an_admin(console, pooler):
    for command in ("DRAIN", "DRAIN nowhere", "DRAIN pgbouncer", "UNDRAIN nowhere"):
        assert console.query(command).error
    assert console.query("DRAIN replica1").tags == ["DRAIN"]
    assert console.query("SHOW RR_TARGETS").rows[0][1:4] == ["replica1", None, "drained"]
    assert console.query("UNDRAIN replica1").tags == ["UNDRAIN"]
    pooler.reload(stats_users="bob")
    with pooler.wire("pgbouncer", "bob") as reader:
        assert reader.query("SHOW RR_STATS").rows
        assert "admin access" in reader.query("DRAIN replica1").error[1]


def test_set_applies_at_once(console, pooler):
    assert console.query("SET routing_rules_py_module_file = '/nowhere'").tags
    assert "keeping the old rules" in pooler.log
    path = pooler.rules("def routing_rules(username, query): return 'replica1'", "other.py")
    console.query(f"SET routing_rules_py_module_file = '{path}'")
    with pooler.wire() as wire:
        assert pooler.server_of(wire.query("SELECT inet_server_port()").value) == "replica1"
