"""The watch as it stands: what it sees, who can reach it, what it shows, and whom it tells."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from conftest import SITE, WATCH, Receiver, Run, until

Ask = Callable[[str], list[tuple[dict[str, str], float]]]


@pytest.fixture(scope="module")
def ports(watch: Any) -> dict[str, set[int]]:
    """By address: all ports that Prometheus reads, as the inventory's exporters have told it, and its own."""
    said = json.loads(watch.check_output("curl -sf http://127.0.0.1:9090/api/v1/targets?state=active"))
    found: dict[str, set[int]] = {}
    for target in said["data"]["activeTargets"]:
        if target["labels"]["job"] != "probe":
            place = urlsplit(target["scrapeUrl"])
            found.setdefault(place.hostname or "", set()).add(place.port or 0)
    return found


def test_nothing_of_it_listened_on_all_addresses_for_a_moment(host: Any, watch: Any) -> None:
    for where, known in ((host, {22, 443}), (watch, {22})):
        ports = {int(port) for port in where.file("/srv/listened").content_string.split()}
        # The onlooker was there: it has seen the site's own.
        assert known <= ports
        assert {port for port in ports if 9000 <= port < 9300} == set()


def test_each_part_of_it_listens_where_it_is_needed(host: Any, watch: Any) -> None:
    command = "ss -Hltn 'sport >= :9090 and sport <= :9199' | awk '{ print $4 }'"
    assert set(host.check_output(command).split()) == {f"{SITE}:{port}" for port in (9100, 9113, 9127, 9128, 9187)}
    loopback = {f"127.0.0.1:{port}" for port in (9090, 9093, 9115)}
    assert set(watch.check_output(command).split()) == loopback | {f"{WATCH}:{port}" for port in (9100, 9187)}


def test_the_exporters_of_another_host_want_tls_and_an_account(watch: Any, ports: dict[str, set[int]]) -> None:
    curl = "curl -s -o /dev/null -w %{http_code} --cacert /etc/prometheus/scrape-ca.crt"
    password = watch.check_output("cat /etc/prometheus/scrape-password")
    assert len(ports[SITE]) == 5
    for port in ports[SITE]:
        address = f"{SITE}:{port}/metrics"
        assert watch.run(f"{curl} http://{address}").stdout == "400"
        assert watch.run(f"{curl} https://{address}").stdout == "401"
        assert watch.run(f"{curl} -u prometheus:guess https://{address}").stdout == "401"
        assert watch.run(f"{curl} -u prometheus:{password} https://{address}").stdout == "200"
        # By another authority than the site's own it is not trusted.
        assert watch.run(f"curl -s --cacert /srv/ca.pem https://{address}").rc == 60


def test_nothing_of_it_can_be_reached_from_outside(ports: dict[str, set[int]]) -> None:
    assert set(ports) == {SITE, WATCH, "127.0.0.1"} and ports["127.0.0.1"] == {9090, 9093, 9115}
    for address in (SITE, WATCH):
        for port in set().union(*ports.values()):
            with pytest.raises(OSError):
                socket.create_connection((address, port), timeout=0.5)


def test_everything_is_seen(prometheus: Ask) -> None:
    seen = {(labels["job"], labels["instance"], value) for labels, value in prometheus("up")}
    wanted = {("node", "obs-site"), ("node", "obs-watch"), ("postgres", "obs-site"), ("postgres", "obs-watch")}
    wanted |= {("nginx", "obs-site"), ("pgbouncer", "obs-site"), ("probe", "home"), ("probe", "ready")}
    wanted |= {(job, "obs-watch") for job in ("alertmanager", "blackbox", "prometheus")}
    assert seen == {(*target, 1) for target in wanted}
    for exporter in ("nginx_up", "pg_up", "pgbouncer_up", "site:up", "fairlead_section_success"):
        values = [value for _, value in prometheus(exporter)]
        assert values and set(values) == {1}, exporter
    assert len(prometheus("pgbouncer_up")) == 2


def test_every_series_that_a_rule_reads_is_there(prometheus: Ask) -> None:
    """Those of what has not happened yet are for promtool alone."""
    for series in (
        'fairlead_area_bytes{area="docker"}',
        'fairlead_area_bytes{area="postgresql"}',
        "fairlead_backup_timestamp_seconds",
        "fairlead_container_healthy == 1",
        "fairlead_container_start_time_seconds",
        "fairlead_containers_running == 1",
        'fairlead_descriptors_limit{program="docker"}',
        'fairlead_descriptors_limit{program="nginx"}',
        'fairlead_descriptors_limit{program="pgbouncer"}',
        "fairlead_http_upstream_seconds_total",
        "fairlead_release_timestamp_seconds",
        "pg_replication_slot_slot_is_active == 1",
        "fairlead_reserve_bytes > 0",
        'fairlead_routing_total{outcome="no_replica"}',
        "host:disk:free_ratio",
        "host:link:ratio_rate5m",
        "node_filesystem_files_free",
        "node_memory_MemAvailable_bytes",
        'node_systemd_unit_state{state="failed"}',
        "node_textfile_mtime_seconds",
        "pg_replication_is_replica == 0",
        "pg_replication_lag_seconds",
        "pg_stat_archiver_failed_count",
        "pgbouncer_pools_client_maxwait_seconds",
        "probe_ssl_earliest_cert_expiry",
        "site:availability:ratio_30d",
        "site:error_budget:ratio",
    ):
        assert prometheus(series), series
    hops = {labels["hop"] for labels, _ in prometheus("host:usage:ratio")}
    assert len(hops) == 5, hops


