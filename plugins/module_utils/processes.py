# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""What the containers of a release beside its web server are made of, and which of them have to start or to stop."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

# Labels of these containers. The first is not the one that the containers of a release have, so that nobody takes them for its.
SITE = "fairlead.process.site"
NAME = "fairlead.process"
KIND = "fairlead.process.kind"
RELEASE = "fairlead.process.release"

# Where the host's programs for the inside of a container are in it.
LIBRARY = "/usr/local/lib/fairlead"
INSIDE = "/opt/fairlead"
# The folder of the web server's socket is its alone.
WEB_FOLDER = "/run/app"
# What the container of a process has from the web server's, where that has it. The rest the engine fills in, one day otherwise
# than the other.
INHERITED = (
    *("CapAdd", "CapDrop", "SecurityOpt", "ReadonlyRootfs", "Tmpfs", "ShmSize", "Devices", "Sysctls", "GroupAdd", "Init"),
    *("NetworkMode", "Dns", "DnsOptions", "DnsSearch", "ExtraHosts"),
    *("Memory", "MemorySwap", "NanoCpus", "CpuShares", "PidsLimit", "Ulimits"),
)


def compose(web: dict[str, Any], site: str, kind: str, process: dict[str, Any]) -> dict[str, Any]:
    """Return what the engine makes a container of, like the web server's but for what `process` says: its image, environment,
    secrets, mounts, user and limits are the release's by construction. A web server's container is called SITE-RELEASE."""
    config, host = web["Config"], web["HostConfig"]
    body: dict[str, Any] = {key: config[key] for key in ("Image", "User", "WorkingDir", "Entrypoint") if config.get(key)}
    body["Env"] = environment(config.get("Env") or [], process.get("environment") or {})
    body["Cmd"] = command(kind, process)
    body["Labels"] = {
        SITE: site,
        NAME: process["name"],
        KIND: kind,
        RELEASE: web["Name"].removeprefix(f"/{site}-"),
    }
    body["Healthcheck"] = health(process)
    body["StopSignal"] = process.get("stop_signal") or "SIGTERM"
    body["StopTimeout"] = process.get("stop_timeout_seconds") or 30
    mounts = [mount for mount in host.get("Mounts") or [] if mount["Target"] != WEB_FOLDER]
    binds = [bind for bind in host.get("Binds") or [] if bind.split(":")[1] != WEB_FOLDER]
    if alone(kind, process):
        mounts.append({"Type": "bind", "Source": LIBRARY, "Target": INSIDE, "ReadOnly": True})
    body["HostConfig"] = {
        **{key: host[key] for key in INHERITED if host.get(key)},
        "Mounts": mounts,
        "Binds": binds,
        "RestartPolicy": {"Name": "unless-stopped" if kind == "worker" else "no"},
        "AutoRemove": kind != "worker",
        # Who runs a command is shown what it says, and a job's unit has it in the journal: not there twice, and no person's work.
        **({} if kind == "worker" else {"LogConfig": {"Type": "none"}}),
        **limits(process),
    }
    return body


def alone(kind: str, process: dict[str, Any]) -> bool:
    return kind == "job" or bool(process.get("only_one"))


def command(kind: str, process: dict[str, Any]) -> list[str]:
    """A scheduler waits until it is the only one of all hosts; a job that runs on another host is left out on this one."""
    given: list[str] = process["command"]
    if not alone(kind, process):
        return given
    how = "skip" if kind == "job" else "wait"
    return ["python", f"{INSIDE}/only_one.py", how, process["name"], *given]


def environment(inherited: list[str], changes: dict[str, Any]) -> list[str]:
    values = dict(item.split("=", 1) for item in inherited if "=" in item) | {name: str(value) for name, value in changes.items()}
    return [f"{name}={value}" for name, value in values.items()]


def health(process: dict[str, Any]) -> dict[str, Any]:
    if not process.get("health_command"):
        return {"Test": ["NONE"]}
    second = 1_000_000_000
    return {
        "Test": ["CMD", *process["health_command"]],
        "Interval": 30 * second,
        "Timeout": 20 * second,
        "Retries": 3,
        "StartPeriod": (process.get("start_timeout_seconds") or 60) * second,
        "StartInterval": 2 * second,
    }


def limits(process: dict[str, Any]) -> dict[str, Any]:
    """The web server's limits but for those that the process has of its own."""
    found: dict[str, Any] = {}
    if process.get("memory_mb"):
        found["Memory"] = found["MemorySwap"] = int(process["memory_mb"]) * 1024 * 1024
    if process.get("cpus"):
        found["NanoCpus"] = int(float(process["cpus"]) * 1e9)
    return found


@dataclass
class Plan:
    """Names of containers to make, to start again, and to stop and remove."""

    make: list[str] = field(default_factory=list)
    start: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.make or self.start or self.remove)


def wanted(web: dict[str, Any], site: str, workers: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Map names to what the containers of all workers are made of. A name holds the hash of it, so that whatever changes makes
    a container beside the one of before."""
    found = {}
    for worker in workers:
        body = compose(web, site, "worker", worker)
        key = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]
        for number in range(1, (worker.get("count") or 1) + 1):
            found[f"{site}-{worker['name']}-{number}-{key}"] = body
    return found


def plan(wanted_names: list[str], found: dict[str, bool]) -> Plan:
    """Compare with the workers' containers that are there; each says whether it runs."""
    return Plan(
        make=[name for name in wanted_names if name not in found],
        start=[name for name in wanted_names if found.get(name) is False],
        remove=sorted(name for name in found if name not in wanted_names),
    )
