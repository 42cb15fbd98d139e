"""Secrets are replaced while visitors come, and no request fails; the former ones are worthless afterwards."""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import ADDRESSES, DOMAIN, Run
from leaks import command_lines, leaked
from scenario import registry_login

On = Callable[[str], Any]

MINE = f"https://{DOMAIN}/mine/"
PASSWORD = "correct-horse-7-staple"
SECRETS = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "secrets"


def current(name: str) -> str:
    return (SECRETS / f"{name}.txt").read_text().strip()


def log_in(session: requests.Session) -> None:
    page = session.get(MINE)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert token, page.text
    form = {"username": "anna", "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
    assert session.post(page.url, form, headers={"Referer": page.url}).url == MINE


@pytest.fixture
def author(on: On, visitor: requests.Session) -> requests.Session:
    """A visitor who has logged in."""
    create = "docker exec -e AUTHOR_PASSWORD=%s $(docker ps -q) python manage.py createauthor anna"
    on("app1").check_output(create, PASSWORD)
    log_in(visitor)
    return visitor


@pytest.fixture
def idle(author: requests.Session) -> list[requests.Session]:
    """Two more who have logged in, and then do nothing."""
    sessions = [requests.Session(), requests.Session()]
    for session in sessions:
        session.trust_env, session.verify = False, author.verify
        log_in(session)
    return sessions


@contextmanager
def load(session: requests.Session) -> Iterator[Counter[str]]:
    """Requests of the one who has logged in, one after the other: what came of each."""
    results: Counter[str] = Counter()
    stop = threading.Event()

    def visit() -> None:
        while not stop.wait(0.05):
            try:
                # Of its own connection: nginx closes one that is kept when it reloads, and a browser asks again then.
                answer = session.get(MINE, timeout=20, headers={"Connection": "close"})
                results[f"{answer.status_code} {answer.url}"] += 1
            except requests.RequestException as error:
                results[repr(error)] += 1

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        yield results
    finally:
        stop.set()
        thread.join()


def rotate(playbook: Callable[..., Run], on: On, secret: str, **variables: Any) -> tuple[str, str]:
    """Rotate, shown as closely as can be, and return the former and the new value, which are nowhere that they need not be."""
    before = current(secret)
    hosts = [on(name) for name in ("app1", "db1", "store1")]
    with command_lines(*hosts) as lines:
        run = playbook("playbooks/rotate.yml", "-vvv", "--diff", secret=secret, **variables)
    assert run.code == 0, run.output
    values = {before, current(secret)}
    for value in values:
        assert value not in run.output
        assert not any(value in line for line in lines)
    for host in hosts:
        assert leaked(host, values) == {}
    return before, current(secret)


def test_a_release_of_before_is_not_left_without_its_password(playbook: Callable[..., Run]) -> None:
    # One to go back from: a host that is new may have no release but the last.
    run = playbook("playbooks/deploy.yml", site_environment_variables={"LOG_LEVEL": "DEBUG"})
    assert run.code == 0, run.output[-3000:]
    run = playbook("playbooks/rollback.yml")
    assert run.code == 0, run.output[-3000:]
    before = {path.name: path.read_text() for path in SECRETS.iterdir()}
    run = playbook("playbooks/rotate.yml", secret="database_password")
    assert run.code != 0 and run.changes == 0
    assert "serves since a rollback" in run.sentence and "Run `make deploy` first" in run.sentence
    assert {path.name: path.read_text() for path in SECRETS.iterdir()} == before
    assert playbook("playbooks/deploy.yml").code == 0


def test_the_databases_password(playbook: Callable[..., Run], on: On, primary: Callable[[], str], author: requests.Session) -> None:
    app, server = on("app1"), on(primary())
    connect = (
        "print(psycopg.connect(host='/run/demo-pooler', port=6432, dbname='default').execute('SELECT session_user').fetchone()[0])"
    )
    ask = f'docker exec -e PGPASSWORD=%s -e PGUSER=%s $(docker ps -q) python -c "import psycopg; {connect}"'
    names = "runuser -u postgres -- psql -XAtq -c %s"
    logins = r"SELECT rolname FROM pg_roles WHERE rolname ~ '^demo_[0-9a-f]{8}$'"
    former_user = server.check_output(names, logins)
    with load(author) as results:
        former, new = rotate(playbook, on, "database_password")
    assert set(results) == {f"200 {MINE}"} and results.total() > 100
    assert former != new
    user = server.check_output(names, logins)
    assert user != former_user
    assert app.check_output(ask, new, user) == user
    assert app.run(ask, former, former_user).rc != 0
    assert app.run(ask, former, user).rc != 0


def test_djangos_key(playbook: Callable[..., Run], on: On, author: requests.Session, idle: list[requests.Session]) -> None:
    early, late = idle
    with load(author) as results:
        former, new = rotate(playbook, on, "secret_key")
    assert set(results) == {f"200 {MINE}"} and results.total() > 100
    assert former != new
    assert early.get(MINE).url == MINE
    with load(author) as results:
        rotate(playbook, on, "secret_key", retire=True)
    assert set(results) == {f"200 {MINE}"} and results.total() > 20
    assert early.get(MINE).url == MINE
    assert "login" in late.get(MINE).url


@pytest.mark.parametrize("user", ["pull", "push"])
def test_a_registrys_password(playbook: Callable[..., Run], on: On, author: requests.Session, user: str) -> None:
    registry = f"{ADDRESSES['store1']}:5000"
    with load(author) as results:
        former, new = rotate(playbook, on, f"registry_{user}_password")
    assert set(results) == {f"200 {MINE}"} and results.total() > 20
    assert "401 Unauthorized" in registry_login(on("app1"), registry, user, former)
    assert "Login Succeeded" in registry_login(on("app1"), registry, user, new)


def test_the_authority(playbook: Callable[..., Run], on: On, author: requests.Session) -> None:
    """What it had vouched for is worth nothing afterwards, neither to a host that is asked nor to one that asks."""
    edge = on("edge1")
    edge.check_output("rm -rf /run/former && cp -a /etc/nginx/tls /run/former")
    ask = (
        f"curl -s -o /dev/null -w '%%{{http_code}}' -H 'Host: {DOMAIN}' --cacert %s/internal-ca.crt --cert %s/internal.crt"
        f" --key %s/internal.key --connect-to app.demo.internal:443:{ADDRESSES['app1']}:443 https://app.demo.internal/"
    )
    former, now = "/run/former", "/etc/nginx/tls"
    assert edge.run(ask, former, former, former).stdout == "200"
    with load(author) as results:
        run = playbook("playbooks/rotate_authority.yml")
    assert run.code == 0, run.output[-3000:]
    assert set(results) == {f"200 {MINE}"} and results.total() > 500
    assert edge.run(ask, now, now, now).stdout == "200"
    assert edge.run(ask, now, former, former).stdout == "400"
    assert edge.run(ask, former, now, now).stdout == "000"
    edge.check_output("rm -r /run/former")


def test_nothing_is_left_to_do(playbook: Callable[..., Run]) -> None:
    run = playbook("site.yml")
    assert run.code == 0, run.output
    assert run.changed == []
