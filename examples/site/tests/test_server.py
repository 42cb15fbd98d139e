"""The real server with production's settings: health, logs, static files."""

import gzip
import json
import re

import pytest
from django.conf import settings

PROXY = {"X_Forwarded_Proto": "https", "X_Request_ID": "abc-123"}


def test_health_and_pages_with_the_databases_up(serve, migrated):
    name = migrated("production")
    with serve(DATABASE_NAME=name, DATABASE_REPLICA_NAME=name) as server:
        assert server.get("/health/live").status == 200
        ready = server.get("/health/ready")
        assert ready.status == 200
        assert json.loads(ready.body) == {"status": "ok", "databases": {"default": "ok", "replica": "ok"}}
        assert "no-store" in ready.headers["Cache-Control"]
        page = server.get("/", **PROXY)
        assert page.status == 200
        assert re.search(rb"/static/site\.[0-9a-f]{12}\.css", page.body)


def test_health_with_the_database_down(serve, tmp_path):
    with serve(DATABASE_HOST=str(tmp_path)) as server:
        assert server.get("/health/live").status == 200
        ready = server.get("/health/ready")
        assert ready.status == 503
        assert json.loads(ready.body)["databases"] == {"default": "failed", "replica": "failed"}
        assert str(tmp_path).encode() not in ready.body
        assert any("Database default does not answer" in line["message"] for line in server.lines())


def test_health_with_the_replica_down(serve):
    with serve(DATABASE_REPLICA_NAME="missing") as server:
        ready = server.get("/health/ready")
        assert ready.status == 503
        assert json.loads(ready.body)["databases"] == {"default": "ok", "replica": "failed"}


def test_every_line_of_the_log_is_json_with_the_request_s_id(serve, tmp_path):
    with serve(DATABASE_HOST=str(tmp_path), RELEASE="r7", ENVIRONMENT="staging") as server:
        response = server.get("/", **PROXY)
        assert response.status == 500
        assert response.headers["X-Request-ID"] == "abc-123"
        server.get("/health/live", X_Request_ID="health")
        assert server.get("/nothing/", X_Forwarded_Proto="https", X_Request_ID="refused").status == 404
        lines = server.lines()
    assert all(line["release"] == "r7" and line["environment"] == "staging" for line in lines)
    assert any(line["logger"] == "gunicorn.error" for line in lines)
    assert not any(line.get("request_id") == "health" for line in lines)
    error, refused = [line for line in lines if line["logger"] == "django.request"]
    assert refused["request_id"] == "refused"
    assert error["request_id"] == "abc-123" and "OperationalError" in error["exception"]
    [request, _] = [line for line in lines if line["logger"] == "site.request"]
    assert (request["request_id"], request["status"], request["path"]) == ("abc-123", 500, "/")
    assert request["duration_ms"] > 0


@pytest.mark.parametrize("given", [None, "", "two words", 'x"}', "x" * 129])
def test_a_request_without_a_sound_id_gets_one(client, given):
    response = client.get("/health/live", headers={"X-Request-ID": given} if given is not None else {})
    assert re.fullmatch(r"[0-9a-f]{32}", response["X-Request-ID"])


def test_static_files_are_hashed_and_precompressed():
    manifest = json.loads((settings.STATIC_ROOT / "staticfiles.json").read_text())["paths"]
    for name in ("site.css", "admin/css/base.css", "admin/js/core.js"):
        hashed = settings.STATIC_ROOT / manifest[name]
        assert re.search(r"\.[0-9a-f]{12}\.(css|js)$", hashed.name)
        assert gzip.decompress(hashed.with_name(f"{hashed.name}.gz").read_bytes()) == hashed.read_bytes()
        brotli = hashed.with_name(f"{hashed.name}.br")
        assert 0 < brotli.stat().st_size < hashed.stat().st_size
