# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.fairlead.site.plugins.module_utils.capacity import plan, table_text

DOCUMENTATION = """
name: capacity
short_description: Derive every limit of a host from the few numbers that a person can know
description:
  - Applies the capacity model, described in docs/capacity.md, to all hosts of the site and returns the part of one of them.
  - A chain that does not fit is not an error of the filter. The sentences are in the result's C(errors), for a playbook to
    stop with before anything is changed.
options:
  _input:
    description:
      - The hosts of the site by name. Each has C(groups), C(cores), C(memory_mb) and C(nofile_max).
    type: dict
    required: true
  inputs:
    description:
      - The site's numbers, as C(capacity_inputs) in group_vars/all/capacity.yml lists them.
    type: dict
    required: true
  host:
    description:
      - The host whose part is wanted.
    type: str
    required: true
"""

EXAMPLES = """
- name: Stop if the chain does not fit
  ansible.builtin.assert:
    that: capacity.errors | length == 0
    fail_msg: "{{ capacity.errors | join(' ') }}"
  vars:
    capacity: "{{ capacity_hosts | fairlead.site.capacity(capacity_inputs, inventory_hostname) }}"
"""

RETURN = """
_value:
  description:
    - C(kernel) and C(timeouts) for every host; C(nginx), C(django), C(pgbouncer) and C(postgresql) for a host that runs it.
    - C(table) holds the rows of the chain, C(text) the same as aligned text, C(errors) what does not fit in the whole site.
    - If an input is wrong, C(table), C(text) and C(errors) only.
  type: dict
"""


def capacity(hosts: dict[str, Any], inputs: dict[str, Any], host: str) -> dict[str, Any]:
    if host not in hosts:
        raise AnsibleFilterError(f"fairlead.site.capacity: {host} is not one of the hosts given.")
    result = plan(hosts, inputs)[host]
    return {**result, "text": table_text(result["table"])}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"capacity": capacity}
