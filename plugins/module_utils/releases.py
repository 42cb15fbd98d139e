# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""What the records of a site's releases say, and how two releases differ. Pure functions, for hosts and controller alike.

A record is one JSON line, written when a release has come to its end: id, image, environment_hash, static, migrations_before,
migrations_after, irreversible, who, started, seconds, result and reason. result is one of

- live: it was put into service everywhere,
- failed: what ran before runs on,
- rolled_back: it was in service, and an earlier one was put in its place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

Record = dict[str, Any]


class ReleaseError(Exception):
    """Why a step cannot be done, in one sentence; and what a program said, which may be long, and is not kept."""

    def __init__(self, sentence: str, words: str = "") -> None:
        super().__init__(sentence)
        self.words = words


def read(text: str) -> list[Record]:
    """The records of a file; what is no whole record, such as the last line of a host that lost its power, is left out."""
    records = []
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("id"), str) and "result" in record:
            records.append(record)
    return records


def good(records: Iterable[Record]) -> list[str]:
    """Releases that served and were not rolled back, the one in service last."""
    found: list[str] = []
    for record in records:
        if record["result"] in ("live", "rolled_back") and record["id"] in found:
            found.remove(record["id"])
        if record["result"] == "live":
            found.append(record["id"])
    return found


def last_good(records: Iterable[Record], current: str) -> str:
    """Where a rollback goes that names no release: the newest good one that is not running. None: empty."""
    return next((name for name in reversed(good(records)) if name != current), "")


def worth_keeping(records: list[Record], count: int) -> list[str]:
    """The last that served, whatever came after, and among them always the good one before the one in service."""
    served = [row["id"] for row in history(records) if row["times_live"]]
    return list(dict.fromkeys(good(records)[-2:] + served))[:count]


def irreversible_since(records: Iterable[Record], release: str) -> list[str]:
    """Migrations, applied since the release was last put into service, that its code may not survive."""
    found: list[str] = []
    for record in records:
        if record["id"] == release and record["result"] == "live":
            found = []
        else:
            found += [name for name in record.get("irreversible") or [] if name not in found]
    return found


def history(records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row a release, newest first: its last record, and how often it was put into service."""
    rows: dict[str, dict[str, Any]] = {}
    for record in records:
        times = rows.pop(record["id"], {}).get("times_live", 0)
        rows[record["id"]] = {**record, "times_live": times + (record["result"] == "live")}
    return list(reversed(rows.values()))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def fingerprint(secret: str) -> str:
    """Tells whether two secrets are the same, and nothing else: too slow to try words on, too short to be sure of one."""
    return hashlib.scrypt(secret.encode(), salt=b"fairlead", n=2**14, r=8, p=1, dklen=4).hex()


def shown(spec: dict[str, Any], secrets: dict[str, str]) -> list[str]:
    """All that makes a release, a sorted line each; of secrets their fingerprints."""
    lines = [f"secret {name}: {fingerprint(value)}" for name, value in sorted(secrets.items())]
    for key, value in sorted(spec.items()):
        if isinstance(value, dict):
            lines += [f"{key} {name}: {_text(item)}" for name, item in sorted(value.items())]
        else:
            lines.append(f"{key}: {_text(value)}")
    return lines


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def judged(lines: Iterable[str], share: float, latency: float) -> tuple[str, int, int]:
    """What lines of nginx's JSON log say of the application: why it is not good enough (or nothing), requests, and failures.

    Fewer than three failures, or slow answers among fewer than twenty, are no sign yet.
    """
    times, failed = [], 0
    for line in lines:
        try:
            entry = json.loads(line)
            if not entry["upstream"]:
                continue
            times.append(float(entry["request_time"]))
            failed += int(entry["status"]) >= 500
        except (ValueError, KeyError, TypeError):
            continue
    count = len(times)
    if failed >= 3 and failed > share * count:
        return f"{failed} of {count} requests failed, more than {share:.1%}", count, failed
    slow = sorted(times)[int(count * 0.95)] if count >= 20 else 0.0
    if latency and slow > latency:
        return f"5 % of {count} requests took {slow:.2f} s or more, beyond {latency:g} s", count, failed
    return "", count, failed
