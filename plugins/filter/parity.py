# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
from __future__ import annotations

from typing import Any

from ansible_collections.fairlead.site.plugins.module_utils.operating import parity

DOCUMENTATION = """
name: parity
short_description: List every difference between two sites
description:
  - Compares what the filter P(fairlead.site.site_facts#filter) made of each.
options:
  _input:
    description: The one site.
    type: dict
    required: true
  other:
    description: The other one.
    type: dict
    required: true
  expected:
    description: Differences that are meant - C(what), in which C(*) stands for any text, and C(why).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = """
- name: Show the differences
  ansible.builtin.debug:
    msg: "{{ (development | fairlead.site.parity(production, [{'what': 'app / image', 'why': 'is tried out'}])).text }}"
"""

RETURN = """
_value:
  description:
    - C(rows), a difference each with C(what), C(a), C(b), and C(expected), why it is, or empty; how many are C(unexpected); and
      C(text), a table for people.
  type: dict
"""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"parity": parity}
