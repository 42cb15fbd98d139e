"""Judges a release in its own image, and migrates. Archived with django-migration-linter beside it, and run as

    python judge.zip '{"manage": "manage.py", "debug_allowed": false, "gates": [["check", "--deploy"]], "migrations": true}'
    python judge.zip '{"manage": "manage.py", "migrate": true, "session": {"lock_timeout": "5s"}}'

It uses nothing but Django of the image and says what it found in one line of JSON after MARK. No setting is needed in the image.
"""

import contextlib
import io
import json
import runpy
import sys
import traceback

MARK = "fairlead-judge:"
# What takes away a thing that running code may ask for, where the linter cannot tell.
DESTRUCTIVE = {"AlterModelTable", "DeleteModel", "RemoveField", "RenameField", "RenameModel"}


def command(manage, arguments):
    """Run a management command as the image runs it: its exit status and its words."""
    words, status = io.StringIO(), 0
    sys.argv = [manage, *arguments]
    with contextlib.redirect_stdout(words), contextlib.redirect_stderr(words):
        try:
            runpy.run_path(manage, run_name="__main__")
        except SystemExit as error:
            status = error.code
            if isinstance(status, str):
                print(status)
        except Exception:
            traceback.print_exc()
            status = 1
    return bool(status), words.getvalue()


def limit(session):
    """Settings of each session on PostgreSQL. PGOPTIONS would not count where the image's OPTIONS have `options` of their own."""
    from django.db.backends.signals import connection_created

    def set_up(connection, **_):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                for name, value in session.items():
                    cursor.execute("SELECT set_config(%s, %s, false)", [name, value])

    connection_created.connect(set_up, weak=False)


def debug():
    import django
    from django.conf import settings

    django.setup()
    return settings.DEBUG, f"DEBUG is {settings.DEBUG!r} in {settings.SETTINGS_MODULE}"


def migrations():
    """The applied heads of each app, and the migrations that this release brings, each with what is said against it."""
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    graph, applied = executor.loader.graph, executor.loader.applied_migrations
    known = {node[0] for node in applied}
    pending = [migration for migration, _ in executor.migration_plan(graph.leaf_nodes())]
    # What an app begins with is on its own tables, which nobody uses yet.
    judged = [migration for migration in pending if migration.app_label in known]
    lint, unlinted = linter() if judged else (None, "")
    items, notes = [], []
    for migration in pending:
        errors = []
        if migration in judged:
            name = f"{migration.app_label}.{migration.name}"
            try:
                errors, warnings = lint(migration) if lint else (plain(migration), [])
                notes += [f"{name}: {warning}" for warning in warnings]
            except Exception as error:
                errors, unlinted = plain(migration), f"{name}: {type(error).__name__}: {error}"
        items.append(
            {
                "name": f"{migration.app_label}.{migration.name}",
                "irreversible": not all(operation.reversible for operation in migration.operations),
                "errors": errors,
            }
        )
    return {"pending": items, "notes": notes, "unlinted": unlinted, "heads": heads(graph, applied)}


def heads(graph, applied):
    """The last applied migration of each app."""
    found = {}
    for leaf in graph.leaf_nodes():
        for node in graph.forwards_plan(leaf):
            if node in applied and node[0] == leaf[0]:
                found[node[0]] = node[1]
    return found


def plain(migration):
    return sorted({type(operation).__name__ for operation in migration.operations} & DESTRUCTIVE)


def linter():
    """A function from a migration to what breaks running code and what locks long; or why there is none."""
    try:
        from django_migration_linter import MigrationLinter
        from django_migration_linter.sql_analyser import analyse_sql_statements

        found = MigrationLinter(no_cache=True, no_output=True)
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"

    def lint(migration):
        sql = found.get_sql(migration.app_label, migration.name)
        errors, _, warnings = analyse_sql_statements(found.sql_analyser_class, sql, [])
        more_errors, _, more_warnings = found.analyse_data_migration(migration)
        return [text(issue) for issue in errors + more_errors], [text(issue) for issue in warnings + more_warnings]

    return lint, ""


def text(issue):
    place = ".".join(part for part in (issue.table, issue.column) if part)
    return issue.message + (f" ({place})" if place else "")


def judge(request):
    if request.get("session"):
        limit(request["session"])
    gates = [(gate[0], lambda gate=gate: command(request["manage"], gate)) for gate in request.get("gates", [])]
    if not request.get("debug_allowed", True):
        gates.insert(0, ("debug", debug))
    if request.get("migrate"):
        gates += [
            ("migrate", lambda: command(request["manage"], ["migrate", "--noinput"])),
            ("migrate --check", lambda: command(request["manage"], ["migrate", "--check"])),
        ]
    for name, gate in gates:
        refused, words = gate()
        if refused:
            answer = {"refused_by": name, "words": words}
            if request.get("migrate"):
                # Some may have been applied before one was not.
                with contextlib.suppress(Exception):
                    answer["heads"] = migrations()["heads"]
            return answer
    answer = {"refused_by": "", "words": ""}
    if request.get("migrations") or request.get("migrate"):
        import django

        django.setup()
        answer |= migrations()
    return answer


def main():
    sys.path.insert(0, "")
    try:
        answer = judge(json.loads(sys.argv[1]))
    except Exception:
        answer = {"refused_by": "its own start", "words": traceback.format_exc()}
    print(f"\n{MARK}{json.dumps(answer)}", flush=True)


main()
