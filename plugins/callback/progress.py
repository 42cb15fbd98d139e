# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Says at every play how long the run has taken, and on request keeps what each role cost."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from typing import Any

from ansible import constants
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: progress
type: aggregate
short_description: Elapsed time at every play, and the cost of every role
version_added: 0.1.0
description:
  - Shows the time since the run began at the start of every play and at the end.
  - Where C(FAIRLEAD_COSTS) names a file, it is written at the end with tasks, module executions and seconds of every role as JSON.
author: The Fairlead authors (@fairlead)
"""

# These run on the controller alone; everything else is executed on the host once for each item.
CONTROLLER_ACTIONS = {"fairlead.site.controller_file"} | {
    "ansible.builtin." + name
    for name in (
        "add_host",
        "assert",
        "debug",
        "fail",
        "include_role",
        "include_tasks",
        "meta",
        "set_fact",
        "validate_argument_spec",
    )
}


class CallbackModule(CallbackBase):
    """One row a role: a task counts as its role's, or as its play's where it has none."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "fairlead.site.progress"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.begun = time.monotonic()
        self.since = self.begun
        self.row: dict[str, float] | None = None
        self.rows: dict[str, dict[str, float]] = defaultdict(lambda: {"tasks": 0, "executions": 0, "seconds": 0.0})
        self.play = ""

    def _say_elapsed(self) -> None:
        if constants.DEFAULT_STDOUT_CALLBACK == "default":  # output for a program is not for us to add to
            minutes, seconds = divmod(int(time.monotonic() - self.begun), 60)
            self._display.display(f"elapsed {minutes:02d}:{seconds:02d}")

    def _close(self) -> None:
        now = time.monotonic()
        if self.row is not None:
            self.row["seconds"] += now - self.since
        self.since, self.row = now, None

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._close()
        self.play = play.get_name()
        self._say_elapsed()

    def _task_start(self, task: Any) -> None:
        self._close()
        role = task._role.get_name() if task._role else self.play
        self.row = self.rows[role.removeprefix("fairlead.site.")]

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._task_start(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._task_start(task)

    def _count(self, result: Any, item: bool) -> None:
        if self.row is None:
            return
        if not item:
            self.row["tasks"] += 1
        # A looped task reports every item and then itself.
        if (item or not result.task.loop) and result.task.resolved_action not in CONTROLLER_ACTIONS:
            self.row["executions"] += 1

    def v2_runner_on_ok(self, result: Any) -> None:
        self._count(result, item=False)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._count(result, item=False)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._count(result, item=True)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._count(result, item=True)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._close()
        self._say_elapsed()
        path = os.environ.get("FAIRLEAD_COSTS")
        if path:
            with open(path, "w", encoding="utf-8") as stream:
                json.dump(self.rows, stream, indent=2)
