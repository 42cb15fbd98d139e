# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""fairlead.site.controller_file: what a run keeps on the controller, written by Ansible's own process."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


def write(path: Path, text: str) -> None:
    """In one go: whoever reads it finds the former text or the new one."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(descriptor, 0o644)
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


class ActionModule(ActionBase):
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"path", "content", "lines"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = self._task.args
        if "path" not in args or ("content" in args) == ("lines" in args):
            raise AnsibleActionFail("controller_file takes path and either content or lines")
        # Where the inventory holds a link, the file that it leads to is meant.
        path = Path(args["path"]).resolve()
        try:
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            if "content" in args:
                # A template that comes to nothing is None.
                after = args["content"] or ""
            else:
                there = set(before.splitlines())
                after = before + "".join(line + "\n" for line in args["lines"] if line not in there)
            result["changed"] = after != before
            if result["changed"] and not self._task.check_mode:
                if after:
                    write(path, after)
                else:
                    path.unlink()
        except OSError as error:
            raise AnsibleActionFail(f"{path} on the controller cannot be kept up to date: {error.strerror}") from error
        if self._task.diff:
            result["diff"] = {"before": before, "after": after, "before_header": str(path), "after_header": str(path)}
        return result
