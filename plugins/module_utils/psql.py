# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Asks the PostgreSQL server of this host, through its Unix socket, as its administrator."""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import Any

# How a module is told where the server is.
SERVER_OPTIONS: dict[str, Any] = {
    "socket_dir": {"type": "path", "default": "/run/postgresql"},
    "port": {"type": "int", "default": 5432},
    "login_user": {"type": "str", "default": "postgres"},
}

# A server that says so answers soon: it was started a moment ago. Seconds until it is taken for one that does not.
_STARTING = re.compile(r"the database system is (starting up|not yet accepting connections)")
_START_SECONDS = 60


class NotRunningError(Exception):
    """The server does not answer."""


class RefusedError(Exception):
    """The server refuses a statement."""


class Server:
    def __init__(self, params: dict[str, Any]) -> None:
        self.user = params["login_user"]
        self.command = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", params["socket_dir"], "-p", str(params["port"])]

    def run(self, sql: str, database: str = "postgres") -> str:
        """Run statements, given on standard input: a process's arguments can be read by anybody."""
        deadline = time.monotonic() + _START_SECONDS
        while _STARTING.search((done := self._psql(sql, database)).stderr) and time.monotonic() < deadline:
            time.sleep(0.5)
        if done.returncode == 2:  # psql's own code for a connection that could not be made or was lost
            raise NotRunningError(done.stderr.strip())
        if done.returncode != 0:
            raise RefusedError(f"PostgreSQL refuses a statement: {done.stderr.strip()}")
        return done.stdout

    def _psql(self, sql: str, database: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [*self.command, "-d", database],
                input=sql,
                user=self.user,
                group=self.user,
                extra_groups=[],
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "10"},
                capture_output=True,
                text=True,
                check=False,
            )
        except (FileNotFoundError, LookupError, ValueError) as error:
            raise NotRunningError(f"psql cannot be run: {error}") from error

    def ask(self, query: str, database: str = "postgres") -> dict[str, Any]:
        """Return the one JSON object that the query makes."""
        return dict(json.loads(self.run(query + ";", database)))
