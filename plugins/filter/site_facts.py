# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
from __future__ import annotations

from typing import Any

from ansible_collections.fairlead.site.plugins.module_utils.operating import facts

DOCUMENTATION = """
name: site_facts
short_description: Reduce what was seen on the hosts of a site to what two sites are compared by
description:
  - Merges what M(fairlead.site.survey) saw by groups of hosts; where the hosts of a group differ, all that they say stays.
options:
  _input:
    description: The hosts by name, as C(site_surveys) in group_vars/all/operating.yml makes them.
    type: dict
    required: true
"""

EXAMPLES = """
- name: Show the facts
  ansible.builtin.debug:
    msg: "{{ site_surveys | fairlead.site.site_facts }}"
"""

RETURN = """
_value:
  description: Texts by names such as C(db / postgresql / work_mem).
  type: dict
"""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"site_facts": facts}
