#!/usr/bin/python
# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Unpacks locked wheels into one folder that serves several Pythons."""

from __future__ import annotations

DOCUMENTATION = r"""
module: wheels
short_description: Unpack locked wheels into a folder that serves several Pythons
version_added: 0.1.0
description:
  - Makes a folder of Python packages from wheels whose hashes are locked. Nothing of them is run, and pip is not needed.
  - Compiled parts bear the name of the Python and of the C library that they are for, so those for several Pythons lie beside each
    other, for glibc and for musl. The folder suits an image whose Python is not known beforehand.
  - The folder is named after all that decides its content, and made beside its place, so that it is whole or not there.
    RV(path) is what it is called.
  - The link C(current) beside it is switched to it. What was started from the folder before goes on with that one.
author: [The Fairlead authors (@fairlead)]
options:
  root:
    description: Where the folder is made.
    type: path
    required: true
  files:
    description: Further files of it, relative path and text.
    type: dict
    default: {}
  requirements:
    description: A folder each below C(packages), with its lock as C(uv pip compile --generate-hashes) writes it.
    type: dict
    default: {}
  pythons:
    description: Versions of CPython to serve.
    type: list
    elements: str
    required: true
  index:
    description: The package index, as pip is given it.
    type: str
    required: true
  keep:
    description: Folders in O(root), the newest, that stay; others are removed when one is made.
    type: int
    default: 3
attributes:
  check_mode:
    description: Says whether the folder would be made and the link switched.
    support: full
"""

EXAMPLES = r"""
- name: Unpack Sentry's SDK
  fairlead.site.wheels:
    root: /srv/site/agents
    requirements:
      sentry: "{{ lookup('ansible.builtin.file', 'sentry.txt') }}"
    pythons: ["3.12", "3.13"]
    index: https://packages.example.org/simple
"""

RETURN = r"""
path:
  description: The folder.
  returned: always
  type: str
wheels:
  description: Names of the wheels that were unpacked.
  returned: when the folder was made
  type: list
  elements: str
"""

import compileall
import hashlib
import io
import json
import os
import platform
import py_compile
import re
import shutil
import tempfile
import zipfile
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urldefrag, urljoin

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

LIBCS = ("manylinux", "musllinux")


class LockError(Exception):
    """What is locked cannot be had."""


