"""Bad input is refused in one sentence, before anything is changed; what runs, runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from conftest import DOMAIN, ROOT, Run
from load import loading

REFUSED = {
    "a missing secret": ({"site_secret_key": ""}, "site_secret_key is missing or shorter than 50 characters"),
    "a short password": ({"site_database_password": "short"}, "site_database_password is missing or shorter than 16"),
    "no domain": ({"site_domain": "https://example.org/"}, "site_domain is 'https://example.org/', which is no domain name"),
    "a tag for an image": ({"site_image": "registry.example.org/shop:latest"}, "which names no image by content"),
    "too little memory": ({"capacity_memory_mb": 300}, "300 MB"),
    "a line too thin": ({"capacity_bandwidth_mbit": 1}, "capacity_bandwidth_mbit"),
    "an impossible number": ({"capacity_connections": -5}, "capacity_connections"),
    "no archive": ({"django_image_archive": "/no/such/file.tar"}, "there is no such file on the controller"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_any_change(case: str, playbook: Callable[..., Run]) -> None:
    variables, sentence = REFUSED[case]
    run = playbook("site.yml", **variables)
    assert run.code == 2
    assert sentence in " ".join(run.output.split())
    assert run.changes == 0


def test_maintenance_that_lets_in_a_name_is_not_recorded(playbook: Callable[..., Run]) -> None:
    run = playbook("playbooks/maintenance.yml", state="on", allow="the office")
    assert run.code == 2
    assert "(ALLOW) holds the office, which is no address or network" in " ".join(run.output.split())
    assert run.changes == 0
    assert not (ROOT / "molecule/default/inventory/group_vars/all/maintenance.yml").exists()


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left(host: Any) -> Iterator[None]:
    """A refused release leaves no folder, with its secrets, behind."""
    before = host.check_output("ls /srv/demo/releases")
    yield
    assert host.check_output("ls /srv/demo/releases") == before


def refused_release(host: Any, container: str, visitor: requests.Session, run: Run, *sentences: str) -> None:
    assert run.code == 2
    for sentence in sentences:
        assert sentence in " ".join(run.output.split())
    assert host.check_output("docker ps -a --format '{{ .Names }}'") == container
    assert host.check_output("readlink /srv/demo/current") == "releases/" + container.removeprefix("demo-")
    assert visitor.get(f"https://{DOMAIN}/").status_code == 200


def test_debug_is_refused_by_asking_the_image(
    host: Any, container: str, visitor: requests.Session, playbook: Callable[..., Run]
) -> None:
    run = playbook("playbooks/app.yml", django_settings_module="config.settings.development")
    refused_release(host, container, visitor, run, "is refused by 'debug'", "DEBUG is True in config.settings.development")


def test_a_warning_of_check_deploy_is_refused(
    host: Any, container: str, visitor: requests.Session, playbook: Callable[..., Run]
) -> None:
    run = playbook("playbooks/app.yml", site_secrets={"SECRET_KEY": "a" * 50})
    refused_release(host, container, visitor, run, "is refused by 'check'", "security.W009")


def test_a_release_that_never_gets_healthy_is_taken_away(
    host: Any, container: str, visitor: requests.Session, playbook: Callable[..., Run]
) -> None:
    run = playbook("playbooks/app.yml", django_health_path="/no-such-page/", django_start_timeout_seconds=8)
    refused_release(host, container, visitor, run, "did not answer 200 to /no-such-page/ within 8 seconds", "Its last lines:")


def test_a_release_that_visitors_find_slow_is_undone_where_there_is_one_host(
    host: Any, address: str, container: str, visitor: requests.Session, playbook: Callable[..., Run]
) -> None:
    """It answers its health checks, but is watched for as long as is said; what ran before has not been stopped yet."""
    watched = {"django_bake_seconds": 60, "django_latency_seconds": 0.0001}
    with loading(address, DOMAIN, str(visitor.verify), {"name": "page", "path": "/", "visitors": 4}) as load:
        run = playbook("playbooks/app.yml", **watched, site_environment_variables={"LOG_LEVEL": "DEBUG"})
    refused_release(host, container, visitor, run, "s or more, beyond 0.0001 s")
    assert load.others("page 200") == {} and load.of("page", 200) > 50
