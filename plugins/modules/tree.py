#!/usr/bin/python
# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Host's side of fairlead.site.tree: makes many files be as wanted in one execution."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tree
short_description: Install a tree of templates in one execution
version_added: 0.1.0
description:
  - Renders every file below a role's C(templates/) folder and installs it under the path that the folders spell.
  - C(*.j2) is rendered, any other file is copied as it is, and a file whose name begins with C(_) is left out
    (it is there for others to include).
  - A template that renders to nothing but white space means that the file must not be there.
  - All files are written to a private folder and validated there before the first one is replaced.
author: [The Fairlead authors (@fairlead)]
options:
  src:
    description: Folder below the role's C(templates/); C(null) takes no templates.
    type: str
    default: .
  files:
    description: Further files; without I(content), or with an empty one, the file must not be there.
    type: list
    elements: dict
    default: []
  owner:
    description: Owner of what no rule names.
    type: str
    default: root
  group:
    description: Group of what no rule names.
    type: str
    default: root
  mode:
    description: Octal mode of what no rule names.
    type: str
    default: "0644"
  modes:
    description:
      - Rules of I(path) (a glob), I(owner), I(group), I(mode), I(secret); the first that matches a file counts.
      - The content of a I(secret) file is never shown.
    type: list
    elements: dict
    default: []
  directories:
    description: Folders (I(path), I(owner), I(group), I(mode)) that must be there.
    type: list
    elements: dict
    default: []
  prune:
    description: Globs of files that go unless they are of this tree.
    type: list
    elements: str
    default: []
  stage:
    description: A folder of the host whose files the validation needs; it is copied first and the new files laid over it.
    type: str
  validate:
    description:
      - Command that judges the staged files before anything is replaced.
      - C(%s) stands for the staged copy of I(stage), or without I(stage) for the folder that holds the new files under
        their whole paths.
      - In check mode it is left out where the program is not installed yet.
    type: str
attributes:
  check_mode:
    description: Predicts all changes.
    support: full
  diff_mode:
    description: Shows all changes but those of secret files.
    support: full
