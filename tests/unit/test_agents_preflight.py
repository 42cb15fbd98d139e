"""What the roles that report to the outside refuse before any change; and that an unconfigured site has nothing of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from conftest import ROOT

Evaluate = Callable[..., Any]

DSN = "https://0123456789abcdef0123456789abcdef@errors.example.org/1"
STATUS = {"site_status_domain": "status.example.org"}
LICENSE = "0123456789abcdef0123456789abcdef01234567"
PGP = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
NEWRELIC = {"newrelic_license_key": LICENSE, "newrelic_repository_key": PGP}
BUGSINK = {
    "bugsink_domain": "errors.example.org",
    "bugsink_image": "sha256:0",
    "bugsink_secret": "s" * 16,
    "bugsink_admin_email": "a@example.org",
    "bugsink_admin_password": "p" * 12,
}
# role, variables, what the sentence must hold (None: the input is good)
CASES: list[tuple[str, dict[str, Any], list[str] | None]] = [
    ("sentry", {"sentry_dsn": DSN}, None),
    ("sentry", {"sentry_dsn": "http://key@10.0.0.51:8000/errors/12"}, None),
    ("sentry", {"sentry_dsn": "https://errors.example.org/1"}, ["sentry_dsn is no DSN"]),
    ("sentry", {"sentry_dsn": ""}, ["sentry_dsn is no DSN"]),
    ("sentry", {"sentry_dsn": DSN, "sentry_auth_token": "t"}, ["sentry_organization or sentry_projects"]),
    ("sentry", {"sentry_dsn": DSN, "sentry_auth_token": "t", "sentry_organization": "o", "sentry_projects": ["p"]}, None),
    ("sentry", {"sentry_dsn": DSN, "sentry_ignored_units": ["certbot"]}, ["certbot: name units in full"]),
    ("sentry", {"sentry_dsn": DSN, "sentry_monitors": {"fairlead-job@mail.service": "mail"}}, None),
    ("sentry", {"sentry_dsn": DSN, "sentry_monitors": {"mail": "mail"}}, ["sentry_monitors is", "name a service in full"]),
    ("sentry", {"sentry_dsn": DSN, "sentry_monitors": {"mail.service": "Mail %n"}}, ["by the short name that Sentry's"]),
    ("newrelic", NEWRELIC, None),
    ("newrelic", NEWRELIC | {"newrelic_license_key": "NRAK-1"}, ["newrelic_license_key is no licence key"]),
    ("newrelic", NEWRELIC | {"newrelic_repository_key": ""}, ["newrelic_repository_key is no ASCII-armoured"]),
    ("newrelic", NEWRELIC | {"newrelic_integrations": {"redis": {}}}, ["has redis: leave it out, there are nginx, postgresql"]),
    ("newrelic", NEWRELIC | {"newrelic_api_key": "k"}, ["newrelic_entity is not: set it"]),
    ("agents", {"agents_names": ["sentry"]}, None),
    ("agents", {"agents_names": ["datadog"]}, ["agents_names holds datadog", "sentry, newrelic, opentelemetry"]),
    ("agents", {"agents_pythons": ["3.12", 3.1]}, ["in quotation marks"]),
    ("bugsink", BUGSINK, None),
    ("bugsink", BUGSINK | {"bugsink_domain": "https://errors.example.org"}, ["which is no domain name"]),
    ("bugsink", BUGSINK | {"bugsink_image": ""}, ["bugsink_image is not set"]),
    ("bugsink", BUGSINK | {"bugsink_secret": "short"}, ["bugsink_secret is missing or shorter"]),
    ("bugsink", BUGSINK | {"bugsink_admin_password": "short"}, ["bugsink_admin_password is shorter"]),
]


@pytest.mark.parametrize(("role", "variables", "expected"), CASES)
def test_bad_input_gets_one_sentence(evaluate: Evaluate, role: str, variables: dict[str, Any], expected: list[str] | None) -> None:
    said = [check["otherwise"] for check in evaluate(role, f"_{role}_checks", **variables) if not check["ok"]]
    assert len(said) == (0 if expected is None else 1), said
    for part in expected or []:
        assert part in said[0]


def test_no_sentence_holds_a_secret(evaluate: Evaluate) -> None:
    assert "unlucky" not in str(evaluate("sentry", "_sentry_checks", sentry_dsn="https://unlucky/1", sentry_auth_token="unlucky"))
    assert "unlucky" not in str(evaluate("newrelic", "_newrelic_checks", newrelic_license_key="unlucky"))


@pytest.fixture(scope="module")
def site() -> dict[str, Any]:
    """The site's variables as an inventory with nothing of its own would have them."""
    found: dict[str, Any] = {"capacity": {}, "inventory_dir": "/nowhere", "site_domain": "www.example.org"}
    for path in sorted((ROOT / "group_vars/all").glob("*.yml")):
        found |= yaml.safe_load(path.read_text()) or {}
    return found | {"site_secrets_dir": ""}


