from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.fairlead.site.plugins.module_utils.capacity import HOST_INPUTS, INPUTS, plan, table_text
from conftest import ROOT

NUMBERS = {
    "connections": 4000,
    "requests_per_second": 50,
    "request_ms": 50,
    "page_kb": 100,
    "answers_mb": 4096,
    "bandwidth_mbit": 100,
    "threads": 4,
    "worker_memory_mb": 200,
    "process_connections": 4,
    "workers": None,
    "pooler_processes": 1,
    "pool_size": None,
    "max_connections": None,
    "graceful_seconds": 30,
    "drain_seconds": 35,
    "stop_seconds": 45,
    "gunicorn_keepalive_seconds": 75,
    "upstream_keepalive_seconds": 60,
    "storage": "ssd",
}
EVERY = ("app", "db", "edge")
NOFILE = 524288


def host(*groups: str, cores: Any = 4, memory_mb: Any = 16000, nofile_max: Any = NOFILE, processes: Any = ()) -> dict[str, Any]:
    return {"groups": list(groups), "cores": cores, "memory_mb": memory_mb, "nofile_max": nofile_max, "processes": list(processes)}


def errors(hosts: dict[str, Any], **numbers: Any) -> list[str]:
    found = {tuple(result["errors"]) for result in plan(hosts, {**NUMBERS, **numbers}).values()}
    assert len(found) == 1, "every host carries the errors of the whole site"
    return list(found.pop())


def only_error(hosts: dict[str, Any], **numbers: Any) -> str:
    found = errors(hosts, **numbers)
    assert len(found) == 1, found
    return found[0]


SITES = {
    "demo": {"demo": host(*EVERY, cores=2, memory_mb=24000, nofile_max=20000)},
    "small": {"one": host(*EVERY, cores=2, memory_mb=4000)},
    "app and db": {"app1": host("app"), "db1": host("db", cores=8, memory_mb=64000)},
    "workers": {"one": host(*EVERY, processes=[{"name": "mail", "count": 3, "memory_mb": 300}, {"name": "beat"}])},
    "no edge": {"app1": host("app"), "app2": host("app"), "db1": host("db")},
    "all apart": {
        "edge1": host("edge", cores=2, memory_mb=4000),
        "edge2": host("edge", cores=2, memory_mb=4000),
        "app1": host("app", cores=8),
        "app2": host("app", cores=16, memory_mb=32000),
        "app3": host("app"),
        "db1": host("db", cores=16, memory_mb=128000),
        "db2": host("db", cores=8, memory_mb=64000),
        "monitor1": host("monitor", cores=2, memory_mb=4000),
    },
}


def test_the_demo_fits() -> None:
    result = plan(SITES["demo"], NUMBERS)["demo"]
    assert result["errors"] == []
    assert result["nginx"] == {
        "worker_processes": 2,
        "worker_connections": 5120,
        "worker_rlimit_nofile": 10752,
        "limit_nofile": 10752,
        "backlog": 1024,
        "upstream_keepalive": 16,
        "requests": 5120,
        "answer_kb": 819,
    }
    assert (result["django"]["workers"], result["django"]["slots"], result["django"]["memory_mb"]) == (3, 12, 728)
    assert (result["pgbouncer"]["max_client_conn"], result["pgbouncer"]["pool_size"]) == (70, 12)
    assert (result["postgresql"]["max_connections"], result["postgresql"]["shared_buffers_mb"]) == (50, 2992)


def test_keys_that_other_parts_rely_on() -> None:
    result = plan(SITES["demo"], NUMBERS)["demo"]
    promised = {
        "nginx": "worker_processes worker_connections worker_rlimit_nofile limit_nofile backlog upstream_keepalive "
        "requests answer_kb",
        "django": "workers threads memory_mb cpus pids",
        "pgbouncer": "processes max_client_conn pool_size reserve_pool_size max_db_connections limit_nofile",
        "postgresql": "max_connections superuser_reserved shared_buffers_mb effective_cache_size_mb work_mem_mb "
        "maintenance_work_mem_mb wal_buffers_mb max_wal_size_mb max_worker_processes max_parallel_workers "
        "max_parallel_workers_per_gather effective_io_concurrency",
        "kernel": "somaxconn tcp_max_syn_backlog file_max nofile",
        "timeouts": "graceful drain stop gunicorn_keepalive upstream_keepalive",
    }
    for part, keys in promised.items():
        assert set(keys.split()) <= set(result[part])


