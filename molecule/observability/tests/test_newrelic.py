"""New Relic's real agent in the container, against a collector that speaks its protocol; its packages from a signed repository."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from conftest import holds, until, without_articles

PAGE = "https://www.example.org/"
LICENSE = "0123456789abcdef0123456789abcdef01234567"


def calls(host: Any, method: str) -> list[Any]:
    """What the agent sent by a method, the newest last."""
    lines = host.check_output("cat /srv/collected").splitlines()
    found = [json.loads(line) for line in lines]
    assert all(call["known"] for call in found), "a key that the service does not know"
    return [call["data"] for call in found if call["method"] == method]


@pytest.fixture(scope="module")
def visited(host: Any, site: requests.Session) -> Callable[[str], str]:
    """A function (method) → all that the agent sent by it, as text, after pages were read and one has failed."""
    for _ in range(20):
        assert site.get(PAGE, params={"q": "a visitor's words"}).status_code == 200
    with without_articles(host):
        for _ in range(20):
            assert site.get(PAGE).status_code == 500
    return lambda method: until(lambda: json.dumps(calls(host, method)) if calls(host, method) else "", 90, f"no {method}")


def test_the_application_has_registered_under_its_name(host: Any, visited: Any, container: str) -> None:
    visited("analytic_event_data")
    (connected,) = calls(host, "connect")[-1]
    assert connected["app_name"] == ["Demo shop"] and connected["language"] == "python"
    labels = {label["label_type"]: label["label_value"] for label in connected["labels"]}
    assert labels == {"team": "web", "tier": "one"}
    assert connected["display_host"] == "obs-site" and connected["high_security"] is False
    release = host.check_output("readlink /srv/demo/current").rsplit("/", 1)[1]
    assert connected["metadata"]["NEW_RELIC_METADATA_RELEASE_TAG"] == release


def test_requests_have_the_names_of_their_views(visited: Any) -> None:
    assert "WebTransaction/Function/articles.views:ArticleList.get" in visited("analytic_event_data")


def test_requests_can_be_traced(visited: Any) -> None:
    assert '"traceId"' in visited("span_event_data")


def test_sql_is_sent_without_its_values(visited: Any) -> None:
    spans = visited("span_event_data")
    assert "SELECT" in spans and "articles_article" in spans
    assert '"db.statement"' in spans and "= %s" in spans.replace("= ?", "= %s")
    assert "'published'" not in spans


def test_a_literal_in_sql_is_not_sent(host: Any, container: str) -> None:
    """Django passes values apart from its statements; here one stands in the statement itself."""
    code = """
import django.core.wsgi
django.core.wsgi.get_wsgi_application()
import newrelic.agent
from django.db import connection
with newrelic.agent.BackgroundTask(newrelic.agent.register_application(timeout=20), "literal"):
    connection.cursor().execute("SELECT count(*) FROM articles_article WHERE title = 'Zanzibar' AND id > 4711")
newrelic.agent.shutdown_agent(timeout=20)
"""
    host.check_output("docker exec %s python -c %s", container, code)
    sent = host.check_output("cat /srv/collected")
    assert "WHERE title = ? AND id > ?" in sent
    assert "Zanzibar" not in sent and "id > 4711" not in sent


def test_errors_are_sent(visited: Any) -> None:
    errors = visited("error_event_data")
    assert "ProgrammingError" in errors


def test_log_lines_are_sent_and_linked_to_their_request(visited: Any) -> None:
    assert '"trace.id"' in visited("log_event_data")


def test_no_words_of_a_visitor_are_sent(visited: Any) -> None:
    assert all("a visitor" not in visited(method) for method in ("analytic_event_data", "span_event_data", "log_event_data"))


def test_the_deployment_was_marked(host: Any) -> None:
    marker = calls(host, "graphql")[-1]
    assert "changeTrackingCreateDeployment" in marker["query"]
    release = host.check_output("readlink /srv/demo/current").rsplit("/", 1)[1]
    assert marker["variables"]["deployment"] == {"entityGuid": "guid-1", "version": release, "user": "fairlead"}


def test_the_licence_key_is_seen_nowhere(host: Any, container: str) -> None:
    for command in (
        f"docker logs {container}",
        "docker inspect $(docker ps -aq)",
        "cat /proc/[0-9]*/cmdline",
        "journalctl --no-pager",
    ):
        assert not holds(host, command, LICENSE), command


def test_the_hosts_agent_comes_from_the_signed_repository(host: Any) -> None:
    source = host.file("/etc/apt/sources.list.d/newrelic.sources").content_string
    assert "Signed-By: /etc/apt/keyrings/newrelic.asc" in source
    assert "/srv/newrelic" in host.check_output("apt-cache policy newrelic-infra")
    host.check_output("cp /etc/apt/keyrings/newrelic.asc /tmp/ && echo >/etc/apt/keyrings/newrelic.asc")
    refused = host.run("apt-get update -o Dir::Etc::sourcelist=sources.list.d/newrelic.sources -o Dir::Etc::sourceparts=-")
    host.check_output("mv /tmp/newrelic.asc /etc/apt/keyrings/newrelic.asc")
    assert "error occurred during the signature verification" in refused.stderr


def test_the_hosts_agent_was_masked_until_it_was_configured(host: Any) -> None:
    assert host.file("/srv/was-masked").exists
    config = host.file("/etc/newrelic-infra.yml")
    assert (config.mode, config.user) == (0o640, "root") and LICENSE in config.content_string
    assert "site: demo" in config.content_string
    assert "nri-nginx" in host.file("/etc/newrelic-infra/integrations.d/fairlead-nginx.yml").content_string
    assert host.service("newrelic-infra").is_running and host.service("newrelic-infra").is_enabled
    assert "started with" in host.check_output("journalctl --no-pager -u newrelic-infra")
