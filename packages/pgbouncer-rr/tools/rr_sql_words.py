#!/usr/bin/env python3
"""Print src/rr_sql_words.inc: the words that the SQL classifier knows, from a running PostgreSQL 17.

Connects as psql does (PGHOST, PGUSER ...), to any database that has only what initdb made.
"""

import bisect
import re
import subprocess
import sys

VERSION = "17"

# Words of which the C source speaks by name (W_SELECT ...).
NAMED = """
abort analyse analyze and as begin by chain commit committed constraints copy cross cube
deferrable delete distinct end explain for full group grouping inner insert into isolation join key
left level materialized merge natural no not on only operator order outer partition read recursive
repeatable reset right rollback rollup select serializable set sets share show start stdout table tablesample to
transaction uncommitted update values verbose with work write
"""

# Keywords that become reserved only after PostgreSQL 13, so that an older server takes them for a function;
# and treat, which calls the function of pg_catalog that is called like the type.
NOT_SYNTAX = """
json json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar json_serialize
json_table json_value merge_action system_user treat
"""

# Volatile or parallel-restricted, yet they change nothing and tell nothing of one server or session.
READS = """
age array_sample array_shuffle clock_timestamp current_schema current_schemas gen_random_uuid
pg_get_viewdef pg_partition_ancestors pg_partition_tree pg_sleep pg_sleep_for pg_sleep_until random random_normal timeofday
"""

# Stable and parallel safe, yet they tell of the session or of the one server.
SERVER_OR_SESSION = """
current_setting fmgr_c_validator fmgr_internal_validator fmgr_sql_validator pg_available_extension_versions
pg_available_extensions pg_client_encoding pg_current_snapshot pg_extension_update_paths
pg_get_replication_slots pg_is_other_temp_schema pg_postmaster_start_time pg_replication_origin_oid
pg_show_all_settings pg_tablespace_location pg_timezone_abbrevs pg_timezone_names txid_current_snapshot
"""

# A sequence's own columns run ahead on a replica; last_value is a window function too.
SEQUENCE_COLUMNS = "is_called last_value log_cnt"

# A function that takes or gives one of these is called by the server itself, not by a query.
INTERNAL_TYPES = """
internal cstring trigger event_trigger language_handler fdw_handler index_am_handler table_am_handler tsm_handler
"""


def sql_array(words: str) -> str:
    """Return the words as an array of PostgreSQL."""
    return "'{" + ",".join(words.split()) + "}'"


FUNCTIONS = f"""
select p.proname
from pg_catalog.pg_proc p
where p.pronamespace = 'pg_catalog'::regnamespace
group by p.proname
having bool_and(
    p.prokind <> 'p'
    and (p.provolatile <> 'v' and p.proparallel = 's' or p.proname = any ({sql_array(READS)}))
    and p.proname <> all ({sql_array(SERVER_OR_SESSION + SEQUENCE_COLUMNS)})
    and not p.prorettype::regtype::text = any ({sql_array(INTERNAL_TYPES)})
    and not exists (
        select from unnest(p.proargtypes::oid[]) t where t::regtype::text = any ({sql_array(INTERNAL_TYPES)})))
"""

VIEWS = """
select c.relname, regexp_replace(pg_get_viewdef(c.oid), '\\s+', ' ', 'g')
from pg_catalog.pg_class c
where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'v'
"""


BUCKETS = 1024


def bucket(word: str) -> int:
    """Return the word's bucket; find_word() in rr_sql.c does the same."""
    return (len(word) * 31 + ord(word[0]) * 67 + ord(word[len(word) // 2]) * 73 + ord(word[-1]) * 101) % BUCKETS


def query(sql: str) -> list[list[str]]:
    """Return the rows of one query, by psql."""
    run = subprocess.run(["psql", "-XqAtF", "\t", "-c", sql], check=True, capture_output=True, text=True)
    return [line.split("\t") for line in run.stdout.splitlines()]


def server_views(functions: set[str]) -> list[str]:
    """Return the views of pg_catalog that call a function which is not on the list, or read such a view."""
    unlisted = {row[0] for row in query("select distinct proname from pg_catalog.pg_proc")} - functions
    definitions = dict(query(VIEWS))
    found = {name for name, text in definitions.items() if unlisted & set(re.findall(r"(\w+)\(", text))}
    while more := {name for name, text in definitions.items() if name not in found and found & set(re.findall(r"\w+", text))}:
        found |= more
    return sorted(found)


def main() -> None:
    """Print the table."""
    if query("show server_version_num")[0][0][:2] != VERSION:
        sys.exit(f"rr_sql_words: PostgreSQL {VERSION} is needed, for one list whoever generates it")
    words: dict[str, list[str]] = {}
    for word, category in query("select word, catcode from pg_catalog.pg_get_keywords()"):
        syntax = category in "RC" and word not in NOT_SYNTAX.split()
        words[word] = ["KEYWORD", "SYNTAX"] if syntax else ["KEYWORD"]
    functions = {row[0] for row in query(FUNCTIONS)}
    for word in sorted(functions):
        words.setdefault(word, []).append("FUNCTION")
    for word in server_views(functions) + SEQUENCE_COLUMNS.split():
        words.setdefault(word, []).append("HOME")
    ordered = sorted(words, key=lambda word: (bucket(word), word))
    print(f"/* Generated by tools/rr_sql_words.py from PostgreSQL {VERSION}; sorted by bucket. */")
    print("static const struct rr_word rr_words[] = {")
    for word in ordered:
        flags = " | ".join(f"RR_WORD_{flag}" for flag in words[word])
        number = "W_NONE" if "KEYWORD" not in words[word] else f"W_{word.upper()}" if word in NAMED.split() else "W_OTHER"
        print(f'\t{{"{word}", {len(word)}, {flags}, {number}}},')
    print("};")
    print(f"#define RR_WORD_MAX {max(map(len, words))}")
    print(f"#define RR_WORD_BUCKETS {BUCKETS}")
    print("/* Where each bucket begins, and the end. */")
    print("static const unsigned short rr_word_buckets[RR_WORD_BUCKETS + 1] = {")
    buckets = [bucket(word) for word in ordered]
    starts = [bisect.bisect_left(buckets, number) for number in range(BUCKETS + 1)]
    for i in range(0, len(starts), 16):
        print("\t" + " ".join(f"{start}," for start in starts[i : i + 16]))
    print("};")


if __name__ == "__main__":
    main()
