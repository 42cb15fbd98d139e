"""The role monitoring: what it refuses, what it renders, its rules, dashboards and status page."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import pytest
import yaml
from conftest import ROOT

Render = Callable[..., dict[str, str]]
Evaluate = Callable[..., Any]

ROLE = ROOT / "roles/monitoring"
RULES = sorted((ROLE / "templates/etc/prometheus/rules").glob("*.yml"))
ALERTS = {
    rule["alert"]: rule
    for path in RULES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
RECORDS = {
    rule["record"]
    for path in RULES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "record" in rule
}
BOARDS = sorted((ROLE / "files/grafana").glob("*.json"))
OFFICE = {"weekdays": ["monday:friday"], "times": [{"start_time": "08:00", "end_time": "18:00"}], "location": "Europe/Berlin"}
MAIL = {"monitoring_mail_to": ["a@example.org"], "monitoring_mail_from": "w@example.org", "monitoring_mail_server": "mail:587"}


@pytest.mark.parametrize(
    ("given", "refused", "says"),
    [
        ({}, [], ""),
        ({"ansible_facts": {"distribution": "Debian", "distribution_major_version": "12"}}, ["system"], "Debian 13"),
        ({"monitoring_probes": [{"name": "home", "url": "http://x/"}]}, ["probes"], "https URL for home"),
        ({"monitoring_objective": 1}, ["objective"], "0.999"),
        (MAIL, [], ""),
        (MAIL | {"monitoring_mail_server": "mail"}, ["mail"], "'mail'"),
        (MAIL | {"monitoring_mail_from": ""}, ["mail"], "monitoring_mail_from"),
        ({"monitoring_webhooks": ["example.org"]}, ["urls"], "https://"),
        ({"monitoring_deadman_url": "example.org"}, ["urls"], "monitoring_deadman_url"),
        ({"monitoring_ticket_times": [{"weekdays": ["monday:friday"]}]}, [], ""),
        ({"monitoring_ticket_times": [OFFICE]}, [], ""),
        ({"monitoring_ticket_times": [yaml.safe_load("times: [{end_time: 18:00}]")]}, ["ticket_times"], "1080"),
        ({"monitoring_scrape_ca": "PEM"}, ["scrape"], "monitoring_scrape_password"),
        ({"monitoring_retention_gb": 0}, ["retention"], "at least 0.5"),
    ],
)
def test_bad_input_gets_one_sentence(evaluate: Evaluate, given: dict[str, Any], refused: list[str], says: str) -> None:
    found = [item for item in evaluate("monitoring", "_monitoring_requirements", **given) if not item["ok"]]
    assert [item["name"] for item in found] == refused
    assert not found or says in found[0]["otherwise"]


def test_targets_are_read_over_tls_where_there_is_an_authority(render_tree: Render) -> None:
    targets = [
        {"job": "node", "host": "app1", "address": "192.0.2.1:9100", "labels": {"door": "yes"}},
        {"job": "node", "host": "db1", "address": "192.0.2.2:9100"},
    ]
    given = {"monitoring_targets": targets, "monitoring_scrape_ca": "PEM", "monitoring_scrape_password": "told-to-nobody"}
    files = render_tree("monitoring", **given)
    config = yaml.safe_load(files["/etc/prometheus/prometheus.yml"])
    (job,) = [job for job in config["scrape_configs"] if job["job_name"] == "node"]
    assert job["scheme"] == "https" and job["tls_config"] == {"ca_file": "scrape-ca.crt"}
    assert job["basic_auth"] == {"username": "prometheus", "password_file": "scrape-password"}
    assert job["static_configs"] == [
        {"targets": ["192.0.2.1:9100"], "labels": {"instance": "app1", "door": "yes"}},
        {"targets": ["192.0.2.2:9100"], "labels": {"instance": "db1"}},
    ]
    assert [path for path, text in files.items() if "told-to-nobody" in text] == ["/etc/prometheus/scrape-password"]
    assert "/etc/prometheus/scrape-password" not in render_tree("monitoring", monitoring_targets=targets)


@pytest.mark.parametrize(
    ("url", "address", "asked", "name"),
    [
        ("https://www.example.org/a?b=c", "", "https://www.example.org/a?b=c", "www.example.org"),
        ("https://www.example.org/", "127.0.0.1", "https://127.0.0.1/", "www.example.org"),
        ("https://www.example.org:8443/x", "::1", "https://[::1]:8443/x", "www.example.org:8443"),
    ],
)
def test_a_probe_asks_for_the_site_by_its_name(render_tree: Render, url: str, address: str, asked: str, name: str) -> None:
    probe = {"name": "home", "url": url, "content": "<h1>it's"}
    files = render_tree("monitoring", monitoring_probes=[probe], monitoring_probe_address=address)
    jobs = yaml.safe_load(files["/etc/prometheus/prometheus.yml"])["scrape_configs"]
    assert [job["static_configs"][0]["targets"] for job in jobs if job["job_name"] == "probe"] == [[asked]]
    http = yaml.safe_load(files["/etc/prometheus/blackbox.yml"])["modules"]["home"]["http"]
    assert http["headers"]["Host"] == name and http["tls_config"]["server_name"] == "www.example.org"
    assert http["fail_if_body_not_matches_regexp"] == ["<h1>it's"] and http["fail_if_not_ssl"]


def test_everybody_is_told_and_the_switch_apart(render_tree: Render) -> None:
    given = {"monitoring_webhooks": ["https://a/1", "https://a/2"], "monitoring_deadman_url": "https://dead/"}
    config = yaml.safe_load(render_tree("monitoring", **MAIL | given)["/etc/prometheus/alertmanager.yml"])
    people = next(receiver for receiver in config["receivers"] if receiver["name"] == "people")
    assert [hook["url"] for hook in people["webhook_configs"]] == ["https://a/1", "https://a/2"]
    assert people["email_configs"][0]["to"] == "a@example.org" and people["slack_configs"] == []
    (route,) = config["route"]["routes"]
    assert (route["matchers"], route["receiver"]) == (['alertname="Watchdog"'], "deadman")
    config = yaml.safe_load(render_tree("monitoring")["/etc/prometheus/alertmanager.yml"])
    assert config["route"]["routes"][0]["receiver"] == "nobody" and "deadman" not in str(config["receivers"])


def test_tickets_wait_for_their_times_and_what_is_urgent_does_not(render_tree: Render) -> None:
    path = "/etc/prometheus/alertmanager.yml"
    config = yaml.safe_load(render_tree("monitoring", monitoring_ticket_times=[OFFICE])[path])
    assert config["time_intervals"] == [{"name": "tickets", "time_intervals": [OFFICE]}]
    _, tickets = config["route"]["routes"]
    assert tickets == {
        "matchers": ['severity="ticket"', 'alertname!="TestAlert"'],
        "receiver": "people",
        "active_time_intervals": ["tickets"],
    }
    assert config["route"]["receiver"] == "people" and "active_time_intervals" not in config["route"]
    config = yaml.safe_load(render_tree("monitoring")[path])
    assert len(config["route"]["routes"]) == 1 and config["time_intervals"] == []


def test_the_switch_is_let_go_when_people_cannot_be_told(render_tree: Render) -> None:
    """Not when it alone cannot be pressed: it would not be tried again."""
    files = render_tree("monitoring", monitoring_deadman_url="https://dead/")
    config = yaml.safe_load(files["/etc/prometheus/alertmanager.yml"])
    (rule,) = [rule for rule in config["inhibit_rules"] if rule["target_matchers"] == ['alertname="Watchdog"']]
    assert rule == {
        "source_matchers": ['alertname="AlertsNotDelivered"', 'receiver_name="people"'],
        "target_matchers": ['alertname="Watchdog"'],
    }
    # The label that the rule looks at is there.
    assert "by (integration, receiver_name)" in ALERTS["AlertsNotDelivered"]["expr"]
    assert "--enable-feature=receiver-name-in-metrics" in files["/etc/systemd/system/prometheus-alertmanager.service"]
    assert "people" in [receiver["name"] for receiver in config["receivers"]]


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_is_and_what_to_do_and_is_tested_and_documented(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("page", "ticket", "none")
    assert set(rule["annotations"]) == {"summary", "action"}
    tested = {
        test["alertname"]: True
        for path in (ROOT / "tests/promtool").glob("*.yml")
        for case in yaml.safe_load(path.read_text())["tests"]
        for test in case.get("alert_rule_test", [])
        if test["exp_alerts"]
    }
    assert name in tested
    assert f"| `{name}` |" in (ROOT / "docs/monitoring.md").read_text()


def test_the_table_of_alerts_says_who_is_told_and_after_what_time(evaluate: Evaluate) -> None:
    text = (ROOT / "docs/monitoring.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*?) *\|", text, re.M)
    said = {name: (who.replace("nobody", "none"), lasts.replace(" min", "m").replace(" h", "h")) for name, who, lasts in rows}
    assert len(said) == len(rows)
    assert said == {name: (rule["labels"]["severity"], rule.get("for", "")) for name, rule in ALERTS.items()}
    looks, gathered = evaluate("monitoring", "[monitoring_interval_seconds, _monitoring_alertmanager.route.group_wait]")
    assert f"up to {2 * looks + int(gathered.removesuffix('s'))} seconds" in text
    backup, drill = evaluate("monitoring", "[monitoring_backup_hours, monitoring_drill_hours]")
    assert f"`monitoring_backup_hours` ({backup})" in text and f"`monitoring_drill_hours` ({drill // 24} days)" in text


def known(metrics: str) -> set[str]:
    return set(re.findall(r"\bfairlead_[a-z_]+|\b(?:site|host|vhost):[a-z_]+(?::[a-z0-9_]+)?", metrics))


def test_rules_and_dashboards_read_only_what_is_there(evaluate: Evaluate) -> None:
    program = (ROOT / "roles/exporters/templates/usr/local/sbin/fairlead-metrics").read_text()
    ours = set(re.findall(r'"(fairlead_[a-z_]+)"', program)) | {"fairlead_http_page_seconds_bucket"}
    given = set(evaluate("monitoring", "_monitoring_all_numbers")) | {"host:limit:count"}
    read = set().union(*(known(str(rule["expr"])) for rule in ALERTS.values()))
    read |= set().union(*(known(path.read_text()) for path in RULES))
    for path in BOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            read |= set().union(*(known(target["expr"]) for target in panel.get("targets", [])), set())
    assert read - ours - given - RECORDS == set()


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_what_grafana_reads(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == path.stem and board["schemaVersion"] == 39 and board["title"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "fairlead"}
            assert panel["targets"] and all(target["expr"] for target in panel["targets"])


def test_a_grafana_gets_all_dashboards_and_only_if_there_is_one(evaluate: Evaluate) -> None:
    assert evaluate("monitoring", "_monitoring_files") == []
    names = evaluate("monitoring", "_monitoring_grafana_names")
    assert names == [path.stem for path in BOARDS]


# --- The status page ---


class Page(HTMLParser):
    """Its text, and whether every element is closed and nothing is fetched from elsewhere."""

    VOID = {"meta", "line", "polyline", "html"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.said: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert not {"src", "href", "onclick"} & {name for name, _ in attributes} and tag not in ("script", "link", "img")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append(data)


class Prometheus:
    """Answers like one that has watched for months."""

    def __init__(self, up: float | None = 1, found: list[dict[str, Any]] | None = None, closed: float = 0) -> None:
        self.up, self.found, self.closed = up, found or [], closed

    def alerts(self) -> list[dict[str, Any]]:
        return self.found

    def value(self, query: str) -> float | None:
        numbers = {
            "site:up": self.up,
            "site:maintenance": self.closed,
            "site:objective:ratio": 0.999,
            "site:error_budget:ratio": 0.42,
            "site:availability:ratio_1d": 1.0,
            "site:availability:ratio_7d": 0.99997,
            "site:availability:ratio_30d": 0.9994,
            "site:page_limit:seconds": 1.0,
            "site:page:seconds_p50 >= 0": 0.043,
            "site:page:seconds_p95 >= 0": 0.31,
            "site:requests:rate5m": 12.4,
            "site:link:bits * on() site:doors:count": 1e8,
            "sum(host:link:bits_rate5m)": 3.1e7,
            "site:page:bytes_1h": 112_000,
        }
        return numbers[query]

    def curve(self, query: str, seconds: int, step: int) -> list[float | None]:
        steps = seconds // step
        if "site:up" in query:
            return [None] * 20 + [1.0] * (steps - 22) + [0.995, 0.9]
        return [0.2 + 0.1 * (number % 7) for number in range(steps - 5)] + [None] * 4 + [0.4]

    def rows(self, query: str) -> list[tuple[dict[str, str], float]]:
        disk = {"instance": "app1", "device": "/dev/vda", "mountpoint": "/"}
        if query.startswith("node_filesystem_avail"):
            return [(disk | {"__name__": "node_filesystem_avail_bytes"}, 6e9)]
        if query.startswith("node_filesystem_size"):
            return [(disk | {"__name__": "node_filesystem_size_bytes"}, 80e9)]
        assert query == "fairlead_release_timestamp_seconds"
        return [({"id": "0c1f<b>", "result": "live", "who": "anna"}, 1795377600.0)]


ALERT = {
    "labels": {"alertname": "DiskNearlyFull", "severity": "page"},
    "annotations": {"summary": "/ on <app1> has 7.5% left.", "action": "Delete the reserve."},
    "activeAt": "2026-11-22T20:15:30.123456789Z",
}


@pytest.fixture
def status(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    loader = SourceFileLoader("status", str(ROLE / "templates/usr/local/bin/fairlead-status"))
    spec = importlib.util.spec_from_loader("status", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def page(status: ModuleType, prometheus: Any, details: bool = True) -> str:
    status.Prometheus = lambda address: prometheus
    return str(status.page({"site": "www.example.org", "prometheus": "", "details": details}))


def light(colour: str) -> float:
    """The relative luminance of WCAG 2 of a colour like #fff or #1a7f4b."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_of_the_page_can_be_read_in_its_colours(status: ModuleType, scheme: str) -> None:
    bright, dark = re.split(r"@media", status.STYLE, maxsplit=1)
    colours = dict(re.findall(r"--(\w+): (#\w+)", bright if scheme == "light" else dark))
    pairs = [(ink, ground) for ink in ("ink", "dim") for ground in ("ground", "card")] + [("fair", "card"), ("bad", "card")]
    on_state = "#fff" if scheme == "light" else colours["ground"]
    states = [(on_state, colours[kind]) for kind in ("good", "fair", "bad")]
    for ink, ground in [(colours[ink], colours[ground]) for ink, ground in pairs] + states:
        low, high = sorted((light(ink), light(ground)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


def test_the_page_tells_all_and_fetches_nothing(status: ModuleType) -> None:
    text = " ".join(Page(page(status, Prometheus(found=[ALERT]))).said)
    for words in (
        "The site is up, and something needs a person.",
        "99.99 %",  # never rounded up to 100
        "42 %",
        "310 ms",
        "31 Mbit/s",
        "31.0 %",
        "112 kB",
        "6.0 GB of 80.0 GB free",
        "0c1f<b>",
        "by anna",
        "/ on <app1> has 7.5% left.",
        "since 2026-11-22 20:15 UTC",
    ):
        assert words in text, words


def test_what_anybody_may_read_names_no_host_and_no_weakness(status: ModuleType) -> None:
    text = page(status, Prometheus(found=[ALERT]), details=False)
    assert "Uptime" in text and "Bandwidth" in text
    for word in ("app1", "DiskNearlyFull", "0c1f", "anna", "GB free"):
        assert word not in text


@pytest.mark.parametrize(("access", "told"), [("private", True), ("public", False), ("none", False)])
def test_only_who_has_the_password_is_told_all(evaluate: Evaluate, access: str, told: bool) -> None:
    given = yaml.safe_load((ROOT / "group_vars/all/monitoring.yml").read_text()) | {"site_status_access": access}
    given |= {"site_domain": "www.example.org", "site_name": "demo", "site_status_password": "p" * 16}
    assert evaluate("monitoring", "_monitoring_status", **given)["details"] is told
    assert bool(evaluate("monitoring", "monitoring_status_accounts", **given)) is told


@pytest.mark.parametrize(
    ("up", "closed", "says"),
    [(1, 0, "The site is up."), (0, 0, "The site is down."), (None, 0, "Not known"), (None, 1, "closed for maintenance")],
)
def test_the_page_says_first_whether_the_site_is_up(status: ModuleType, up: float | None, closed: float, says: str) -> None:
    assert says in re.split("<section>", page(status, Prometheus(up, closed=closed)))[0]


def test_a_silent_prometheus_is_not_an_up(status: ModuleType) -> None:
    class Silent(Prometheus):
        def alerts(self) -> list[dict[str, Any]]:
            raise URLError("refused")

    text = page(status, Silent())
    assert "the watch itself is down" in text and "The site is up" not in text