@pytest.mark.parametrize(
    ("numbers", "requests", "answer_kb"),
    [
        ({"connections": 500}, 704, 5957),
        # Less than a buffer is as good as nothing; more requests nginx cannot count.
        ({"answers_mb": 70}, 5120, 0),
        ({"connections": 100000}, 65535, 64),
    ],
)
def test_answers_on_the_disk_are_shared_out_among_the_requests(numbers: dict[str, Any], requests: int, answer_kb: int) -> None:
    nginx = plan(SITES["demo"], {**NUMBERS, **numbers})["demo"]["nginx"]
    assert (nginx["requests"], nginx["answer_kb"]) == (requests, answer_kb)


def test_a_host_has_only_the_parts_that_it_runs() -> None:
    result = plan(SITES["all apart"], NUMBERS)
    parts = {name: set(found) - {"kernel", "timeouts", "table", "errors"} for name, found in result.items()}
    assert parts["edge1"] == {"nginx"}
    assert parts["app1"] == {"nginx", "django", "pgbouncer"}
    assert parts["db1"] == {"postgresql"}
    assert parts["monitor1"] == set()


# What must hold in every chain that is said to fit, over many sites and numbers.

SWEEP = list(
    itertools.product(
        SITES,
        [1, 500, 4000, 20000],  # connections
        [1, 4, 16],  # threads
        [None, 1, 12],  # workers
        [1, 3],  # pooler processes
        [None, 5, 40],  # pool size
        [None, 60, 400],  # max_connections
    )
)


