# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC

from __future__ import annotations

import json
from typing import Any

DOCUMENTATION = """
name: changed_keys
short_description: Tell which keys of a JSON file a change touches
description:
  - Compares the diff that M(fairlead.site.tree) returns for a file whose content is a JSON object, and returns the names of the
    top-level keys that were added, removed or changed.
  - Where the file was not there or was no such JSON, all keys of the new content count.
options:
  _input:
    description: The C(diff) of the registered result.
    type: list
    elements: dict
    required: true
  path:
    description: The file.
    type: str
    required: true
"""

EXAMPLES = """
- name: Restart the program if a reload is not enough
  ansible.builtin.systemd_service:
    name: program.service
    state: restarted
  when: __tree.diff | fairlead.site.changed_keys('/etc/program.json') | difference(['debug']) | length > 0
"""

RETURN = """
_value:
  description: The keys in alphabetical order.
  type: list
  elements: str
"""


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def changed_keys(diff: list[dict[str, str]], path: str) -> list[str]:
    changed: set[str] = set()
    for part in diff:
        if path in (part.get("before_header"), part.get("after_header")):
            before, after = _object(part["before"]), _object(part["after"])
            changed |= {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    return sorted(changed)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"changed_keys": changed_keys}
