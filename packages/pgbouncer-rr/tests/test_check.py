"""The program that tests rule files."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "tools" / "fairlead-rr"
RULES = """
def routing_rules(username, query):
    if "boom" in query:
        raise ValueError("boom")
    return {"reports": "readers", "odd": 7}.get(username)
"""
REWRITE = """
def rewrite_query(username, query):
    return query.replace("/* tenant */", f"/* {username} */") if "none" not in query else None
"""
THREE = "def routing_rules(username, query, in_transaction): return 'inside' if in_transaction else 'outside'"


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="rr-check-") as folder:
        yield Path(folder)


def check(folder, rules, cases, *options):
    """The exit code and all that was printed."""
    (folder / "rules.py").write_text(rules)
    (folder / "rules.py").chmod(0o644)
    (folder / "cases.yml").write_text(cases)
    return run(folder, *options)


def run(folder, *options, files=("rules.py", "cases.yml")):
    done = subprocess.run(
        [sys.executable, "-I", PROGRAM, "check", *options, *(folder / file for file in files)],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("rules", "case", "answer"),
    [
        (RULES, "{username: reports, query: SELECT 1, target: readers}", None),
        (RULES, "{username: alice, query: SELECT 1, target: null}", None),
        (RULES, "{username: alice, query: SELECT 1, target: readers}", "target is None, not 'readers'"),
        (RULES, "{username: reports, query: SELECT 1, target: null}", "target is 'readers', not None"),
        (RULES, "{username: odd, query: SELECT 1, target: x}", "routing_rules returned int instead of str"),
        (RULES, "{username: a, query: boom, target: null}", "routing_rules raised ValueError: boom"),
        (REWRITE, "{username: a, query: S /* tenant */, rewritten: S /* a */}", None),
        (REWRITE, "{username: a, query: S, rewritten: T}", "rewritten is 'S', not 'T'"),
        (REWRITE, "{username: a, query: none, rewritten: none}", "rewrite_query returned None instead of str"),
        (THREE, "{username: a, query: S, target: outside}", None),
        (THREE, "{username: a, query: S, in_transaction: true, target: inside}", None),
        (THREE, "{username: a, query: S, in_transaction: true, target: outside}", "target is 'inside', not 'outside'"),
        # route after rewrite
        (
            REWRITE + "def routing_rules(username, query): return 'hers' if '/* alice */' in query else None",
            "{username: alice, query: S /* tenant */, target: hers, rewritten: S /* alice */}",
            None,
        ),
    ],
)
def test_case(folder, rules, case, answer):
    code, out = check(folder, rules, f"- {case}\n")
    if answer is None:
        assert (code, out.splitlines()[-1]) == (0, "all 1 cases hold"), out
    else:
        assert (code, out.splitlines()[-1]) == (1, "1 of 1 cases failed"), out
        assert answer in out


def test_each_case_is_told(folder):
    cases = "- {username: reports, query: A, target: readers}\n- {username: alice, query: B, target: x}\n"
    code, out = check(folder, RULES, cases)
    assert code == 1
    assert out.splitlines()[0] == "ok     1: reports: A"
    assert out.splitlines()[1] == "FAILED 2: alice: B"


@pytest.mark.parametrize(
    ("rules", "cases", "answer"),
    [
        ("def routing_rules(", "- {username: a, query: S, target: x}", "SyntaxError"),
        ("import no_such_module", "- {username: a, query: S, target: x}", "ModuleNotFoundError"),
        ("x = 1", "- {username: a, query: S, target: x}", "neither routing_rules nor rewrite_query"),
        ("routing_rules = 1", "- {username: a, query: S, target: x}", "not a function"),
        (RULES, "", "must be a list of cases"),
        (RULES, "[", "cases.yml"),
        (RULES, "- S", "must be a mapping"),
        (RULES, "- {username: a, query: S}", "neither target nor rewritten"),
        (RULES, "- {username: a, target: x}", "query is missing"),
        (RULES, "- {username: a, query: S, goal: x}", "unknown key 'goal'"),
        (RULES, "- {username: a, query: 1, target: x}", "query must not be 1"),
        (RULES, "- {username: a, query: S, rewritten: S}", "has no rule for it"),
        (RULES, "- {username: a, query: S, in_transaction: true, target: x}", "third parameter"),
    ],
)
def test_unusable(folder, rules, cases, answer):
    code, out = check(folder, rules, cases + "\n")
    assert code == 2, out
    assert answer in out and "Traceback" not in out


@pytest.mark.parametrize("what", ["file owner", "file mode", "folder owner", "folder mode"])
def test_owners(folder, what):
    """What the pooler refuses is refused, unless told otherwise."""
    case = "- {username: reports, query: SELECT 1, target: readers}\n"
    assert check(folder, RULES, case)[0] == 0
    path = folder if what.startswith("folder") else folder / "rules.py"
    if what.endswith("owner"):
        os.chown(path, 1, 1)
    else:
        path.chmod(path.stat().st_mode | 0o020)
    code, out = run(folder)
    assert code == 2 and ("must be owned by root" in out or "must not be writable" in out), out
    assert run(folder, "--any-owner")[0] == 0


def test_files_that_are_missing(folder):
    assert run(folder)[0] == 2
    (folder / "rules.py").write_text(RULES)
    assert run(folder)[0] == 2


def test_without_cases_the_file_must_be_usable(folder):
    (folder / "rules.py").write_text(RULES)
    assert run(folder, files=["rules.py"])[0] == 0
    (folder / "rules.py").write_text("def routing_rules(username query): pass")
    code, said = run(folder, files=["rules.py"])
    assert code == 2 and "SyntaxError" in said
