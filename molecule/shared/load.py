"""Visitors in a process of their own, who keep their connections: what each got is counted, and nothing is asked twice.

    load.py ADDRESS DOMAIN CERTIFICATE '[{"name": "page", "path": "/", "visitors": 3, "pause": 0.1}]'

It prints counts as JSON when its standard input ends.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


class Connection(http.client.HTTPSConnection):
    """To the address, whatever the domain's is elsewhere."""

    def __init__(self, address: str, domain: str, trust: ssl.SSLContext) -> None:
        super().__init__(domain, timeout=60, context=trust)
        self.address, self.trust = address, trust

    def connect(self) -> None:
        self.sock = self.trust.wrap_socket(socket.create_connection((self.address, 443), 60), server_hostname=self.host)


def visit(
    address: str, domain: str, trust: ssl.SSLContext, errand: dict[str, Any], counts: Counter[str], end: threading.Event
) -> None:
    connection = Connection(address, domain, trust)
    while not end.is_set():
        begun = time.strftime("%H:%M:%S", time.gmtime())
        try:
            headers = {"Referer": f"https://{domain}/", **errand.get("headers", {})}
            connection.request(errand.get("method", "GET"), errand["path"], headers=headers)
            answer = connection.getresponse()
            answer.read()
            counts[f"{errand['name']} {answer.status}"] += 1
        except (OSError, http.client.HTTPException) as error:
            counts[f"{errand['name']} {begun} {error!r}"] += 1
            connection.close()
        end.wait(errand.get("pause", 0.1))


def main() -> None:
    address, domain, certificate, errands = sys.argv[1:]
    trust = ssl.create_default_context(cafile=certificate)
    counts: Counter[str] = Counter()
    end = threading.Event()
    threads = [
        threading.Thread(target=visit, args=(address, domain, trust, errand, counts, end))
        for errand in json.loads(errands)
        for _ in range(errand.get("visitors", 1))
    ]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    end.set()
    for thread in threads:
        thread.join()
    print(json.dumps(counts))


@dataclass
class Load:
    """What came of the requests, once they have ended."""

    counts: Counter[str] = field(default_factory=Counter)

    def of(self, name: str, status: int) -> int:
        return self.counts[f"{name} {status}"]

    def others(self, *expected: str) -> dict[str, int]:
        """What came of requests that nobody expects."""
        return {result: count for result, count in self.counts.items() if result not in expected}


@contextmanager
def loading(address: str, domain: str, certificate: str, *errands: dict[str, Any]) -> Iterator[Load]:
    load = Load()
    command = [sys.executable, __file__, address, domain, certificate, json.dumps(errands)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(1)
        yield load
    finally:
        said, _ = process.communicate()
        load.counts.update(json.loads(said))


if __name__ == "__main__":
    main()
