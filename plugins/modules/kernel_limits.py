#!/usr/bin/python
# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Raises kernel limits to a floor, in one execution for all of them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_limits
short_description: Raise kernel limits to a floor and never lower one
version_added: 0.1.0
description:
  - Compares sysctl values of the running kernel with floors, raises those that are lower and keeps them over a reboot.
  - A value that is higher already stays. A range, such as C(net.ipv4.ip_local_port_range), is widened and never narrowed.
  - A value that this host does not let anybody write, as in many containers, is reported in RV(unwritable) with a warning
    and is not a failure.
author: [The Fairlead authors (@fairlead)]
options:
  floors:
    description:
      - Names of sysctl values and their floors. Each is a whole number, or a range written as two numbers.
    type: dict
    required: true
  path:
    description: The file that keeps the values over a reboot. It holds only values that had to be raised.
    type: path
    default: /etc/sysctl.d/60-fairlead.conf
  nofile:
    description:
      - The hard limit of open files that the host must be able to grant to a process.
      - If it cannot, the module fails before it changes anything, and says what the host grants.
    type: int
attributes:
  check_mode:
    description: Predicts all changes.
    support: full
  diff_mode:
    description: Shows the values and the file.
    support: full
"""

EXAMPLES = r"""
- name: Raise kernel limits
  fairlead.site.kernel_limits:
    floors:
      net.core.somaxconn: 4096
      net.ipv4.ip_local_port_range: 10240 65535
    nofile: 65536
"""

RETURN = r"""
raised:
  description: The values that were raised, with what they are now.
  returned: always
  type: dict
unwritable:
  description: The values that are too low and cannot be written on this host, with what they are.
  returned: always
  type: dict
nofile:
  description: The hard limit of open files that the host grants, at most what was asked for.
  returned: always
  type: int
"""

import errno
import os
import resource
import tempfile
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule

HEADER = "# Values that Fairlead raised. It never lowers one; a file that sorts after this one wins at boot.\n"

Value = tuple[int, ...]


def parse(text: Any) -> Value:
    """One number, or the two ends of a range, in a common form; anything else is a ValueError."""
    value = tuple(int(word) for word in str(text).split())
    if len(value) not in (1, 2) or min(value) < 0 or list(value) != sorted(value):
        raise ValueError(text)
    return value


def show(value: Value) -> str:
    return " ".join(str(number) for number in value)


def merge(current: Value, floor: Value) -> Value:
    """The higher of two numbers, the hull of two ranges."""
    if len(current) != len(floor):
        raise ValueError(show(floor))
    return (max(current[0], floor[0]),) if len(floor) == 1 else (min(current[0], floor[0]), max(current[1], floor[1]))


def read_file(text: str) -> dict[str, Value]:
    """The values that a file of ours holds."""
    found = {}
    for line in text.splitlines():
        name, sign, value = line.partition("=")
        if sign and not name.lstrip().startswith(("#", ";")):
            try:
                found[name.strip()] = parse(value)
            except ValueError:
                continue
    return found


@dataclass
class Outcome:
    """What has to be raised in the kernel, what stays too low, and what the file must say."""

    raised: dict[str, Value]
    unwritable: dict[str, Value]
    text: str


def compare(floors: dict[str, Value], kernel: dict[str, Value | None], writable: set[str], text: str) -> Outcome:
    """Say what differs. `kernel` has None for a value that this kernel does not have; `text` is the file as it is."""
    kept = read_file(text)
    raised: dict[str, Value] = {}
    unwritable: dict[str, Value] = {}
    file: dict[str, Value] = {}
    for name, floor in sorted(floors.items()):
        current = kernel[name]
        if current is None:
            unwritable[name] = ()
            continue
        wanted = merge(current, floor)
        if wanted != current and name not in writable:
            unwritable[name] = current
            continue
        if wanted != current:
            raised[name] = wanted
        # Not what was high enough by itself: the kernel may know better after its next update.
        if wanted != current or name in kept:
            file[name] = wanted
    lines = [f"{name} = {show(value)}\n" for name, value in file.items()]
    return Outcome(raised, unwritable, HEADER + "".join(lines) if lines else "")


def proc(name: str) -> str:
    return "/proc/sys/" + name.replace(".", "/")


def current_value(name: str) -> Value | None:
    try:
        with open(proc(name)) as stream:
            return parse(stream.read())
    except FileNotFoundError:
        return None


def write_value(name: str, value: Value) -> bool:
    """Write it, and say whether the kernel took it."""
    try:
        with open(proc(name), "w") as stream:
            stream.write(show(value))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return False
        raise
    return True


def granted_nofile(wanted: int) -> int:
    """The hard limit that this host grants, at most `wanted`. Only this process's own limit is moved."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard in (resource.RLIM_INFINITY,) or hard >= wanted:
        return wanted
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, wanted))
    except (OSError, ValueError):
        return hard
    return wanted


def replace_file(path: str, text: str) -> None:
    if not text:
        os.unlink(path)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".fairlead-")
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        os.fchmod(stream.fileno(), 0o644)
    os.rename(temporary, path)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "floors": {"type": "dict", "required": True},
            "path": {"type": "path", "default": "/etc/sysctl.d/60-fairlead.conf"},
            "nofile": {"type": "int"},
        },
        supports_check_mode=True,
    )
    path, nofile = module.params["path"], module.params["nofile"]
    granted = granted_nofile(nofile or 1)
    if nofile and granted < nofile:
        module.fail_json(
            msg=f"this host grants a process at most {granted} open files, not {nofile}: set capacity_nofile_max to "
            f"{granted} for it, or raise the limit of what it runs in."
        )
    floors: dict[str, Value] = {}
    kernel: dict[str, Value | None] = {}
    for name, floor in module.params["floors"].items():
        try:
            floors[name] = parse(floor)
            kernel[name] = current_value(name)
            merge(kernel[name] or floors[name], floors[name])
        except ValueError:
            module.fail_json(msg=f"{name} cannot have the floor '{floor}': write a whole number, or for a range two in order.")
    before = ""
    if os.path.exists(path):
        with open(path) as stream:
            before = stream.read()

    outcome = compare(floors, kernel, {name for name in floors if os.access(proc(name), os.W_OK)}, before)
    if not module.check_mode:
        refused = {name for name, value in outcome.raised.items() if not write_value(name, value)}
        if refused:
            outcome = compare(floors, kernel, set(outcome.raised) - refused, before)
        if outcome.text != before:
            replace_file(path, outcome.text)
    for name, value in outcome.unwritable.items():
        module.warn(
            f"{name} is {show(value) or 'unknown to this kernel'}, below {show(floors[name])}, and cannot be set on this host"
        )

    def listing(chosen: dict[str, Value | None]) -> str:
        return "".join(f"{name} = {show(value)}\n" for name, value in sorted(chosen.items()) if value)

    module.exit_json(
        changed=bool(outcome.raised) or outcome.text != before,
        raised={name: show(value) for name, value in outcome.raised.items()},
        unwritable={name: show(value) for name, value in outcome.unwritable.items()},
        nofile=granted,
        diff=[
            {
                "before_header": "kernel",
                "after_header": "kernel",
                "before": listing({name: kernel[name] for name in outcome.raised}),
                "after": listing(dict(outcome.raised)),
            },
            {"before_header": path, "after_header": path, "before": before, "after": outcome.text},
        ],
    )


if __name__ == "__main__":
    main()
