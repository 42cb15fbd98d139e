"""The role exporters: what it refuses, what it renders, and the program that looks at what no exporter knows."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from conftest import ROOT

Render = Callable[..., dict[str, str]]
Evaluate = Callable[..., Any]

HASH = "$2b$10$" + "a" * 53
SHARED = {
    "exporters_address": "192.0.2.11",
    "exporters_tls_certificate": "PEM",
    "exporters_tls_key": "PEM",
    "exporters_accounts": {"prometheus": HASH},
}


@pytest.mark.parametrize(
    ("given", "refused", "says"),
    [
        ({}, [], ""),
        (SHARED, [], ""),
        ({"exporters_address": "0.0.0.0"}, ["address", "tls"], "not to all of them"),  # noqa: S104
        ({"exporters_address": "192.0.2.11"}, ["tls"], "can be reached by others"),
        (SHARED | {"exporters_accounts": {}}, ["tls"], "exporters_accounts"),
        (SHARED | {"exporters_accounts": {"prometheus": "plain"}}, ["accounts"], "prometheus"),
        ({"exporters_pgbouncer_processes": 1}, ["pgbouncer"], "exporters_pgbouncer_user"),
        ({"exporters_sections": {"weather": 1}}, ["sections"], "weather"),
    ],
)
def test_bad_input_gets_one_sentence(evaluate: Evaluate, given: dict[str, Any], refused: list[str], says: str) -> None:
    found = [item for item in evaluate("exporters", "_exporters_requirements", **given) if not item["ok"]]
    assert [item["name"] for item in found] == refused
    assert not found or says in found[0]["otherwise"]


def test_tls_and_an_account_stand_before_every_exporter(render_tree: Render, evaluate: Evaluate) -> None:
    web = yaml.safe_load(render_tree("exporters", **SHARED)["/etc/fairlead/exporters/web.yml"])
    assert web["basic_auth_users"] == {"prometheus": HASH} and web["tls_server_config"]["min_version"] == "TLS13"
    assert yaml.safe_load(render_tree("exporters")["/etc/fairlead/exporters/web.yml"]) is None
    wanted = evaluate("exporters", "_exporters_wanted", **SHARED | {"exporters_pgbouncer_processes": 2})
    assert [(exporter["name"], exporter["port"]) for exporter in wanted] == [
        ("node", 9100),
        ("pgbouncer-1", 9127),
        ("pgbouncer-2", 9128),
    ]


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    loader = SourceFileLoader("metrics", str(ROOT / "roles/exporters/templates/usr/local/sbin/fairlead-metrics"))
    spec = importlib.util.spec_from_loader("metrics", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def entry(**other: Any) -> str:
    usual = {
        "host": "www.example.org",
        "status": 200,
        "bytes_sent": 1000,
        "request_time": 0.2,
        "uri": "/articles/",
        "cache": "",
        "upstream": "unix:/x",
        "upstream_response_time": "0.150",
        "user_agent": "Mozilla",
    }
    return json.dumps(usual | other) + "\n"


SETTINGS = {"vhosts": ["www.example.org"], "files": ["/static/", "/media/"]}


def values(samples: Any) -> dict[str, float]:
    return {str(sample).rsplit(" ", 1)[0]: sample.value for sample in samples}


def test_counts_the_log(metrics: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(entry())
    counter = metrics.AccessLog(SETTINGS | {"log": str(log)})
    list(counter())  # what was there before does not count
    with log.open("a") as file:
        file.write(
            entry()
            + entry(status=502, upstream_response_time="0.1, 0.2 : 0.3")
            + entry(uri="/static/site.css", upstream="", upstream_response_time="", bytes_sent=5000)
            # An edge host gets files from an app host, and may have pages in its cache.
            + entry(uri="/static/site.js?v=1", upstream="192.0.2.21:443", bytes_sent=300)
            + entry(status=304, cache="HIT", upstream="", upstream_response_time="")
            + entry(status=301, upstream="", upstream_response_time="")  # to https://
        )
        file.write(
            entry(host="errors.example.org", status=504, upstream_response_time="60")
            + entry(user_agent="fairlead-probe")
            + "no JSON\n[]\n"
            + entry()[:20]
        )
    found = values(counter())
    assert found['fairlead_http_requests_total{vhost="www.example.org",kind="page",code="2xx"}'] == 1
    assert found['fairlead_http_requests_total{vhost="www.example.org",kind="page",code="5xx"}'] == 1
    assert found['fairlead_http_requests_total{vhost="www.example.org",kind="probe",code="2xx"}'] == 1
    assert found['fairlead_http_requests_total{vhost="www.example.org",kind="page",code="3xx"}'] == 1
    assert found['fairlead_http_requests_total{vhost="www.example.org",kind="file",code="2xx"}'] == 2
    assert found['fairlead_http_requests_total{vhost="www.example.org",kind="file",code="3xx"}'] == 1
    assert found['fairlead_http_requests_total{vhost="other",kind="page",code="5xx"}'] == 1
    assert found['fairlead_http_sent_bytes_total{vhost="www.example.org",kind="file"}'] == 6300
    assert found['fairlead_http_page_seconds_bucket{vhost="www.example.org",le="0.1"}'] == 0
    assert found['fairlead_http_page_seconds_bucket{vhost="www.example.org",le="0.25"}'] == 3
    assert found['fairlead_http_page_seconds_count{vhost="www.example.org"}'] == 3
    assert found["fairlead_http_upstream_seconds_total"] == pytest.approx(0.15 + 0.6 + 0.15 + 0.15)
    with log.open("a") as file:
        file.write(entry()[20:])
    assert values(counter())['fairlead_http_requests_total{vhost="www.example.org",kind="page",code="2xx"}'] == 2


def test_a_rotation_loses_no_line(metrics: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.touch()
    counter = metrics.AccessLog(SETTINGS | {"log": str(log)})
    list(counter())
    with log.open("a") as old:
        log.rename(tmp_path / "access.log.1")
        log.write_text(entry())
        old.write(entry())
    assert values(counter())['fairlead_http_requests_total{vhost="www.example.org",kind="page",code="2xx"}'] == 2


def test_descriptors_of_the_fullest_process(metrics: ModuleType) -> None:
    me = Path("/proc/self/comm").read_text().strip()
    with Path("/dev/null").open(), Path("/dev/null").open():
        found = values(metrics.descriptors({"me": me}))
    assert 3 <= found['fairlead_descriptors_used{program="me"}'] <= found['fairlead_descriptors_limit{program="me"}']


def test_what_fails_leaves_the_rest_alone(metrics: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def broken() -> None:
        raise OSError("the disk is gone")

    (tmp_path / "reserve").write_bytes(b"x" * 8192)
    parts = {"broken": broken, "reserve": lambda: metrics.reserve(str(tmp_path / "reserve"))}
    complaints: dict[str, str] = {}
    found = values(metrics.look(parts, complaints))
    assert found['fairlead_section_success{section="broken"}'] == 0
    assert found['fairlead_section_success{section="reserve"}'] == 1 and found["fairlead_reserve_bytes"] >= 8192
    metrics.look(parts, complaints)
    assert capsys.readouterr().err.count("the disk is gone") == 1  # not once every few seconds


def test_what_takes_long_is_asked_rarely_and_waited_for_by_nobody(metrics: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [OSError("busy"), [metrics.Sample("fairlead_backup_error", 0)], OSError("not asked again")]
    go_on = threading.Semaphore(0)
    now = 0.0
    monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=lambda: now))

    def slow() -> Any:
        go_on.acquire(timeout=10)
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def end() -> None:
        go_on.release()
        part.thread.join()

    part = metrics.Rarely(slow, 1000)
    assert part() == part() == []  # it looks still
    now = 2001.0
    with pytest.raises(TimeoutError):  # for too long
        part()
    end()
    with pytest.raises(OSError, match="busy"):
        part()
    now += 59
    with pytest.raises(OSError, match="busy"):
        part()
    assert not part.thread.is_alive()  # not asked again at once
    now += 1
    with pytest.raises(OSError, match="busy"):
        part()
    end()
    now += 999
    assert [str(sample) for sample in part()] == [str(sample) for sample in part()] == ["fairlead_backup_error 0"]
    assert not part.thread.is_alive()


def test_the_sections_that_take_long_are_apart(metrics: ModuleType) -> None:
    given = {name: {} for name in ("areas", "backups", "containers", "maintenance")}
    parts = metrics.sections({"slow_interval_seconds": 900, "sections": given})
    assert {name for name, part in parts.items() if isinstance(part, metrics.Rarely)} == {"areas", "backups"}


def container(name: str, health: str | None, **labels: str) -> dict[str, Any]:
    state = {"Running": True, "StartedAt": "2026-11-22T20:00:00.123456789Z"} | ({"Health": {"Status": health}} if health else {})
    named = {f"fairlead.{key}": value for key, value in labels.items()}
    return {"Id": name, "Name": f"/{name}", "State": state, "Config": {"Labels": named}}


def test_workers_are_seen_beside_the_web_server(metrics: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = {"process.site": "shop", "process": "mail", "process.kind": "worker"}
    there = [
        container("shop-1", "healthy", site="shop", process="web"),
        container("shop-mail-1", "unhealthy", **worker),
        container("shop-beat-1", None, **worker | {"process": "beat"}),
        container("shop-job-clear", None, **worker | {"process": "clear", "process.kind": "job"}),
        container("errors-1", "healthy", site="bugsink", process="web"),
    ]

    class Docker:
        """Finds, as the engine does, what has all labels that are asked for."""

        def ask(self, path: str) -> Any:
            asked = urlsplit(path)
            if asked.path != "/containers/json":
                return next(about for about in there if f"/containers/{about['Id']}/json" == path)
            query = parse_qs(asked.query)
            wanted = {tuple(label.split("=")) for label in json.loads(query["filters"][0])["label"]}
            assert query["all"] == ["1"]
            return [about for about in there if wanted <= set(about["Config"]["Labels"].items())]

    monkeypatch.setattr(metrics, "Docker", Docker)
    started = 'fairlead_container_start_time_seconds{container="%s"}'
    assert values(metrics.containers("shop")) == {
        "fairlead_containers_running": 1,
        'fairlead_container_healthy{container="shop-1"}': 1,
        'fairlead_container_healthy{container="shop-mail-1"}': 0,
        **{started % name: pytest.approx(1795377600.123456) for name in ("shop-1", "shop-mail-1", "shop-beat-1")},
    }
    there[1]["State"]["StartedAt"] = "0001-01-01T00:00:00Z"  # made, and not started yet
    assert values(metrics.containers("shop"))[started % "shop-mail-1"] < 0


@pytest.mark.parametrize(
    ("facts", "device"),
    [
        ({"default_ipv4": {"interface": "bond0"}, "default_ipv6": {"interface": "eth1"}}, "bond0"),
        ({"default_ipv4": {}, "default_ipv6": {"interface": "eth1"}}, "eth1"),
        ({"default_ipv4": {}, "default_ipv6": {}}, ""),
    ],
)
def test_the_device_of_the_default_route_faces_the_world(
    metrics: ModuleType, evaluate: Evaluate, facts: dict[str, Any], device: str
) -> None:
    given = yaml.safe_load((ROOT / "group_vars/all/monitoring.yml").read_text()) | {"ansible_facts": facts}
    assert evaluate("exporters", "_site_sections.link", **given) == device
    part = metrics.sections({"slow_interval_seconds": 900, "sections": {"link": "eth0"}})["link"]
    assert values(part()) == {'fairlead_link_info{device="eth0"}': 1}


def test_releases_and_drills(metrics: ModuleType, tmp_path: Path) -> None:
    record = {"id": "abc", "image": "x@sha256:1", "who": 'ann"a', "result": "live", "started": "2026-11-22T20:00:00Z"}
    file = tmp_path / "records.jsonl"
    again = record | {"started": "2026-11-21T20:00:00Z"}
    file.write_text(json.dumps(again) + "\n" + json.dumps(record) + '\n{"id": "cut')
    (sample,) = metrics.releases(str(file))
    assert str(sample) == (
        'fairlead_release_timestamp_seconds{id="abc",image="x@sha256:1",who="ann\\"a",result="live"} 1795377600.0'
    )
    assert list(metrics.releases(str(tmp_path / "none"))) == []
    drill = tmp_path / "drill.json"
    assert values(metrics.drill(str(drill))) == {"fairlead_drill_timestamp_seconds": 0, "fairlead_drill_failed": 0}
    failed = {"at": "2026-11-22T20:05:00Z", "reason": "x"}
    drill.write_text(json.dumps({"last_attempt": "2026-11-22T20:00:00Z", "last_failure": failed}))
    assert values(metrics.drill(str(drill)))["fairlead_drill_failed"] == 1


def test_the_file_is_what_prometheus_reads(metrics: ModuleType) -> None:
    samples = [metrics.Sample("fairlead_reserve_bytes", 1), metrics.Sample("fairlead_http_page_seconds_sum", 0.5, vhost="a")]
    samples += [metrics.Sample("fairlead_routing_total", 2, outcome="home"), metrics.Sample("fairlead_reserve_bytes", 3, x="y")]
    text = metrics.text(samples)
    assert '# TYPE fairlead_reserve_bytes gauge\nfairlead_reserve_bytes 1\nfairlead_reserve_bytes{x="y"} 3\n' in text
    assert "# TYPE fairlead_http_page_seconds histogram\n" in text and "# TYPE fairlead_routing_total counter\n" in text
