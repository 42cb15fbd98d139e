# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

DOCUMENTATION = """
name: network
short_description: Tell whether a text is an address or a network
description:
  - Of a network the bits beyond its length are zero, so that V(10.0.0.1/24) is none.
options:
  _input:
    description: What is asked about.
    type: raw
    required: true
"""

EXAMPLES = """
- ansible.builtin.assert:
    that: trusted | reject('fairlead.site.network') | length == 0
"""

RETURN = """
_value:
  description: Whether it is one of IPv4 or IPv6.
  type: bool
"""


def is_network(text: Any) -> bool:
    """Whether it is an address or a network."""
    try:
        ipaddress.ip_network(str(text))
    except ValueError:
        return False
    return True


class TestModule:
    """Ansible's entry point."""

    def tests(self) -> dict[str, Callable[[Any], bool]]:
        """Return the tests by name."""
        return {"network": is_network}
