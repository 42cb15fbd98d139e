# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""The Docker engine of this host, by its own API over its socket: what a release needs of it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

from ansible_collections.fairlead.site.plugins.module_utils.releases import ReleaseError

SOCKET = "/run/docker.sock"
# Seconds for what an engine does at once; on a host that is out of breath it may take a while.
PATIENCE = 180


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float | None = None) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Engine:
    def __init__(self, path: str = SOCKET) -> None:
        self.path = path

    def open(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float | None = PATIENCE
    ) -> http.client.HTTPResponse:
        """The answer to a request; one that is no success raises with the engine's own words."""
        connection = UnixConnection(self.path, timeout)
        given = {"Content-Type": "application/json"} | (headers or {})
        try:
            connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body, given)
            answer = connection.getresponse()
        except TimeoutError:
            raise
        except OSError as error:
            raise ReleaseError(f"The Docker engine does not answer ({error}).") from error
        if answer.status >= 400:
            text = answer.read().decode(errors="replace")
            with contextlib.suppress(ValueError, KeyError):
                text = json.loads(text)["message"]
            raise EngineError(answer.status, f"The Docker engine says: {text}")
        return answer

    def call(self, method: str, path: str, body: Any = None, timeout: float | None = PATIENCE) -> Any:
        text = self.open(method, path, body, timeout=timeout).read()
        return json.loads(text) if text.strip() else None

    def data_folder(self) -> str:
        folder: str = self.call("GET", "/info")["DockerRootDir"]
        return folder

    # Images

    def has_image(self, name: str) -> bool:
        try:
            self.call("GET", f"/images/{quote(name)}/json")
        except EngineError as error:
            if error.status == 404:
                return False
            raise
        return True

    def pull(self, name: str, username: str, password: str, timeout: float) -> None:
        registry = name.split("/")[0]
        login = {"username": username, "password": password} if password else known_login(registry)
        header = base64.urlsafe_b64encode(json.dumps(login | {"serveraddress": registry}).encode()).decode()
        answer = self.open(
            "POST", f"/images/create?{urlencode({'fromImage': name})}", headers={"X-Registry-Auth": header}, timeout=timeout
        )
        raise_error_of(answer)

    def load(self, path: str) -> None:
        with open(path, "rb") as archive:
            raise_error_of(self.open("POST", "/images/load?quiet=1", archive, {"Content-Type": "application/x-tar"}, timeout=600))

    def remove_image(self, name: str) -> None:
        """Unless something still needs it."""
        try:
            self.call("DELETE", f"/images/{quote(name)}")
        except EngineError as error:
            if error.status not in (404, 409):
                raise

    # Containers

    def containers(self, label: str) -> list[dict[str, Any]]:
        """Also those that do not run."""
        filters = json.dumps({"label": [label]})
        found: list[dict[str, Any]] = self.call("GET", f"/containers/json?{urlencode({'all': 1, 'filters': filters})}")
        return found

    def inspect(self, name: str) -> dict[str, Any]:
        """What the engine knows of a container; empty if there is none."""
        try:
            found: dict[str, Any] = self.call("GET", f"/containers/{name}/json")
        except EngineError as error:
            if error.status == 404:
                return {}
            raise
        return found

    def create(self, name: str, config: dict[str, Any]) -> None:
        self.call("POST", f"/containers/create?{urlencode({'name': name})}", config)

    def start(self, name: str) -> None:
        self.call("POST", f"/containers/{name}/start")

    def restart_always(self, name: str) -> None:
        self.call("POST", f"/containers/{name}/update", {"RestartPolicy": {"Name": "unless-stopped"}})

    def stop(self, name: str, seconds: int) -> None:
        """Its stop signal; and its end after so many seconds."""
        self.call("POST", f"/containers/{name}/stop?t={seconds}", timeout=seconds + 30)

    def remove(self, name: str) -> None:
        try:
            self.call("DELETE", f"/containers/{name}?force=1&v=1")
        except EngineError as error:
            if error.status != 404:
                raise

    def wait(self, name: str, timeout: float | None) -> int:
        code: int = self.call("POST", f"/containers/{name}/wait", timeout=timeout)["StatusCode"]
        return code

    def processes(self, name: str) -> list[str]:
        """Their numbers as this host counts them, the first one first."""
        found = self.call("GET", f"/containers/{name}/top")
        return [row[found["Titles"].index("PID")] for row in found["Processes"]]

    def logs(self, name: str, tail: int | str = "all") -> str:
        answer = self.open("GET", f"/containers/{name}/logs?{urlencode({'stdout': 1, 'stderr': 1, 'tail': tail})}")
        return b"".join(frames(answer.read())).decode(errors="replace")

    def archive(self, name: str, path: str) -> http.client.HTTPResponse:
        """A folder of a container as a tar stream."""
        return self.open("GET", f"/containers/{name}/archive?{urlencode({'path': path})}", timeout=300)


class EngineError(ReleaseError):
    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def frames(stream: bytes) -> Iterator[bytes]:
    """Standard output and error as they were written; the engine puts eight bytes before each piece."""
    place = 0
    while place + 8 <= len(stream):
        (size,) = struct.unpack_from(">4xI", stream, place)
        yield stream[place + 8 : place + 8 + size]
        place += 8 + size


def raise_error_of(answer: http.client.HTTPResponse) -> None:
    """The engine answers 200, and says in the course of its answer what went wrong."""
    for line in answer:
        try:
            error = json.loads(line).get("error")
        except ValueError:
            continue
        if error:
            raise ReleaseError(f"The Docker engine says: {error}")


def known_login(registry: str) -> dict[str, str]:
    """As root is logged in on this host (`docker login`)."""
    try:
        with open(os.path.expanduser("~/.docker/config.json"), encoding="utf-8") as stream:
            auth = json.load(stream)["auths"][registry]["auth"]
    except (OSError, ValueError, KeyError):
        return {}
    username, _, password = base64.b64decode(auth).decode().partition(":")
    return {"username": username, "password": password}
