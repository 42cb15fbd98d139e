# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Judges what fairlead.site.survey saw on the hosts of a site: status, doctor, parity. Pure functions.

`hosts` maps each host's name to what was wanted of it and what was seen: groups, image and image_archive, pinned (whether to a
release of before), workers (name and count), free_mb, certificate_days, refusals (what preflight would say) and migrations (what
the application answered), both for doctor, and survey, empty for a host that cannot be reached.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.fairlead.site.plugins.module_utils.releases import good

Hosts = dict[str, dict[str, Any]]

CLOCK_SECONDS = 10
INODES_PERCENT = 5
CELL = 40


def table(titles: list[str], rows: Iterable[Iterable[Any]]) -> str:
    """Aligned text, one line a row."""
    cells = [[str(cell) for cell in row] for row in [titles, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)


def age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(0, seconds):.0f}s"


def short(image: str) -> str:
    """As much of a digest as tells images apart."""
    name, _, digest = image.rpartition("sha256:")
    return f"{name}sha256:{digest[:12]}" if digest and "sha256:" in image else image


# Status -----------------------------------------------------------------------------------------------------------------------


def status(hosts: Hosts, now: float) -> dict[str, Any]:
    """Return `rows`, what runs where; `drift`, a sentence for each thing that is not as recorded or wanted; and `text`, both."""
    rows: list[dict[str, Any]] = []
    drift: list[str] = []
    for name, host in hosts.items():
        seen = host["survey"]
        if not seen:
            drift.append(f"{name} cannot be reached.")
            continue
        if "app" in host["groups"]:
            drift += [f"{name}: {words}" for words in _release_drift(host)]
            for container in sorted(seen["release"]["containers"], key=lambda item: (item["process"] != "web", item["name"])):
                rows.append(
                    {
                        "host": name,
                        "what": container["process"],
                        "release": container["release"],
                        "image": container["image"],
                        "state": container["health"] or container["state"],
                        "since": container["since"],
                        "restarts": container["restarts"],
                    }
                )
        for unit, found in seen["services"].items():
            rows.append({"host": name, "what": unit, "release": "", "image": "", "state": found["state"], "since": found["since"]})
            if found["state"] != "active":
                drift.append(f"{name}: {unit} is {found['state']}.")
    current = {name: host["survey"]["release"]["current"] for name, host in hosts.items() if "release" in host["survey"]}
    if len(set(current.values())) > 1:
        each = ", ".join(f"{name} {item or 'none'}" for name, item in current.items())
        drift.append(f"Not all app hosts have the same release: {each}.")
    lines = [
        table(
            ["HOST", "WHAT", "RELEASE", "IMAGE", "STATE", "SINCE"],
            [
                [
                    row["host"],
                    row["what"],
                    row["release"] or "-",
                    short(row["image"]) or "-",
                    row["state"] + (f", {row['restarts']} restarts" if row.get("restarts") else ""),
                    age(now - row["since"]) if row["since"] else "-",
                ]
                for row in rows
            ],
        )
    ]
    lines += ["", *(f"! {words}" for words in drift)] if drift else ["", "All is as recorded."]
    return {"rows": rows, "drift": drift, "text": "\n".join(lines)}


def _release_drift(host: dict[str, Any]) -> list[str]:
    seen = host["survey"]["release"]
    if seen["error"]:
        return [f"{seen['error']}."]
    current = seen["current"]
    if not current:
        return ["no release runs here: make deploy."]
    drift = [_locked(seen["lock"])] if seen["lock"] else []
    # A release made again on a host is called ID.2 there.
    release = current.split(".")[0]
    recorded = good(seen["records"])
    if recorded and recorded[-1] != release:
        drift.append(f"release {current} is current, but the last one recorded as live is {recorded[-1]}.")
    webs = [item for item in seen["containers"] if item["process"] == "web"]
    web = next((item for item in webs if item["release"] == current), None)
    if web is None:
        drift.append(f"release {current} is current, but has no container: make deploy.")
    else:
        drift += _unwell(web, f"the web server of release {current}")
        record = next((item for item in reversed(seen["records"]) if item["id"] == release), None)
        if record and record["image"] != web["image"]:
            drift.append(f"release {current} was recorded with image {short(record['image'])}, but runs {short(web['image'])}.")
        # After a rollback another image than the inventory's is what is wanted.
        if not host["pinned"] and host["image"] not in (web["image"], web["image_id"]):
            drift.append(f"the inventory names image {short(host['image'])}, but {short(web['image'])} runs: make deploy.")
    drift += [f"container {item['name']} of another release is still there." for item in webs if item is not web]
    return drift + _worker_drift(host, current)


