"""Which statements bring a server to what is wanted, and what the role's files say."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.fairlead.site.plugins.module_utils.postgresql import ObjectsError, plan_inside, plan_server

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
