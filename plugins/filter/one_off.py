# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
from __future__ import annotations

from typing import Any

from ansible_collections.fairlead.site.plugins.module_utils.remote import one_off

DOCUMENTATION = """
name: one_off
short_description: Say where a command of `make exec` runs, and what it is there
description:
  - C(shell) and C(manage …) are management commands, C(dbshell) is psql on the primary, anything else is a command in a container
    of the current release.
options:
  _input:
    description: The command as a person writes it.
    type: str
    required: true
  site:
    description: The site's short name.
    type: str
    required: true
  tty:
    description: Whether it is for a terminal.
    type: bool
    default: false
  manage:
    description: The image's file that runs management commands.
    type: str
    default: manage.py
"""

EXAMPLES = """
- name: Show what runs
  ansible.builtin.debug:
    msg: "{{ 'manage migrate --plan' | fairlead.site.one_off('shop') }}"
"""

RETURN = """
_value:
  description: C(on), app or db, and C(argv).
  type: dict
"""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"one_off": lambda run, site, tty=False, manage="manage.py": one_off(run, site, tty, manage)}
