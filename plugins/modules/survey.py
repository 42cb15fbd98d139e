#!/usr/bin/python
# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Tells in one execution what runs on a host, from which the verbs status, doctor and parity judge."""

from __future__ import annotations

DOCUMENTATION = r"""
module: survey
short_description: Tell what runs on a host of a site, and how it is set
version_added: 0.3.0
description:
  - Looks at services, containers, the release and its records, packages, settings of nginx, PostgreSQL and the kernel, disks,
    certificates, the clock, and whether the image that is wanted can be had. Changes nothing.
  - What a host does not have is left out or empty. Needs root.
author: [The Fairlead authors (@fairlead)]
options:
  of:
    description: What to look at.
    type: list
    elements: str
    choices: [services, release, image, packages, pooler, nginx, postgresql, kernel, disks, certificates, clock, sockets]
    required: true
  site:
    description: The site's short name, as containers are labelled with.
    type: str
    default: ""
  root:
    description: The site's folder on an app host.
    type: path
  units:
    description: Of C(services), systemd units.
    type: list
    elements: str
    default: []
  image:
    description: Of C(image), its name with its digest, or its ID.
    type: str
    default: ""
  registry_username:
    description: Account that the image would be pulled with.
    type: str
    default: ""
  registry_password:
    description: Its password; empty for none.
    type: str
    default: ""
  packages:
    description: Of C(packages), names; C(*) stands for any text.
    type: list
    elements: str
    default: []
  sysctls:
    description: Of C(kernel), names.
    type: list
    elements: str
    default: []
  disks:
    description: Of C(disks), paths whose file systems are looked at.
    type: list
    elements: path
    default: []
  certificates:
    description: Of C(certificates), files in PEM; C(*) stands for any text.
    type: list
    elements: str
    default: []
  asked_at:
    description: Of C(clock), the controller's time in seconds since 1970.
    type: float
    default: 0
  sockets:
    description: Of C(sockets), Unix sockets that something should listen on.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: Changes nothing at any time.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Look at the services
  fairlead.site.survey:
    of: [services]
    units: [nginx.service]
"""

RETURN = r"""
services:
  description: State of each unit - C(state), C(since) in seconds since 1970.
  returned: if asked
  type: dict
release:
  description:
    - C(current), the release's folder; C(records), the last of them; C(lock), who deploys; C(containers), each with C(name),
      C(process), C(release), C(image), C(state), C(health), C(since), C(restarts); C(environment), the names that the web server's
      container has; C(error), what keeps the engine from telling.
  returned: if asked
  type: dict
image:
  description: C(here), whether the host has it; C(error), why it cannot be had if not.
  returned: if asked
  type: dict
packages:
  description: Versions by name.
  returned: if asked
  type: dict
pooler:
  description:
    - C(built_of), the version of Debian's pgbouncer that the installed pgbouncer-rr was made of; C(offered), the one that the
      package lists have, empty if that is no newer one. Nothing where pgbouncer-rr is not installed.
  returned: if asked
  type: dict
nginx:
  description: Directives of the whole configuration, by their place in it.
  returned: if asked
  type: dict
postgresql:
  description: Settings that differ from the server's own defaults, by name; C(error) if it does not answer.
  returned: if asked
  type: dict
kernel:
  description: Values by name.
  returned: if asked
  type: dict
disks:
  description: C(free_mb), C(free_percent) and C(free_inodes_percent) by path.
  returned: if asked
  type: dict
certificates:
  description: Days that each file's first certificate still holds; C(null) for one that cannot be read.
  returned: if asked
  type: dict
clock:
  description: C(ahead_seconds), of the controller's, and C(synchronized).
  returned: if asked
  type: dict
sockets:
  description: By path, empty if something listens, else why not.
  returned: if asked
  type: dict
"""

import base64
import datetime
import glob
import json
import os
import re
import socket
import ssl
import subprocess
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fairlead.site.plugins.module_utils import processes, releases
from ansible_collections.fairlead.site.plugins.module_utils.engine import Engine
from ansible_collections.fairlead.site.plugins.module_utils.nginx import settings as nginx_settings
from ansible_collections.fairlead.site.plugins.module_utils.psql import NotRunningError, RefusedError, Server

