"""Reads go to the replicas and everything else home, as the application and its visitors see it, and as the servers count."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from conftest import DOMAIN, Run

SITE = f"https://{DOMAIN}"
APPS = ("app1", "app2")
REPLICAS = ("db2", "db3")
PASSWORD = "correct-horse-7-staple"
On = Callable[[str], Any]

# Run by manage.py in a container. Each prints what was read wrong after a write; or only reads, twenty times.
WRITE_AND_READ = """
import json
from articles.models import Article

article = Article.objects.order_by("pk").first()
summary, stale = article.summary, []
for number in range(100):
    Article.objects.filter(pk=article.pk).update(summary=str(number))
    read = [Article.objects.using(alias).get(pk=article.pk).summary for alias in ("replica", "default")]
    if read != [str(number)] * 2:
        stale.append([number, *read])
Article.objects.filter(pk=article.pk).update(summary=summary)
print(json.dumps(stale))
"""
READ = """
import time
from django.db import transaction
from articles.models import Article

Article.objects.using("{alias}").count()
time.sleep(3)  # what a new connection sets counts as a write: until the replicas have it
with {block}:
    for _ in range(20):
        Article.objects.using("{alias}").count()
"""


def container(on: On, app: str) -> str:
    release = str(on(app).check_output("basename $(readlink /srv/demo/current)"))
    return f"demo-{release}"


def console(on: On, app: str, command: str) -> list[list[str]]:
    ask = "runuser -u postgres -- psql -XAtq -h /run/pgbouncer -p 1 -U pgbouncer -d pgbouncer -c %s"
    return [line.split("|") for line in on(app).check_output(ask, command).splitlines()]


def states(on: On, app: str) -> dict[str, str]:
    return {row[1]: row[3] for row in console(on, app, "SHOW RR_TARGETS")}


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.2)


def scans(on: On, name: str) -> int:
    """How often the server has read the table of articles, as it counts itself."""
    query = "SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'articles_article'"
    return int(on(name).check_output("runuser -u postgres -- psql -XAtq -d demo -c %s", query))


@pytest.fixture(autouse=True)
def well(on: On) -> None:
    """All poolers have found all replicas to be well, and there is something to read."""
    for app in APPS:
        wait_for(lambda app=app: set(states(on, app).values()) == {"well"}, 30, f"{app}: {console(on, app, 'SHOW RR_TARGETS')}")
    there = "runuser -u postgres -- psql -XAtq -d demo -c 'SELECT EXISTS (SELECT FROM articles_article)'"
    if on("db1").check_output(there) == "f":
        on("app1").check_output("docker exec %s python manage.py createsamples", container(on, "app1"))


def test_pages_are_read_on_the_replicas(on: On, visitor: requests.Session, primary: Callable[[], str]) -> None:
    home, others = primary(), [name for name in ("db1", *REPLICAS) if name != primary()]
    links = re.findall(r'href="(/articles/[^"]+)"', visitor.get(f"{SITE}/").text)
    assert links
    time.sleep(11)  # what an idle connection has counted shows after ten seconds
    before = {name: scans(on, name) for name in (home, *others)}
    for _ in range(10):
        assert visitor.get(f"{SITE}/").status_code == 200  # using("replica")
        assert visitor.get(SITE + links[0]).status_code == 200  # the default alias, routed
    wait_for(lambda: sum(scans(on, name) - before[name] for name in others) >= 20, 20, "reads on the replicas")
    assert scans(on, home) == before[home]


@pytest.mark.parametrize("app", APPS)
def test_the_application_reads_what_it_wrote(on: On, app: str) -> None:
    run = "docker exec %s python manage.py shell -v 0 -c %s"
    assert json.loads(on(app).check_output(run, container(on, app), WRITE_AND_READ)) == []


@pytest.mark.parametrize(
    ("alias", "block", "at_home"),
    [
        ("default", "transaction.atomic()", True),
        ("default", "transaction.atomic('replica')", False),
        ("replica", "transaction.atomic()", False),
    ],
)
def test_atomic_blocks_stay_home(on: On, primary: Callable[[], str], alias: str, block: str, at_home: bool) -> None:
    home, others = primary(), [name for name in ("db1", *REPLICAS) if name != primary()]
    before = {name: scans(on, name) for name in (home, *others)}
    code = READ.format(alias=alias, block=block)
    on("app1").check_output("docker exec %s python manage.py shell -v 0 -c %s", container(on, "app1"), code)

    def came(names: list[str]) -> int:
        return sum(scans(on, name) - before[name] for name in names)

    wait_for(lambda: came([home] if at_home else others) >= 20, 20, f"20 reads, home: {came([home])}, replicas: {came(others)}")


@pytest.fixture
def late(on: On) -> Iterator[None]:
    """Replicas that show what was written three seconds later, and are still well; an author is on them."""
    create = "docker exec -e AUTHOR_PASSWORD=%s %s python manage.py createauthor anna"
    on("app1").check_output(create, PASSWORD, container(on, "app1"))
    settings = "/etc/postgresql/17/main/postgresql.conf"
    reload = "systemctl reload postgresql@17-main.service"
    for name in REPLICAS:
        on(name).check_output(f"sleep 1; echo recovery_min_apply_delay = 3s >> {settings} && {reload}")
    yield
    for name in REPLICAS:
        on(name).check_output(f"sed -i /recovery_min_apply_delay/d {settings} && {reload}")


def lands(visitor: requests.Session, forgets: bool) -> str:
    """Where somebody is who has just logged in and asks for his own page, of another app host than the one that knows it."""
    visitor.cookies.clear()
    page = visitor.get(f"{SITE}/mine/")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert token, page.text
    form = {"username": "anna", "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
    assert visitor.post(page.url, form, headers={"Referer": page.url}, allow_redirects=False).status_code == 302
    if forgets:
        del visitor.cookies["wrote"]
    return visitor.get(f"{SITE}/mine/").url.partition("?")[0]


def test_a_visitor_reads_his_own_writes_on_every_app_host(late: None, visitor: requests.Session) -> None:
    assert {lands(visitor, forgets=False) for _ in range(10)} == {f"{SITE}/mine/"}
    # It is the cookie that does it.
    assert len({lands(visitor, forgets=True) for _ in range(10)}) == 2


@pytest.fixture
def drained(on: On, playbook: Callable[..., Run]) -> Iterator[str]:
    """A replica that gets no more queries; afterwards it serves again."""
    name = "split-db2"
    run = playbook("playbooks/drain.yml", host=name, state="out")
    assert run.code == 0, run.output[-3000:]
    assert {states(on, app)[name] for app in APPS} == {"drained"}
    yield name
    on("db2").check_output("systemctl start postgresql@17-main.service")
    run = playbook("playbooks/drain.yml", host=name, state="in")
    assert run.code == 0, run.output[-3000:]
    assert {states(on, app)[name] for app in APPS} == {"well"}


def test_stopping_a_drained_replica_costs_no_page(on: On, visitor: requests.Session, drained: str) -> None:
    stop = on("db2").run("systemctl stop --no-block postgresql@17-main.service")
    assert stop.rc == 0
    codes = [visitor.get(f"{SITE}/").status_code for _ in range(60)]
    assert codes == [200] * 60
    is_active = "systemctl is-active postgresql@17-main.service"
    wait_for(lambda: on("db2").run(is_active).stdout.strip() == "inactive", 30, f"{drained} has stopped")
    wait_for(lambda: all(states(on, app)[drained] != "well" for app in APPS), 10, f"the poolers know that {drained} has stopped")
