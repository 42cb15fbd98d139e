#!/usr/bin/python
# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Holds the poolers' clients while their server changes, and lets them go on."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pooler_pause
short_description: Pause or resume all pgbouncer processes of a host
version_added: 0.2.0
description:
  - Paused, a pooler finishes the transactions that run, closes its server connections, and lets clients wait instead of failing.
  - Clients may wait for as long as the pause lasts, whatever query_wait_timeout says, until the next reload.
  - Before they resume, the poolers read their configuration again, so that the clients go on where it says.
  - If one process cannot be paused in time, all of them resume and the module fails.
  - A timer of systemd resumes them should nobody else do so.
  - Needs root on the host; it talks to the processes' consoles as the user I(user).
author: [The Fairlead authors (@fairlead)]
options:
  state:
    description: What the poolers are to be.
    type: str
    choices: [paused, resumed]
    required: true
  console_dir:
    description: Directory of the processes' console sockets.
    type: path
    default: /run/pgbouncer
  user:
    description: Unix user that the processes run as.
    type: str
    default: postgres
  timeout_s:
    description: Seconds that running transactions may take to end.
    type: int
    default: 5
  resume_after_s:
    description: Seconds after which the poolers resume by themselves, and clients give up.
    type: int
    default: 60
attributes:
  check_mode:
    description: Does nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Hold the clients
  fairlead.site.pooler_pause:
    state: paused
"""

RETURN = r"""
at:
  description: The host's time in seconds since 1970, when the first client may have begun, or the last one has ended to wait.
  returned: success
  type: float
"""

import glob
import os
import pwd
import socket
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from ansible.module_utils.basic import AnsibleModule

TIMER = "fairlead-pooler-resume"
# What the console answers when there is nothing to do.
ALREADY = ("already", "not paused")


class ConsoleError(Exception):
    """The console refuses a command or does not answer."""


class Console:
    """One process's administration console: PostgreSQL's protocol, as far as a command without rows needs it."""

    def __init__(self, path: str, timeout: float) -> None:
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(timeout)
        self.connection.connect(path)
        options = b"user\0pgbouncer\0database\0pgbouncer\0\0"
        self.connection.sendall(struct.pack("!ii", 8 + len(options), 196608) + options)
        self.answer()

    def run(self, command: str) -> bool:
        """Return whether the command changed anything."""
        text = command.encode() + b"\0"
        self.connection.sendall(b"Q" + struct.pack("!i", 4 + len(text)) + text)
        error = self.answer()
        if error and not any(word in error for word in ALREADY):
            raise ConsoleError(f"pgbouncer refuses {command}: {error}")
        return not error

    def answer(self) -> str:
        """Read until the server is ready for a query; return the error that it told meanwhile."""
        error = ""
        while True:
            kind, length = struct.unpack("!ci", self.read(5))
            body = self.read(length - 4)
            if kind == b"E":
                error = next((part[1:].decode() for part in body.split(b"\0") if part[:1] == b"M"), "unknown error")
            if kind == b"Z":
                return error

    def read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            part = self.connection.recv(size - len(found))
            if not part:
                raise ConsoleError("pgbouncer closed its console")
            found += part
        return found


def tell(paths: list[str], user: str, commands: list[str], timeout: float) -> bool:
    """Give the commands to all processes at the same time; return whether the last one changed one of them."""
    # The kernel tells the console who connects.
    os.seteuid(pwd.getpwnam(user).pw_uid)
    try:
        consoles = [Console(path, timeout) for path in paths]
    finally:
        os.seteuid(0)
    with ThreadPoolExecutor(len(consoles)) as pool:
        return any(list(pool.map(lambda console: [console.run(command) for command in commands][-1], consoles)))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["paused", "resumed"], "required": True},
            "console_dir": {"type": "path", "default": "/run/pgbouncer"},
            "user": {"type": "str", "default": "postgres"},
            "timeout_s": {"type": "int", "default": 5},
            "resume_after_s": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    at = time.time()
    paths = sorted(glob.glob(f"{module.params['console_dir']}/.s.PGSQL.*[0-9]"))
    if module.check_mode or not paths:
        module.exit_json(changed=False, at=at)
    paused = module.params["state"] == "paused"
    if paused:
        # SIGUSR2 is RESUME.
        resume = ["systemctl", "kill", "--signal=SIGUSR2", "pgbouncer.service", "pgbouncer@*.service"]
        timer = ["systemd-run", f"--unit={TIMER}", f"--on-active={module.params['resume_after_s']}"]
        subprocess.run(["systemctl", "stop", f"{TIMER}.timer"], capture_output=True, check=False)
        subprocess.run([*timer, *resume], capture_output=True, check=True)
    else:
        subprocess.run(["systemctl", "stop", f"{TIMER}.timer"], capture_output=True, check=False)
    user = module.params["user"]
    # Clients may wait for as long as the pause lasts, until the next reload.
    patience = f"SET query_wait_timeout = {module.params['resume_after_s']}"
    try:
        if paused:
            try:
                changed = tell(paths, user, [patience, "PAUSE"], module.params["timeout_s"])
            except (OSError, ConsoleError):
                tell(paths, user, ["RESUME"], 10)
                raise
        else:
            changed = tell(paths, user, ["RELOAD", patience, "RESUME"], 10)
            at = time.time()
    except TimeoutError:
        module.fail_json(
            msg=f"A transaction, or a session of the database `direct`, has not ended within {module.params['timeout_s']} s, "
            "so the pooler was not paused: try again when it has ended (SHOW CLIENTS on the pooler's console tells)."
        )
    except (OSError, ConsoleError) as error:
        module.fail_json(msg=f"The pooler's console does not do what it is told: {error}")
    module.exit_json(changed=changed, at=at)


if __name__ == "__main__":
    main()