def test_visits_are_counted_by_the_names_of_the_site(prometheus: Ask, site: requests.Session) -> None:
    def pages() -> float:
        return sum(value for _, value in prometheus('fairlead_http_requests_total{vhost="www.example.org",kind="page",code="2xx"}'))

    before = pages()
    for _ in range(10):
        assert site.get("https://www.example.org/").status_code == 200
    end = time.time() + 30
    while pages() < before + 10 and time.time() < end:
        time.sleep(1)
    assert pages() == before + 10
    assert {labels["vhost"] for labels, _ in prometheus("fairlead_http_requests_total")} <= {"www.example.org", "other"}


def test_the_exporters_have_no_more_rights_than_they_need(host: Any) -> None:
    role = "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication FROM pg_roles WHERE rolname ~ '^demo_monitor_'"
    assert host.check_output("runuser -u postgres -- psql -XAtc %s", role) == "f"
    env = host.check_output("cat /etc/fairlead/exporters/pgbouncer-1.env").split('"')[1]
    refused = host.run("runuser -u prometheus -g postgres -- psql %s -Xc PAUSE", env)
    assert refused.rc != 0 and "admin access needed" in refused.stderr
    assert host.run("runuser -u prometheus -- cat /etc/fairlead/exporters/postgres.env").rc != 0


def test_the_status_page_has_a_door_of_its_own(host: Any, secrets: dict[str, str]) -> None:
    curl = "curl -sS --cacert /srv/ca.pem"
    page = "https://status.example.org/status/"
    answer = "-o /dev/null -w '%{http_code} %{redirect_url}'"
    assert host.check_output(f"{curl} {answer} https://status.example.org/other").split() == ["301", page]
    assert host.check_output(f"{curl} {answer} {page}").split() == ["401"]
    assert host.check_output(f"{curl} {answer} -u status:guess {page}").split() == ["401"]
    text = host.check_output(f"{curl} -f -u status:{secrets['status_password']} {page}")
    for title in ("The site is up", "Uptime", "Response times", "Bandwidth", "Disks", "Releases", "Alerts"):
        assert title in text, title
    assert "src=" not in text and "href=" not in text and "url(" not in text


def test_the_verb_says_who_was_told(playbook: Callable[..., Run], receiver: Receiver) -> None:
    begun = time.time()
    run = playbook("playbooks/alert_test.yml")
    assert run.code == 0, run.output
    assert "Delivered by email, webhook, slack." in run.sentence
    assert receiver.alerts("TestAlert", "firing", begun)
    # Others may be told of at the same time.
    mails = [note["content"] for note in receiver.notes("mail") if note["at"] > begun]
    (mail, *_) = [mail for mail in mails if "Subject: TestAlert" in mail]
    assert "this is how an alert of www.example.org reaches you" in mail
    assert "TestAlert" in [note["content"]["attachments"][0]["title"] for note in receiver.notes("slack") if note["at"] > begun]
    receiver.stop()
    try:
        run = playbook("playbooks/alert_test.yml", monitoring_test_seconds=15)
        assert run.code != 0 and "Not delivered by email, webhook, slack within 15 s" in run.sentence
    finally:
        receiver.start()


def test_the_dead_mans_switch_is_pressed_all_the_time(receiver: Receiver) -> None:
    begun = time.time()

    def pressed() -> list[Any]:
        return [note["content"] for note in receiver.notes("deadman") if note["at"] > begun]

    until(lambda: len(pressed()) >= 2, 160, "it was not pressed twice")
    assert {(alert["labels"]["alertname"], alert["status"]) for press in pressed() for alert in press["alerts"]} == {
        ("Watchdog", "firing")
    }


def test_a_rule_that_prometheus_refuses_changes_nothing(watch: Any, playbook: Callable[..., Run], prometheus: Ask) -> None:
    wrong = "groups: [{name: a, rules: [{alert: B, expr: 'up =='}]}]"
    run = playbook("playbooks/observability.yml", monitoring_rules={"wrong": wrong})
    assert run.code != 0 and "nothing was changed" in run.sentence and "own-wrong.yml" in run.sentence
    assert not watch.file("/etc/prometheus/rules/own-wrong.yml").exists
    assert prometheus("site:up")


def test_a_site_that_is_closed_for_maintenance_is_not_down(
    playbook: Callable[..., Run], prometheus: Ask, site: requests.Session, receiver: Receiver
) -> None:
    begun = time.time()
    run = playbook("playbooks/maintenance.yml", state="on")
    try:
        assert run.code == 0, run.output
        assert site.get("https://www.example.org/").status_code == 503
        until(lambda: not prometheus("site:up"), 40, "the watch did not know of the maintenance")
        assert prometheus("site:maintenance") == [({"__name__": "site:maintenance"}, 1)]
        time.sleep(90)  # SiteDown would have been told
        assert not prometheus("site:up") and not prometheus("ALERTS{alertname=~'SiteDown|SiteNotProbed|ServerErrors'}")
    finally:
        assert playbook("playbooks/maintenance.yml", state="off").code == 0
    until(lambda: prometheus("site:up == 1"), 40, "the site was not up again")
    assert not receiver.alerts("SiteDown", "firing", begun)
