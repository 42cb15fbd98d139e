# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
from __future__ import annotations

from typing import Any

from ansible_collections.fairlead.site.plugins.module_utils.operating import status

DOCUMENTATION = """
name: status
short_description: Tell what runs where, and what of it is not as it should be
description:
  - Judges what M(fairlead.site.survey) saw on the hosts of a site.
options:
  _input:
    description: The hosts by name, as C(site_surveys) in group_vars/all/operating.yml makes them.
    type: dict
    required: true
  now:
    description: Seconds since 1970.
    type: float
    required: true
"""

EXAMPLES = """
- name: Show the site
  ansible.builtin.debug:
    msg: "{{ (site_surveys | fairlead.site.status(now().timestamp())).text }}"
"""

RETURN = """
_value:
  description: C(rows), C(drift) (sentences) and C(text), both for people.
  type: dict
"""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"status": status}
