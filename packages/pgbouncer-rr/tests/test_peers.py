"""Several processes behind one port, each told of the others."""

import re
from contextlib import ExitStack

import pytest
from conftest import new_pooler, wait_for
from pgwire import query

SLEEP = "SELECT pg_sleep(60) /* peers */"
RUNS = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%/* peers */%' AND pid <> pg_backend_pid()"
FUNCTIONS = {"routing_read_functions": "inet_server_port, pg_sleep"}


def state(pooler):
    """How replica1 is, as this very process sees it; None before it listens."""
    if not (pooler.folder / f".s.PGSQL.{pooler.port}").exists():
        return None
    with pooler.connect("pgbouncer", "console", password="console", host=str(pooler.folder)) as conn:
        return {row[1]: row[3] for row in conn.execute("SHOW RR_TARGETS")}["replica1"]


@pytest.fixture
def peers(cluster):
    with ExitStack() as stack:
        found = [stack.enter_context(new_pooler(cluster)) for _ in range(2)]
        for number, pooler in enumerate(found, 1):
            pooler.port = pooler.settings["listen_port"] = found[0].port
            pooler.settings.update(so_reuseport=1, peer_id=number, unix_socket_dir=pooler.folder)
            pooler.peers = {n: f"host={other.folder} port={found[0].port}" for n, other in enumerate(found, 1)}
            pooler.folder.chmod(0o777)
        for pooler in found:
            pooler.start_builtin(**FUNCTIONS)
        # The port leads to either of them, the socket to one.
        for pooler in found:
            wait_for(lambda pooler=pooler: state(pooler) == "well", what="a process that knows the replica")
        yield found


def test_a_cancel_reaches_a_routed_query_through_any_process(peers, cluster):
    replica, pooler = cluster.replicas[0], peers[0]
    for _ in range(20):
        with pooler.wire() as wire:
            wire.send(query(SLEEP))
            wait_for(lambda: replica.sql(RUNS) == 1, what="the query on the replica")
            wire.cancel()
            assert wire.answer().error[0] == "57014"
            assert pooler.server_of(wire.query("SELECT inet_server_port()").value) == "replica1"
    # Some came to the process that did not have the query.
    for process, other in zip(peers, (2, 1), strict=True):
        assert re.search(rf": peer-{other}@.*successfully sent cancel request", process.log)
