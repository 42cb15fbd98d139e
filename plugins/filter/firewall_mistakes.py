# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""The filter fairlead.site.firewall_mistakes: what is wrong with rules of the firewall, and how to write it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ansible_collections.fairlead.site.plugins.test.network import is_network

DOCUMENTATION = r"""
name: firewall_mistakes
short_description: Find the mistakes in rules of the firewall
version_added: 0.1.0
description:
  - Names each rule of V(base_firewall_rules) that would not do what its writer means, and how to write it.
author: [The Fairlead authors (@fairlead)]
options:
  _input:
    description: The rules.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.assert:
    that: base_firewall_rules | fairlead.site.firewall_mistakes | length == 0
"""

RETURN = r"""
_value:
  description: What is wrong, mistake by mistake.
  type: list
  elements: str
"""

PROTOCOLS = ("tcp", "udp", "vrrp")
NAME = r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}"


def is_port(text: str) -> bool:
    """One port, or two in order with a hyphen between them."""
    if not re.fullmatch(r"\d{1,5}(-\d{1,5})?", text):
        return False
    ports = [int(port) for port in text.split("-")]
    return ports == sorted(ports) and ports[0] >= 1 and ports[-1] <= 65535


def mistakes(rule: dict[str, Any]) -> Iterator[str]:
    name, protocol, port = str(rule.get("name", "")), rule.get("protocol", "tcp"), str(rule.get("port", ""))
    if not re.fullmatch(NAME, name):
        yield f"a rule's name is '{name}': use letters, digits, spaces, dots and hyphens"
    if unknown := set(rule) - {"name", "protocol", "port", "from"}:
        yield f"rule {name} has {', '.join(sorted(unknown))}: it takes name, protocol, port and from"
    if protocol not in PROTOCOLS:
        yield f"rule {name} has the protocol '{protocol}': use {', '.join(PROTOCOLS[:-1])} or {PROTOCOLS[-1]}"
    elif protocol == "vrrp" and port:
        yield f"rule {name} has a port, but vrrp knows none: leave it out"
    elif protocol != "vrrp" and not is_port(port):
        yield f"rule {name} has the port '{port}': write one from 1 to 65535, or a range like 8000-8010"
    if "from" in rule:
        if not isinstance(rule["from"], list) or not rule["from"]:
            yield f"rule {name} lets in nobody: list addresses or networks for from, or leave out the rule"
        elif wrong := [str(source) for source in rule["from"] if not is_network(source)]:
            yield f"rule {name} lets in {', '.join(wrong)}, which is no address or network (like 10.0.0.0/24)"


def firewall_mistakes(rules: list[dict[str, Any]]) -> list[str]:
    """What is wrong with each of the rules."""
    return [sentence for rule in rules for sentence in mistakes(rule)]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"firewall_mistakes": firewall_mistakes}
