# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Prints what a verb says, and nothing else, so that people can read it and programs can parse it."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: plain
type: stdout
short_description: What debug tasks say, and failures
version_added: 0.3.0
description:
  - Prints on stdout the C(msg) of each M(ansible.builtin.debug) task - a text as it is, a list of texts line by line, anything else
    as JSON - and on stderr one sentence for each host that fails.
  - For verbs whose result is what they say. C(ANSIBLE_STDOUT_CALLBACK=fairlead.site.plain) chooses it.
author: The Fairlead authors (@fairlead)
"""


def text(message: Any) -> str:
    if isinstance(message, str):
        return message
    if isinstance(message, list) and all(isinstance(line, str) for line in message):
        return "\n".join(message)
    return json.dumps(message, indent=2)


class CallbackModule(CallbackBase):
    """The result of a verb instead of its course."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "fairlead.site.plain"

    def _error(self, host: str, words: Any) -> None:
        self._display.display(f"{host}: {str(words).strip()}", stderr=True)

    def v2_runner_on_ok(self, result: Any) -> None:
        if result.task.action in ("debug", "ansible.builtin.debug") and result.result.get("msg"):
            self._display.display(text(result.result["msg"]))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors and not result.task.loop:
            self._error(result.host.get_name(), result.result.get("msg", "failed without a word"))

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._error(result.host.get_name(), result.result.get("msg", "failed without a word"))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        if not result.task.ignore_unreachable:
            self._error(result.host.get_name(), f"cannot be reached: {result.result.get('msg', '')}")