RECORDS = 50
SETTINGS = """
SELECT json_build_object('version', current_setting('server_version')) ::jsonb || coalesce(
  (SELECT jsonb_object_agg(name, setting || coalesce(' ' || unit, '')) FROM pg_settings
   WHERE source NOT IN ('default', 'override', 'client', 'session')), '{}')
"""


def output(*command: str) -> str:
    """What a program prints; nothing where it is missing or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def seconds(stamp: str) -> float:
    """Docker's and Ansible's times alike, in seconds since 1970."""
    text = stamp.split(".")[0].rstrip("Z")
    return datetime.datetime.fromisoformat(text + "+00:00").timestamp() if not text.startswith("0001") else 0.0


def services(params: dict[str, Any]) -> dict[str, Any]:
    found = {}
    asked = ["systemctl", "show", "--timestamp=unix", "--property=Id,LoadState,ActiveState,StateChangeTimestamp"]
    for block in output(*asked, *params["units"]).split("\n\n") if params["units"] else []:
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        state = "missing" if values["LoadState"] == "not-found" else values["ActiveState"]
        since = values.get("StateChangeTimestamp", "").lstrip("@")
        found[values["Id"]] = {"state": state, "since": float(since) if since.replace(".", "").isdigit() else 0.0}
    return found


def release(params: dict[str, Any]) -> dict[str, Any]:
    root, site, engine = params["root"], params["site"], Engine()
    found: dict[str, Any] = {"current": "", "containers": [], "environment": [], "error": ""}
    if os.path.islink(f"{root}/current"):
        found["current"] = os.path.basename(os.readlink(f"{root}/current"))
    found["records"] = releases.read(text(f"{root}/records.jsonl"))[-RECORDS:]
    lock = json.loads(text(f"{root}/lock.json") or "{}")
    found["lock"] = {**lock, "age_seconds": time.time() - lock["beat"]} if lock else {}
    try:
        for label in (f"fairlead.site={site}", f"{processes.SITE}={site}"):
            for item in engine.containers(label):
                if container := engine.inspect(item["Id"]):  # it may have gone meanwhile
                    found["containers"].append(describe(container, site))
        web = engine.inspect(f"{site}-{found['current']}") if found["current"] else {}
        found["environment"] = sorted(word.split("=")[0] for word in web["Config"]["Env"]) if web else []
    except releases.ReleaseError as error:
        found["error"] = str(error)
    return found


def text(path: str) -> str:
    try:
        with open(path) as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def describe(container: dict[str, Any], site: str) -> dict[str, Any]:
    labels, state, name = container["Config"]["Labels"], container["State"], container["Name"].removeprefix("/")
    return {
        "name": name,
        "process": labels.get(processes.NAME, "web"),
        "kind": labels.get(processes.KIND, "web"),
        "release": labels.get(processes.RELEASE) or name.removeprefix(f"{site}-"),
        "image": container["Config"]["Image"],
        "image_id": container["Image"],
        "state": state["Status"],
        "health": (state.get("Health") or {}).get("Status", ""),
        "since": seconds(state["StartedAt"]),
        "restarts": container["RestartCount"],
    }


def image(params: dict[str, Any]) -> dict[str, Any]:
    name, engine = params["image"], Engine()
    try:
        if engine.has_image(name):
            return {"here": True, "error": ""}
        if "@" not in name:
            return {"here": False, "error": "it is not on the host, and no registry can be asked for a mere ID"}
        password = params["registry_password"]
        login = {"username": params["registry_username"], "password": password} if password else {}
        header = base64.urlsafe_b64encode(json.dumps(login | {"serveraddress": name.split("/")[0]}).encode()).decode()
        engine.open("GET", f"/distribution/{name}/json", headers={"X-Registry-Auth": header}, timeout=30)
    except releases.ReleaseError as error:
        return {"here": False, "error": str(error).rstrip(".")}
    return {"here": False, "error": ""}


def packages(params: dict[str, Any]) -> dict[str, Any]:
    asked = ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Status}\\n", *params["packages"]]
    # A name that matches nothing makes it fail, and the others are shown nevertheless.
    shown = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    words = [line.split() for line in shown.splitlines()]
    return {word[0]: word[1] for word in words if len(word) == 3 and word[2] == "installed"}


def pooler(params: dict[str, Any]) -> dict[str, Any]:
    built_of, ours, _ = packages({"packages": ["pgbouncer-rr"]}).get("pgbouncer-rr", "").partition("+rr")
    if not ours:
        return {}
    # What Debian has merely compiled again (+b1) is of the same source.
    candidate = re.search(r"^ *Candidate: (\d\S*?)(\+b\d+)?$", output("apt-cache", "policy", "pgbouncer"), re.MULTILINE)
    offered = candidate[1] if candidate else built_of
    newer = subprocess.run(["dpkg", "--compare-versions", offered, "gt", built_of], check=False).returncode == 0
    return {"built_of": built_of, "offered": offered if newer else ""}


def nginx(params: dict[str, Any]) -> dict[str, Any]:
    return nginx_settings(output("nginx", "-T"))


def postgresql(params: dict[str, Any]) -> dict[str, Any]:
    server = Server({"login_user": "postgres", "socket_dir": "/run/postgresql", "port": 5432})
    try:
        return server.ask(SETTINGS)
    except (NotRunningError, RefusedError) as error:
        return {"error": str(error)}


def kernel(params: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name in params["sysctls"]:
        try:
            with open("/proc/sys/" + name.replace(".", "/")) as stream:
                found[name] = " ".join(stream.read().split())
        except OSError:
            continue
    return found


def disks(params: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for path in params["disks"]:
        if os.path.exists(path):
            disk = os.statvfs(path)
            found[path] = {
                "free_mb": disk.f_bavail * disk.f_frsize // 1024**2,
                "free_percent": round(100 * disk.f_bavail / disk.f_blocks) if disk.f_blocks else 100,
                "free_inodes_percent": round(100 * disk.f_favail / disk.f_files) if disk.f_files else 100,
            }
    return found


def certificates(params: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, float | None] = {}
    for path in sorted(path for pattern in params["certificates"] for path in glob.glob(pattern)):
        shown = output("openssl", "x509", "-noout", "-enddate", "-in", path)
        end = shown.strip().removeprefix("notAfter=")
        found[path] = round((ssl.cert_time_to_seconds(end) - time.time()) / 86400, 1) if end else None
    return found


def clock(params: dict[str, Any]) -> dict[str, Any]:
    return {
        "ahead_seconds": round(time.time() - params["asked_at"], 1),
        "synchronized": "NTPSynchronized=yes" in output("timedatectl", "show"),
    }


def sockets(params: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for path in params["sockets"]:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(path)
            found[path] = ""
        except OSError as error:
            found[path] = error.strerror or str(error)
    return found


LOOKS = {
    look.__name__: look
    for look in (services, release, image, packages, pooler, nginx, postgresql, kernel, disks, certificates, clock, sockets)
}


def main() -> None:
    texts: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
    paths: dict[str, Any] = {"type": "list", "elements": "path", "default": []}
    module = AnsibleModule(
        argument_spec={
            "of": {"type": "list", "elements": "str", "choices": list(LOOKS), "required": True},
            "site": {"type": "str", "default": ""},
            "root": {"type": "path"},
            "units": texts,
            "image": {"type": "str", "default": ""},
            "registry_username": {"type": "str", "default": ""},
            "registry_password": {"type": "str", "default": "", "no_log": True},
            "packages": texts,
            "sysctls": texts,
            "disks": paths,
            "certificates": texts,
            "asked_at": {"type": "float", "default": 0},
            "sockets": paths,
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **{name: LOOKS[name](module.params) for name in module.params["of"]})


if __name__ == "__main__":
    main()