def _worker_drift(host: dict[str, Any], current: str) -> list[str]:
    drift = []
    workers = [item for item in host["survey"]["release"]["containers"] if item["kind"] == "worker"]
    for worker in host["workers"]:
        mine = [item for item in workers if item["process"] == worker["name"]]
        if len(mine) != worker["count"]:
            drift.append(f"worker {worker['name']} has {len(mine)} of {worker['count']} containers: make deploy.")
        for item in mine:
            drift += _unwell(item, f"worker {worker['name']}")
            if item["release"] != current:
                drift.append(f"worker {worker['name']} is of release {item['release']}, the web server of {current}.")
    names = {worker["name"] for worker in host["workers"]}
    strays = [item["name"] for item in workers if item["process"] not in names]
    return drift + [f"container {name} is of no worker in the inventory." for name in strays]


def _locked(lock: dict[str, Any]) -> str:
    if lock["reason"]:
        return f"{lock['who']} keeps all from deploying since {lock['since']} ({lock['reason']}): make lock STATE=off."
    return f"{lock['who']} deploys since {lock['since']}; the last sign of life is {age(lock['age_seconds'])} old."


def _unwell(container: dict[str, Any], what: str) -> list[str]:
    if container["state"] != "running":
        return [f"{what} is {container['state']}."]
    return [f"{what} is {container['health']}."] if container["health"] not in ("", "healthy") else []


# Doctor -----------------------------------------------------------------------------------------------------------------------


def doctor(hosts: Hosts, chain: Iterable[str] = ()) -> dict[str, Any]:
    """Return `problems`, which would stop or spoil a deploy, and `warnings`: a sentence each, with its remedy. `chain` is what does
    not fit in the chain of capacities."""
    problems = [*_refusals(hosts), *chain]
    warnings: list[str] = []
    for name, host in hosts.items():
        seen = host["survey"]
        if not seen:
            problems.append(f"{name} cannot be reached: see what `ssh` to it says, and whether its user may sudo.")
            continue
        found = [*_disks(host), *_services(seen), *_clock(host), *_certificates(host)]
        if "app" in host["groups"]:
            found += [*_app(host), *_pooler(seen["pooler"])]
        if "db" in host["groups"] and seen["postgresql"].get("error"):
            found.append((True, f"PostgreSQL does not answer ({seen['postgresql']['error']}): journalctl -u postgresql@17-main."))
        for serious, words in found:
            (problems if serious else warnings).append(f"{name}: {words}")
    return {"problems": problems, "warnings": warnings}


Findings = list[tuple[bool, str]]


def _refusals(hosts: Hosts) -> list[str]:
    """What preflight would say; what it says of all hosts, once."""
    told: dict[str, list[str]] = {}
    for name, host in hosts.items():
        for words in host["refusals"]:
            told.setdefault(words, []).append(name)
    return [words if len(on) == len(hosts) else f"{', '.join(on)}: {words}" for words, on in told.items()]


def _disks(host: dict[str, Any]) -> Findings:
    found: Findings = []
    told = set()
    for path, disk in host["survey"]["disks"].items():
        # Paths on one file system have the same to say.
        if (key := tuple(disk.values())) in told:
            continue
        told.add(key)
        if disk["free_mb"] < host["free_mb"]:
            found.append(
                (True, f"{path} has {disk['free_mb']} MB left, a deploy wants {host['free_mb']} (django_disk_free_mb): free some.")
            )
        if disk["free_inodes_percent"] < INODES_PERCENT:
            found.append((True, f"{path} has {disk['free_inodes_percent']} % of its inodes left: remove small files."))
    return found


def _services(seen: dict[str, Any]) -> Findings:
    return [
        (True, f"{unit} is {found['state']}: journalctl -u {unit}.")
        for unit, found in seen["services"].items()
        if found["state"] != "active"
    ]


def _clock(host: dict[str, Any]) -> Findings:
    clock = host["survey"]["clock"]
    ahead = clock["ahead_seconds"]
    # It looks a moment after it was asked.
    if not -CLOCK_SECONDS < ahead < 2 * CLOCK_SECONDS:
        return [(True, f"its clock is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}: timedatectl timesync-status.")]
    return [] if clock["synchronized"] else [(False, "its clock is not synchronized by NTP: timedatectl timesync-status.")]


def _certificates(host: dict[str, Any]) -> Findings:
    found: Findings = []
    for path, days in host["survey"]["certificates"].items():
        if days is None:
            found.append((True, f"{path} is no certificate that openssl can read: put one there."))
        elif days < host["certificate_days"]:
            when = f"ends in {days:.0f} days" if days > 0 else f"ended {-days:.0f} days ago"
            found.append((days <= 0, f"the certificate {path} {when}: renew it."))
    return found


