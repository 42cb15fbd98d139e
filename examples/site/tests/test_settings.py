import subprocess

import pytest

from config.environment import read
from conftest import SITE

REQUIRED = ["SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_HOST", "DATABASE_NAME", "DATABASE_USER", "DATABASE_PASSWORD"]


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("left", [None, ""])
def test_what_is_missing_is_named_in_one_sentence(manage, name, left):
    changes = {"without": [name]} if left is None else {name: left}
    result = manage("check", **changes)
    assert result.returncode == 1
    assert result.stderr == f"manage.py: {name} is missing: set {name}, or {name}_FILE to a file that holds it.\n"


def test_a_value_may_come_from_a_file(monkeypatch, tmp_path):
    path = tmp_path / "secret"
    path.write_text(" kept as it is \n")
    monkeypatch.setenv("THING_FILE", str(path))
    assert read("THING") == " kept as it is "


def test_a_file_that_is_not_there_is_named_in_one_sentence(manage):
    result = manage("check", without=["SECRET_KEY"], SECRET_KEY_FILE="/run/secrets/none")
    assert result.stderr == (
        "manage.py: SECRET_KEY_FILE names /run/secrets/none, which cannot be read (No such file or directory): "
        "mount a readable file there.\n"
    )


def test_a_value_given_twice_is_refused(manage):
    result = manage("check", DATABASE_USER_FILE="/run/secrets/user")
    assert result.stderr == "manage.py: DATABASE_USER and DATABASE_USER_FILE are both set: unset one of them.\n"


def test_the_server_does_not_start_without_its_settings(environment, tmp_path):
    command = ["gunicorn", "--bind", f"unix:{tmp_path}/socket", "--no-control-socket", "config.wsgi:application"]
    result = subprocess.run(command, cwd=SITE, env=environment(without=["SECRET_KEY"]), capture_output=True, text=True, timeout=30)
    assert result.returncode != 0
    assert "SECRET_KEY is missing: set SECRET_KEY" in result.stdout


def test_production_passes_the_deployment_check_without_its_database(manage, tmp_path):
    result = manage("check", "--deploy", "--fail-level", "WARNING", DATABASE_HOST=str(tmp_path))
    assert (result.returncode, result.stdout) == (0, "System check identified no issues (0 silenced).\n")


def test_no_environment_turns_debug_on_in_production(manage):
    code = "from django.conf import settings; print(settings.DEBUG, settings.INSTALLED_APPS)"
    result = manage("shell", "-v", "0", "-c", code, DEBUG="True", DJANGO_DEBUG="1", ENVIRONMENT="development")
    assert result.stdout.startswith("False ")
    assert not any(tool in result.stdout for tool in ("silk", "django_extensions", "django_query_profiler"))


def test_the_connection_suits_a_transaction_pooler(manage):
    code = "from django.db import connection; connection.ensure_connection(); print(connection.settings_dict)"
    settings = manage("shell", "-v", "0", "-c", code).stdout
    assert "'DISABLE_SERVER_SIDE_CURSORS': True" in settings
    assert "'CONN_MAX_AGE': 60" in settings and "'CONN_HEALTH_CHECKS': True" in settings
    assert "server_side_binding" not in settings


def test_the_migrations_are_complete(manage):
    result = manage("makemigrations", "--check", "--dry-run")
    assert result.returncode == 0, result.stdout
