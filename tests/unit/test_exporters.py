"""The role exporters: what it refuses, what it renders, and the program that looks at what no exporter knows."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

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


def test_what_takes_long_is_asked_rarely_until_it_is_known(metrics: ModuleType) -> None:
    answers = [OSError("busy"), [metrics.Sample("fairlead_backup_error", 0)], OSError("not asked again")]

    def slow() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    part = metrics.Rarely(slow, 1000)
    with pytest.raises(OSError, match="busy"):
        part()
    assert [str(sample) for sample in part()] == [str(sample) for sample in part()] == ["fairlead_backup_error 0"]


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
