# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Commands for a person's own terminal: what Ansible, which has none to give, would run. Pure functions."""

from __future__ import annotations

import shlex
from typing import Any


def command(connection: dict[str, Any], argv: list[str], tty: bool) -> str:
    """Return a line for this machine's shell that runs `argv` as root on the host that `connection` (Ansible's variables of the
    host without `ansible_`) leads to."""
    kind = str(connection.get("connection") or "ssh").rsplit(".", 1)[-1]
    if kind == "local":
        return shlex.join(argv)
    if kind == "docker":
        return shlex.join(["docker", "exec", "--interactive", *(["--tty"] if tty else []), connection["host"], *argv])
    words = ["ssh", "-tt" if tty else "-T"]
    if connection.get("port"):
        words += ["-p", str(connection["port"])]
    if connection.get("ssh_private_key_file"):
        words += ["-i", connection["ssh_private_key_file"]]
    for name in ("ssh_common_args", "ssh_extra_args"):
        words += shlex.split(connection.get(name) or "")
    user = connection.get("user") or ""
    words += [f"{user}@{connection['host']}" if user else connection["host"], "--"]
    # ssh hands one line to the shell there.
    return shlex.join([*words, shlex.join(argv if user == "root" else ["sudo", *argv])])


def one_off(run: str, site: str, tty: bool, manage: str) -> dict[str, Any]:
    """Say where a command of `make exec` runs (`on`: app, or db for the primary), and what it is there. `manage` is the image's
    file that runs management commands."""
    words = shlex.split(run)
    if words[:1] == ["dbshell"]:
        # As the owner of the site's tables, not as an administrator.
        psql = ["psql", "--host=/run/postgresql", f"--dbname={site}", *words[1:]]
        return {"on": "db", "argv": ["runuser", "--user=postgres", "--", "env", f"PGOPTIONS=-c role={site}", *psql]}
    if words[:1] == ["shell"]:
        words = ["python", manage, *words]
    elif words[:1] == ["manage"]:
        words = ["python", manage, *words[1:]]
    return {"on": "app", "argv": ["/usr/local/sbin/fairlead-processes", "run", *(["--tty"] if tty else []), *words]}


def follow(labels: list[str], files: list[str], units: list[str], since: str, words: str) -> list[str]:
    """A command that shows lines as they come: of the containers with one of the labels, of files and of systemd units."""
    script = "trap 'kill 0' INT TERM HUP; "
    if labels:
        listed = "; ".join(f"docker ps --quiet --filter {shlex.quote('label=' + label)}" for label in labels)
        script += (
            f"for id in $({listed}); do name=$(docker inspect --format '{{{{ .Name }}}}' $id); docker logs --follow "
            f'--since {shlex.quote(since)} $id 2>&1 | sed --unbuffered "s|^|${{name#/}} |" & done; '
        )
    if files:
        script += f"tail --lines=0 --follow=name --retry --quiet {shlex.join(files)} 2>/dev/null & "
    if units:
        chosen = shlex.join(f"--unit={unit}" for unit in units)
        script += f"journalctl --follow --lines=0 --no-hostname --output=short-iso {chosen} & "
    script += "wait"
    return ["bash", "-c", f"({script}) | grep --line-buffered --fixed-strings -e {shlex.quote(words)}" if words else script]