class Links(HTMLParser):
    """The files that a page of the index names."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.found.append(urljoin(self.base, href))


def locked(text: str) -> dict[str, set[str]]:
    """Return {package: its hashes} of a lock."""
    found: dict[str, set[str]] = {}
    for name, hashes in re.findall(r"^([A-Za-z0-9._-]+)==[^\\\n]+((?:\\\n\s+--hash=sha256:[0-9a-f]{64} ?)+)", text, re.MULTILINE):
        if name in found:
            raise LockError(f"{name} is locked in two versions: lock one that suits all Pythons.")
        found[name] = set(re.findall(r"[0-9a-f]{64}", hashes))
    return found


def serves(wheel: str, python: str, libc: str, machine: str) -> int:
    """How well a wheel suits a Python: 0 not at all, 1 as plain Python, 2 by the stable interface, 3 made for it."""
    tags = wheel.removesuffix(".whl").split("-")[-3:]
    pythons, abis, platforms = (tag.split(".") for tag in tags)
    version = "cp" + python.replace(".", "")
    if platforms == ["any"]:
        return int("none" in abis and ("py3" in pythons or version in pythons))
    if not any(name.startswith(libc) and name.endswith(machine) for name in platforms):
        return 0
    if version in pythons and version in abis:
        return 3
    stable = [int(name.removeprefix("cp3")) for name in pythons if re.fullmatch(r"cp3\d+", name)]
    return 2 if "abi3" in abis and stable and min(stable) <= int(python.split(".")[1]) else 0


def chosen(package: str, wheels: list[str], pythons: list[str], machine: str) -> list[str]:
    """Return the wheels that together serve all Pythons, the plain ones first."""
    picked: dict[str, int] = {}
    for python in pythons:
        served = False
        for libc in LIBCS:
            best = max(wheels, key=lambda wheel: serves(wheel, python, libc, machine), default="")
            rank = serves(best, python, libc, machine) if best else 0
            if rank:
                picked[best] = rank
                served = True
        if not served:
            raise LockError(f"{package} has no locked wheel for Python {python} on {machine}.")
    return sorted(picked, key=lambda wheel: (picked[wheel], wheel))


def unpack(archive: bytes, target: str) -> None:
    """Unpack a wheel, without what is no package (programs)."""
    with zipfile.ZipFile(io.BytesIO(archive)) as wheel:
        for name in wheel.namelist():
            path = os.path.normpath(os.path.join(target, name))
            if not path.startswith(target + os.sep):
                raise LockError(f"A wheel names {name}, outside of its folder.")
            if name.endswith("/") or re.match(r"[^/]+\.data/", name):
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(wheel.read(name))


def fetch(url: str, accept: str = "*/*") -> bytes:
    content: bytes = open_url(url, timeout=60, headers={"Accept": accept}).read()
    return content


def fill(target: str, lock: str, pythons: list[str], index: str, machine: str) -> list[str]:
    """Unpack all that a lock names; return the wheels' names."""
    unpacked = []
    for package, hashes in sorted(locked(lock).items()):
        page = f"{index.rstrip('/')}/{re.sub('[-_.]+', '-', package).lower()}/"
        links = Links(page)
        links.feed(fetch(page, "text/html").decode())
        files = {}
        for link in links.found:
            url, fragment = urldefrag(link)
            if url.endswith(".whl") and fragment.removeprefix("sha256=") in hashes:
                files[url.rsplit("/", 1)[1]] = url
        for name in chosen(package, sorted(files), pythons, machine):
            content = fetch(files[name])
            if hashlib.sha256(content).hexdigest() not in hashes:
                raise LockError(f"{name} from {index} is not what is locked.")
            unpack(content, target)
            unpacked.append(name)
    return unpacked


def make(path: str, params: dict[str, Any]) -> list[str]:
    """Make the folder; return the names of the wheels in it."""
    work = tempfile.mkdtemp(dir=os.path.dirname(path), prefix=".")
    wheels: list[str] = []
    try:
        for name, lock in params["requirements"].items():
            folder = os.path.join(work, "packages", name)
            wheels += fill(folder, lock, params["pythons"], params["index"], platform.machine())
        for name, text in params["files"].items():
            file = os.path.join(work, name)
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "w") as opened:
                opened.write(text)
        # For containers that run this host's Python. Nothing is ever written here again, so no time need be compared.
        compileall.compile_dir(work, quiet=2, stripdir=work, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        os.chmod(work, 0o755)  # noqa: S103 (containers read it)
        os.rename(work, path)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return wheels


def prune(root: str, keep: int) -> None:
    """Remove all folders but the newest."""
    folders = [entry.path for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)]
    for old in sorted(folders, key=os.path.getctime, reverse=True)[keep:]:
        shutil.rmtree(old)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "files": {"type": "dict", "default": {}},
            "requirements": {"type": "dict", "default": {}},
            "pythons": {"type": "list", "elements": "str", "required": True},
            "index": {"type": "str", "required": True},
            "keep": {"type": "int", "default": 3},
        },
        supports_check_mode=True,
    )
    params = module.params
    content = json.dumps([params["files"], params["requirements"], params["pythons"]], sort_keys=True)
    name = hashlib.sha256(content.encode()).hexdigest()[:12]
    path, link = os.path.join(params["root"], name), os.path.join(params["root"], "current")
    result: dict[str, Any] = {"path": path, "changed": not os.path.isdir(path) or os.path.realpath(link) != os.path.realpath(path)}
    if not result["changed"] or module.check_mode:
        module.exit_json(**result)
    try:
        os.makedirs(params["root"], mode=0o755, exist_ok=True)
        if not os.path.isdir(path):
            result["wheels"] = make(path, params)
        os.symlink(name, f"{link}.new")
        os.replace(f"{link}.new", link)
        prune(params["root"], params["keep"])
    except (LockError, OSError, zipfile.BadZipFile) as error:
        module.fail_json(msg=f"{path} was not made: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
