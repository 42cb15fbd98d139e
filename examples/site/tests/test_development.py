"""The development settings, served for real: each tool works."""

import json
from urllib.parse import urlsplit

import pytest
from django.conf import settings


@pytest.fixture
def server(serve, migrated):
    name = migrated("development")
    with serve("development", DATABASE_NAME=name, DATABASE_REPLICA_NAME=name) as server:
        yield server


def test_the_tools_look_into_a_request(server):
    page = server.get("/archive/")
    assert page.status == 200
    assert json.loads(page.headers["X-QUERY_PROFILER_SUMMARY_DATA"])["SELECT"] >= 2
    details = server.get(urlsplit(page.headers["X-QUERY_PROFILER_DETAILED_URL"]).path)
    assert details.status == 200 and b"articles_article" in details.body
    silk = server.get("/silk/requests/")
    assert silk.status == 200 and b"/archive/" in silk.body


@pytest.mark.parametrize("command", ["show_urls", "list_model_info", "validate_templates"])
def test_the_extensions_commands_work(manage, command):
    assert manage(command, settings="production").returncode == 1
    result = manage(command, settings="development")
    assert result.returncode == 0, result.stderr


def test_the_tools_static_files_are_in_the_image():
    assert list((settings.STATIC_ROOT / "silk").iterdir())
