# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""What makes a PostgreSQL server hold the roles, databases and slots that are wanted: pure functions over its catalogue."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

# One row, one JSON object: all that is compared for the server as a whole.
SERVER_QUERY = """
SELECT json_build_object(
  'in_recovery', pg_is_in_recovery(),
  'pending_restart', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM pg_settings WHERE pending_restart),
  'file_errors', (SELECT coalesce(json_agg(format('%s line %s: %s', file_name, line_number, error)), '[]')
                  FROM (SELECT file_name, line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL
                        UNION ALL
                        SELECT file_name, line_number, error FROM pg_ident_file_mappings WHERE error IS NOT NULL) AS f),
  'roles', (SELECT coalesce(json_object_agg(r.rolname, json_build_object(
      'attributes', json_build_object(
        'login', rolcanlogin, 'superuser', rolsuper, 'createdb', rolcreatedb, 'createrole', rolcreaterole,
        'replication', rolreplication, 'bypassrls', rolbypassrls, 'inherit', rolinherit),
      'connection_limit', rolconnlimit,
      'password_verifier', coalesce(rolpassword, ''),
      'settings', coalesce((SELECT json_agg(line) FROM pg_db_role_setting s, unnest(s.setconfig) AS line
                            WHERE s.setrole = r.oid AND s.setdatabase = 0), '[]'),
      'member_of', coalesce((SELECT json_agg(g.rolname) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                             WHERE m.member = r.oid), '[]'),
      'functions', coalesce((SELECT json_agg(p.oid::regprocedure::text) FROM pg_proc p, aclexplode(p.proacl) AS a
                             WHERE a.grantee = r.oid), '[]'))), '{}')
    FROM pg_authid r),
  'slots', (SELECT coalesce(json_object_agg(slot_name, json_build_object(
      'active', active, 'used', restart_lsn IS NOT NULL, 'lost', coalesce(wal_status = 'lost', false))), '{}')
    FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary),
  'databases', (SELECT coalesce(json_object_agg(d.datname, json_build_object(
      'owner', pg_get_userbyid(d.datdba),
      'encoding', pg_encoding_to_char(d.encoding),
      'locale_provider', CASE d.datlocprovider WHEN 'b' THEN 'builtin' WHEN 'i' THEN 'icu' ELSE 'libc' END,
      'locale', coalesce(d.datlocale, d.datcollate),
      'grants', (SELECT coalesce(json_agg(json_build_array(
                          CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee) END, a.privilege_type)), '[]')
                 FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
                 WHERE a.grantee <> d.datdba))), '{}')
    FROM pg_database d)
)
"""

# The same for what only a connection to the database itself can see.
DATABASE_QUERY = """
SELECT json_build_object(
  'extensions', (SELECT coalesce(json_agg(extname), '[]') FROM pg_extension),
  'public_owner', (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'),
  'public_create', coalesce((SELECT bool_or(a.grantee = 0 AND a.privilege_type = 'CREATE')
    FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a WHERE n.nspname = 'public'), false)
)
"""

# What a role of a site may be; all other attributes are for administrators.
_FIXED = {"superuser": False, "createdb": False, "createrole": False, "bypassrls": False, "inherit": True}
_LOCALE_OPTION = {"builtin": "BUILTIN_LOCALE", "icu": "ICU_LOCALE", "libc": "LOCALE"}
_OWNER_OF_DATABASE = "pg_database_owner"
_SLOT = "replica_"


class ObjectsError(Exception):
    """What no statement can put right, in one sentence."""


@dataclass(frozen=True)
class Statement:
    """`sql` is what is run; `shown` says the same without a secret."""

    sql: str
    shown: str


def statement(sql: str, secret: str | None = None) -> Statement:
    return Statement(sql, sql.replace(literal(secret), "(secret)") if secret else sql)


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def plan_server(
    roles: list[dict[str, Any]], databases: list[dict[str, Any]], found: dict[str, Any], prune: list[str] | None = None
) -> list[Statement]:
    """Compare roles, databases and who may connect to them with what SERVER_QUERY found; unlisted roles that a pattern of
    `prune` names are dropped."""
    result = []
    for role in roles:
        result += _plan_role(role, found["roles"].get(role["name"]))
    # Only when all of them exist can one be given another.
    for role in roles:
        result += _plan_memberships(role, found["roles"].get(role["name"], {"member_of": []}))
        result += _plan_functions(role, found["roles"].get(role["name"], {"functions": []}))
    for database in databases:
        result += _plan_database(database, found["databases"].get(database["name"]))
    gone = set(found["roles"]) - {role["name"] for role in roles}
    dropped = sorted(name for name in gone if any(re.fullmatch(pattern, name) for pattern in prune or []))
    return result + [statement(f"DROP ROLE {identifier(name)};") for name in dropped]


def slot_name(replica: str) -> str:
    """The replica's slot: PostgreSQL allows fewer characters in its name than hosts have in theirs."""
    return re.sub("[^a-z0-9_]", "_", _SLOT + replica.lower())[:63]


def plan_slots(replicas: list[str], found: dict[str, Any]) -> list[Statement]:
    """Compare the replicas' slots with what SERVER_QUERY found; one in use is left alone, and so are other people's."""
    wanted = [slot_name(replica) for replica in replicas]
    idle = {name: slot for name, slot in found["slots"].items() if name.startswith(_SLOT) and not slot["active"]}
    # A standby that was the primary would go on keeping for others what they now get elsewhere.
    stale = {name for name, slot in idle.items() if slot["lost"] or (found["in_recovery"] and slot["used"])}
    gone = [name for name in idle if name not in wanted or name in stale]
    new = [name for name in wanted if name not in found["slots"] or name in stale]
    return [statement(f"SELECT pg_drop_replication_slot({literal(name)});") for name in gone] + [
        statement(f"SELECT pg_create_physical_replication_slot({literal(name)});") for name in new
    ]


