# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""The filter fairlead.site.nginx_mistakes: what a snippet of nginx configuration undoes, a sentence each."""

from __future__ import annotations

import re
from collections.abc import Callable

DOCUMENTATION = r"""
name: nginx_mistakes
short_description: Find the usual mistakes in snippets of nginx configuration
version_added: 0.1.0
description:
  - Names each directive that would undo what the nginx role takes care of, with its line and the right way.
  - Comments are no directives. What nginx itself refuses is left to C(nginx -t).
author: [The Fairlead authors (@fairlead)]
options:
  _input:
    description: Snippets, name and text.
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.assert:
    that: nginx_snippets | fairlead.site.nginx_mistakes | length == 0
"""

RETURN = r"""
_value:
  description: A sentence for each mistake.
  type: list
  elements: str
"""

MISTAKES = [
    (r"\berror_log\s+off\b", "would log into a file named off: use nginx_error_log_level"),
    (r"\badd_header\b", "drops every header that is added outside of it: use nginx_security_headers, or let the app send it"),
    (
        r"\bproxy_(?:set|hide|pass)_header\b",
        "drops every header that is set outside of it: use nginx_proxy_headers",
    ),
    (r"\bproxy_buffering\s+off\b", "lets a slow client hold a worker of the app: use nginx_streaming_paths"),
    (
        r"\bif\s*\((?:[^()]|\([^()]*\))*\)\s*\{(?!\s*(?:return|rewrite)\b[^;]*;\s*\})",
        "does what nobody expects unless it holds one return or rewrite alone: use map and try_files",
    ),
    (r"\bproxy_http_version\s+1\.0\b", "opens a connection for each request: leave it out"),
    (r"\bproxy_next_upstream\s[^;]*\bnon_idempotent\b", "sends a POST twice: leave it out"),
    (r"\bip_hash\b", "sends a whole network to one server: use nginx_upstream_balance"),
    (r"\binclude\s+[\"']?/[^\s;]*", "is not in the copy that is tested: name it relative to /etc/nginx"),
    (r"\bstub_status\b", "shows the metrics to the world: they are on 127.0.0.1, at nginx_status_port"),
    (
        r"\bproxy_pass\s+https?://(?:unix:|localhost\b|[^\s;/$]*[.:\[])",
        "opens a connection for each request: name an upstream group with keepalive",
    ),
    (r"\bupstream\s+\S+\s*\{(?![^}]*\bkeepalive\s)", "opens a connection for each request: give the group keepalive"),
    (r"\bupstream\s+\S+\s*\{(?![^}]*\bzone\s)", "lets each worker process find out by itself who is down: give the group a zone"),
]


def _blank(match: re.Match[str]) -> str:
    """Keep what is quoted, blank what is a comment."""
    return "" if match[0].startswith("#") else match[0]


def nginx_mistakes(snippets: dict[str, str]) -> list[str]:
    """Return a sentence for each mistake in `snippets`, a dict of name and text."""
    found = []
    for name, text in snippets.items():
        code = re.sub(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|(?:(?<=\s)|^)#[^\n]*", _blank, str(text), flags=re.MULTILINE)
        for pattern, why in MISTAKES:
            for match in re.finditer(pattern, code):
                line = code.count("\n", 0, match.start()) + 1
                directive = " ".join(match[0].split("{")[0].split())
                found.append(f"{name}, line {line}: {directive} {why}.")
    return found


class FilterModule:
    def filters(self) -> dict[str, Callable]:
        return {"nginx_mistakes": nginx_mistakes}
