"""Clients that pipeline at random while the console meddles: each gets its answers, in order, from where they must be."""

import random
import threading
import time

import pytest
from pgwire import bind, close, describe, execute, parse, query, sync, unit

RULES = """
def routing_rules(username, query):
    return 'replica1' if '/*1*/' in query else 'replica2' if '/*2*/' in query else 'app'
"""
REWRITE = "def rewrite_query(username, query): return query.replace('number', '')"
SECONDS = 12


class Client:
    def __init__(self, pooler, seed):
        self.rng = random.Random(seed)
        self.wire = pooler.wire(user=self.rng.choice(["alice", "bob"]))
        self.named = {}
        self.count = 0

    def statement(self):
        self.count += 1
        mark = self.rng.choice(["/*0*/", "/*1*/", "/*2*/"])
        pad = "x" * self.rng.choice([0, 0, 0, 50, 3000, 4090, 9000])
        return str(self.count), mark, f"SELECT number {self.count}, inet_server_port() {mark} /* {pad} */"

    def units(self):
        """Bytes to send, and for each answer the rows' (number, mark); a mark of None may be anywhere."""
        number, mark, sql = self.statement()
        kind = self.rng.randrange(7)
        if kind == 0:
            return query(sql), [[(number, mark)]]
        if kind == 1:
            return unit(sql), [[(number, mark if len(sql) < 1000 else None)]]
        if kind == 2:
            name = f"s{self.rng.randrange(5)}"
            self.named[name] = (number, mark)
            # the text and whether all of a unit is in the buffer are two things: home is always right
            return (
                close(name) + parse(sql, name) + describe(name) + sync() + bind(name) + execute() + sync(),
                [[], [(number, None)]],
            )
        if kind == 3 and self.named:
            name = self.rng.choice(list(self.named))
            return bind(name) + execute() + sync(), [[(self.named[name][0], None)]]
        if kind == 4:
            parts = query("BEGIN") + query(sql) + unit(sql) + query("COMMIT")
            return parts, [[], [(number, "/*0*/")], [(number, "/*0*/")], []]
        if kind == 5:
            return query("SELECT 1/0"), ["error"]
        return query(sql), [[(number, mark)]]

    def burst(self, ports):
        data, wanted = b"", []
        for _ in range(self.rng.randrange(1, 8)):
            more, answers = self.units()
            data += more
            wanted += answers
        self.wire.send(data)
        for want in wanted:
            answer = self.wire.answer()
            if want == "error":
                assert answer.error[0] == "22012"
                continue
            assert answer.error is None, answer.error
            assert [row[0] for row in answer.rows] == [number for number, _ in want]
            for row, (_, mark) in zip(answer.rows, want, strict=True):
                # home is where a target that cannot be used right now sends it
                assert mark is None or row[1] in (ports[mark], ports["/*0*/"]), (mark, row)


@pytest.mark.slow
def test_stress(pooler, cluster):
    pooler.start(
        routing_rules_py_module_file=pooler.rules(RULES),
        rewrite_query_py_module_file=pooler.rules(REWRITE, "rewrite.py"),
        default_pool_size=4,
    )
    ports = {"/*0*/": cluster.primary, "/*1*/": cluster.replicas[0], "/*2*/": cluster.replicas[1]}
    ports = {mark: str(server.port) for mark, server in ports.items()}
    end, failures, bursts = time.monotonic() + SECONDS, [], []

    def client(seed):
        try:
            runner = Client(pooler, seed)
            while time.monotonic() < end:
                runner.burst(ports)
                bursts.append(1)
        except Exception as error:
            failures.append((seed, error))

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    rng = random.Random(1)
    while time.monotonic() < end - 1:
        time.sleep(0.1)
        name = rng.choice(["replica1", "replica2"])
        for command in rng.choice(
            [["RELOAD"], [f"DRAIN {name}", f"UNDRAIN {name}"], [f"RECONNECT {name}"], [f"PAUSE {name}", f"RESUME {name}"]]
        ):
            pooler.console(command)
    for thread in threads:
        thread.join()
    assert not failures
    assert len(bursts) > 100
    stats = pooler.stats()
    assert stats["waits"] > 50 and stats["failures"] == 0
