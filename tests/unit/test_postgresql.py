"""Which statements bring a server to what is wanted, and what the role's files say."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.fairlead.site.plugins.module_utils import psql
from ansible_collections.fairlead.site.plugins.module_utils.postgresql import (
    ObjectsError,
    plan_inside,
    plan_server,
    plan_slots,
    slot_name,
)

VERIFIER = "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy"
ROLE = {
    "name": "shop",
    "password_verifier": VERIFIER,
    "login": True,
    "replication": False,
    "connection_limit": -1,
    "member_of": [],
    "settings": {"timezone": "UTC"},
    "functions": [],
}
DATABASE = {
    "name": "shop",
    "owner": "shop",
    "encoding": "UTF8",
    "locale_provider": "builtin",
    "locale": "C.UTF-8",
    "connect": [],
    "extensions": [],
}
ATTRIBUTES = {
    "login": True,
    "superuser": False,
    "createdb": False,
    "createrole": False,
    "replication": False,
    "bypassrls": False,
    "inherit": True,
}
FOUND = {
    "roles": {
        "shop": {
            "attributes": ATTRIBUTES,
            "connection_limit": -1,
            "password_verifier": VERIFIER,
            "settings": ["TimeZone=UTC"],
            "member_of": [],
            "functions": [],
        }
    },
    "databases": {
        "shop": {"owner": "shop", "encoding": "UTF8", "locale_provider": "builtin", "locale": "C.UTF-8", "grants": []},
    },
}
NOTHING: dict[str, Any] = {"roles": {}, "databases": {}}


def shown(role: dict[str, Any] | None = None, database: dict[str, Any] | None = None, found: Any = FOUND) -> list[str]:
    return [item.shown for item in plan_server([ROLE | (role or {})], [DATABASE | (database or {})], found)]


def found_role(**changes: Any) -> dict[str, Any]:
    found = copy.deepcopy(FOUND)
    found["roles"]["shop"].update(changes)
    return found


def found_database(**changes: Any) -> dict[str, Any]:
    found = copy.deepcopy(FOUND)
    found["databases"]["shop"].update(changes)
    return found


def test_nothing_is_done_when_all_is_there() -> None:
    assert shown() == []


def test_an_empty_server_gets_everything() -> None:
    assert shown({"member_of": ["pg_monitor"]}, found=NOTHING) == [
        'CREATE ROLE "shop" LOGIN NOREPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT CONNECTION LIMIT -1 '
        "PASSWORD (secret);",
        'ALTER ROLE "shop" SET "timezone" TO \'UTC\';',
        'GRANT "pg_monitor" TO "shop";',
        'CREATE DATABASE "shop" OWNER "shop" TEMPLATE template0 '
        "ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8';",
        'REVOKE CONNECT ON DATABASE "shop" FROM PUBLIC;',
        'REVOKE TEMPORARY ON DATABASE "shop" FROM PUBLIC;',
    ]


def test_the_statement_that_is_run_holds_the_verifier() -> None:
    assert VERIFIER in plan_server([ROLE], [], NOTHING)[0].sql


@pytest.mark.parametrize(
    ("found", "statement"),
    [
        (found_role(attributes=ATTRIBUTES | {"superuser": True}), 'ALTER ROLE "shop" NOSUPERUSER;'),
        (found_role(attributes=ATTRIBUTES | {"login": False}), 'ALTER ROLE "shop" LOGIN;'),
        (found_role(password_verifier=""), 'ALTER ROLE "shop" PASSWORD (secret);'),
        (found_role(connection_limit=5), 'ALTER ROLE "shop" CONNECTION LIMIT -1;'),
        (found_role(settings=["TimeZone=Europe/Berlin"]), 'ALTER ROLE "shop" SET "timezone" TO \'UTC\';'),
        (found_role(settings=["TimeZone=UTC", "work_mem=1GB"]), 'ALTER ROLE "shop" RESET "work_mem";'),
        (found_role(functions=["pg_ls_dir(text)"]), 'REVOKE EXECUTE ON FUNCTION pg_ls_dir(text) FROM "shop";'),
        (found_role(member_of=["pg_monitor"]), 'REVOKE "pg_monitor" FROM "shop";'),
        (found_database(owner="postgres"), 'ALTER DATABASE "shop" OWNER TO "shop";'),
        (found_database(grants=[["", "CONNECT"]]), 'REVOKE CONNECT ON DATABASE "shop" FROM PUBLIC;'),
        (found_database(grants=[["report", "CREATE"]]), 'REVOKE CREATE ON DATABASE "shop" FROM "report";'),
    ],
)
def test_a_difference_is_put_right_and_nothing_else(found: dict[str, Any], statement: str) -> None:
    assert shown(found=found) == [statement]


def test_a_role_without_a_verifier_gets_no_password() -> None:
    assert shown({"password_verifier": None}) == ['ALTER ROLE "shop" PASSWORD NULL;']


def test_a_retired_role_is_dropped_and_no_other() -> None:
    others = dict.fromkeys(["shop_0a1b2c3d", "shop_reader", "x_shop_0a1b2c3d", "shop_0a1b2c3d4"], FOUND["roles"]["shop"])
    found = FOUND | {"roles": FOUND["roles"] | others}
    statements = plan_server([ROLE], [DATABASE], found, ["shop_[0-9a-f]{8}", "shop"])
    assert [item.shown for item in statements] == ['DROP ROLE "shop_0a1b2c3d";']


def test_others_connect_where_the_list_says_so() -> None:
    assert shown(database={"connect": ["report", "shop"]}) == ['GRANT CONNECT ON DATABASE "shop" TO "report";']


@pytest.mark.parametrize(("key", "value"), [("encoding", "LATIN1"), ("locale_provider", "icu"), ("locale", "C")])
def test_what_cannot_be_changed_in_place_is_an_error(key: str, value: str) -> None:
    with pytest.raises(ObjectsError, match=f"database shop was made with {key} {value}"):
        shown(found=found_database(**{key: value}))


def test_spellings_of_one_locale_are_the_same() -> None:
    found = found_database(locale_provider="icu", locale="de-DE")
    assert shown(database={"locale_provider": "icu", "locale": "de_DE", "encoding": "utf-8"}, found=found) == []


def test_names_are_quoted() -> None:
    role = 'a"b'
    assert shown({"name": role, "settings": {"application_name": "it's"}}, {"owner": "shop"})[:2] == [
        'CREATE ROLE "a""b" LOGIN NOREPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT CONNECTION LIMIT -1 '
        "PASSWORD (secret);",
        'ALTER ROLE "a""b" SET "application_name" TO \'it\'\'s\';',
    ]


@pytest.mark.parametrize(
    ("found", "statements"),
    [
        ({"public_owner": "pg_database_owner"}, []),
        ({"public_owner": None}, []),
        ({"public_owner": "postgres"}, ["ALTER SCHEMA public OWNER TO pg_database_owner;"]),
        ({"public_create": True}, ["REVOKE CREATE ON SCHEMA public FROM PUBLIC;"]),
        ({"extensions": ["plpgsql"]}, ['CREATE EXTENSION "postgis";']),
    ],
)
def test_inside_of_a_database(found: dict[str, Any], statements: list[str]) -> None:
    there = {"extensions": ["plpgsql", "postgis"], "public_owner": "pg_database_owner", "public_create": False} | found
    assert [item.sql for item in plan_inside(DATABASE | {"extensions": ["postgis"]}, there)] == statements


def test_a_role_may_run_the_functions_that_are_listed() -> None:
    assert shown({"functions": ["pg_ls_dir(text)"]}) == ['GRANT EXECUTE ON FUNCTION pg_ls_dir(text) TO "shop";']


SLOT = {"active": True, "used": True, "lost": False}


@pytest.mark.parametrize(
    ("slots", "in_recovery", "statements"),
    [
        ({"replica_db2": SLOT}, False, []),
        ({"replica_db2": SLOT | {"active": False}}, False, []),
        ({}, False, ["create_physical"]),
        ({"replica_db2": SLOT | {"active": False, "lost": True}}, False, ["drop", "create_physical"]),
        # On a standby that was the primary it would keep the log for nobody.
        ({"replica_db2": SLOT | {"active": False}}, True, ["drop", "create_physical"]),
        ({"replica_db2": SLOT | {"active": False, "used": False}}, True, []),
        ({"replica_db2": SLOT}, True, []),
        # Of a host that is no database host any more; and somebody else's.
        ({"replica_db2": SLOT, "replica_db9": SLOT | {"active": False}}, False, ["drop"]),
        ({"replica_db2": SLOT, "replica_db9": SLOT}, False, []),
        ({"replica_db2": SLOT, "receiver": SLOT | {"active": False}}, False, []),
    ],
)
def test_each_replica_has_a_slot(slots: dict[str, Any], in_recovery: bool, statements: list[str]) -> None:
    plan = plan_slots(["db2"], {"slots": slots, "in_recovery": in_recovery})
    assert [item.sql.split("pg_", 1)[1].split("_replication_slot")[0] for item in plan] == statements


@pytest.mark.parametrize("host", ["db2", "DB-2.example.org", "d" * 80])
def test_the_role_and_the_module_agree_on_a_slots_name(evaluate: Callable[..., Any], host: str) -> None:
    assert evaluate("postgresql", "_postgresql_slot", inventory_hostname=host) == slot_name(host)


def access_rules(render_tree: Callable[..., dict[str, str]], *clients: dict[str, Any]) -> list[str]:
    text = render_tree("postgresql", postgresql_clients=list(clients))["/etc/postgresql/17/main/pg_hba.conf"]
    return [" ".join(line.split()) for line in text.splitlines() if not line.startswith("#")]


def test_without_clients_only_the_administrator_gets_in(render_tree: Callable[..., dict[str, str]]) -> None:
    assert access_rules(render_tree) == ["local all postgres peer"]


def test_clients_get_in_by_scram_and_over_a_network_by_tls(render_tree: Callable[..., dict[str, str]]) -> None:
    rules = access_rules(
        render_tree,
        {"address": "local", "databases": ["shop"], "roles": ["shop", "report"]},
        {"address": "192.0.2.11/32", "databases": ["replication", "all"], "roles": ["all"]},
    )
    assert rules[1:] == [
        'local "shop" "shop","report" scram-sha-256',
        'hostssl replication,all "all" 192.0.2.11/32 scram-sha-256',
    ]


PEERS = [{"name": "db2", "address": "192.0.2.22"}, {"name": "db3", "address": "2001:db8::3"}]


def test_peers_get_in_by_their_certificates_alone(render_tree: Callable[..., dict[str, str]]) -> None:
    files = render_tree("postgresql", postgresql_peers=PEERS)
    rules = [" ".join(line.split()) for line in files["/etc/postgresql/17/main/pg_hba.conf"].splitlines()]
    assert rules[-2:] == [
        "hostssl replication,postgres replicator 192.0.2.22/32 cert map=peers",
        "hostssl replication,postgres replicator 2001:db8::3/128 cert map=peers",
    ]
    names = files["/etc/postgresql/17/main/pg_ident.conf"].splitlines()
    assert [line for line in names if not line.startswith("#")] == ['peers  "db2"  replicator', 'peers  "db3"  replicator']


def configuration(render_tree: Callable[..., dict[str, str]], **variables: Any) -> dict[str, str]:
    text = render_tree("postgresql", **variables)["/etc/postgresql/17/main/postgresql.conf"]
    lines = [line.split(" = ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return {key: value.strip("'") for key, value in lines}


def test_further_settings_come_last_and_win(render_tree: Callable[..., dict[str, str]]) -> None:
    found = configuration(render_tree, postgresql_settings={"work_mem": "1GB", "application_name": "it's"})
    assert found["work_mem"] == "1GB"
    assert found["application_name"] == "it''s"


def test_a_given_certificate_is_used(render_tree: Callable[..., dict[str, str]]) -> None:
    given = {"postgresql_tls_certificate": "CERTIFICATE", "postgresql_tls_key": "KEY"}
    assert configuration(render_tree, **given)["ssl_key_file"] == "/etc/postgresql/17/main/server.key"
    assert render_tree("postgresql", **given)["/etc/postgresql/17/main/server.key"] == "KEY\n"
    assert "/etc/postgresql/17/main/server.key" not in render_tree("postgresql")
    assert "snakeoil" in configuration(render_tree)["ssl_key_file"]


def test_nothing_listens_on_a_network_unless_told(render_tree: Callable[..., dict[str, str]]) -> None:
    assert configuration(render_tree)["listen_addresses"] == ""
    told = configuration(render_tree, postgresql_listen_addresses=["192.0.2.10", "::1"])
    assert told["listen_addresses"] == "192.0.2.10,::1"


def test_only_a_replica_follows_and_verifies_whom(render_tree: Callable[..., dict[str, str]]) -> None:
    assert "primary_conninfo" not in configuration(render_tree, postgresql_peers=PEERS)
    found = configuration(render_tree, postgresql_peers=PEERS, postgresql_primary=PEERS[0])
    assert {"host=192.0.2.22", "sslmode=verify-full", "application_name=one"} <= set(found["primary_conninfo"].split())
    assert found["primary_slot_name"] == "replica_one"


def test_what_a_slot_holds_back_is_bounded(render_tree: Callable[..., dict[str, str]]) -> None:
    assert configuration(render_tree, postgresql_peers=PEERS)["max_slot_wal_keep_size"] == "8192MB"


def test_commits_wait_for_standbys_if_asked(render_tree: Callable[..., dict[str, str]]) -> None:
    assert "synchronous_standby_names" not in configuration(render_tree, postgresql_peers=PEERS)
    found = configuration(render_tree, postgresql_peers=PEERS, postgresql_synchronous_standbys=1)
    assert found["synchronous_standby_names"] == 'ANY 1 ("db2", "db3")'


def test_the_log_is_archived_only_if_told_how(render_tree: Callable[..., dict[str, str]]) -> None:
    assert configuration(render_tree)["archive_mode"] == "off"
    found = configuration(render_tree, postgresql_archive_command="test '%p' -a x")
    assert (found["archive_mode"], found["archive_command"]) == ("on", "test ''%p'' -a x")


def test_a_server_that_is_starting_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [(2, "", "FATAL:  the database system is not yet accepting connections"), (0, "{}\n", "")]
    monkeypatch.setattr(psql.Server, "_psql", lambda *_: subprocess.CompletedProcess("psql", *said.pop(0)))
    server = psql.Server({"login_user": "postgres", "socket_dir": "/run/postgresql", "port": 5432})
    assert server.ask("SELECT json_build_object()") == {}
    assert said == []


def test_a_server_that_is_not_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = subprocess.CompletedProcess("psql", 2, "", "connection to server failed: No such file or directory")
    monkeypatch.setattr(psql.Server, "_psql", lambda *_: answer)
    with pytest.raises(psql.NotRunningError, match="No such file"):
        psql.Server({"login_user": "postgres", "socket_dir": "/run/postgresql", "port": 5432}).run("SELECT 1")
