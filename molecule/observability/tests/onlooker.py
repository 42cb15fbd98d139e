#!/usr/bin/python3
"""Writes down each port on which something listens for the whole network, looking fifty times a second: onlooker.py FILE."""

from __future__ import annotations

import sys
import time
from pathlib import Path

LISTEN = "0A"


def everywhere() -> set[int]:
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, port = local.split(":")
            if state == LISTEN and not int(address, 16):
                ports.add(int(port, 16))
    return ports


seen: set[int] = set()
while True:
    if new := everywhere() - seen:
        seen |= new
        Path(sys.argv[1]).write_text("".join(f"{port}\n" for port in sorted(seen)))
    time.sleep(0.02)
