# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Controller's side of fairlead.site.tree: renders a role's templates and hands them over in one module execution."""

from __future__ import annotations

import base64
import json
import os
from fnmatch import fnmatch
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

FILE_KEYS = ("owner", "group", "mode", "secret")
OPTIONS: dict[str, Any] = {
    "src": ".",
    "files": [],
    "owner": "root",
    "group": "root",
    "mode": "0644",
    "modes": [],
    "directories": [],
    "prune": [],
    "stage": None,
    "validate": None,
}


class ActionModule(ActionBase):
    """Renders every file below the role's templates/ (option `src`) and runs the module of the same name once."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        unknown = set(self._task.args) - set(OPTIONS)
        if unknown:
            raise AnsibleActionFail(f"tree has no option {', '.join(sorted(unknown))}: it takes {', '.join(OPTIONS)}")
        args = {**OPTIONS, **self._task.args}

        role = self._task._role
        base = role._role_path if role else self._loader.get_basedir()
        templates = os.path.join(base, "templates")
        found = {} if args["src"] is None else self._render(templates, args["src"], variables)
        for item in args["files"] or []:
            content = item.get("content")
            found[item["path"]] = {
                "content": None if content is None else self._bytes(content, item["path"]),
                **{key: item[key] for key in FILE_KEYS if key in item},
            }

        files = []
        for path, item in sorted(found.items()):
            rule: dict[str, Any] = next((rule for rule in args["modes"] if fnmatch(path, rule["path"])), {})
            merged = {key: args.get(key) for key in FILE_KEYS} | {key: rule[key] for key in FILE_KEYS if key in rule} | item
            content = merged["content"]
            # A file without a character to say is a file that must not be there.
            merged["content"] = base64.b64encode(content).decode() if content and content.strip() else None
            merged["path"] = path
            files.append(merged)

        payload = {
            "files": files,
            "directories": [
                {"owner": args["owner"], "group": args["group"], "mode": "0755"} | dict(item) for item in args["directories"]
            ],
            "prune": list(args["prune"]),
            "stage": args["stage"],
            "validate": args["validate"],
        }
        return self._execute_module(
            module_name="fairlead.site.tree", module_args={"payload": json.dumps(payload)}, task_vars=variables
        )

    def _render(self, templates: str, src: str, variables: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Map absolute paths on the host to {'content': bytes}, one for each file below `templates`/`src`."""
        top = os.path.normpath(os.path.join(templates, src))
        if not os.path.isdir(top):
            raise AnsibleActionFail(f"tree finds no folder {top}: set src to a folder below the role's templates/")
        templar = self._templar.copy_with_new_env(searchpath=[templates], available_variables=variables)
        found = {}
        for folder, _, names in os.walk(top):
            for name in names:
                if name.startswith("_"):  # for other templates to include
                    continue
                source = os.path.join(folder, name)
                path = "/" + os.path.relpath(source, templates)
                if name.endswith(".j2"):
                    path = path.removesuffix(".j2")
                    text = trust_as_template(self._loader.get_text_file_contents(source))
                    rendered = templar.template(text, escape_backslashes=False, overrides={"trim_blocks": True})
                    content = self._bytes("" if rendered is None else rendered, path)
                else:
                    with open(source, "rb") as stream:
                        content = stream.read()
                found[path] = {"content": content}
        return found

    @staticmethod
    def _bytes(content: Any, path: str) -> bytes:
        if not isinstance(content, str):
            raise AnsibleActionFail(
                f"the content of {path} is a {type(content).__name__}: turn it into text, for example with to_nice_json"
            )
        text = str(content)
        return (text if not text or text.endswith("\n") else text + "\n").encode()
