#!/usr/bin/python
# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Host's side of fairlead.site.release: one step of a release on this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: One step of putting a release into service on this host
version_added: 0.3.0
description:
  - A release is a folder below I(root)C(/releases) with all that makes it (C(release.json), C(secrets/), C(static/)), and the
    containers that are made of it. I(root)C(/current) leads to the one in service.
  - Steps that change something hold the lock I(root)C(/lock.json), which has an owner and a sign of life, and wait for a step
    that a killed controller may have left running.
  - What keeps a step from its end is returned as I(problem), so that the play can put all hosts back before it fails.
author: [The Fairlead authors (@fairlead)]
options:
  step:
    description:
      - C(inspect) looks, and mends the files of the release in service.
      - C(prepare) takes the lock, pulls the image, installs the files, and has the image judge itself.
      - C(migrate) applies the migrations.
      - C(switch) starts the release beside the running one, and leads requests to it once it is healthy.
      - C(watch) looks at what visitors get from it for a while.
      - C(settle) ends the other releases once their requests have ended, writes the record and gives the lock back.
      - C(history) returns the records and what runs.
      - C(lock) and C(unlock) keep all others from deploying, or let them again.
    type: str
    choices: [inspect, prepare, migrate, switch, watch, settle, history, lock, unlock]
    required: true
  root:
    description: Folder of the site.
    type: path
    required: true
  name:
    description: Name of the site.
    type: str
    required: true
  spec:
    description: All that makes the release, but its secrets. Empty, the release is taken as it was recorded.
    type: dict
    default: {}
  secrets:
    description: Its secrets.
    type: dict
    default: {}
  release:
    description: Its id.
    type: str
    default: ""
  slot:
    description: Its folder on this host, as I(step=inspect) returned it.
    type: str
    default: ""
  again:
    description: Make it anew although it runs.
    type: bool
    default: false
  registry_password:
    description: Of the account that pulls its image.
    type: str
    default: ""
  judge:
    description: The program that judges it in its image; the controller's side makes an archive of it and of the linter.
    type: str
    default: ""
  linter:
    description: Folder on the controller with django-migration-linter.
    type: str
    default: ""
  owner:
    description: Who deploys; the controller's side fills it in.
    type: dict
    default: {}
  options:
    description: What the step is to know, by name.
    type: dict
    default: {}
attributes:
  check_mode:
    description: I(step=inspect) predicts; other steps do nothing.
    support: full
  diff_mode:
    description: Shows how the release differs from the one in service; of secrets a fingerprint.
    support: full
"""

EXAMPLES = r"""
- name: Look at what runs
  fairlead.site.release:
    step: history
    root: /srv/shop
    name: shop
  register: __history
"""

RETURN = r"""
problem:
  description: Why the step did not come to its end; empty if it did.
  returned: always
  type: str
words:
  description: What a program said about it.
  returned: always
  type: str
"""

import base64
import contextlib
import errno
import fcntl
import glob
import grp
import http.client
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fairlead.site.plugins.module_utils import releases
from ansible_collections.fairlead.site.plugins.module_utils.engine import Engine, EngineError, UnixConnection
from ansible_collections.fairlead.site.plugins.module_utils.releases import ReleaseError

Result = dict[str, Any]
SOCKET_NAME = "gunicorn.sock"
SECOND = 1_000_000_000
# A step that a killed controller left behind ends by itself within its own limits.
ORPHAN_SECONDS = 600
MARK = "fairlead-judge:"


def text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def json_of(path: str) -> dict[str, Any]:
    try:
        found = json.loads(text_of(path) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def write(path: str, content: bytes, mode: int = 0o644, group: int = 0) -> None:
    """In one go: whoever reads it finds the former content or the new one."""
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".fairlead-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            os.fchown(stream.fileno(), 0, group)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def now() -> str:
    return stamp(datetime.now(UTC))


class Lock:
    """Who may change the site's releases on this host."""

    def __init__(self, root: str, owner: dict[str, str], expiry: float) -> None:
        self.path, self.owner, self.expiry = os.path.join(root, "lock.json"), owner, expiry

    def holder(self) -> dict[str, Any]:
        """Who holds it; one that gave no sign of life for too long no longer counts, unless a person took it."""
        found = json_of(self.path)
        if found and not found.get("reason") and time.time() - found.get("beat", 0) > self.expiry:
            return {}
        return found

    def require(self, taken_over: str) -> dict[str, Any]:
        """That nobody else holds it; returns who does."""
        holder = self.holder()
        # What a person took is theirs, though the process that took it for them has ended.
        welcome = (self.owner["process"], "" if holder.get("reason") else taken_over)
        if holder and holder.get("process") not in welcome:
            raise LockedError(holder, self.expiry)
        return holder

    def take(self, taken_over: str) -> None:
        holder = self.require(taken_over)
        try:
            self.beat(holder.get("reason", ""))
        except OSError:
            # What clears a full disk up must not fail of it.
            if holder.get("process") != self.owner["process"]:
                raise

    def beat(self, reason: str = "") -> None:
        found = json_of(self.path)
        mine = found.get("process") == self.owner["process"]
        state = {**self.owner, "since": found["since"] if mine else now(), "beat": time.time(), "reason": reason}
        write(self.path, json.dumps(state).encode())

    def give_back(self) -> None:
        if json_of(self.path).get("process") == self.owner["process"]:
            os.unlink(self.path)