def test_an_unconfigured_site_has_nothing_of_it(evaluate: Evaluate, site: dict[str, Any]) -> None:
    for nothing in (
        "agents_names",
        "_site_agents_mounts",
        "_site_agents_environment",
        "_site_agents_path",
        "nginx_additional_servers",
    ):
        assert not evaluate("agents", nothing, **site), nothing
    assert not [value for value in evaluate("agents", "_site_agents_secrets", **site).values() if value]


def test_what_is_asked_for_is_mounted_and_told(evaluate: Evaluate, site: dict[str, Any]) -> None:
    given = site | {"site_sentry_dsn": DSN, "site_newrelic_license_key": LICENSE, "site_otlp_endpoint": "http://10.0.0.51:4318"}
    assert evaluate("agents", "agents_names", **given) == ["sentry", "newrelic", "opentelemetry"]
    assert evaluate("agents", "_site_agents_path", **given) == {"PYTHONPATH": "/opt/agents/current"}
    assert [mount["target"] for mount in evaluate("agents", "_site_agents_mounts", **given)] == [
        "/opt/agents",
        "/run/host/hostname",
    ]
    assert all(mount["read_only"] for mount in evaluate("agents", "_site_agents_mounts", **given))
    environment = evaluate("agents", "_site_agents_environment", **given)
    assert environment["NEW_RELIC_LABELS"] == "environment:production;" and environment["OTEL_SERVICE_NAME"] == "site"
    assert DSN not in environment.values() and LICENSE not in environment.values()
    secrets = evaluate("agents", "_site_agents_secrets", **given)
    assert (secrets["SENTRY_DSN"], secrets["NEW_RELIC_LICENSE_KEY"]) == (DSN, LICENSE)


def test_high_security_and_a_proxy_are_told_to_new_relics_agent(evaluate: Evaluate, site: dict[str, Any]) -> None:
    given = site | {"site_newrelic_license_key": LICENSE}
    usual = evaluate("agents", "_site_agents_environment", **given)
    assert usual["NEW_RELIC_HIGH_SECURITY"] == "false" and "NEW_RELIC_PROXY_HOST" not in usual and "NEW_RELIC_HOST" not in usual
    proxy = "http://proxy.example.org:3128"
    other = {"site_newrelic_high_security_enabled": True, "site_newrelic_proxy": proxy, "site_newrelic_logs_enabled": False}
    asked = evaluate("agents", "_site_agents_environment", **given | other)
    assert asked["NEW_RELIC_HIGH_SECURITY"] == "true" and asked["NEW_RELIC_PROXY_HOST"] == proxy
    assert asked["NEW_RELIC_APPLICATION_LOGGING_FORWARDING_ENABLED"] == "false"
    assert evaluate("newrelic", "newrelic_proxy", **given | other) == proxy


def test_an_image_with_a_path_and_agents_of_its_own(evaluate: Evaluate, site: dict[str, Any]) -> None:
    given = site | {"site_sentry_dsn": DSN, "site_environment_variables": {"PYTHONPATH": "/app/lib"}}
    assert evaluate("agents", "_site_agents_path", **given) == {"PYTHONPATH": "/opt/agents/current:/app/lib"}
    own = given | {"site_agents_enabled": False}
    assert evaluate("agents", "_site_agents_path", **own) == {} and evaluate("agents", "agents_names", **own) == []
    assert [mount["target"] for mount in evaluate("agents", "_site_agents_mounts", **own)] == ["/run/host/hostname"]


