# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Asks the PostgreSQL server of this host, through its Unix socket, as its administrator."""

from __future__ import annotations

import json
import subprocess
from typing import Any

# How a module is told where the server is.
SERVER_OPTIONS: dict[str, Any] = {
    "socket_dir": {"type": "path", "default": "/run/postgresql"},
    "port": {"type": "int", "default": 5432},
    "login_user": {"type": "str", "default": "postgres"},
}


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
        try:
            done = subprocess.run(
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
        if done.returncode == 2:  # psql's own code for a connection that could not be made or was lost
            raise NotRunningError(done.stderr.strip())
        if done.returncode != 0:
            raise RefusedError(f"PostgreSQL refuses a statement: {done.stderr.strip()}")
        return done.stdout

    def ask(self, query: str, database: str = "postgres") -> dict[str, Any]:
        """Return the one JSON object that the query makes."""
        return dict(json.loads(self.run(query + ";", database)))
