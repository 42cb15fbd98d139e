#!/usr/bin/python
# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Reads the lines of a span of time from all that logs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: log_lines
short_description: Read log lines of containers, files and systemd units
version_added: 0.3.0
description:
  - Returns the lines since a moment, oldest first, each with its time and its source. Changes nothing. Needs root.
author: [The Fairlead authors (@fairlead)]
options:
  labels:
    description: Containers that have one of these labels, running or not.
    type: list
    elements: str
    default: []
  files:
    description: Files whose lines hold their time - as nginx writes it, or as C("time") in ISO 8601.
    type: list
    elements: path
    default: []
  units:
    description: systemd units; C(*) stands for any text.
    type: list
    elements: str
    default: []
  since_seconds:
    description: How far back.
    type: float
    required: true
  words:
    description: Only lines with these words; empty for all.
    type: str
    default: ""
  lines:
    description: At most so many, the last ones.
    type: int
    default: 1000
attributes:
  check_mode:
    description: Changes nothing at any time.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Read what was logged in the last hour
  fairlead.site.log_lines:
    units: [nginx.service]
    since_seconds: 3600
"""

RETURN = r"""
lines:
  description: C(time) in seconds since 1970, C(source) and C(line) of each.
  returned: always
  type: list
  elements: dict
cut:
  description: Whether there were more.
  returned: always
  type: bool
"""

import datetime
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator

from ansible.module_utils.basic import AnsibleModule

Line = tuple[float, str, str]

# nginx's own error log, and any line with the key "time".
NGINX = re.compile(r"^(\d{4})/(\d\d)/(\d\d) (\d\d):(\d\d):(\d\d) ")
KEY = re.compile(r'"time": ?"([^"]+)"')
BACK_BYTES = 64 * 1024 * 1024


def moment(line: str) -> float | None:
    """The time that a line of a file says, in seconds since 1970; nginx writes the host's."""
    if found := NGINX.match(line):
        return datetime.datetime(*(int(part) for part in found.groups())).timestamp()  # type: ignore[arg-type,unused-ignore]
    if found := KEY.search(line):
        try:
            return datetime.datetime.fromisoformat(found[1].replace("Z", "+00:00")).timestamp()
        except ValueError:
            return None
    return None


def stamped(text: str) -> float:
    """Docker's time, which has more digits than Python's."""
    return datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z$|Z$", r"\1+00:00", text)).timestamp()


def output(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout.decode(errors="replace")


def of_containers(labels: list[str], since: float) -> Iterator[Line]:
    for label in labels:
        for name in output("docker", "ps", "--all", "--filter", f"label={label}", "--format", "{{ .Names }}").split():
            for line in output("docker", "logs", "--timestamps", "--since", f"{since:.3f}", name).splitlines():
                stamp, _, text = line.partition(" ")
                if stamp.endswith("Z"):
                    yield stamped(stamp), name, text


def of_files(paths: list[str], since: float) -> Iterator[Line]:
    for path in paths:
        # The one before it was rotated too.
        for file in (f"{path}.1", path):
            if not os.path.exists(file) or os.path.getmtime(file) < since:
                continue
            at = since
            with open(file, "rb") as stream:
                stream.seek(max(0, os.path.getsize(file) - BACK_BYTES))
                for raw in stream:
                    line = raw.decode(errors="replace").rstrip("\n")
                    at = moment(line) or at
                    if at >= since:
                        yield at, os.path.basename(path), line


def of_units(units: list[str], since: float) -> Iterator[Line]:
    if not units:
        return
    chosen = [f"--unit={unit}" for unit in units]
    for line in output("journalctl", "--output=json", f"--since=@{since:.0f}", *chosen).splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        message = entry.get("MESSAGE")
        if isinstance(message, list):  # bytes that are no UTF-8
            message = bytes(message).decode(errors="replace")
        unit = entry.get("_SYSTEMD_UNIT") or entry.get("UNIT") or "journal"
        if entry.get("_PID") == "1":
            unit = entry.get("UNIT") or unit
        yield int(entry["__REALTIME_TIMESTAMP"]) / 1e6, unit, str(message)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "labels": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "list", "elements": "path", "default": []},
            "units": {"type": "list", "elements": "str", "default": []},
            "since_seconds": {"type": "float", "required": True},
            "words": {"type": "str", "default": ""},
            "lines": {"type": "int", "default": 1000},
        },
        supports_check_mode=True,
    )
    params = module.params
    since = time.time() - params["since_seconds"]
    found = [
        line
        for lines in (of_containers(params["labels"], since), of_files(params["files"], since), of_units(params["units"], since))
        for line in lines
        if params["words"] in line[2]
    ]
    found.sort(key=lambda line: line[0])
    kept = found[-params["lines"] :]
    module.exit_json(
        changed=False,
        lines=[{"time": at, "source": source, "line": text} for at, source, text in kept],
        cut=len(kept) < len(found),
    )


if __name__ == "__main__":
    main()
