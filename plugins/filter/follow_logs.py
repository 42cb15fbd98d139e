# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
from __future__ import annotations

from typing import Any

from ansible_collections.fairlead.site.plugins.module_utils.remote import follow

DOCUMENTATION = """
name: follow_logs
short_description: Write the command that shows a host's log lines as they come
description:
  - Of containers, files and systemd units, until it is ended.
options:
  _input:
    description: Where a host's logs are - C(labels) of containers, C(files), C(units).
    type: dict
    required: true
  since:
    description: How far back containers' lines are shown first, such as C(1m).
    type: str
    required: true
  words:
    description: Show lines with these words alone; empty for all.
    type: str
    required: true
"""

EXAMPLES = """
- name: Show the command
  ansible.builtin.debug:
    msg: "{{ {'labels': [], 'files': [], 'units': ['nginx.service']} | fairlead.site.follow_logs('1m', '') }}"
"""

RETURN = """
_value:
  description: The command, word by word.
  type: list
  elements: str
"""


def follow_logs(sources: dict[str, list[str]], since: str, words: str) -> list[str]:
    return follow(sources["labels"], sources["files"], sources["units"], since, words)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"follow_logs": follow_logs}