def test_a_bugsink_of_ones_own_is_the_receiver_from_the_first_day(evaluate: Evaluate, site: dict[str, Any]) -> None:
    groups = {"groups": {"all": ["one"], "app": ["one"], "db": ["one"], "bugsink": ["one"]}}
    given = site | groups | {"site_bugsink_domain": "errors.example.org", "site_bugsink_secret": "s" * 16}
    dsn = evaluate("agents", "site_sentry_dsn", **given)
    assert [check["ok"] for check in evaluate("sentry", "_sentry_checks", **given | {"sentry_dsn": dsn})] == [True] * 4
    assert dsn.endswith("@errors.example.org/1") and "ssss" not in dsn
    (server,) = evaluate("agents", "nginx_additional_servers", **given)
    assert server == {"name": "errors.example.org", "upstream": "unix:/srv/bugsink/current/run/gunicorn.sock"}


def test_a_bugsink_on_a_host_of_its_own_has_nothing_of_the_sites_nginx(evaluate: Evaluate, site: dict[str, Any]) -> None:
    (play,) = yaml.safe_load((ROOT / "playbooks/bugsink.yml").read_text())
    (nginx,) = [role for role in play["roles"] if role["role"] == "fairlead.site.nginx"]
    groups = {"groups": {"all": ["app1", "one"], "app": ["app1"], "db": ["app1"], "bugsink": ["one"]}}
    sites = {"site_nginx_snippets": {"server/shop": "location /shop/ {}"}, "nginx_media_root": "/srv/site/media"}
    given = site | groups | {"site_bugsink_domain": "errors.example.org"} | sites
    for name in ("nginx_snippets", "nginx_media_root"):
        assert evaluate("nginx", name, **given), name
        assert not evaluate("nginx", name, **given | nginx["vars"]), name
    assert evaluate("nginx", "nginx_server_names", **given | nginx["vars"]) == ["errors.example.org"]


@pytest.mark.parametrize(
    ("name", "given", "ok"),
    [
        ("site_sentry_sample_rates", {"site_sentry_traces_sample_rate": 0.25}, True),
        ("site_sentry_sample_rates", {"site_sentry_traces_sample_rate": 1}, True),
        ("site_sentry_sample_rates", {"site_sentry_profiles_sample_rate": 10}, False),
        ("site_newrelic_license_key", {"site_newrelic_license_key": LICENSE}, True),
        ("site_newrelic_license_key", {"site_newrelic_license_key": "NRAK-1"}, False),
        ("site_otlp_endpoint", {"site_otlp_endpoint": "collector:4318"}, False),
        ("bugsink", {"groups": {"all": ["a", "b"], "app": ["a"], "bugsink": ["a", "b"]}}, False),
        ("bugsink", {"groups": {"all": ["a", "b"], "app": ["a"], "edge": ["b"], "bugsink": ["a"]}}, False),
        ("site_status_domain", {"groups": {"all": ["a"], "app": ["a"], "monitor": ["a"]}}, True),
        ("site_status_domain", STATUS | {"groups": {"all": ["a", "b"], "app": ["a"], "monitor": ["b"]}}, True),
        ("site_status_domain", STATUS | {"groups": {"all": ["a"], "app": ["a"], "monitor": ["a"]}}, False),
        ("site_status_domain", STATUS | {"groups": {"all": ["a", "b"], "app": ["a"], "edge": ["b"], "monitor": ["b"]}}, False),
        ("site_status_domain", STATUS | {"groups": {"all": ["a", "b"], "app": ["a"], "bugsink": ["b"], "monitor": ["b"]}}, False),
        ("site_status_domain", {"site_status_domain": "https://status.example.org"}, False),
    ],
)
def test_the_site_asks_beforehand(evaluate: Evaluate, site: dict[str, Any], name: str, given: dict[str, Any], ok: bool) -> None:
    (requirement,) = [entry for entry in site["site_requirements"] if entry["name"] == name]
    assert evaluate("agents", requirement["ok"].strip().removeprefix("{{").removesuffix("}}"), **site | given) is ok
