# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Controller's side of fairlead.site.release: says who deploys, and brings the judge along."""

from __future__ import annotations

import base64
import getpass
import io
import multiprocessing
import os
import platform
import zipfile
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

# Of a release; a failure of the others is a failure.
STEPS = ("inspect", "prepare", "migrate", "switch", "watch", "settle")


def began(process: str) -> str:
    """When a process of this machine began, in the kernel's own count, so that its number is never another's; empty: it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def owner() -> dict[str, str]:
    """Tasks run in children of ansible-playbook, which may live on for a while when it is killed."""
    parent = multiprocessing.parent_process()
    process = str(parent.pid if parent else os.getpid())
    return {"who": f"{getpass.getuser()}@{platform.node()}", "process": f"{platform.node()}:{process}:{began(process)}"}


def dead(process: str) -> bool:
    """Whether it was on this machine, and is no more."""
    node, _, rest = process.partition(":")
    number, _, start = rest.partition(":")
    if node != platform.node():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return bool(start) and began(number) != start


def bundle(judge: str, linter: str) -> str:
    """One file that Python runs: the judge, and the linter beside it."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(judge, "__main__.py")
        for path in sorted(Path(linter).rglob("*.py")) if linter else []:
            file.write(path, path.relative_to(linter))
    return base64.b64encode(archive.getvalue()).decode()


class ActionModule(ActionBase):
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        args = dict(self._task.args)
        linter = args.pop("linter", "")
        args["owner"] = owner()
        if args.get("judge"):
            args["judge"] = bundle(args["judge"], linter)
        result = self._execute(args, variables)
        holder = str((result.get("holder") or {}).get("process", ""))
        if holder and dead(holder):
            # Nobody is there any more who could go on with it.
            args["options"] = {**args.get("options", {}), "taken_over": holder}
            result = self._execute(args, variables)
        return result

    def _execute(self, args: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        done: dict[str, Any] = self._execute_module(module_name="fairlead.site.release", module_args=args, task_vars=variables)
        if done.get("failed") and args["step"] in STEPS:
            # A host that has gone, or cannot even say what is wrong: all the others must get the chance to go back.
            return {"changed": False, "problem": str(done.get("msg")), "words": str(done.get("module_stderr", "")), "holder": {}}
        return done
