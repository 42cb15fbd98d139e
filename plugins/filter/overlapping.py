# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

DOCUMENTATION = """
name: overlapping
short_description: Tell which networks share an address with others
options:
  _input:
    description: Networks or single addresses, such as V(10.0.0.0/16) or V(fd00::5).
    type: list
    elements: str
    required: true
  others:
    description: The networks or addresses to compare them with.
    type: list
    elements: str
    required: true
"""

EXAMPLES = """
- ansible.builtin.assert:
    that: container_networks | fairlead.site.overlapping(addresses) | length == 0
"""

RETURN = """
_value:
  description: Those of the input that overlap with one of the others, as they were given.
  type: list
  elements: str
"""


def overlapping(networks: Iterable[str], others: Iterable[str]) -> list[str]:
    """Those of the networks that share an address with one of the others; ValueError for a text that is neither."""
    taken = [ipaddress.ip_network(other, strict=False) for other in others]
    return [
        text
        for text in networks
        for network in [ipaddress.ip_network(text, strict=False)]
        if any(network.version == other.version and network.overlaps(other) for other in taken)
    ]


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"overlapping": overlapping}
