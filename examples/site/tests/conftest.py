import http.client
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User
from articles.models import Article

SITE = Path(__file__).resolve().parent.parent


class HTTPSClient(Client):
    """Asks as the proxy does for a visitor over TLS."""

    def generic(self, *args, **kwargs):
        return super().generic(*args, **{"HTTP_HOST": "testserver", "HTTP_X_FORWARDED_PROTO": "https"} | kwargs | {"secure": True})


@pytest.fixture
def client():
    return HTTPSClient(enforce_csrf_checks=True)


@pytest.fixture
def author():
    author = User.objects.create_user("ada", first_name="Ada", last_name="Byron")
    author.user_permissions.add(Permission.objects.get(codename="add_article"))
    return author


@pytest.fixture
def article(author):
    return Article.objects.create(
        author=author, title="Tides", summary="When to sail", body="With the ebb.", status=Article.STATUS.published
    )


@pytest.fixture
def environment():
    """A clean environment, with what the site needs and nothing else of ours."""

    def compose(settings="production", without=(), **changes):
        composed = os.environ | {"DJANGO_SETTINGS_MODULE": f"config.settings.{settings}"} | changes
        return {name: value for name, value in composed.items() if name not in without}

    return compose


@pytest.fixture
def manage(environment):
    def run(*arguments, **changes):
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=SITE, env=environment(**changes), capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


@pytest.fixture
def migrated(manage):
    """Makes an empty database of its own with the tables of a settings module."""

    def make(settings):
        name = f"{settings}_served"
        host, user = os.environ["DATABASE_HOST"], os.environ["DATABASE_USER"]
        with psycopg.connect(host=host, user=user, dbname="postgres", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name}")
            connection.execute(f"CREATE DATABASE {name}")
        result = manage("migrate", settings=settings, DATABASE_NAME=name, DATABASE_REPLICA_NAME=name)
        assert result.returncode == 0, result.stderr
        return name

    return make


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("testserver", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


class Server:
    def __init__(self, path, log):
        self.path = path
        self.log = log

    def get(self, url, **headers):
        connection = UnixConnection(self.path)
        connection.request("GET", url, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        response.body = response.read()
        connection.close()
        return response

    def listens(self):
        with closing(UnixConnection(self.path)) as connection, suppress(OSError):
            connection.connect()
            return True
        return False

    def lines(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def serve(environment, tmp_path):
    """The real server, on a unix socket as in production."""

    @contextmanager
    def start(settings="production", **changes):
        path, log = tmp_path / "gunicorn.sock", tmp_path / "log"
        command = ["gunicorn", "--bind", f"unix:{path}", "--no-control-socket", "config.wsgi:application"]
        with log.open("w") as output:
            process = subprocess.Popen(
                command, cwd=SITE, env=environment(settings, **changes), stdout=output, stderr=subprocess.STDOUT
            )
        try:
            server, deadline = Server(path, log), time.monotonic() + 20
            # The socket's file is there a moment before anybody listens.
            while not server.listens():
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield server
        finally:
            process.terminate()
            assert process.wait(timeout=20) == 0

    return start
