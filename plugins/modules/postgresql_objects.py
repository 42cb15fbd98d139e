#!/usr/bin/python
# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Makes a server's roles and databases be as wanted, in one execution and with psql alone."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_objects
short_description: Make a server's roles and databases be as wanted, in one execution
version_added: 0.1.0
description:
  - Compares all roles and databases with the server's catalogue by one query, and runs only the statements that are missing.
  - Roles and databases that are not listed are left alone, but for I(prune_roles); what a listed one holds beyond the list is
    taken away.
  - Needs psql on the host and root there; it connects as the user I(login_user) through the Unix socket.
  - The statements reach the server without being logged by it, since they carry password verifiers.
  - On a standby it cares for the slots alone, which hold nothing back there until a replica uses them.
author: [The Fairlead authors (@fairlead)]
options:
  socket_dir:
    description: Directory of the server's Unix socket.
    type: path
    default: /run/postgresql
  port:
    description: The server's port, which is part of the socket's name.
    type: int
    default: 5432
  login_user:
    description: Unix user and database superuser of the same name.
    type: str
    default: postgres
  roles:
    description: Roles that must exist. None of them can be a superuser, make databases or roles, or pass by row security.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the role.
        type: str
        required: true
      password_verifier:
        description: SCRAM verifier; without it the role has no password.
        type: str
      login:
        description: Whether it may log in.
        type: bool
        default: true
      replication:
        description: Whether it may stream the write-ahead log.
        type: bool
        default: false
      connection_limit:
        description: Most connections at a time; -1 is no limit.
        type: int
        default: -1
      member_of:
        description: Roles whose rights it has.
        type: list
        elements: str
        default: []
      settings:
        description: Settings that its sessions begin with.
        type: dict
        default: {}
      functions:
        description: Functions, in the server's own spelling, that it may run in the database postgres though not everybody may.
        type: list
        elements: str
        default: []
  role_settings:
    description: Settings of all I(roles), beside those of each.
    type: dict
    default: {}
  prune_roles:
    description: Regular expressions of whole names. A role that one of them names and that is not listed is dropped.
    type: list
    elements: str
    default: []
  databases:
    description: Databases that must exist. Nobody but the owner and I(databases[].connect) may connect to them.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the database.
        type: str
        required: true
      owner:
        description: Role that owns it.
        type: str
        required: true
      encoding:
        description: Encoding, for a new database.
        type: str
        default: UTF8
      locale_provider:
        description: Who sorts and folds text, for a new database.
        type: str
        choices: [builtin, icu, libc]
        default: builtin
      locale:
        description: Locale in the provider's own terms, for a new database.
        type: str
        default: C.UTF-8
      connect:
        description: Further roles that may connect.
        type: list
        elements: str
        default: []
      extensions:
        description: Extensions that must be there.
        type: list
        elements: str
        default: []
  replicas:
    description:
      - Names of the replicas that may follow this server. Each has a physical replication slot, C(replica_NAME).
      - A slot that its replica cannot use any more is made anew, and one whose replica is not listed is dropped.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Predicts all changes; says so when the server does not run.
    support: full
  diff_mode:
    description: Shows the statements, without the verifiers.
    support: full
"""

EXAMPLES = r"""
- name: Make roles and databases as wanted
  fairlead.site.postgresql_objects:
    roles:
      - name: shop
        password_verifier: "{{ database_password | fairlead.site.scram_secret('shop') }}"
        settings:
          timezone: UTC
    databases:
      - name: shop
        owner: shop
"""

RETURN = r"""
statements:
  description: What was run, without secrets.
  returned: always
  type: list
  elements: str
pending_restart:
  description: Settings whose new values wait for a restart of the server.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fairlead.site.plugins.module_utils.postgresql import (
    DATABASE_QUERY,
    SERVER_QUERY,
    ObjectsError,
    Statement,
    plan_inside,
    plan_server,
    plan_slots,
)
from ansible_collections.fairlead.site.plugins.module_utils.psql import SERVER_OPTIONS, NotRunningError, RefusedError, Server

# A verifier must not get into the log by way of a slow, a failed or an always logged statement.
QUIET = "SET log_statement = 'none'; SET log_min_duration_statement = -1; SET log_min_error_statement = 'panic';\n"
ROLE = {
    "name": {"type": "str", "required": True},
    "password_verifier": {"type": "str", "no_log": True},
    "login": {"type": "bool", "default": True},
    "replication": {"type": "bool", "default": False},
    "connection_limit": {"type": "int", "default": -1},
    "member_of": {"type": "list", "elements": "str", "default": []},
    "settings": {"type": "dict", "default": {}},
    "functions": {"type": "list", "elements": "str", "default": []},
}
DATABASE = {
    "name": {"type": "str", "required": True},
    "owner": {"type": "str", "required": True},
    "encoding": {"type": "str", "default": "UTF8"},
    "locale_provider": {"type": "str", "choices": ["builtin", "icu", "libc"], "default": "builtin"},
    "locale": {"type": "str", "default": "C.UTF-8"},
    "connect": {"type": "list", "elements": "str", "default": []},
    "extensions": {"type": "list", "elements": "str", "default": []},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **SERVER_OPTIONS,
            "roles": {"type": "list", "elements": "dict", "default": [], "options": ROLE},
            "role_settings": {"type": "dict", "default": {}},
            "prune_roles": {"type": "list", "elements": "str", "default": []},
            "databases": {"type": "list", "elements": "dict", "default": [], "options": DATABASE},
            "replicas": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    server = Server(module.params)
    roles = [role | {"settings": module.params["role_settings"] | role["settings"]} for role in module.params["roles"]]
    try:
        statements, found = reconcile(server, module.params | {"roles": roles}, module.check_mode)
    except NotRunningError as error:
        if not module.check_mode:
            module.fail_json(msg=f"PostgreSQL does not answer: {error}")
        module.warn("PostgreSQL does not run, so what would change in roles and databases cannot be predicted")
        statements, found = [], {"pending_restart": []}
    except (ObjectsError, RefusedError) as error:
        module.fail_json(msg=str(error))
    shown = [item.shown for item in statements]
    module.exit_json(
        changed=bool(shown),
        statements=shown,
        pending_restart=found["pending_restart"],
        diff={"prepared": "".join(line + "\n" for line in shown)},
    )


def reconcile(server: Server, wanted: dict[str, Any], check: bool) -> tuple[list[Statement], dict[str, Any]]:
    found = server.ask(SERVER_QUERY)
    if found["file_errors"]:
        raise ObjectsError(f"PostgreSQL cannot read its access rules and keeps the old ones: {'; '.join(found['file_errors'])}")
    statements, databases = plan_slots(wanted["replicas"], found), wanted["databases"]
    if found["in_recovery"]:  # a standby holds the roles and databases that its primary holds
        databases = []
    else:
        statements += plan_server(wanted["roles"], databases, found, wanted["prune_roles"])
    if not check:
        apply(server, statements)
    for database in databases:
        name = database["name"]
        exists = name in found["databases"]
        inside = plan_inside(database, None if check and not exists else server.ask(DATABASE_QUERY, name))
        if not check:
            apply(server, inside, name)
        statements += inside
    return statements, found


def apply(server: Server, statements: list[Statement], database: str = "postgres") -> None:
    if statements:
        server.run(QUIET + "\n".join(item.sql for item in statements), database)


if __name__ == "__main__":
    main()
