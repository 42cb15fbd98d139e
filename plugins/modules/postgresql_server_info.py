#!/usr/bin/python
# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""Tells what a PostgreSQL server is, from its files and, if it runs, from itself."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_server_info
short_description: Tell whether a server is a primary or a replica, and how far it is
version_added: 0.2.0
description:
  - Reads the server's files, so that it tells about one that is stopped too, and asks the server if it runs.
  - Needs root on the host; it connects as the user I(login_user) through the Unix socket.
author: [The Fairlead authors (@fairlead)]
options:
  data_dir:
    description: The server's data.
    type: path
    default: /var/lib/postgresql/17/main
  bin_dir:
    description: PostgreSQL's programs.
    type: path
    default: /usr/lib/postgresql/17/bin
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
attributes:
  check_mode:
    description: Changes nothing anyway.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
"""

EXAMPLES = r"""
- name: Look at the server
  fairlead.site.postgresql_server_info:
  register: server
"""

RETURN = r"""
exists:
  description: Whether there is data at all.
  returned: always
  type: bool
replica:
  description: Whether the data is that of a replica, by the file that says so.
  returned: always
  type: bool
system_identifier:
  description: The number that a primary and all copies of it share; empty without data.
  returned: always
  type: str
stopped_cleanly:
  description: Whether it was shut down in good order.
  returned: always
  type: bool
checkpoint_lsn:
  description: Where in the write-ahead log the last checkpoint lies, in bytes.
  returned: always
  type: int
free_bytes:
  description: What the file system of the data has left.
  returned: always
  type: int
running:
  description: Whether the server answers.
  returned: always
  type: bool
in_recovery:
  description: Whether it follows another; only if it runs.
  returned: always
  type: bool
timeline:
  description: Its timeline.
  returned: always
  type: int
lsn:
  description: How much of the write-ahead log it has on disk, in bytes; 0 if it does not run.
  returned: always
  type: int
last_transaction:
  description: Time of the last transaction that a replica has replayed, empty if it has seen none.
  returned: always
  type: str
upstream:
  description: Of a replica that streams - C(address), and C(known_lsn), where the primary last said that it was.
  returned: always
  type: dict
replicas:
  description: Who streams from it - C(name), C(address), C(state), C(sync), C(behind_bytes), C(behind_seconds).
  returned: always
  type: list
  elements: dict
slots:
  description: Its replicas' slots - C(name), C(active), C(wal_status), C(held_bytes).
  returned: always
  type: list
  elements: dict
data_bytes:
  description: Size of its databases and its write-ahead log; 0 if it does not run.
  returned: always
  type: int
"""

import os
import re
import subprocess
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fairlead.site.plugins.module_utils.psql import SERVER_OPTIONS, NotRunningError, RefusedError, Server

QUERY = """
SELECT json_build_object(
  'in_recovery', recovering,
  'timeline', CASE WHEN recovering THEN greatest(
      (SELECT timeline_id FROM pg_control_checkpoint()), (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
      (SELECT received_tli FROM pg_stat_wal_receiver))
    ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::int END,
  'lsn', lsn - '0/0'::pg_lsn,
  'last_transaction', coalesce(to_char(pg_last_xact_replay_timestamp(), 'YYYY-MM-DD HH24:MI:SS TZ'), ''),
  'upstream', coalesce((SELECT json_build_object('address', sender_host, 'known_lsn', latest_end_lsn - '0/0'::pg_lsn)
                        FROM pg_stat_wal_receiver WHERE status = 'streaming'), '{}'),
  'replicas', (SELECT coalesce(json_agg(json_build_object(
      'name', application_name, 'address', host(client_addr), 'state', state, 'sync', sync_state,
      'behind_bytes', greatest(lsn - replay_lsn, 0), 'behind_seconds', coalesce(round(extract(epoch FROM replay_lag), 1), 0))
      ORDER BY application_name), '[]') FROM pg_stat_replication WHERE state IN ('streaming', 'catchup')),
  'slots', (SELECT coalesce(json_agg(json_build_object(
      'name', slot_name, 'active', active, 'wal_status', wal_status, 'held_bytes', greatest(lsn - restart_lsn, 0))
      ORDER BY slot_name), '[]') FROM pg_replication_slots WHERE slot_type = 'physical'),
  'data_bytes', (SELECT sum(pg_database_size(oid)) FROM pg_database) + (SELECT coalesce(sum(size), 0) FROM pg_ls_waldir())
) FROM (SELECT pg_is_in_recovery() AS recovering,
               CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                    ELSE pg_current_wal_flush_lsn() END AS lsn) AS s
"""
STOPPED: dict[str, Any] = {
    "running": False,
    "in_recovery": False,
    "lsn": 0,
    "last_transaction": "",
    "upstream": {},
    "replicas": [],
    "slots": [],
    "data_bytes": 0,
}


def control(bin_dir: str, data_dir: str) -> dict[str, str]:
    """What pg_control says, by pg_controldata's own words for it; nothing where there is no cluster."""
    if not os.path.exists(f"{data_dir}/global/pg_control"):
        return {}
    done = subprocess.run([f"{bin_dir}/pg_controldata", data_dir], env={"LC_ALL": "C"}, capture_output=True, text=True, check=True)
    return dict(re.findall(r"^(.+?): +(.*)$", done.stdout, re.M))


def lsn(text: str) -> int:
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def free_bytes(path: str) -> int:
    """What root's processes may still write there, or where it will be made."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **SERVER_OPTIONS,
            "data_dir": {"type": "path", "default": "/var/lib/postgresql/17/main"},
            "bin_dir": {"type": "path", "default": "/usr/lib/postgresql/17/bin"},
        },
        supports_check_mode=True,
    )
    data_dir = module.params["data_dir"]
    found = control(module.params["bin_dir"], data_dir)
    result = {
        "exists": os.path.exists(f"{data_dir}/PG_VERSION"),
        "replica": os.path.exists(f"{data_dir}/standby.signal"),
        "system_identifier": found.get("Database system identifier", ""),
        "stopped_cleanly": found.get("Database cluster state", "").startswith("shut down"),
        "checkpoint_lsn": lsn(found.get("Latest checkpoint location", "0/0")),
        "timeline": int(found.get("Latest checkpoint's TimeLineID", "0")),
        "free_bytes": free_bytes(data_dir),
    }
    try:
        result |= {"running": True} | Server(module.params).ask(QUERY)
    except NotRunningError:
        result |= STOPPED
    except RefusedError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