class LockedError(ReleaseError):
    def __init__(self, holder: dict[str, Any], expiry: float) -> None:
        who = f"The site's releases are locked by {holder.get('who')} since {holder.get('since')}"
        if holder.get("reason"):
            super().__init__(f"{who}: {holder['reason'].rstrip('.')}. `make lock STATE=off` lets deployments go on.")
        else:
            age = time.time() - holder["beat"]
            super().__init__(
                f"{who}, whose last sign of life is {age:.0f} s old: wait until that deployment has ended. If it is dead, its lock "
                f"ends by itself in {expiry - age:.0f} s, or with `make lock STATE=off`."
            )
        self.holder = holder


class Host:
    """The site on this host."""

    def __init__(self, parameters: dict[str, Any], check: bool, diff: bool = False) -> None:
        self.root, self.name, self.check, self.diff = parameters["root"], parameters["name"], check, diff
        self.parameters, self.options = parameters, parameters["options"]
        self.engine = Engine()
        self.lock = Lock(self.root, parameters["owner"], float(self.options.get("lock_seconds", 300)))

    # What is there

    def folder(self, slot: str) -> str:
        return os.path.join(self.root, "releases", slot)

    def container(self, slot: str) -> str:
        return f"{self.name}-{slot}"

    def spec(self, slot: str) -> dict[str, Any]:
        return json_of(os.path.join(self.folder(slot), "release.json"))

    def secrets(self, slot: str) -> dict[str, str]:
        paths = glob.glob(os.path.join(self.folder(slot), "secrets", "*"))
        return {os.path.basename(path): text_of(path).removesuffix("\n") for path in paths}

    def current(self) -> str:
        """The slot in service."""
        try:
            return os.path.basename(os.readlink(os.path.join(self.root, "current")))
        except FileNotFoundError:
            return ""

    def id_of(self, slot: str) -> str:
        return slot.split(".")[0]

    def slots(self, release: str = "") -> list[str]:
        """Whole releases on this host, the newest last."""
        found = [os.path.basename(os.path.dirname(path)) for path in glob.glob(self.folder("*") + "/release.json")]
        found = [slot for slot in found if not release or self.id_of(slot) == release]
        return sorted(found, key=lambda slot: os.stat(self.folder(slot) + "/release.json").st_mtime)

    def unrecorded(self) -> list[str]:
        """Migrations without a way back that were begun, and whose deployment has not come to its record."""
        found: list[str] = json_of(self.root + "/migrating.json").get("irreversible", [])
        return found

    def records(self) -> list[dict[str, Any]]:
        return releases.read(text_of(os.path.join(self.root, "records.jsonl")))

    def containers(self) -> dict[str, str]:
        """State of the site's containers by the slot that each is of."""
        found = self.engine.containers(f"fairlead.site={self.name}")
        return {item["Names"][0].removeprefix(f"/{self.name}-"): item["State"] for item in found}

    # Steps

    def inspect(self) -> Result:
        if self.check and not os.path.exists(self.engine.path):
            return {"unpredictable": True, "todo": False}
        wanted, secrets = self.parameters["spec"], self.parameters["secrets"]
        release, records, current = self.parameters["release"], self.records(), self.current()
        if wanted:
            slot = self.slot_for(release, wanted, current)
        else:
            slot = (self.slots(release) or [""])[-1]
            if not slot:
                known = ", ".join(dict.fromkeys(self.id_of(known) for known in self.slots())) or "none"
                raise ReleaseError(f"Release {release} is not on this host, which has {known}: deploy its image instead.")
            wanted, secrets = self.spec(slot), self.secrets(slot)
        containers = self.containers()
        result: Result = {
            "release": release,
            "slot": slot,
            "current": current,
            "back": self.back(current, slot, records),
            "new": not self.spec(slot),
            "archive_wanted": self.archived(wanted["image"]) and not self.engine.has_image(wanted["image"]),
            "records": records,
            "unrecorded": self.unrecorded(),
            "at": time.time(),
        }
        in_service = current == slot and containers.get(slot) == "running"
        recorded = releases.good(records)[-1:] == [release]
        result["todo"] = not (in_service and recorded and set(containers) == {slot} and not self.stale_lock())
        if result["todo"] and not self.check:
            # Nothing is begun anywhere. Only a host with a step at work shows that a deployment lives; on the others its lock may
            # have run out.
            self.lock.require(self.options.get("taken_over", ""))
        if current == slot and not result["new"]:
            result["changed"] = self.install_files(slot, wanted, secrets)
        elif self.diff:
            before = releases.shown(self.spec(current), self.secrets(current)) if current else []
            after = releases.shown(wanted, secrets)
            result["diff"] = [
                {
                    "before_header": f"release {self.id_of(current)}" if current else "/dev/null",
                    "after_header": f"release {release}",
                    "before": "".join(line + "\n" for line in before),
                    "after": "".join(line + "\n" for line in after),
                }
            ]
        if self.check and result["todo"]:
            result["changed"] = True
        return result

    def slot_for(self, release: str, wanted: dict[str, Any], current: str) -> str:
        """Its folder: the one that it has, or another one if what it is made of on this host (its size) is no longer the same."""
        made = self.slots(release)
        if made and not self.parameters["again"]:
            same = [slot for slot in made if self.spec(slot) == wanted]
            if same:
                return current if current in same else same[-1]
        taken = [int((slot.split(".") + ["1"])[1]) for slot in made]
        return release if not taken else f"{release}.{max(taken) + 1}"

    def back(self, current: str, slot: str, records: list[dict[str, Any]]) -> str:
        """Where this host goes if the release fails: what is in service, unless a deployment that never ended left it there."""
        good = releases.good(records)
        if self.id_of(current) in good:
            return current
        slots = self.slots(good[-1]) if good else []
        return slots[-1] if slots else current if current != slot else ""

    def stale_lock(self) -> bool:
        """A deployment did not come to its end."""
        found = json_of(self.lock.path)
        return bool(found) and not found.get("reason")

    def prepare(self) -> Result:
        slot, spec = self.parameters["slot"], self.parameters["spec"]
        for left in self.engine.containers(f"fairlead.step={self.name}"):
            self.engine.remove(left["Id"])
        started, new = time.time(), not self.spec(slot)
        spec = spec or self.spec(slot)
        os.makedirs(self.folder(slot), exist_ok=True)
        if not self.engine.has_image(spec["image"]):
            self.require_disk()
            self.fetch_image(spec["image"])
        judgement: Result = {}
        if new:
            self.install_files(slot, spec, self.parameters["secrets"])
            self.extract_static(slot, spec)
            judgement = self.judge(slot, spec)
            # What has this file is whole.
            write(self.folder(slot) + "/release.json", (json.dumps(spec, indent=2, sort_keys=True) + "\n").encode())
        elif self.parameters["spec"] and self.options.get("migrates"):
            judgement = self.judge(slot, spec)
        # A page of the first host that serves it may ask any other for them.
        self.publish_static(slot, replace=False)
        return {"changed": True, "started": started, **judgement}

    def require_disk(self) -> None:
        for folder in (self.engine.data_folder(), self.root):
            free, least = shutil.disk_usage(folder).free // 2**20, int(self.options["disk_free_mb"])
            if free < least:
                raise ReleaseError(
                    f"{folder} has {free} MB free, less than django_disk_free_mb ({least}): make room before a new image comes."
                )

    def archived(self, image: str) -> bool:
        """Whether it comes in an archive; what a registry named by content is only there."""
        return bool(self.options.get("archive")) and "@" not in image

    def fetch_image(self, image: str) -> None:
        archived = self.archived(image)
        if archived:
            self.engine.load(self.options["archive"])
            os.unlink(self.options["archive"])
        else:
            # A release of before may be from a registry that the password is not for.
            known = image.startswith(self.options["registry"])
            login = self.options["registry_username"], self.parameters["registry_password"] if known else ""
            self.engine.pull(image, *login, timeout=float(self.options["pull_seconds"]))
        if not self.engine.has_image(image):
            raise ReleaseError(f"What was {'loaded' if archived else 'pulled'} is not {image}.")

    def install_files(self, slot: str, spec: dict[str, Any], secrets: dict[str, str]) -> bool:
        """Folders and secrets as they are to be; returns whether anything was (or in check mode would be) changed."""
        uid, gid = (int(number) for number in spec["user"].split(":"))
        www = grp.getgrnam(spec["socket_group"]).gr_gid
        top = self.folder(slot)
        folders = {
            self.root: (0, 0, 0o755),
            os.path.join(self.root, "static"): (0, 0, 0o755),
            os.path.join(self.root, "releases"): (0, 0, 0o755),
            top: (0, 0, 0o755),
            # gunicorn makes its socket open to all: this folder is the guard.
            f"{top}/run": (uid, www, 0o2750),
            f"{top}/secrets": (0, gid, 0o750),
        }
        changed = False
        for path, (owner, group, mode) in folders.items():
            changed |= self.own(path, owner, group, mode)
        for name, value in secrets.items():
            path, content = f"{top}/secrets/{name}", (value + "\n").encode()
            if text_of(path).encode() != content:
                changed = True
                if not self.check:
                    write(path, content, 0o440, gid)
            elif not self.check:
                changed |= self.own(path, 0, gid, 0o440)
        return changed

    def own(self, path: str, owner: int, group: int, mode: int) -> bool:
        if not os.path.exists(path):
            if not self.check:
                os.mkdir(path)
                os.chown(path, owner, group)
                os.chmod(path, mode)
            return True
        found = os.stat(path)
        if (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (owner, group, mode):
            return False
        if not self.check:
            os.chown(path, owner, group)
            os.chmod(path, mode)
        return True

    # Static files

    def extract_static(self, slot: str, spec: dict[str, Any]) -> None:
        """The image's collected files, as the release's own copy."""
        top = self.folder(slot) + "/static"
        shutil.rmtree(top, ignore_errors=True)
        os.makedirs(top)
        if not spec["static_source"]:
            return
        name = self.container(slot) + "-static"
        self.engine.remove(name)
        self.engine.create(
            name,
            {"Image": spec["image"], "Cmd": ["-"], "Labels": {"fairlead.step": self.name}, "HostConfig": {"NetworkMode": "none"}},
        )
        try:
            # Left unread and open, as when the disk is full, the engine would wait for it with the removal.
            with (
                contextlib.closing(self.engine.archive(name, spec["static_source"])) as stream,
                tarfile.open(fileobj=stream, mode="r|") as archive,
            ):
                for member in archive:
                    # The folder itself comes first, under its own name.
                    path = os.path.normpath(os.path.join(top, *member.name.split("/")[1:]))
                    source = archive.extractfile(member) if member.isreg() else None
                    if source is None or not path.startswith(top + "/"):
                        continue
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with open(path, "wb") as file:
                        shutil.copyfileobj(source, file)
                    os.chmod(path, 0o644)
                    os.utime(path, (member.mtime, member.mtime))
        except EngineError as error:
            if error.status == 404:
                raise ReleaseError(
                    f"The image has no folder {spec['static_source']} with static files (django_static_source): {error}"
                ) from error
            raise
        finally:
            self.engine.remove(name)

    def static_files(self, slot: str) -> list[str]:
        top = self.folder(slot) + "/static"
        return sorted(os.path.relpath(os.path.join(folder, name), top) for folder, _, names in os.walk(top) for name in names)

    def static_hash(self, slot: str) -> str:
        return releases.digest("\n".join(self.static_files(slot)))

    def publish_static(self, slot: str, replace: bool = True) -> None:
        """Its files beside those of earlier releases: hashed names never meet; where others do, this release's count from now on,
        or (replace=False) once it is in service."""
        for name in self.static_files(slot):
            source, path = f"{self.folder(slot)}/static/{name}", f"{self.root}/static/{name}"
            if os.path.exists(path) and (not replace or os.path.samefile(source, path)):
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + ".fairlead")
            os.link(source, path + ".fairlead")
            os.rename(path + ".fairlead", path)

    def prune_static(self) -> None:
        """A file that no release holds any more has one name left."""
        for folder, _, names in os.walk(self.root + "/static", topdown=False):
            for name in names:
                path = os.path.join(folder, name)
                if os.lstat(path).st_nlink == 1:
                    os.unlink(path)
            if folder != self.root + "/static" and not os.listdir(folder):
                os.rmdir(folder)

    # Containers

    def variables(self, slot: str, spec: dict[str, Any]) -> dict[str, str]:
        found = {name: str(value) for name, value in spec["environment"].items()} | {"RELEASE": spec["id"]}
        secrets = self.secrets(slot)
        return found | ({f"{name}_FILE": f"/run/secrets/{name}" for name in secrets} if spec["secret_files"] else secrets)

    def config(self, slot: str, spec: dict[str, Any], command: list[str], **changes: Any) -> dict[str, Any]:
        """A container of the release, whatever it is for."""
        mounts = (
            [{"source": f"{self.folder(slot)}/secrets", "target": "/run/secrets", "read_only": True}]
            if spec["secret_files"]
            else []
        )
        mounts += spec["mounts"] + changes.get("mounts", [])
        memory = int(spec["memory_mb"]) * 2**20
        return {
            "Image": spec["image"],
            "Cmd": command,
            "Env": [f"{name}={value}" for name, value in (self.variables(slot, spec) | changes.get("environment", {})).items()],
            "User": spec["user"],
            "Labels": changes.get("labels", {"fairlead.step": self.name}),
            "StopTimeout": int(spec["stop_seconds"]),
            "Healthcheck": changes.get("healthcheck", {"Test": ["NONE"]}),
            "HostConfig": {
                "Mounts": [
                    {
                        "Type": "bind",
                        "Source": mount["source"],
                        "Target": mount["target"],
                        "ReadOnly": bool(mount.get("read_only", False)),
                    }
                    for mount in mounts
                ],
                "NetworkMode": spec["network"],
                "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "Memory": memory,
                "MemorySwap": memory,
                "NanoCpus": int(float(spec["cpus"]) * SECOND),
                "PidsLimit": int(spec["pids"]),
                "Init": True,
                "Tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,size={int(spec['tmp_mb'])}m"},
                "RestartPolicy": {"Name": "no"},
            },
        }

    def web_config(self, slot: str, spec: dict[str, Any]) -> dict[str, Any]:
        return self.config(
            slot,
            spec,
            spec["command"],
            labels={"fairlead.site": self.name, "fairlead.release": spec["id"], "fairlead.process": "web"},
            mounts=[{"source": f"{self.folder(slot)}/run", "target": "/run/app"}],
            healthcheck={
                "Test": ["CMD", "python", "-c", spec["probe"]],
                "Interval": 30 * SECOND,
                "Timeout": 10 * SECOND,
                "Retries": 3,
                "StartPeriod": int(spec["start_seconds"]) * SECOND,
            },
        )

    # Judgement and migrations

    def ask(self, slot: str, spec: dict[str, Any], request: dict[str, Any], migrating: bool, timeout: float | None) -> Result:
        """Run the judge in the image, with the release's environment, and return what it says."""
        name = self.container(slot) + "-judge"
        self.engine.remove(name)
        with tempfile.TemporaryDirectory(prefix="fairlead-", dir="/run") as folder:
            os.chmod(folder, 0o711)  # noqa: S103 - the container's user goes through it
            files = {"judge.zip": base64.b64decode(self.parameters["judge"])}
            files |= {path: text.encode() for path, text in (self.options["migrate_files"] if migrating else {}).items()}
            for path, content in files.items():
                write(f"{folder}/{path}", content)
            mounts = [{"source": folder, "target": "/opt/fairlead", "read_only": True}]
            request |= {"session": self.options["migrate_session"]} if migrating else {}
            config = self.config(
                slot,
                spec,
                ["python", "/opt/fairlead/judge.zip", json.dumps(request)],
                environment=self.options["migrate_environment"] if migrating else {},
                mounts=mounts + (self.options["migrate_mounts"] if migrating else []),
            )
            self.engine.create(name, config)
            try:
                self.engine.start(name)
                code = self.engine.wait(name, timeout)
                output = self.engine.logs(name)
            except TimeoutError as error:
                raise ReleaseError(f"The release's own checks did not end within {timeout:.0f} s.") from error
            finally:
                self.engine.remove(name)
        before, found, said = output.rpartition(MARK)
        if not found:
            raise ReleaseError(f"The image could not be asked (exit status {code}).", output[-2000:].strip())
        answer: Result = json.loads(said.splitlines()[0])
        answer["output"] = before[-4000:].strip()
        return answer

    def judge(self, slot: str, spec: dict[str, Any]) -> Result:
        migrates = bool(self.options.get("migrates"))
        request = {"debug_allowed": self.options["debug_allowed"], "gates": self.options["gates"], "migrations": migrates}
        request |= {"manage": self.options["manage"]}
        answer = self.ask(slot, spec, request, migrates, float(self.options["judge_seconds"]))
        if answer["refused_by"]:
            raise ReleaseError(
                f"Release {spec['id']} is refused by '{answer['refused_by']}'.", f"Its words: {answer['words'].strip()}"
            )
        if migrates:
            self.require_accepted(answer)
        return {key: answer[key] for key in ("pending", "heads", "notes") if key in answer}

    def require_accepted(self, answer: Result) -> None:
        """Migrations that the running release may not survive need a word; so do those that nobody could judge."""
        accepted = self.options["accept"]
        destructive = [f"{item['name']}: {', '.join(item['errors'])}" for item in answer["pending"] if item["errors"]]
        if destructive and "destructive" not in accepted:
            raise ReleaseError(
                "Its migrations take away what the running release needs: "
                + "; ".join(destructive)
                + ". Spread the change over two releases, or accept the loss with `make deploy ACCEPT=destructive`."
            )
        if answer["unlinted"] and "unlinted" not in accepted:
            raise ReleaseError(
                f"Its migrations ({', '.join(item['name'] for item in answer['pending'])}) could not be judged by the linter: "
                f"{answer['unlinted']}. Look at them yourself, and accept them with `make deploy ACCEPT=unlinted`."
            )

    def migrate(self) -> Result:
        slot = self.parameters["slot"]
        spec, options = self.spec(slot), self.options
        request = {"manage": options["manage"], "migrate": True}
        if options["irreversible"]:
            # Whoever goes back must know of them, though the controller be killed before it writes the record.
            names = list(dict.fromkeys(self.unrecorded() + options["irreversible"]))
            write(self.root + "/migrating.json", json.dumps({"irreversible": names}).encode())
        for attempt in range(int(options["migrate_tries"])):
            if attempt:
                time.sleep(float(options["migrate_pause_seconds"]))
            answer = self.ask(slot, spec, request, True, None)
            # PostgreSQL's words for lock_timeout: a busy table, which may be free in a moment.
            if not answer["refused_by"] or "lock timeout" not in answer["words"]:
                break
        result: Result = {"changed": True, "tries": attempt + 1}
        if "heads" in answer:
            result["heads"] = answer["heads"]
        if answer["refused_by"]:
            result["problem"] = f"Release {spec['id']} is refused by '{answer['refused_by']}', tried {attempt + 1} times."
            result["words"] = f"Its words: {answer['words'].strip()}"
        return result

    # The switch

    def switch(self) -> Result:
        slot = self.parameters["slot"]
        spec = self.spec(slot)
        if not spec:
            raise ReleaseError(f"Release {slot} is not whole on this host: deploy it again.")
        state = self.engine.inspect(self.container(slot)).get("State", {})
        fresh = not state.get("Running")
        if fresh:
            self.start(slot, spec, bool(state))
        self.publish_static(slot)
        moved = self.current() != slot
        if moved:
            self.link(slot)
        said = ask_health(self.root + "/current", spec)
        if said:
            raise ReleaseError(f"Behind {self.root}/current, release {spec['id']} does not answer: {said}.")
        return {"changed": moved or fresh, "log_place": log_size(self.options["access_log"])}

    def start(self, slot: str, spec: dict[str, Any], stopped: bool) -> None:
        name = self.container(slot)
        if not stopped:
            self.engine.create(name, self.web_config(slot, spec))
        try:
            self.engine.start(name)
            self.await_health(slot, spec)
        except ReleaseError as error:
            last = self.last_lines(name)
            self.engine.remove(name)
            raise ReleaseError(str(error), last) from None
        self.engine.restart_always(name)

    def last_lines(self, name: str) -> str:
        with contextlib.suppress(ReleaseError):
            return f"Its last lines: {self.engine.logs(name, 20).strip()}"
        return ""

    def await_health(self, slot: str, spec: dict[str, Any]) -> None:
        """So many good answers in a row, at its own socket, asked as nginx asks."""
        seconds, wanted, row, said = int(spec["start_seconds"]), int(spec["health_successes"]), 0, "no answer yet"
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            said = ask_health(self.folder(slot), spec)
            row = 0 if said else row + 1
            if row >= wanted:
                return
            state = self.engine.inspect(self.container(slot))["State"]
            if not state["Running"]:
                raise ReleaseError(f"Release {spec['id']} ended with exit status {state['ExitCode']} as it started.")
            time.sleep(0.25)
        raise ReleaseError(
            f"Release {spec['id']} did not answer 200 to {spec['health_path']} within {seconds} seconds "
            f"(django_start_timeout_seconds), but: {said}."
        )

    def link(self, slot: str) -> None:
        temporary = self.root + "/.current"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        os.symlink(f"releases/{slot}", temporary)
        os.rename(temporary, self.root + "/current")

    def watch(self) -> Result:
        """Whether visitors get what they want from the release, for as long as the canary is to be watched."""
        slot, options = self.parameters["slot"], self.options
        deadline, lines = time.monotonic() + float(options["bake_seconds"]), []
        with tail(options["access_log"], int(options["log_place"])) as read:
            while True:
                lines += read()
                problem, count, failed = releases.judged(lines, float(options["error_share"]), float(options["latency_seconds"]))
                found = self.engine.inspect(self.container(slot))
                if not found.get("State", {}).get("Running") or found["RestartCount"]:
                    problem = "its container ended"
                elif found["State"].get("Health", {}).get("Status") == "unhealthy":
                    problem = "its container is unhealthy"
                if problem:
                    raise ReleaseError(f"As it served, {problem}.", self.last_lines(self.container(slot)))
                if time.monotonic() >= deadline:
                    return {"requests": count, "failed_requests": failed}
                time.sleep(1)

    # The end

    def settle(self) -> Result:
        options, current = self.options, self.current()
        if options["refused"]:
            # What is prepared here may be that of the deployment which holds another host's lock.
            return {"changed": False}
        started = datetime.fromtimestamp(float(options["started"]), UTC)
        record = {**options["record"], "who": self.parameters["owner"]["who"], "started": stamp(started)}
        failed = record["result"] != "live"
        slot = self.parameters["slot"]
        cut_off: list[str] = []
        if failed and current == slot and not options["back"]:
            # It was to be the first one.
            os.unlink(self.root + "/current")
            current = ""
        for other in self.containers():
            if other != current:
                cut_off += self.retire(other)
        record["seconds"] = round(time.time() - started.timestamp(), 1)
        written = [self.described(slot, record)]
        back = options["back"]
        if not failed and options["rollback"] and back and self.id_of(back) != record["id"]:
            gone = {**record, "result": "rolled_back", "reason": f"rollback to {record['id']}"}
            written.insert(0, self.described(back, gone))
        if failed and current != slot and not self.ever_good(slot):
            shutil.rmtree(self.folder(slot), ignore_errors=True)
        with open(self.root + "/records.jsonl", "a", encoding="utf-8") as stream:
            for item in written:
                stream.write(json.dumps(item, sort_keys=True) + "\n")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.root + "/migrating.json")
        self.prune(current)
        return {"changed": True, "written": written, "cut_off": cut_off}

    def described(self, slot: str, record: dict[str, Any]) -> dict[str, Any]:
        """The record with what its folder says; one of a refused release had no such folder, and has said so itself."""
        spec = self.spec(slot)
        if not spec:
            return record
        found = {"image": spec["image"], "environment_hash": spec["environment_hash"], "static": self.static_hash(slot)}
        return {**record, **found, "id": self.id_of(slot)}

    def ever_good(self, slot: str) -> bool:
        return self.id_of(slot) in releases.good(self.records())

    def retire(self, slot: str) -> list[str]:
        """No new request comes to it: wait until those in progress have ended, then SIGTERM, grace, and the end."""
        name = self.container(slot)
        cut_off: list[str] = []
        found = self.engine.inspect(name)
        if found.get("State", {}).get("Running"):
            deadline = time.monotonic() + float(self.options["drain_seconds"])
            while left := connections(self.engine.processes(name)):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.2)
            if left:
                cut_off.append(
                    f"Release {slot} was stopped with {left} requests in progress, after {self.options['drain_seconds']} s."
                )
            self.engine.stop(name, int(found["Config"].get("StopTimeout") or 10))
        self.engine.remove(name)
        return cut_off

    def prune(self, current: str) -> None:
        """Keep the last releases that served, and the one to go back to; of the others go folder, static files and image."""
        names = releases.worth_keeping(self.records(), int(self.options["keep"]))
        kept = {slot for name in names for slot in self.slots(name)[-1:]} | {current}
        gone = [slot for slot in os.listdir(self.root + "/releases") if slot not in kept]
        images = {self.spec(slot).get("image") for slot in gone} - {self.spec(slot).get("image") for slot in kept} - {None}
        for slot in gone:
            shutil.rmtree(self.folder(slot))
        for image in images:
            self.engine.remove_image(str(image))
        self.prune_static()

    # What a person asks

    def history(self) -> Result:
        current, records = self.id_of(self.current()), self.records()
        target = self.parameters["release"] or releases.last_good(records, current)
        return {
            "records": records,
            "count": len(records),
            "history": releases.history(records),
            "current": current,
            "target": target,
            "irreversible": list(dict.fromkeys(releases.irreversible_since(records, target) + self.unrecorded())),
            "containers": self.containers(),
            "kept": list(dict.fromkeys(self.id_of(slot) for slot in self.slots())),
            "lock": self.lock.holder(),
        }

    def take_lock(self) -> Result:
        self.lock.take("")
        self.lock.beat(self.options["reason"])
        return {"changed": True, "lock": self.lock.holder()}

    def break_lock(self) -> Result:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.lock.path)
            return {"changed": True}
        return {"changed": False}


