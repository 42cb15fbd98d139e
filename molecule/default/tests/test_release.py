"""One release follows another while visitors come, and no request fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import requests
from conftest import DOMAIN, Run


def test_a_new_environment_or_limit_is_a_release_that_no_visitor_notices(
    host: Any, container: str, visitor: requests.Session, playbook: Callable[..., Run]
) -> None:
    statuses: list[int | str] = []
    stop = threading.Event()

    def visit() -> None:
        while not stop.wait(0.05):
            try:
                statuses.append(visitor.get(f"https://{DOMAIN}/", timeout=10).status_code)
            except requests.RequestException as error:
                statuses.append(repr(error))

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        run = playbook("playbooks/app.yml", site_environment_variables={"LOG_LEVEL": "DEBUG"}, django_tmp_mb=100)
        assert run.code == 0, run.output
        running = host.check_output("docker ps -a --format '{{ .Names }}'")
        assert running != container and running.startswith("demo-")
        back = playbook("playbooks/app.yml")
        assert back.code == 0, back.output
    finally:
        stop.set()
        thread.join()
    assert host.check_output("docker ps -a --format '{{ .Names }}'") == container
    assert len(statuses) > 50
    assert set(statuses) == {200}
