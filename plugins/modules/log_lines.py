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
    description:
      - Files whose lines hold their time - as nginx writes it, or as C("time") in ISO 8601. What logrotate made of them
        (C(.1), C(.2.gz) ...) is read too, as far back as need be.
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
  description: Whether there were more, which are older.
  returned: always
  type: bool
"""

import datetime
import glob
import gzip
import heapq
import json
import math
import os
import re
import subprocess
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from io import BufferedIOBase
from itertools import chain, islice

from ansible.module_utils.basic import AnsibleModule

Line = tuple[float, str, str]

# nginx's own error log, and any line with the key "time".
NGINX = re.compile(r"^(\d{4})/(\d\d)/(\d\d) (\d\d):(\d\d):(\d\d) ")
KEY = re.compile(r'"time": ?"([^"]+)"')
STEP = 1024 * 1024


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


def output(*command: str) -> Iterator[str]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout
        for raw in process.stdout:
            yield raw.decode(errors="replace").rstrip("\n")


def of_containers(labels: list[str], since: float) -> Iterator[Line]:
    for label in labels:
        for name in list(output("docker", "ps", "--all", "--filter", f"label={label}", "--format", "{{ .Names }}")):
            for line in output("docker", "logs", "--timestamps", "--since", f"{since:.3f}", name):
                stamp, _, text = line.partition(" ")
                if stamp.endswith("Z"):
                    yield stamped(stamp), name, text


def rotated(path: str) -> list[str]:
    """The files that logrotate made of one, the oldest first, and itself."""
    ends = {name: re.fullmatch(r"\.(\d+)(\.gz)?", name[len(path) :]) for name in glob.glob(glob.escape(path) + ".*")}
    older = [(int(end[1]), name) for name, end in ends.items() if end]
    return [name for _, name in sorted(older, reverse=True)] + [path]


def start_of(stream: BufferedIOBase, size: int, since: float) -> int:
    """A place not far before the first line since then, for a log may be large. Its lines are in order."""

    def first(offset: int) -> float:
        stream.seek(offset)
        times = (moment(raw.decode(errors="replace")) for raw in islice(stream, 1 if offset else 0, 1000))
        return next((found for found in times if found is not None), math.inf)

    places = range(0, size, STEP)
    return places[max(0, bisect_left(places, since, key=first) - 1)] if places else 0


def of_files(paths: list[str], since: float) -> Iterator[Line]:
    for path in paths:
        for file in rotated(path):
            if not os.path.exists(file) or os.path.getmtime(file) < since:
                continue
            packed = file.endswith(".gz")
            with gzip.open(file) if packed else open(file, "rb") as stream:
                start = 0 if packed else start_of(stream, os.path.getsize(file), since)
                stream.seek(start)
                # A line without a time is of the one before it; before the first there may be a piece of one that is too old.
                at = -math.inf if start else since
                for raw in stream:
                    line = raw.decode(errors="replace").rstrip("\n")
                    at = moment(line) or at
                    if at >= since:
                        yield at, os.path.basename(path), line


def of_units(units: list[str], since: float) -> Iterator[Line]:
    if not units:
        return
    chosen = [f"--unit={unit}" for unit in units]
    for line in output("journalctl", "--output=json", f"--since=@{since:.0f}", *chosen):
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


def newest(lines: Iterable[Line], count: int) -> tuple[list[Line], bool]:
    """The last lines in the order of time, and whether there were more."""
    kept: list[tuple[float, int, Line]] = []
    number = -1
    for number, line in enumerate(lines):
        if number < count:
            heapq.heappush(kept, (line[0], number, line))
        else:
            heapq.heappushpop(kept, (line[0], number, line))
    return [line for _, _, line in sorted(kept)], number >= count


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
    found = chain(of_containers(params["labels"], since), of_files(params["files"], since), of_units(params["units"], since))
    lines, cut = newest((line for line in found if params["words"] in line[2]), params["lines"])
    module.exit_json(
        changed=False,
        lines=[{"time": at, "source": source, "line": text} for at, source, text in lines],
        cut=cut,
    )


if __name__ == "__main__":
    main()