def ask_health(folder: str, spec: dict[str, Any]) -> str:
    """What is wrong with the answer to a health check under the site's own name; nothing if it is 200."""
    connection = UnixConnection(os.path.join(folder, "run", SOCKET_NAME), 5)
    try:
        connection.request("GET", spec["health_path"], headers={"Host": spec["host"], "X-Forwarded-Proto": "https"})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return "" if answer.status == 200 else f"{answer.status} {answer.reason}"


def connections(processes: Iterable[str]) -> int:
    """Connections to the server that these processes hold, or have yet to accept: a request each, for nginx keeps none of them."""
    sockets = {line.split()[6] for line in text_of("/proc/net/unix").splitlines() if line.endswith(f" /run/app/{SOCKET_NAME}")}
    held = {link for process in processes for link in links_of(process)}
    waiting = 0
    for process in list(processes)[:1]:
        command = ["nsenter", f"--net=/proc/{process}/ns/net", "ss", "--listening", "--unix", "--numeric", "--no-header"]
        for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines():
            fields = line.split()
            if fields[4] == f"/run/app/{SOCKET_NAME}":
                waiting += int(fields[2])
    return len(held & {f"socket:[{inode}]" for inode in sockets}) + waiting


def links_of(process: str) -> list[str]:
    found = []
    for path in glob.glob(f"/proc/{process}/fd/*"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(path))
    return found


