"""For a while, or RR_SOAK_SECONDS: reads and writes while rules, replicas and clients come and go; memory stays flat."""

import os
import random
import threading
import time
from pathlib import Path

import pytest
from conftest import wait_for
from pgwire import Closed, bind, execute, parse, query, sync

SECONDS = int(os.environ.get("RR_SOAK_SECONDS", "180"))
RULES = """
import re
WANTED = re.compile(r"/\\\\*replica\\\\*/")


def routing_rules(username, query):
    return "readers" if WANTED.search(query) else None
"""


def resident_kb(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


class Visitor(threading.Thread):
    """Connects, reads and writes a while, goes; an error is one of those that a failing replica may cause."""

    def __init__(self, pooler, seed, end):
        super().__init__()
        self.pooler, self.rng, self.end = pooler, random.Random(seed), end
        self.served, self.lost, self.wrong = 0, 0, []

    def run(self):
        while time.monotonic() < self.end:
            try:
                with self.pooler.wire(user=self.rng.choice(["alice", "bob"])) as wire:
                    for _ in range(self.rng.randrange(1, 200)):
                        self.visit(wire)
            except (Closed, OSError):
                self.lost += 1
            except Exception as error:
                self.wrong.append(error)
                return

    def visit(self, wire):
        number = self.rng.randrange(10**6)
        what = self.rng.randrange(10)
        if what == 0:
            answer = wire.query(f"UPDATE t SET v = 'soak {number}' WHERE id = {self.rng.randrange(1, 11)}")
        elif what == 1:
            wire.query("BEGIN")
            answer = wire.query(f"SELECT {number} FROM t LIMIT 1")
            wire.query("COMMIT")
        elif what == 2:
            name = f"s{number % 7}"
            answer = wire.ask(parse(f"SELECT {number % 7} /*{self.rng.randrange(3000)}*/", name), bind(name), execute(), sync())
        else:
            answer = wire.query(f"SELECT {number} /*{self.rng.choice(['replica', 'any'])}*/ FROM t LIMIT 1")
        if answer.error:
            assert answer.error[0] in ("57P01", "08P01", "42P05"), answer.error
        self.served += 1


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 240)
def test_memory_stays_flat(pooler, cluster):
    pooler.start_builtin(
        ("replica1", "replica2"), routing_rules_py_module_file=pooler.rules(RULES), routing_cache="fingerprint",
        routing_cache_size=262144, default_pool_size=6,
    )  # fmt: skip
    pid, end = pooler.process.pid, time.monotonic() + SECONDS
    visitors = [Visitor(pooler, seed, end) for seed in range(8)]
    for visitor in visitors:
        visitor.start()
    rng, sizes, restarts = random.Random(1), [], 0
    while time.monotonic() < end - 1:
        time.sleep(0.5)
        action = rng.randrange(12)
        if action == 0:
            replica = rng.choice(cluster.replicas)
            replica.stop("immediate")
            replica.start()
            restarts += 1
        elif action < 3:
            pooler.console(f"RECONNECT {rng.choice(['app', 'replica1', 'replica2'])}")
        elif action < 6:
            pooler.rules(RULES.replace("WANTED", f"WANTED_{rng.randrange(1000)}"))
            pooler.reload()
        sizes.append(resident_kb(pid))
    for visitor in visitors:
        visitor.join()
    wait_for(lambda: len(pooler.console("SHOW CLIENTS")) == 1, 30, "all clients gone")
    served, lost = sum(visitor.served for visitor in visitors), sum(visitor.lost for visitor in visitors)
    quarter = len(sizes) // 4
    early, late = max(sizes[quarter : 2 * quarter]), max(sizes[-quarter:])
    print(f"\n{served} units, {lost} connections lost, {restarts} restarts, {early} kB in the second quarter, {late} in the last")
    assert not [error for visitor in visitors for error in visitor.wrong]
    assert served > 20 * SECONDS and restarts
    assert late <= early * 1.03 + 256
