"""What the role pgbouncer_rr renders, and the limits that it derives."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from typing import Any

import pytest

Render = Callable[..., dict[str, str]]
Evaluate = Callable[..., Any]

USERS = [{"name": "shop", "password_verifier": "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy"}]
DATABASES = [
    {"name": "default", "host": "/run/postgresql", "dbname": "shop"},
    {"name": "direct", "host": "db.example.org", "port": 5433, "dbname": "shop", "pool_mode": "session", "pool_size": 2,
     "reserve_pool_size": 0},
]  # fmt: skip
GIVEN = {"pgbouncer_rr_users": USERS, "pgbouncer_rr_databases": DATABASES}


def sections(text: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            current = found.setdefault(line.strip("[]"), {})
        elif " = " in line and not line.startswith(";"):
            key, value = line.split(" = ", 1)
            current[key] = value
    return found


def test_databases_are_offered_as_listed(render_tree: Render) -> None:
    found = sections(render_tree("pgbouncer_rr", **GIVEN)["/etc/pgbouncer/shared.ini"])
    assert found["databases"] == {
        "default": "host=/run/postgresql port=5432 dbname=shop",
        "direct": "host=db.example.org port=5433 dbname=shop pool_mode=session pool_size=2 reserve_pool_size=0",
    }


def test_users_log_in_by_verifier(render_tree: Render) -> None:
    assert render_tree("pgbouncer_rr", **GIVEN)["/etc/pgbouncer/userlist.txt"] == f'"shop" "{USERS[0]["password_verifier"]}"\n'


def test_nobody_is_named_administrator_of_the_console(render_tree: Render) -> None:
    found = sections(render_tree("pgbouncer_rr", **GIVEN)["/etc/pgbouncer/shared.ini"])["pgbouncer"]
    assert not {"admin_users", "stats_users"} & set(found)


def test_further_settings_come_last_and_win(render_tree: Render) -> None:
    text = render_tree("pgbouncer_rr", pgbouncer_rr_settings={"query_wait_timeout": 7}, **GIVEN)["/etc/pgbouncer/shared.ini"]
    assert sections(text)["pgbouncer"]["query_wait_timeout"] == "7"


def test_one_process_has_no_peers(render_tree: Render, evaluate: Evaluate) -> None:
    files = render_tree("pgbouncer_rr", **GIVEN)
    assert "peers" not in sections(files["/etc/pgbouncer/shared.ini"])
    assert "peer_id" not in files["/etc/pgbouncer/pgbouncer.ini"]
    assert "Wants=" not in files["/etc/systemd/system/pgbouncer.service.d/process.conf"]
    assert evaluate("pgbouncer_rr", "_pgbouncer_rr_process_files", **GIVEN) == []


def test_three_processes_know_each_other(render_tree: Render, evaluate: Evaluate) -> None:
    given = GIVEN | {"pgbouncer_rr_processes": 3}
    files = render_tree("pgbouncer_rr", **given)
    peers = {str(number): f"host=/run/pgbouncer port={number}" for number in (1, 2, 3)}
    assert sections(files["/etc/pgbouncer/shared.ini"])["peers"] == peers
    assert files["/etc/pgbouncer/pgbouncer.ini"].splitlines()[-1] == "peer_id = 1"
    unit = files["/etc/systemd/system/pgbouncer.service.d/process.conf"]
    assert "Wants=pgbouncer@2.service pgbouncer@3.service" in unit.splitlines()
    assert evaluate("pgbouncer_rr", "_pgbouncer_rr_process_files", **given) == [
        {"path": f"/etc/pgbouncer/process-{number}.ini", "content": f"%include /etc/pgbouncer/shared.ini\npeer_id = {number}\n"}
        for number in (2, 3)
    ]


def test_no_process_takes_the_others_socket_with_it_by_failing_too_often(render_tree: Render) -> None:
    files = render_tree("pgbouncer_rr", pgbouncer_rr_processes=2, **GIVEN)
    units = {path: text for path, text in files.items() if "[Service]" in text}
    assert {path.rsplit("/", 1)[1] for path in units} == {"process.conf", "pgbouncer@.service"}
    assert all("StartLimitIntervalSec=0" in text.split("[Service]")[0].splitlines() for text in units.values())


def test_a_process_may_open_more_files_than_clients_and_pools_need(render_tree: Render) -> None:
    given = GIVEN | {"pgbouncer_rr_max_client_conn": 1000, "pgbouncer_rr_pool_size": 30, "pgbouncer_rr_reserve_pool_size": 10}
    unit = render_tree("pgbouncer_rr", **given)["/etc/systemd/system/pgbouncer.service.d/process.conf"]
    # 1000 clients, (30 + 10 + 2 + 0) servers for one user and the console's, 100 to spare
    assert "LimitNOFILE=1184" in unit.splitlines()


@pytest.mark.parametrize(("limit", "fits"), [(1184, True), (1183, False)])
def test_a_limit_that_is_given_must_suffice(evaluate: Evaluate, limit: int, fits: bool) -> None:
    given = GIVEN | {"pgbouncer_rr_max_client_conn": 1000, "pgbouncer_rr_pool_size": 30, "pgbouncer_rr_reserve_pool_size": 10}
    check = "_pgbouncer_rr_limit_nofile | int >= _pgbouncer_rr_files_needed | int"
    assert evaluate("pgbouncer_rr", check, pgbouncer_rr_limit_nofile=limit, **given) is fits


def test_the_socket_directory_lets_its_group_in_alone(render_tree: Render) -> None:
    given = GIVEN | {"pgbouncer_rr_socket_dir": "/run/shop-pooler", "pgbouncer_rr_socket_group": "10001"}
    files = render_tree("pgbouncer_rr", **given)
    assert "d /run/shop-pooler 2750 postgres 10001 -" in files["/etc/tmpfiles.d/pgbouncer.conf"].splitlines()
    assert "ListenStream=/run/shop-pooler/.s.PGSQL.6432" in files["/etc/systemd/system/pgbouncer.socket"].splitlines()


GROUPS = [{"name": "readers", "primary": "default", "replicas": ["db2", "db3"]}]
RULES = [
    {"user": "^reports$", "target": "readers"},
    {"query": r"(?i)\bsales\b", "target": "db2"},
    {"user": "shop", "query": 'it\'s "quoted"\n', "target": None},
    {"query": "quoted", "target": "db3"},
]


def test_without_routing_nothing_of_it_is_said(render_tree: Render) -> None:
    files = render_tree("pgbouncer_rr", **GIVEN)
    found = sections(files["/etc/pgbouncer/shared.ini"])
    assert "replica_groups" not in found
    assert not [key for key in found["pgbouncer"] if key.startswith(("routing_", "rewrite_"))]
    assert not [path for path in files if path.startswith("/etc/pgbouncer/rules/") and files[path].strip()]


def test_replicas_are_asked_by_a_role_of_its_own(render_tree: Render) -> None:
    given = GIVEN | {
        "pgbouncer_rr_replica_groups": GROUPS,
        "pgbouncer_rr_check_user": "watch",
        "pgbouncer_rr_check_password": "a:b\\",
    }
    files = render_tree("pgbouncer_rr", pgbouncer_rr_builtin_enabled=True, **given)
    found = sections(files["/etc/pgbouncer/shared.ini"])
    assert found["replica_groups"] == {"readers": "default: db2, db3"}
    assert found["pgbouncer"]["routing_builtin"] == "readwrite"
    assert found["pgbouncer"]["routing_check_connstr"] == "user=watch passfile=/etc/pgbouncer/check.pgpass sslmode=require"
    assert files["/etc/pgbouncer/check.pgpass"] == "*:*:*:*:a\\:b\\\\\n"


@pytest.mark.parametrize(
    ("user", "query", "target"),
    [
        ("reports", "SELECT 1 FROM sales", "readers"),
        ("shop", "SELECT 1 FROM Sales", "db2"),
        ("shop", "SELECT 'it''s', it's \"quoted\"\n", None),
        ("shop", "quoted", "db3"),
        ("reports_", "SELECT 1", None),
    ],
)
def test_the_first_rule_that_matches_says_where(
    render_tree: Render, tmp_path: Any, user: str, query: str, target: str | None
) -> None:
    file = tmp_path / "rules.py"
    file.write_text(render_tree("pgbouncer_rr", pgbouncer_rr_rules=RULES, **GIVEN)["/etc/pgbouncer/rules/rules.py"])
    assert runpy.run_path(str(file))["routing_rules"](user, query) == target


def test_rules_and_rewriting_come_from_a_file(render_tree: Render, tmp_path: Any) -> None:
    file = tmp_path / "site.py"
    file.write_text("def routing_rules(username, query): return None  # {{ as it is }}")
    files = render_tree("pgbouncer_rr", pgbouncer_rr_rules_file=str(file), pgbouncer_rr_rewrite_enabled=True, **GIVEN)
    found = sections(files["/etc/pgbouncer/shared.ini"])["pgbouncer"]
    assert files["/etc/pgbouncer/rules/rules.py"].strip() == file.read_text()
    assert found["routing_rules_py_module_file"] == found["rewrite_query_py_module_file"] == "/etc/pgbouncer/rules/rules.py"
