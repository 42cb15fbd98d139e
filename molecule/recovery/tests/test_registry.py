"""A site whose image comes from the registry, and goes on without it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from conftest import ADDRESSES, DOMAIN, ROOT, Run

On = Callable[[str], Any]

INSTANCES = "docker-registry@pull.service docker-registry@push.service"


@pytest.fixture(scope="module")
def deployed(playbook: Callable[..., Run]) -> dict[str, Any]:
    """The variables of a site that was deployed from the registry."""
    run = playbook("playbooks/push.yml", image=str(ROOT / "build/site.tar"))
    said = re.search(r"site_image: (\S+@sha256:[0-9a-f]{64})", run.output)
    assert said, run.output
    variables = {"site_image": said[1], "django_image_archive": ""}
    run = playbook("site.yml", **variables)
    assert run.code == 0, run.output
    return variables


@pytest.fixture
def without_registry(on: On) -> Iterator[dict[str, Any]]:
    """A site whose registry is down; more, its host is not in the run, which thus has no facts of it."""
    on("store1").check_output(f"systemctl stop {INSTANCES}")
    yield {"capacity_cores": 2}
    on("store1").check_output(f"systemctl start {INSTANCES}")


def test_all_app_hosts_run_it(deployed: dict[str, Any], on: On, visitor: requests.Session) -> None:
    for name in ("app1", "app2"):
        assert on(name).check_output("docker ps --format '{{ .Image }}'") == deployed["site_image"].split("@")[0]
        assert on(name).run("ls -d /run/demo-registry").rc != 0
    assert visitor.get(f"https://{DOMAIN}/").status_code == 200


def test_nothing_is_pulled_that_is_there(
    playbook: Callable[..., Run], deployed: dict[str, Any], without_registry: dict[str, Any], visitor: requests.Session
) -> None:
    run = playbook("site.yml", "--limit", "all:!registry", **deployed, **without_registry)
    assert run.code == 0, run.output
    assert run.changed == []
    # A release of its own, of an image that is there.
    run = playbook("site.yml", "--limit", "all:!registry", **deployed, **without_registry, django_tmp_mb=100)
    assert run.code == 0, run.output
    assert visitor.get(f"https://{DOMAIN}/").status_code == 200


def test_an_image_that_cannot_be_pulled_stops_no_site(
    playbook: Callable[..., Run], deployed: dict[str, Any], without_registry: dict[str, Any], visitor: requests.Session
) -> None:
    image = f"{ADDRESSES['store1']}:5000/demo@sha256:{'0' * 64}"
    run = playbook("site.yml", "--limit", "all:!registry", **deployed | {"site_image": image}, **without_registry)
    assert run.code != 0
    assert "connection refused" in run.output
    assert visitor.get(f"https://{DOMAIN}/").status_code == 200


def test_back_to_the_image_of_the_archive(playbook: Callable[..., Run]) -> None:
    run = playbook("site.yml")
    assert run.code == 0, run.output
