# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Reads what `nginx -T` prints."""

from __future__ import annotations

import re

# A quoted text, a comment, a brace or a semicolon, or a bare word.
TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|#[^\n]*|[{};]|(?:\\.|\$\{[^}]*\}|[^\s{};"\'\\])+')


def settings(text: str) -> dict[str, str]:
    """Map each directive's place, `sites.d/site.conf / server / listen`, to its arguments; of one that is there several times, all
    of them in order."""
    found: dict[str, list[str]] = {}
    parts = re.split(r"^# configuration file (.+):$", text, flags=re.M)
    for file, body in zip(parts[1::2], parts[2::2], strict=True):
        stack = [file.removeprefix("/etc/nginx/")]
        words: list[str] = []
        for word in TOKEN.findall(body):
            if word.startswith("#"):
                continue
            if word not in ("{", "}", ";"):
                words.append(word)
                continue
            if word == ";" and words:
                found.setdefault(" / ".join([*stack, words[0]]), []).append(" ".join(words[1:]))
            elif word == "{":
                stack.append(" ".join(words))
            elif word == "}" and len(stack) > 1:
                stack.pop()
            words = []
    return {place: " | ".join(values) for place, values in found.items()}