def _plan_role(role: dict[str, Any], found: dict[str, Any] | None) -> list[Statement]:
    name = identifier(role["name"])
    wanted = {"login": role["login"], "replication": role["replication"], **_FIXED}
    verifier = role["password_verifier"] or ""
    password = f"PASSWORD {literal(verifier)}" if verifier else "PASSWORD NULL"
    result = []
    if found is None:
        attributes = " ".join(_attribute(key, value) for key, value in wanted.items())
        sql = f"CREATE ROLE {name} {attributes} CONNECTION LIMIT {role['connection_limit']} {password};"
        result.append(statement(sql, verifier))
        settings = []
    else:
        words = [_attribute(key, value) for key, value in wanted.items() if found["attributes"][key] != value]
        if found["connection_limit"] != role["connection_limit"]:
            words.append(f"CONNECTION LIMIT {role['connection_limit']}")
        if found["password_verifier"] != verifier:
            words.append(password)
        if words:
            result.append(statement(f"ALTER ROLE {name} {' '.join(words)};", verifier))
        settings = found["settings"]
    return result + _plan_settings(name, role["settings"], settings)


def _attribute(key: str, value: bool) -> str:
    return key.upper() if value else "NO" + key.upper()


def _plan_settings(name: str, wanted: dict[str, Any], lines: list[str]) -> list[Statement]:
    # PostgreSQL keeps a setting under its own spelling: TimeZone for timezone.
    found = {key.lower(): value for key, _, value in (line.partition("=") for line in lines)}
    after = {key.lower(): str(value) for key, value in wanted.items()}
    result = [
        statement(f"ALTER ROLE {name} SET {identifier(key)} TO {literal(value)};")
        for key, value in after.items()
        if found.get(key) != value
    ]
    return result + [statement(f"ALTER ROLE {name} RESET {identifier(key)};") for key in found if key not in after]


def _plan_memberships(role: dict[str, Any], found: dict[str, Any]) -> list[Statement]:
    name, wanted, has = identifier(role["name"]), role["member_of"], found["member_of"]
    return [statement(f"GRANT {identifier(group)} TO {name};") for group in wanted if group not in has] + [
        statement(f"REVOKE {identifier(group)} FROM {name};") for group in has if group not in wanted
    ]


def _plan_functions(role: dict[str, Any], found: dict[str, Any]) -> list[Statement]:
    name, wanted, has = identifier(role["name"]), role["functions"], found["functions"]
    return [statement(f"GRANT EXECUTE ON FUNCTION {function} TO {name};") for function in wanted if function not in has] + [
        statement(f"REVOKE EXECUTE ON FUNCTION {function} FROM {name};") for function in has if function not in wanted
    ]


def _plan_database(database: dict[str, Any], found: dict[str, Any] | None) -> list[Statement]:
    name, owner, provider = identifier(database["name"]), database["owner"], database["locale_provider"]
    result = []
    if found is None:
        result.append(
            statement(
                f"CREATE DATABASE {name} OWNER {identifier(owner)} TEMPLATE template0 ENCODING {literal(database['encoding'])} "
                f"LOCALE_PROVIDER {provider} {_LOCALE_OPTION[provider]} {literal(database['locale'])};"
            )
        )
        # What PostgreSQL grants on a new database.
        grants = {("", "CONNECT"), ("", "TEMPORARY")}
    else:
        for key in ("encoding", "locale_provider", "locale"):
            if _plain(found[key]) != _plain(database[key]):
                raise ObjectsError(
                    f"database {database['name']} was made with {key} {found[key]} and postgresql_databases says "
                    f"{database[key]}: it cannot be changed in place, so say {found[key]}, or dump and restore into a new database"
                )
        if found["owner"] != owner:
            result.append(statement(f"ALTER DATABASE {name} OWNER TO {identifier(owner)};"))
        grants = {(grantee, privilege) for grantee, privilege in found["grants"] if grantee != owner}
    wanted = {(role, "CONNECT") for role in database["connect"] if role != owner}
    for grantee, privilege in sorted(grants - wanted):
        result.append(statement(f"REVOKE {privilege} ON DATABASE {name} FROM {identifier(grantee) if grantee else 'PUBLIC'};"))
    for grantee, privilege in sorted(wanted - grants):
        result.append(statement(f"GRANT {privilege} ON DATABASE {name} TO {identifier(grantee)};"))
    return result


def _plain(text: str) -> str:
    """Spellings of one encoding or locale that PostgreSQL takes for the same: UTF8 and UTF-8, de_DE and de-DE."""
    return text.lower().replace("-", "").replace("_", "")


def plan_inside(database: dict[str, Any], found: dict[str, Any] | None) -> list[Statement]:
    """Compare what is inside a database with what DATABASE_QUERY found; None stands for a database just made."""
    found = found or {"extensions": [], "public_owner": None, "public_create": False}
    result = []
    if found["public_owner"] not in (None, _OWNER_OF_DATABASE, database["owner"]):
        result.append(statement(f"ALTER SCHEMA public OWNER TO {_OWNER_OF_DATABASE};"))
    if found["public_create"]:
        result.append(statement("REVOKE CREATE ON SCHEMA public FROM PUBLIC;"))
    for extension in database["extensions"]:
        if extension not in found["extensions"]:
            result.append(statement(f"CREATE EXTENSION {identifier(extension)};"))
    return result
