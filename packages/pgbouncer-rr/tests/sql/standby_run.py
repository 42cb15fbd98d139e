#!/usr/bin/env python3
"""Run PostgreSQL's regression SQL on a primary, and whatever the classifier calls a read on its standby too.

    standby_run.py PRIMARY STANDBY SOURCE LEAST

PRIMARY and STANDBY are connection strings of a superuser, SOURCE is the unpacked source of the same PostgreSQL, or a
file of statements (such as sqlsmith --dry-run prints). The primary must wait for the standby (synchronous_commit =
remote_apply). Fails if the standby refuses a read because it is a standby, or if fewer than LEAST ran there. Prints
how many of the reads by PostgreSQL's grammar the classifier knows, and which answers differed.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import oracle
import rr_sql
from pglast.parser import split
from psycopg import pq

REFUSED = re.compile(r"read-only transaction|during recovery|recovery is in progress|hot standby", re.IGNORECASE)
# Files that need another build, other databases, or minutes.
SKIPPED = {"largeobject", "tablespace", "database", "stats", "misc_functions", "regproc", "compression"}


def files(regress: Path) -> list[Path]:
    """Return the files in the order of the schedule."""
    schedule = (regress / "parallel_schedule").read_text()
    names = [name for line in schedule.splitlines() if line.startswith("test:") for name in line.split()[1:]]
    return [regress / "sql" / f"{name}.sql" for name in names if name not in SKIPPED]


def statements(path: Path) -> Iterator[tuple[str, bytes | None]]:
    """Yield the statements of a psql script, with the data of a COPY FROM STDIN."""
    variables: dict[str, str] = {}
    pending: list[str] = []
    lines = iter(path.read_text(errors="replace").splitlines())
    for line in lines:
        if found := re.match(r"\\set (\w+) :abs_srcdir '(.*)'", line):
            variables[found[1]] = str(path.parents[1]) + found[2]
        if line.startswith("\\"):
            continue
        text = re.sub(r":'(\w+)'", lambda m: "'" + variables.get(m[1], m[1]) + "'", line)
        text = re.sub(r"\\(;|g(set|exec|x)?\b|crosstabview).*", ";", text)
        pending.append(text)
        if re.match(r"(?i)\s*copy\b.*\bfrom\s+stdin\b.*;\s*$", line):
            data = b""
            for row in lines:
                if row == "\\.":
                    break
                data += row.encode() + b"\n"
            yield from ((sql, None) for sql in pieces("\n".join(pending[:-1])))
            yield pending[-1], data
            pending = []
    yield from ((sql, None) for sql in pieces("\n".join(pending)))


def pieces(text: str) -> list[str]:
    """Split at semicolons."""
    try:
        return list(split(text, with_parser=False))
    except Exception:  # the scanner refuses some files whole
        return [piece for piece in re.split(r";\s*\n", text) if piece.strip()]


class Server:
    """One connection, simple queries only."""

    def __init__(self, conninfo: str) -> None:
        """Connect."""
        self.conninfo = conninfo
        self.connect()

    def connect(self) -> None:
        """Open the connection, with a limit on each statement's time."""
        self.connection = pq.PGconn.connect(self.conninfo.encode())
        if self.connection.status != pq.ConnStatus.OK:
            sys.exit(self.connection.error_message.decode())
        self.run("set statement_timeout = '4s'")

    def run(self, sql: str, data: bytes | None = None) -> tuple[str, list[tuple[bytes | None, ...]]]:
        """Run a statement; return its error, if any, and its rows."""
        result = self.connection.exec_(sql.encode())
        rows: list[tuple[bytes | None, ...]] = []
        error = result.error_message.decode(errors="replace") if result.status == pq.ExecStatus.FATAL_ERROR else ""
        if result.status == pq.ExecStatus.COPY_IN:
            self.connection.put_copy_data(data or b"")
            self.connection.put_copy_end(None)
        elif result.status == pq.ExecStatus.COPY_OUT:
            while (row := self.connection.get_copy_data(0))[0] > 0:
                rows.append((bytes(row[1]),))
        elif result.status == pq.ExecStatus.TUPLES_OK:
            fields = range(result.nfields)
            rows = [tuple(result.get_value(row, field) for field in fields) for row in range(result.ntuples)]
        if result.status in (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT):
            while after := self.connection.get_result():
                if after.status == pq.ExecStatus.FATAL_ERROR:
                    error = after.error_message.decode(errors="replace")
        if self.connection.status != pq.ConnStatus.OK:
            self.connect()
        return error, rows

    def is_idle(self) -> bool:
        """Say whether no transaction is open."""
        return self.connection.transaction_status == pq.TransactionStatus.IDLE


def temporary(server: Server) -> set[str]:
    """Return the session's own relations, which no other server can have."""
    _, rows = server.run("select relname from pg_catalog.pg_class where relnamespace = pg_catalog.pg_my_temp_schema()")
    return {(row[0] or b"").decode() for row in rows}


def main() -> None:
    """Run all files."""
    primary, standby = Server(sys.argv[1]), Server(sys.argv[2])
    classifier = rr_sql.Classifier()
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    refused: list[str] = []
    differing: list[str] = []
    source = Path(sys.argv[3])
    for path in [source] if source.is_file() else files(source / "src" / "test" / "regress"):
        for server in (primary, standby):
            server.connect()
        for sql, data in statements(path):
            counts["statements"] += 1
            found = classifier.classify(sql)
            try:
                truth = oracle.kind(sql)
            except oracle.RefusedError:
                truth = "refused"
            counts[f"{truth}, classified {found.kind}"] += 1
            if truth == "read" and found.kind == "write":
                reasons[str(found.reason)] += 1
            if found.reason == "a function that is not known to be a read":
                functions[found.token.decode().lower()] += 1
            idle = primary.is_idle()
            error, rows = primary.run(sql, data)
            if found.kind == "session":
                standby.run(sql)
            elif found.kind == "read" and idle and temporary(primary) & set(re.findall(r"\w+", sql.lower())):
                counts["reads of temporary tables, not run"] += 1
            elif found.kind == "read" and idle:
                other, other_rows = standby.run(sql)
                if "unlogged relations" in other:
                    counts["reads of unlogged tables, a documented limit"] += 1
                elif REFUSED.search(other) and not REFUSED.search(error):
                    refused.append(f"{path.name}: {sql}: {other}")
                elif other:
                    counts["reads that fail on both" if error else "reads that fail on the standby alone"] += 1
                    if not error:
                        differing.append(f"{path.name}: {sql[:200]}: {other.strip()}")
                else:
                    counts["reads run on the standby"] += 1
                    if sorted(map(repr, rows)) != sorted(map(repr, other_rows)):
                        differing.append(f"{path.name}: {sql[:200]}")
    for title, counter in (("counts", counts), ("reads that stay home", reasons), ("functions not on the list", functions)):
        print(f"== {title}", *(f"{number:7} {what}" for what, number in counter.most_common(60)), sep="\n")
    print("== answers that differ", *differing, sep="\n")
    print("== refused by the standby", *refused, sep="\n")
    reads = sum(number for what, number in counts.items() if what.startswith("read, classified"))
    print(f"the classifier knows {counts['read, classified read'] / reads:.1%} of {reads} reads; refused: {len(refused)}")
    sys.exit(bool(refused) or counts["reads run on the standby"] < int(sys.argv[4]))


if __name__ == "__main__":
    main()
