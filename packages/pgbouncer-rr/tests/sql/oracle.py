"""What a text is by PostgreSQL's own grammar (libpg_query): the judge of the classifier.

Shares nothing with the classifier but the list of functions, which is data.
"""

import json
import re
from pathlib import Path
from typing import Any

from pglast.parser import ParseError, parse_sql_json, scan

WORDS = Path(__file__).parents[2] / "src" / "rr_sql_words.inc"
FUNCTIONS = frozenset(re.findall(r'^\t\{"(\w+)", \d+, [^,]*RR_WORD_FUNCTION', WORDS.read_text(), re.MULTILINE))
TRANSACTION_END = {"TRANS_STMT_COMMIT", "TRANS_STMT_ROLLBACK"}


class RefusedError(Exception):
    """PostgreSQL does not accept the text, so any classification will do."""


def kind(sql: str) -> str:
    """Return the kind of a text, or raise RefusedError."""
    try:
        statements = json.loads(parse_sql_json(sql)).get("stmts", [])
    except (ParseError, ValueError, RecursionError) as error:
        raise RefusedError from error
    if not statements:
        return "empty"
    if len(statements) > 1:
        return "write"
    ((name, node),) = statements[0]["stmt"].items()
    if name == "TransactionStmt":
        return _transaction(node)
    if name in ("VariableSetStmt", "VariableShowStmt"):
        return "session"
    return "read" if _is_read(name, node) else "write"


def _is_read(name: str, node: dict[str, Any]) -> bool:
    if name == "ExplainStmt":
        return "SelectStmt" in node["query"] and _only_reads(node["query"])
    if name == "CopyStmt":
        to_client = not (node.get("is_from") or node.get("is_program") or node.get("filename"))
        return to_client and ("query" not in node or "SelectStmt" in node["query"]) and _only_reads(node)
    return name == "SelectStmt" and _only_reads(node)


def _only_reads(root: Any) -> bool:
    pending = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            for key, value in node.items():
                if key in ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "intoClause", "lockingClause"):
                    return False
                if key == "FuncCall" and not _reads(value["funcname"]):
                    return False
                if key == "RangeTableSample" and not _reads(value["method"], {"bernoulli", "system"}):
                    return False
                pending.append(value)
    return True


def _reads(name: list[dict[str, Any]], functions: frozenset[str] | set[str] = FUNCTIONS) -> bool:
    parts = [part["String"].get("sval", "") for part in name]
    return parts[-1] in functions and parts[:-1] in ([], ["pg_catalog"])


def _transaction(node: dict[str, Any]) -> str:
    if node["kind"] in TRANSACTION_END:
        return "write" if node.get("chain") else "commit or rollback"
    if node["kind"] not in ("TRANS_STMT_BEGIN", "TRANS_STMT_START"):
        return "write"
    modes = [json.dumps(option["DefElem"]) for option in node.get("options", [])]
    only = [mode for mode in modes if '"transaction_read_only"' in mode]
    read_only = bool(only) and all('"ival": 1' in mode for mode in only)
    serializable = any('"serializable"' in mode for mode in modes)
    return "begin read only" if read_only and not serializable else "begin"


def tokens(sql: str) -> list[str]:
    """Return the tokens of a text by PostgreSQL's own scanner, comments left out; none if it refuses."""
    try:
        found = scan(sql)
    except (ParseError, ValueError):
        return []
    return [sql[t.start : t.end + 1] for t in found if t.name not in ("SQL_COMMENT", "C_COMMENT")]