"""

EXAMPLES = r"""
- name: Configure nginx
  fairlead.site.tree:
    stage: /etc/nginx
    validate: nginx -t -c %s/nginx.conf
    prune: [/etc/nginx/sites.d/*.conf]
    modes:
      - path: /etc/nginx/tls/*.key
        mode: "0600"
        secret: true
  notify: Reload nginx
"""

RETURN = r"""
paths:
  description: Files and folders that were changed, made or removed.
  returned: always
  type: list
  elements: str
"""

import base64
import glob
import grp
import json
import os
import pwd
import shlex
import shutil
import stat
import tempfile
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.basic import AnsibleModule

HIDDEN = "(secret, not shown)\n"


class TreeError(Exception):
    """What keeps the tree from being installed, in one sentence."""


@dataclass
class Plan:
    """What is to be done: `write` and `remove` hold files, `own` paths whose owner or mode differs."""

    write: list[dict[str, Any]] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    make: list[dict[str, Any]] = field(default_factory=list)
    own: list[dict[str, Any]] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return sorted({item["path"] for item in self.write + self.make + self.own} | set(self.remove))


def ids(item: dict[str, Any], missing_ok: bool) -> tuple[int, int] | None:
    """Return (uid, gid) for an item's owner and group, names or numbers; None where one is unknown and that is fine."""

    def look_up(name: str, known: Any) -> int:
        return int(name) if str(name).isdigit() else known(name)

    try:
        return (
            look_up(item["owner"], lambda name: pwd.getpwnam(name).pw_uid),
            look_up(item["group"], lambda name: grp.getgrnam(name).gr_gid),
        )
    except KeyError as error:
        if missing_ok:
            return None
        raise TreeError(f"{item['path']} is to belong to {item['owner']}:{item['group']}, but {error.args[0]}") from error


def decode(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return f"(binary, {len(content)} bytes)\n"


def note_attributes(plan: Plan, item: dict[str, Any], check: bool) -> None:
    """Compare owner and mode of an existing path and note in the plan what differs."""
    found = os.lstat(item["path"])
    wanted = ids(item, missing_ok=check)
    before = (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))
    after = (*(wanted or (item["owner"], item["group"])), int(str(item["mode"]), 8))
    if before != after:
        plan.own.append(item)
        text = "owner {}:{} mode {:04o}\n"
        plan.diff.append(
            {
                "before_header": item["path"],
                "after_header": item["path"],
                "before": text.format(*before),
                "after": text.format(*after),
            }
        )


def note_removal(plan: Plan, path: str, secret: bool) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        raise TreeError(f"{path} is a folder where a file is expected: move it away")
    before = HIDDEN if secret or os.path.islink(path) else decode(read(path))
    plan.remove.append(path)
    plan.diff.append({"before_header": path, "after_header": "/dev/null", "before": before, "after": ""})


def read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def compare(tree: dict[str, Any], check: bool) -> Plan:
    """Say what differs between the wanted tree and the host; reads only."""
    plan = Plan()
    for item in tree["directories"]:
        if os.path.isdir(item["path"]):
            note_attributes(plan, item, check)
        else:
            plan.make.append(item)
            plan.diff.append({"before_header": "/dev/null", "after_header": item["path"], "before": "", "after": "folder\n"})
    kept = set()
    for item in tree["files"]:
        path, content = item["path"], item["content"]
        if content is None:
            if os.path.lexists(path):
                note_removal(plan, path, bool(item["secret"]))
            continue
        kept.add(path)
        wanted = item["bytes"] = base64.b64decode(content)
        if os.path.isdir(path) and not os.path.islink(path):
            raise TreeError(f"{path} is a folder where a file is expected: move it away")
        exists = os.path.isfile(path) and not os.path.islink(path)
        found = read(path) if exists else None
        if found == wanted:
            note_attributes(plan, item, check)
            continue
        plan.write.append(item)
        hide = bool(item["secret"])
        plan.diff.append(
            {
                "before_header": path if exists else "/dev/null",
                "after_header": path,
                "before": "" if found is None else HIDDEN if hide else decode(found),
                "after": "(secret, differs)\n" if hide else decode(wanted),
            }
        )
    for pattern in tree["prune"]:
        for path in sorted(glob.glob(pattern)):
            if path not in kept and path not in plan.remove:
                note_removal(plan, path, secret=False)
    return plan


def validate(module: AnsibleModule, tree: dict[str, Any], plan: Plan) -> None:
    """Run the validation on a private copy that looks as the host will look; raise TreeError with its words if it fails."""
    argv = shlex.split(tree["validate"])
    if module.check_mode and not shutil.which(argv[0]):
        return
    stage = tree["stage"]
    with tempfile.TemporaryDirectory(prefix="fairlead-") as root:
        if stage and os.path.isdir(stage):
            shutil.copytree(stage, root + stage, symlinks=True)
        for path in plan.remove:
            if os.path.lexists(root + path):
                os.unlink(root + path)
        for item in tree["files"]:
            path = item["path"]
            if item["content"] is None or (stage and not path.startswith(stage.rstrip("/") + "/")):
                continue
            os.makedirs(os.path.dirname(root + path), exist_ok=True)
            if os.path.islink(root + path):
                os.unlink(root + path)
            with open(root + path, "wb") as stream:
                stream.write(item["bytes"])
            os.chmod(root + path, int(str(item["mode"]), 8))
        staged = root + stage if stage else root
        code, out, err = module.run_command([word.replace("%s", staged) for word in argv])
        if code != 0:
            # Its words name the staged files; the reader knows the real ones.
            words = (err.strip() or out.strip()).replace(root, "")
            raise TreeError(f"'{tree['validate']}' refuses the new files, so nothing was changed: {words}")


def write(item: dict[str, Any]) -> None:
    """Replace a file atomically, with its owner and mode from the first moment."""
    folder = os.path.dirname(item["path"])
    os.makedirs(folder, exist_ok=True)
    owner = ids(item, missing_ok=False)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".fairlead-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(item["bytes"])
            if owner:
                os.fchown(stream.fileno(), *owner)
            os.fchmod(stream.fileno(), int(str(item["mode"]), 8))
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, item["path"])
    except OSError:
        os.unlink(temporary)
        raise


def apply(plan: Plan) -> None:
    for item in plan.make:
        os.makedirs(item["path"], exist_ok=True)
    for item in plan.make + plan.own:
        owner = ids(item, missing_ok=False)
        if owner:
            os.chown(item["path"], *owner)
        os.chmod(item["path"], int(str(item["mode"]), 8))
    for item in plan.write:
        write(item)
    for path in plan.remove:
        os.unlink(path)


def main() -> None:
    module = AnsibleModule(
        # One opaque text, so that neither the journal nor -vvv shows what is in the files.
        argument_spec={"payload": {"type": "str", "required": True, "no_log": True}},
        supports_check_mode=True,
    )
    tree = json.loads(module.params["payload"])
    try:
        plan = compare(tree, module.check_mode)
        if tree["validate"] and plan.paths:
            validate(module, tree, plan)
        if not module.check_mode:
            apply(plan)
    except TreeError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"the tree could not be installed: {error.strerror}: {error.filename}")
    module.exit_json(changed=bool(plan.paths), paths=plan.paths, diff=plan.diff)


if __name__ == "__main__":
    main()