def swept(case: tuple[Any, ...]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    site, connections, threads, workers, processes, pool, most = case
    numbers = {
        **NUMBERS,
        "connections": connections,
        "threads": threads,
        "workers": workers,
        "pooler_processes": processes,
        "pool_size": pool,
        "max_connections": most,
        "requests_per_second": 1,
    }
    return SITES[site], numbers, plan(SITES[site], numbers)


def test_the_sweep_has_both_kinds() -> None:
    fits = [not next(iter(swept(case)[2].values()))["errors"] for case in SWEEP]
    assert 0.2 < sum(fits) / len(fits) < 0.95


@pytest.mark.parametrize("site", SITES)
def test_whatever_fits_agrees(site: str) -> None:
    for case in (case for case in SWEEP if case[0] == site):
        hosts, numbers, results = swept(case)
        if next(iter(results.values()))["errors"]:
            continue
        poolers = [result["pgbouncer"] for result in results.values() if "pgbouncer" in result]
        servers = [result["postgresql"] for result in results.values() if "postgresql" in result]
        for name, result in results.items():
            facts, kernel = hosts[name], result["kernel"]
            assert kernel["nofile"] <= facts["nofile_max"]
            spent = 0
            if "nginx" in result:
                nginx = result["nginx"]
                assert nginx["worker_rlimit_nofile"] >= 2 * nginx["worker_connections"]
                assert nginx["worker_rlimit_nofile"] <= nginx["limit_nofile"] <= facts["nofile_max"]
                assert nginx["limit_nofile"] <= kernel["nofile"]
                assert nginx["worker_processes"] * nginx["limit_nofile"] <= kernel["file_max"]
                assert nginx["requests"] * nginx["answer_kb"] <= 1024 * numbers["answers_mb"]
                assert nginx["backlog"] <= kernel["somaxconn"] <= kernel["tcp_max_syn_backlog"]
                if "edge" in facts["groups"]:
                    assert nginx["worker_connections"] * nginx["worker_processes"] >= 2 * numbers["connections"]
            if "django" in result:
                django, pooler = result["django"], result["pgbouncer"]
                assert django["slots"] == django["workers"] * django["threads"] < django["pids"]
                beside = [process for process in facts["processes"] for _ in range(process.get("count", 1))]
                # Two releases, two aliases.
                assert pooler["max_client_conn"] >= 2 * 2 * (django["slots"] + 4 * len(beside))
                assert pooler["limit_nofile"] > pooler["max_client_conn"] + 3 * pooler["max_db_connections"]
                assert pooler["limit_nofile"] <= facts["nofile_max"]
                assert pooler["max_db_connections"] == pooler["pool_size"] + pooler["reserve_pool_size"]
                assert 0 < django["cpus"] <= facts["cores"]
                sizes = [django["memory_mb"], *(process.get("memory_mb", django["memory_mb"]) for process in beside)]
                spent += 2 * sum(sizes)
            if "postgresql" in result:
                server = result["postgresql"]
                reserved = server["superuser_reserved"] + 10
                wanted = sum(
                    pooler["processes"] * (2 * pooler["max_db_connections"] + pooler["direct_pool_size"]) for pooler in poolers
                )
                assert wanted <= server["max_connections"] - reserved
                assert server["shared_buffers_mb"] < server["effective_cache_size_mb"]
                # What a standby must not have less of than its primary.
                for key in ("max_connections", "max_worker_processes"):
                    assert len({other[key] for other in servers}) == 1
                spent += server["shared_buffers_mb"] + server["max_connections"] * (4 + server["work_mem_mb"])
            assert spent <= facts["memory_mb"]


@pytest.mark.parametrize("number", ["connections", "requests_per_second", "page_kb", "request_ms", "pooler_processes"])
def test_more_of_a_load_never_makes_a_misfit_fit(number: str) -> None:
    for site in SITES.values():
        verdicts = [bool(errors(site, **{number: 2**power})) for power in range(0, 20)]
        assert verdicts == sorted(verdicts), "fits, then no longer fits, and never again"
        assert verdicts[-1]


@pytest.mark.parametrize("memory_mb", range(256, 8192, 256))
def test_more_memory_never_makes_a_fit_a_misfit(memory_mb: int) -> None:
    less, more = ({"one": host(*EVERY, cores=2, memory_mb=memory)} for memory in (memory_mb, memory_mb + 256))
    assert not errors(more, connections=500) or errors(less, connections=500)


def test_workers_take_places_and_memory_from_the_web_server() -> None:
    alone = plan({"one": host(*EVERY, memory_mb=4000)}, NUMBERS)["one"]
    workers = [{"name": "mail", "count": 2, "memory_mb": 256}]
    beside = plan({"one": host(*EVERY, memory_mb=4000, processes=workers)}, NUMBERS)["one"]
    assert beside["django"]["workers"] < alone["django"]["workers"]
    rows = {row["number"]: row for row in beside["table"]}
    assert rows["workers memory MB"]["value"] == 2 * 2 * 256
    assert "+ 8 of workers) x 2 aliases" in rows["pgbouncer max_client_conn"]["formula"]
    same_size = plan({"one": host(*EVERY, memory_mb=6000, processes=[{"name": "mail"}])}, NUMBERS)["one"]
    assert not same_size["errors"]
    assert same_size["django"]["processes_memory_mb"] == same_size["django"]["memory_mb"]


def test_workers_that_do_not_fit() -> None:
    sentence = only_error({"one": host(*EVERY, memory_mb=2000, processes=[{"name": "mail", "count": 4, "memory_mb": 512}])})
    assert "workers 4096" in sentence and "the count or memory_mb of site_workers" in sentence


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": "two"}, {"memory_mb": -1}, {"memory_mb": 0.5}])
def test_bad_workers(wrong: dict[str, Any]) -> None:
    sentence = only_error({"one": host(*EVERY, processes=[{"name": "mail", **wrong}])})
    assert sentence.startswith("one: the worker mail has count ") and "site_workers" in sentence


def test_more_hosts_share_the_load() -> None:
    one = plan({"app1": host("app"), "db1": host("db")}, NUMBERS)
    two = plan({"app1": host("app"), "app2": host("app"), "db1": host("db")}, NUMBERS)
    assert two["app1"]["pgbouncer"]["pool_size"] < one["app1"]["pgbouncer"]["pool_size"]
    behind = plan({"edge1": host("edge"), "app1": host("app"), "app2": host("app"), "db1": host("db")}, NUMBERS)
    assert behind["app1"]["nginx"]["worker_connections"] < behind["edge1"]["nginx"]["worker_connections"]


def test_given_numbers_are_kept() -> None:
    result = plan(SITES["app and db"], {**NUMBERS, "workers": 5, "pool_size": 7, "max_connections": 123})
    assert result["app1"]["django"]["workers"] == 5
    assert result["app1"]["pgbouncer"]["pool_size"] == 7
    assert result["db1"]["postgresql"]["max_connections"] == 123


def test_pools_are_made_to_fit_a_server_that_is_given() -> None:
    for most in range(40, 400):
        hosts = {"app1": host("app", cores=16, memory_mb=64000), "app2": host("app", cores=16, memory_mb=64000)}
        assert errors(hosts, max_connections=most) == []


def test_a_server_can_stand_in_for_a_larger_one() -> None:
    results = plan(SITES["all apart"], NUMBERS)
    assert [results[name]["postgresql"]["max_worker_processes"] for name in ("db1", "db2")] == [16, 16]


def test_a_host_shared_with_the_app_leaves_it_memory() -> None:
    alone = plan(SITES["app and db"], NUMBERS)["db1"]["postgresql"]["shared_buffers_mb"]
    shared = plan({"one": host("app", "db", cores=8, memory_mb=64000)}, NUMBERS)["one"]["postgresql"]["shared_buffers_mb"]
    assert shared < alone * 0.6


def test_a_shared_kernel_keeping_a_little_more_memory_changes_nothing() -> None:
    settings = [
        plan({"one": host(*EVERY, memory_mb=memory)}, NUMBERS)["one"]["postgresql"]["shared_buffers_mb"]
        for memory in (16020, 16028)
    ]
    assert settings[0] == settings[1]


def test_storage() -> None:
    server = plan(SITES["app and db"], {**NUMBERS, "storage": "hdd"})["db1"]["postgresql"]
    assert (server["effective_io_concurrency"], server["random_page_cost"]) == (2, 4.0)


# Chains that do not fit: one sentence, naming what to change.


@pytest.mark.parametrize(
    ("hosts", "numbers", "says"),
    [
        (SITES["demo"], {"connections": 9000}, ("demo", "23168", "20000", "capacity_connections", "capacity_nofile_max")),
        (SITES["demo"], {"bandwidth_mbit": 39}, ("40 Mbit/s", "39", "capacity_bandwidth_mbit", "capacity_page_kb")),
        (SITES["demo"], {"request_ms": 200}, ("12 threads", "capacity_threads", "capacity_request_ms")),
        (SITES["demo"], {"max_connections": 15}, ("leaves them 2", "capacity_max_connections", "capacity_pool_size")),
        (SITES["demo"], {"max_connections": 5}, ("leaves them 0", "capacity_max_connections")),
        (SITES["no edge"], {"pool_size": 50, "max_connections": 100}, ("258 connections", "87", "capacity_pool_size")),
        (SITES["demo"], {"workers": 100}, ("demo has 24000 MB", "gunicorn 40256", "capacity_workers")),
        ({"one": host(*EVERY, cores=1, memory_mb=700)}, {}, ("one has 700 MB", "another host")),
        (SITES["demo"], {"graceful_seconds": 35}, ("capacity_graceful_seconds (35)", "capacity_drain_seconds (35)")),
        (SITES["demo"], {"drain_seconds": 50}, ("capacity_drain_seconds (50)", "capacity_stop_seconds (45)")),
        (
            SITES["demo"],
            {"gunicorn_keepalive_seconds": 60},
            ("capacity_upstream_keepalive_seconds (60)", "capacity_gunicorn_keepalive_seconds (60)"),
        ),
        (
            {"one": host("app", "db", memory_mb=900000, nofile_max=8192)},
            {"threads": 64, "workers": 40, "connections": 10},
            ("pgbouncer needs", "8192", "capacity_nofile_max"),
        ),
        ({"app1": host("app")}, {}, ("No host is in the group db", "capacity_max_connections")),
    ],
)
def test_misfit(hosts: dict[str, Any], numbers: dict[str, Any], says: tuple[str, ...]) -> None:
    sentence = only_error(hosts, **numbers)
    assert sentence.endswith(".")
    for part in says:
        assert part in sentence


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("value", [-1, 0, "many", True, [], {}, math.nan, math.inf, 10**400, None, ""])
def test_bad_number(name: str, value: Any) -> None:
    if INPUTS[name][2] and value in (None, ""):
        assert errors(SITES["demo"], **{name: value}) == []
        return
    sentence = only_error(SITES["demo"], **{name: value})
    assert sentence.startswith(f"capacity_{name} is ") and "set it to" in sentence


def test_fractions_only_where_they_mean_something() -> None:
    assert only_error(SITES["demo"], threads=2.5).startswith("capacity_threads is 2.5: set it to a whole number")
    assert errors(SITES["demo"], requests_per_second=0.5) == []


def test_text_from_the_command_line_is_a_number() -> None:
    as_text = {name: value if value is None else str(value) for name, value in NUMBERS.items()}
    assert plan(SITES["demo"], as_text)["demo"]["nginx"] == plan(SITES["demo"], NUMBERS)["demo"]["nginx"]


def test_bad_storage() -> None:
    assert only_error(SITES["demo"], storage="tape") == "capacity_storage is 'tape': set it to ssd or hdd."


@pytest.mark.parametrize("key", HOST_INPUTS)
@pytest.mark.parametrize("value", [0, -4, "two", 1.5])
def test_bad_host(key: str, value: Any) -> None:
    sentence = only_error({"one": host(*EVERY, **{key: value})})
    assert sentence.startswith(f"one: capacity_{key} is ")


def test_missing_facts() -> None:
    hosts = {"app1": host("app"), "db1": host("db", cores="", memory_mb=None)}
    sentence = only_error(hosts)
    assert sentence.startswith("db1: its cores and memory_mb are not known")
    assert "--limit" in sentence and "capacity_cores and capacity_memory_mb" in sentence


def test_every_bad_input_is_told_at_once() -> None:
    assert len(errors({"one": host(*EVERY, cores=0)}, connections=0, threads="x")) == 3


def test_no_part_is_derived_from_bad_input() -> None:
    assert set(plan(SITES["demo"], {**NUMBERS, "threads": 0})["demo"]) == {"table", "errors"}


def test_table_is_aligned() -> None:
    rows = plan(SITES["demo"], NUMBERS)["demo"]["table"]
    lines = table_text(rows).splitlines()
    column = lines[0].index("formula")
    assert len(lines) == len(rows) + 1
    for line, row in zip(lines[1:], rows, strict=True):
        assert line[column:] == row["formula"] and line[column - 1] == " "


def test_group_vars_give_the_model_all_its_numbers() -> None:
    variables = yaml.safe_load((ROOT / "group_vars/all/capacity.yml").read_text())
    assert set(variables["capacity_inputs"]) == set(INPUTS) | {"storage"} == set(NUMBERS)
    for name, template in variables["capacity_inputs"].items():
        assert template == "{{ capacity_" + name + " }}"
    defaults = {name: variables["capacity_" + name] for name in NUMBERS}
    assert errors(SITES["demo"], **defaults) == []


INVENTORY = """
all:
  vars: {ansible_connection: local, ansible_python_interpreter: "%s"}
  children:
    app: {hosts: {app1: {capacity_nofile_max: 20000}}}
    db: {hosts: {db1: {%s}}}
"""


@pytest.mark.parametrize(
    ("host_vars", "options", "code", "says"),
    [
        ("", [], 0, ["PostgreSQL shared_buffers MB", "20000  2 x"]),
        ("", ["-e", "capacity_connections=100000"], 2, ["app1: nginx needs", "the host grants 20000"]),
        ("", ["--limit", "app1"], 2, ["db1: its cores and memory_mb are not known"]),
        ("capacity_cores: 8, capacity_memory_mb: 32000", ["--limit", "app1"], 0, ["PostgreSQL max_connections"]),
    ],
)
def test_the_plan_playbook(tmp_path: Path, host_vars: str, options: list[str], code: int, says: list[str]) -> None:
    (tmp_path / "hosts.yml").write_text(INVENTORY % (sys.executable, host_vars))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/plan.yml", "-i", str(tmp_path), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    told = " ".join((done.stdout + done.stderr).split())
    for part in says:
        assert " ".join(part.split()) in told


@pytest.mark.parametrize(
    ("host", "code", "says"),
    [("app1", 2, "has no attribute 'nginx'"), ("watch1", 0, "worker_connections: 1024")],
)
def test_nginx_of_a_door_is_never_small_for_want_of_knowledge(tmp_path: Path, host: str, code: int, says: str) -> None:
    """The facts of db1 were not gathered, so nobody's share is known."""
    more = "    monitor: {hosts: {watch1: {}}}\n"
    (tmp_path / "hosts.yml").write_text(INVENTORY % (sys.executable, "") + more)
    ansible = str(Path(sys.executable).with_name("ansible"))
    command = [ansible, host, "-i", str(tmp_path), "--playbook-dir", str(ROOT), "-m", "debug", "-a", "msg={{ _site_nginx_size }}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, says in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