def log_size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


@contextlib.contextmanager
def tail(path: str, place: int) -> Iterator[Callable[[], list[str]]]:
    """A function that returns the whole lines that came since it was called last; a log that is not there has none."""
    try:
        # What visitors ask for stands in it, and may be any bytes.
        stream = open(path, encoding="utf-8", errors="replace")  # noqa: SIM115 (closed below, by the one who reads)
    except OSError:
        yield list
        return
    stream.seek(min(place, os.path.getsize(path)))
    rest = ""

    def read() -> list[str]:
        nonlocal rest
        *lines, rest = (rest + stream.read()).split("\n")
        return lines

    with stream:
        yield read


@contextlib.contextmanager
def alone(root: str) -> Iterator[None]:
    """One step at a time: a controller that was killed may have left one running."""
    os.makedirs(root, exist_ok=True)
    descriptor = os.open(root, os.O_RDONLY)
    try:
        deadline = time.monotonic() + ORPHAN_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ReleaseError(
                        f"Another step of a release is still at work on this host after {ORPHAN_SECONDS} s."
                    ) from None
                time.sleep(0.2)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alive(lock: Lock) -> Iterator[None]:
    """A sign of life every few seconds, for as long as the step takes."""
    end = threading.Event()

    def beat() -> None:
        while not end.wait(10):
            # A disk that is full must not end the thread.
            with contextlib.suppress(OSError):
                lock.beat()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def perform(host: Host, step: str) -> Result:
    steps: dict[str, Callable[[], Result]] = {
        "inspect": host.inspect,
        "history": host.history,
        "lock": host.take_lock,
        "unlock": host.break_lock,
        "prepare": host.prepare,
        "migrate": host.migrate,
        "switch": host.switch,
        "watch": host.watch,
        "settle": host.settle,
    }
    if step in ("inspect", "history", "lock", "unlock"):
        return steps[step]()
    with alone(host.root):
        host.lock.take(host.options.get("taken_over", ""))
        with alive(host.lock):
            result = steps[step]()
        if step == "settle":
            host.lock.give_back()
        return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "step": {
                "type": "str",
                "required": True,
                "choices": ["inspect", "prepare", "migrate", "switch", "watch", "settle", "history", "lock", "unlock"],
            },
            "root": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "spec": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "release": {"type": "str", "default": ""},
            "slot": {"type": "str", "default": ""},
            "again": {"type": "bool", "default": False},
            "registry_password": {"type": "str", "default": "", "no_log": True},
            "judge": {"type": "str", "default": "", "no_log": True},
            "owner": {"type": "dict", "default": {}},
            "options": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    step = module.params["step"]
    result: Result = {"changed": False, "problem": "", "words": "", "holder": {}}
    try:
        if not module.check_mode or step in ("inspect", "history"):
            result |= perform(Host(module.params, module.check_mode, module._diff), step)
    except LockedError as error:
        result |= {"problem": str(error), "holder": error.holder}
    except ReleaseError as error:
        result |= {"problem": str(error), "words": error.words}
    except TimeoutError:
        result |= {"problem": "The Docker engine does not answer in time.", "exception": traceback.format_exc()}
    except OSError as error:
        full = f"The disk of {module.params['root']} is full: make room there." if error.errno == errno.ENOSPC else ""
        result |= {"problem": full or f"{type(error).__name__}: {error}", "exception": traceback.format_exc()}
    for said in result.pop("cut_off", []):
        module.warn(said)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
