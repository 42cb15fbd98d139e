# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
from __future__ import annotations

from typing import Any

from ansible_collections.fairlead.site.plugins.module_utils.remote import command

DOCUMENTATION = """
name: remote_command
short_description: Write the command line that runs a command on a host from one's own terminal
description:
  - For what needs a terminal or has no end, which Ansible does not do.
options:
  _input:
    description: The command, word by word.
    type: list
    elements: str
    required: true
  connection:
    description: How the host is reached - Ansible's variables without C(ansible_), such as C(host), C(user), C(connection).
    type: dict
    required: true
  tty:
    description: Whether it is for a terminal.
    type: bool
    default: false
"""

EXAMPLES = """
- name: Show how to look at a host
  ansible.builtin.debug:
    msg: "{{ ['htop'] | fairlead.site.remote_command({'host': ansible_host}, tty=true) }}"
"""

RETURN = """
_value:
  description: A line for a shell.
  type: str
"""


def remote_command(argv: list[str], connection: dict[str, Any], tty: bool = False) -> str:
    return command(connection, argv, tty)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"remote_command": remote_command}