def _app(host: dict[str, Any]) -> Findings:
    seen = host["survey"]
    if seen["release"]["error"]:
        return [(True, f"{seen['release']['error']}: systemctl status docker.")]
    found: Findings = [
        (True, f"nothing listens on the pooler's socket {path} ({why}): systemctl status pgbouncer.")
        for path, why in seen["sockets"].items()
        if why
    ]
    # That there is none to be named, preflight says.
    if host["image"] and seen["image"]["error"] and not host["image_archive"]:
        found.append(
            (
                True,
                f"image {short(host['image'])} cannot be had ({seen['image']['error']}): is it pushed, and is the registry's "
                "password right?",
            )
        )
    current = seen["release"]["current"]
    web = [item for item in seen["release"]["containers"] if item["process"] == "web" and item["release"] == current]
    found += [(True, f"{words} make logs HOST=… tells more.") for item in web for words in _unwell(item, "the web server")]
    if seen["release"]["lock"]:
        found.append((True, _locked(seen["release"]["lock"])))
    return found + _migrations(host["migrations"])


def _pooler(pooler: dict[str, str]) -> Findings:
    """Of a newer pgbouncer-rr apt does not know."""
    if not pooler.get("offered"):
        return []
    return [
        (
            False,
            f"pgbouncer-rr was built of Debian's pgbouncer {pooler['built_of']}, and Debian has {pooler['offered']}: make "
            "pgbouncer-rr (or a newer pgbouncer_rr_deb), then make site.",
        )
    ]


def _migrations(answer: dict[str, Any]) -> Findings:
    """What `migrate --check --plan` of the running release said; nothing where it was not asked."""
    if not answer.get("rc"):
        return []
    if "Planned operations" in answer["stdout"]:
        return [(False, "the running release has migrations that are not applied: a deploy applies them.")]
    words = (answer["stderr"].strip() or "it says nothing").splitlines()[-1]
    return [(True, f"the application does not reach its database ({words}): make logs, journalctl -u pgbouncer.")]


# Parity -----------------------------------------------------------------------------------------------------------------------

TOPICS = {
    "packages": ("app", "db", "edge", "registry", "backup"),
    "kernel": ("app", "db", "edge"),
    "nginx": ("app", "edge"),
    "postgresql": ("db",),
}


def facts(hosts: Hosts) -> dict[str, str]:
    """What two sites are compared by: `app / package nginx` and the like. Where the hosts of a group differ, all they say."""
    said: dict[str, dict[str, str]] = {}
    for name, host in hosts.items():
        seen = host["survey"]
        for topic, groups in TOPICS.items():
            for group in set(groups) & set(host["groups"]):
                for key, value in seen.get(topic, {}).items():
                    said.setdefault(f"{group} / {topic} / {key}", {})[name] = str(value)
        if "app" in host["groups"]:
            release = seen.get("release", {"environment": [], "containers": [], "current": ""})
            images = {item["image_id"] for item in release["containers"] if item["release"] == release["current"]}
            said.setdefault("app / image", {})[name] = ", ".join(sorted(images)) or "none"
            for variable in release["environment"]:
                said.setdefault(f"app / environment / {variable}", {})[name] = "set"
    merged = {}
    for key, values in sorted(said.items()):
        told: dict[str, list[str]] = {}
        for name in [name for name, host in hosts.items() if key.split(" / ")[0] in host["groups"]]:
            told.setdefault(values.get(name, "-"), []).append(name)
        merged[key] = next(iter(told)) if len(told) == 1 else ", ".join(f"{value} ({' '.join(on)})" for value, on in told.items())
    return merged


def parity(first: dict[str, str], second: dict[str, str], expected: list[dict[str, str]]) -> dict[str, Any]:
    """Return `rows`, every difference, with the reason where it is an expected one; how many are `unexpected`; and `text`. A group
    that only one of the sites has is one difference."""
    rows = []
    groups = [{key.split(" / ")[0] for key in side} for side in (first, second)]
    for group in sorted(groups[0] ^ groups[1]):
        rows.append({"what": f"group {group}", "a": _has(group in groups[0]), "b": _has(group in groups[1])})
    # Groups that differ in the same are one line: a host may be in several.
    same: dict[tuple[str, str, str], list[str]] = {}
    for key in sorted(first.keys() | second.keys()):
        group, _, rest = key.partition(" / ")
        if group in groups[0] & groups[1] and first.get(key) != second.get(key):
            same.setdefault((rest, first.get(key, "-"), second.get(key, "-")), []).append(group)
    rows += [{"what": f"{', '.join(on)} / {rest}", "a": a, "b": b} for (rest, a, b), on in same.items()]
    for row in rows:
        row["expected"] = next((item["why"] for item in expected if fnmatchcase(row["what"], item["what"])), "")
    rows.sort(key=lambda row: bool(row["expected"]))
    unexpected = sum(not row["expected"] for row in rows)
    shown = [[row["what"], _cut(row["a"]), _cut(row["b"]), row["expected"] or "NO"] for row in rows]
    text = table(["WHAT", "A", "B", "EXPECTED"], shown) if rows else "No difference."
    return {"rows": rows, "unexpected": unexpected, "text": text}


def _cut(text: str) -> str:
    return text if len(text) <= CELL else text[: CELL - 1] + "…"


def _has(there: bool) -> str:
    return "there" if there else "-"
