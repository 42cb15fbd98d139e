"""What the role postgresql promises, asked of the server by queries and of the kernel."""

from __future__ import annotations

import os
from typing import Any

import pytest

SOCKET = "/run/postgresql"
SETTINGS = "SELECT name || '=' || setting FROM pg_settings"


def ask(host: Any, sql: str, database: str = "postgres") -> str:
    """Return what the server answers to its administrator."""
    return host.check_output("runuser -u postgres -- psql -XAtq -d %s -c %s", database, sql)


@pytest.fixture(scope="module")
def site(host: Any) -> str:
    """The site's database, and its owner's name."""
    names = ask(host, "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'").split()
    assert len(names) == 1
    return names[0]


@pytest.fixture(scope="module")
def login(host: Any) -> str:
    """The role that the application logs in as."""
    names = ask(host, "SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname ~ '^demo_[0-9a-f]{8}$'").split()
    assert len(names) == 1
    return names[0]


@pytest.fixture(scope="module")
def password(secrets: dict[str, str]) -> str:
    return secrets["database_password"]


@pytest.fixture(scope="module")
def settings(host: Any) -> dict[str, str]:
    return dict(line.split("=", 1) for line in ask(host, SETTINGS).splitlines() if "=" in line)


def postmaster(host: Any) -> str:
    return host.check_output("head -n 1 /run/postgresql/17-main.pid")


def test_data_has_checksums(settings: dict[str, str]) -> None:
    assert settings["data_checksums"] == "on"


def test_no_setting_waits_for_a_restart(host: Any) -> None:
    assert ask(host, "SELECT name FROM pg_settings WHERE pending_restart") == ""


def test_listens_on_no_network_without_need(host: Any) -> None:
    assert "postgres" not in host.check_output("ss --listening --tcp --processes --numeric")
    assert f"{SOCKET}/.s.PGSQL.5432" in host.check_output("ss --listening --unix")


def test_the_application_logs_in_with_its_password_alone_and_acts_as_the_owner(
    host: Any, site: str, login: str, password: str
) -> None:
    ask_who = "PGPASSWORD=%s psql -XAtq -h %s -U %s -d %s -c 'DISCARD ALL' -c 'SELECT current_user, current_setting($$TimeZone$$)'"
    assert host.check_output(ask_who, password, SOCKET, login, site) == f"{site}|UTC"
    refused = host.run(ask_who, "wrong", SOCKET, login, site)
    assert refused.rc != 0 and "password authentication failed" in refused.stderr
    assert host.run(ask_who, password, SOCKET, site, site).rc != 0


def test_the_site_reaches_no_other_database(host: Any, login: str, password: str) -> None:
    refused = host.run("PGPASSWORD=%s psql -h %s -U %s -d postgres -c 'SELECT 1'", password, SOCKET, login)
    assert refused.rc != 0 and "no pg_hba.conf entry" in refused.stderr


def test_only_the_unix_user_postgres_is_the_administrator(host: Any) -> None:
    refused = host.run("psql -h %s -U postgres -d postgres -c 'SELECT 1'", SOCKET)
    assert refused.rc != 0 and "Peer authentication failed" in refused.stderr


def test_the_server_holds_verifiers_only(host: Any) -> None:
    kinds = ask(host, "SELECT DISTINCT split_part(rolpassword, '$', 1) FROM pg_authid WHERE rolpassword IS NOT NULL")
    assert kinds == "SCRAM-SHA-256"


def test_the_site_has_no_rights_beyond_its_database(host: Any, site: str) -> None:
    mighty = ask(
        host, "SELECT rolname FROM pg_roles WHERE rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
    )
    assert mighty.split() == ["postgres"] and site != "postgres"


def test_others_reach_neither_the_database_nor_its_schema(host: Any, site: str) -> None:
    allowed = (
        "SELECT has_database_privilege('public', current_database(), 'CONNECT, TEMPORARY'), "
        "has_schema_privilege('public', 'public', 'CREATE'), "
        "has_schema_privilege(current_setting('fairlead.owner'), 'public', 'CREATE')"
    )
    assert ask(host, f"SET fairlead.owner = '{site}'; {allowed}", site) == "f|f|t"


def test_text_does_not_depend_on_the_systems_library(host: Any, site: str) -> None:
    locale = "SELECT datlocprovider, datlocale, pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"
    assert ask(host, locale, site) == "b|C.UTF-8|UTF8"


def test_tls_only_and_of_the_newest_kind(settings: dict[str, str]) -> None:
    assert settings["ssl"] == "on" and settings["ssl_min_protocol_version"] == "TLSv1.3"


def test_settings_cannot_be_changed_past_the_files(host: Any) -> None:
    refused = host.run("runuser -u postgres -- psql -c 'ALTER SYSTEM SET work_mem = 1024'")
    assert refused.rc != 0 and "ALTER SYSTEM is not allowed" in refused.stderr


def test_processes_may_open_more_files_than_the_server_keeps_open(host: Any, settings: dict[str, str]) -> None:
    limits = host.file(f"/proc/{postmaster(host)}/limits").content_string
    soft = next(line.split()[3] for line in limits.splitlines() if line.startswith("Max open files"))
    assert int(soft) > int(settings["max_files_per_process"]) + int(settings["max_connections"])


def test_the_log_is_in_the_journal_and_holds_no_values(host: Any, site: str) -> None:
    marks = {kind: os.urandom(8).hex() for kind in ("error", "slow")}
    host.run("runuser -u postgres -- psql -d %s -c %s", site, f"SELECT '{marks['error']}', no_such_column")
    host.run("runuser -u postgres -- psql -d %s -c %s", site, f"SELECT pg_sleep(1.2), '{marks['slow']}'")
    host.check_output("journalctl --sync")
    log = host.check_output("journalctl --identifier postgres --output cat --lines 50")
    assert 'column "no_such_column" does not exist' in log and marks["error"] not in log
    assert marks["slow"] in log  # a slow statement is told as it was sent


def test_no_verifier_is_in_a_log(host: Any) -> None:
    stored = ask(host, "SELECT split_part(rolpassword, '$', 3) FROM pg_authid WHERE rolpassword IS NOT NULL")
    keys = stored.replace(":", "\n").split()
    assert len(keys) >= 2
    for key in keys:
        assert host.run("journalctl --output cat | grep --fixed-strings --quiet -e %s", key).rc == 1
        assert host.run("grep --recursive --fixed-strings --quiet -e %s /var/log/postgresql", key).rc == 1
