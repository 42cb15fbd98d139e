# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Runs a command if no other container of the site's hosts runs the same one. It is started inside a release's container.

  python only_one.py wait NAME COMMAND …   wait until it is the only one, then run it: a scheduler
  python only_one.py skip NAME COMMAND …   run it unless it runs elsewhere, or has begun there a moment ago: a job

Who may run is a row of the table fairlead_lease in the site's own database: it belongs to its holder until it expires, and its
holder renews it. Whoever cannot renew it in time stops the command before somebody else may begin. The statements are short
and each is a transaction, so a pooler may be in between, be paused, restarted, or led to another server.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
import warnings
from pathlib import Path

LEASE_SECONDS = 30
RENEW_SECONDS = 5
# A holder that could not renew it for so long stops; LEASE_SECONDS after the last renewal it has been killed.
STOP_SECONDS = 20
# Hosts' clocks differ a little: a job that ended in no time is not begun again by the host whose timer comes later.
JOB_SECONDS = 30
JOB_ATTEMPTS = 5

CREATE = (
    "CREATE TABLE IF NOT EXISTS fairlead_lease "
    "(name text PRIMARY KEY, holder text NOT NULL, since timestamptz NOT NULL, expires timestamptz NOT NULL)"
)
TAKE = """
INSERT INTO fairlead_lease AS lease
VALUES (%(name)s, %(holder)s, clock_timestamp(), clock_timestamp() + %(seconds)s * interval '1 s')
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires = excluded.expires,
  since = CASE WHEN lease.holder = excluded.holder THEN lease.since ELSE excluded.since END
WHERE lease.holder = excluded.holder OR lease.expires < clock_timestamp()
RETURNING holder
"""
LEAVE = """
UPDATE fairlead_lease SET expires = greatest(since + %(seconds)s * interval '1 s', clock_timestamp())
WHERE name = %(name)s AND holder = %(holder)s
"""


def say(words: str) -> None:
    print(f"only_one: {words}", file=sys.stderr, flush=True)


def ask(sql: str, **values: object) -> bool:
    """Run one statement on a connection of its own; return whether it gave back a row."""
    from django.db import connection

    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            return bool(cursor.description and cursor.fetchone())
    finally:
        connection.close()


class Lease:
    def __init__(self, name: str) -> None:
        self.name = name
        self.holder = f"{os.uname().nodename} {uuid.uuid4()}"
        self.renewed = 0.0
        self.lost = False

    def take(self) -> bool:
        """Take it, or renew it. It counts from before it was asked for."""
        began = time.monotonic()
        taken = ask(TAKE, name=self.name, holder=self.holder, seconds=LEASE_SECONDS)
        if taken:
            self.renewed = began
        return taken

    def leave(self, seconds: int) -> None:
        ask(LEAVE, name=self.name, holder=self.holder, seconds=seconds)

    def keep(self, done: threading.Event) -> None:
        from django.db import Error

        while not done.wait(RENEW_SECONDS):
            try:
                self.lost = not self.take()
            except Error as error:
                say(f"cannot renew the lease of {self.name}: {error}")

    @property
    def age(self) -> float:
        return time.monotonic() - self.renewed


def run(lease: Lease, command: list[str], stopped: list[int]) -> int:
    """Run the command as long as the lease is kept, and pass on the signals that came to `stopped`."""
    done = threading.Event()
    keeper = threading.Thread(target=lease.keep, args=[done], daemon=True)
    keeper.start()
    child = subprocess.Popen(command)
    told = False
    try:
        while True:
            try:
                return child.wait(0.2)
            except subprocess.TimeoutExpired:
                pass
            while stopped:
                child.send_signal(stopped.pop(0))
            if lease.age > LEASE_SECONDS - 1:
                child.kill()
            elif (lease.lost or lease.age > STOP_SECONDS) and not told:
                say(f"the lease of {lease.name} is lost: stopping")
                child.terminate()
                told = True
    finally:
        done.set()
        keeper.join(RENEW_SECONDS)  # or it might renew what is being given back


def main() -> int:
    how, name, command = sys.argv[1], sys.argv[2], sys.argv[3:]
    sys.path.insert(0, str(Path.cwd()))  # settings are found as manage.py finds them
    # It asks without models, so the applications need not be loaded.
    warnings.filterwarnings("ignore", "Accessing the database during app initialization")
    from django.db import Error

    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, _: signals.append(number))
    lease = Lease(name)
    made = waiting = False
    attempts = 0
    while True:
        try:
            if not made:
                ask(CREATE)
                made = True
            if lease.take():
                break
            if how == "skip":
                say(f"{name} runs on another host, or has run there a moment ago: nothing to do here")
                return 0
            if not waiting:
                say(f"{name} runs elsewhere: waiting")
                waiting = True
        except Error as error:
            attempts += 1
            say(f"cannot ask who runs {name}: {error}")
            if how == "skip" and attempts == JOB_ATTEMPTS:
                return 1
        for _ in range(10):
            time.sleep(0.1)
            if signals:
                return 0
    try:
        code = run(lease, command, signals)
    finally:
        try:
            lease.leave(JOB_SECONDS if how == "skip" else 0)
        except Error as error:
            say(f"cannot give the lease of {name} back, it expires: {error}")
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
