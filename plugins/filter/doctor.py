# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
from __future__ import annotations

from typing import Any

from ansible_collections.fairlead.site.plugins.module_utils.operating import doctor

DOCUMENTATION = """
name: doctor
short_description: Tell what would stop or spoil a deploy
description:
  - Judges what M(fairlead.site.survey) saw on the hosts of a site.
options:
  _input:
    description: The hosts by name, as C(site_surveys) in group_vars/all/operating.yml makes them.
    type: dict
    required: true
  chain:
    description: What does not fit in the chain of capacities.
    type: list
    elements: str
    default: []
"""

EXAMPLES = """
- name: Show what stands in the way of a deploy
  ansible.builtin.debug:
    msg: "{{ (site_surveys | fairlead.site.doctor).problems }}"
"""

RETURN = """
_value:
  description: C(problems) and C(warnings), sentences that name the remedy.
  type: dict
"""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"doctor": doctor}
