"""Looks for secrets on a host: in its files (layers of images among them), its journal, its processes and its Docker engine."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

# Files that are there for the secret's sake.
OWN = re.compile(r"/srv/demo/releases/[0-9a-f.]+/secrets/[A-Z_]+|/etc/pgbackrest/conf\.d/secrets\.conf|/etc/[a-z/0-9-]+\.key")

# What is no file yet, as files below /run.
GATHER = """
folder=$(mktemp -d /run/leaks.XXXXXX) || exit
journalctl --no-pager --output export >$folder/journal
if command -v docker >/dev/null; then docker inspect $(docker ps -aq) $(docker images -q) >$folder/engine; fi
for process in /proc/[0-9]*; do
  cat $process/cmdline $process/environ >$folder/process-${process#/proc/} 2>/dev/null
done
echo $folder
"""


def forms(secret: str) -> list[str]:
    """As it is, and as the registry's clients send it."""
    return [secret, *(b64encode(f"{user}:{secret}".encode()).decode() for user in ("pull", "push"))]


def found(host: Any, secrets: Iterable[str]) -> dict[str, int]:
    """Return the paths of all files with one of the secrets, and their modes; what was no file is named after what it was."""
    folder = host.check_output("sh -c %s", GATHER)
    patterns = "\n".join(form for secret in secrets for form in forms(secret))
    try:
        # By standard input, so that the search does not find itself.
        search = "grep --recursive --files-with-matches --no-messages --text --fixed-strings --file=- --exclude-dir=merged"
        paths = host.run(f"printf %s %s | {search} /etc /home /opt /root /run /srv /tmp /usr/local /var", "%s", patterns).stdout
        modes = {path: int(host.check_output("stat --format %%a %s", path), 8) for path in paths.splitlines()}
    finally:
        host.check_output("rm -r %s", folder)
    return {path.removeprefix(f"{folder}/"): mode for path, mode in modes.items()}


def leaked(host: Any, secrets: Iterable[str]) -> dict[str, str]:
    """Where the secrets are though they need not be, or where too many can read them."""
    return {path: oct(mode) for path, mode in found(host, secrets).items() if not OWN.fullmatch(path) or mode & 0o007}


@contextmanager
def command_lines(*hosts: Any) -> Iterator[set[str]]:
    """Filled at the end with the command lines of all processes that ran on the hosts for longer than a moment."""
    watch = "while sleep 0.1; do for process in /proc/[0-9]*; do tr '\\0' ' ' <$process/cmdline; echo; done; done"
    for host in hosts:
        host.check_output(
            "rm -f /run/command-lines; systemd-run --quiet --unit command-lines --property StandardError=null"
            " --property StandardOutput=append:/run/command-lines sh -c %s",
            watch,
        )
    lines: set[str] = set()
    try:
        yield lines
    finally:
        for host in hosts:
            lines.update(
                host.check_output("systemctl stop command-lines; sort -u /run/command-lines; rm /run/command-lines").splitlines()
            )
