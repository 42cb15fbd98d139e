# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
from __future__ import annotations

import datetime
from typing import Any

DOCUMENTATION = """
name: merge_lines
short_description: Put the log lines of several hosts into one order
description:
  - Merges what M(fairlead.site.log_lines) read on each host by time.
options:
  _input:
    description: The lines by host.
    type: dict
    required: true
"""

EXAMPLES = """
- name: Show them
  ansible.builtin.debug:
    msg: "{{ {'app1': __lines.lines} | fairlead.site.merge_lines }}"
"""

RETURN = """
_value:
  description: The lines, each with its time (UTC), host and source before it.
  type: list
  elements: str
"""


def merge_lines(hosts: dict[str, list[dict[str, Any]]]) -> list[str]:
    lines = [(line["time"], host, line["source"], line["line"]) for host, found in hosts.items() for line in found]
    lines.sort(key=lambda line: line[0])
    return [
        f"{datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec='milliseconds')[:-6]}Z {host} {source} {text}"
        for at, host, source, text in lines
    ]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"merge_lines": merge_lines}
