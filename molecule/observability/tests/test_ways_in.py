"""What watches the application gets into it by a deployment alone, and the deployment says where it is silent."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import ROOT, Run, events, own_lines, until, without_articles

PAGE = "https://www.example.org/"
LICENSE = "0123456789abcdef0123456789abcdef01234567"
DEPLOY = "playbooks/deploy.yml"


@pytest.fixture(scope="module")
def unmodified(playbook: Callable[..., Run]) -> Run:
    """The site of an image without Sentry's SDK serves. New Relic's agent is not told the authority of the collector."""
    folder = Path(__file__).resolve().parent.parent / "unmodified"
    subprocess.run([str(ROOT / "scripts/site-image"), "unmodified", str(folder)], check=True)
    run = playbook(
        DEPLOY,
        site_image=(ROOT / "build/unmodified.id").read_text().strip(),
        django_image_archive=str(ROOT / "build/unmodified.tar"),
        site_newrelic_ca="",
        newrelic_registration_seconds=5,
    )
    assert run.code == 0, run.output
    return run


@pytest.mark.usefixtures("unmodified")
def test_an_image_without_the_sdk_reports_too(
    host: Any, site: requests.Session, bugsink: Callable[..., Any], container: str
) -> None:
    alone = host.run("docker exec --env PYTHONPATH= %s python -c 'import sentry_sdk'", container)
    assert "ModuleNotFoundError" in alone.stderr
    with without_articles(host):
        assert site.get(PAGE + "articles/tides/", params={"from": "unmodified"}).status_code == 500

    def reported() -> list[dict[str, Any]]:
        found = [event["data"] for event in events(bugsink, "ProgrammingError", newest=5)]
        of_it = [event for event in found if event["release"] == container.removeprefix("demo-")]
        return [event for event in of_it if event["request"]["url"] == PAGE + "articles/tides/"]

    (event, *_) = until(reported, 20, "no event has arrived")
    assert (event["environment"], event["server_name"]) == ("demo", "obs-site")
    assert event["request"]["query_string"] == "from=unmodified"
    assert own_lines(event)


def test_a_deployment_says_that_the_agent_has_not_registered(unmodified: Run) -> None:
    assert "The application does NOT report to New Relic: its agent has not registered within 5 seconds." in unmodified.sentence


def test_opentelemetry_reports_from_the_deployed_container(host: Any, site: requests.Session, playbook: Callable[..., Run]) -> None:
    run = playbook(
        DEPLOY,
        site_newrelic_license_key="",
        site_otlp_endpoint="https://collector.example.org:8443",
        site_otlp_headers=f"api-key={LICENSE}",
        site_otlp_ca="{{ _authority }}",
    )
    assert run.code == 0, run.output
    assert site.get(PAGE, params={"from": "otlp"}).status_code == 200
    told = "grep -q '\"otlp/v1/traces\".*from=otlp' /srv/collected"
    until(lambda: not host.run(told).rc, 30, "no trace has arrived")
    calls = [json.loads(line) for line in host.check_output('grep -F \'"method": "otlp/\' /srv/collected').splitlines()]
    assert all(call["known"] for call in calls)
    release = host.check_output("readlink /srv/demo/current").rsplit("/", 1)[1]
    traces = "".join(call["data"] for call in calls if call["method"] == "otlp/v1/traces" and release in call["data"])
    for text in ("from=otlp", "service.name", "SELECT", "articles_article"):
        assert text in traces, text


def test_a_deployment_says_that_the_agent_has_registered(playbook: Callable[..., Run]) -> None:
    """It is the last one here: the inventory's own release serves again."""
    run = playbook(DEPLOY)
    assert run.code == 0, run.output
    assert "The application reports to New Relic as Demo shop." in run.sentence
