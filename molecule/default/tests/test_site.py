"""The site as its visitors and authors meet it, and the container it runs in."""

from __future__ import annotations

import json
import re
import secrets
import shlex
from typing import Any

import requests
from conftest import DOMAIN

SITE = f"https://{DOMAIN}"
PASSWORD = "a-long-password-for-tests-only"


def manage(host: Any, container: str, *command: str) -> str:
    return host.check_output("docker exec -i -e AUTHOR_PASSWORD=%s %s python manage.py " + " ".join(command), PASSWORD, container)


def token(page: requests.Response) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


def query(host: Any, sql: str, database: str = "default") -> str:
    """Ask through the pooler, as the application does."""
    return host.check_output(
        "PGPASSWORD=$(cat /srv/demo/current/secrets/DATABASE_PASSWORD) "
        "PGUSER=$(docker exec $(docker ps --quiet) printenv DATABASE_USER) psql -h /run/demo-pooler -p 6432 -Atc %s %s",
        sql,
        database,
    )


def test_an_article_written_through_the_page_is_in_the_database(host: Any, container: str, visitor: requests.Session) -> None:
    manage(host, container, "createauthor", "anna")
    page = visitor.get(f"{SITE}/write/")
    assert page.status_code == 200 and "login" in page.url
    page = visitor.post(
        page.url,
        {"username": "anna", "password": PASSWORD, "csrfmiddlewaretoken": token(page)},
        headers={"Referer": page.url},
    )
    assert page.status_code == 200 and page.url == f"{SITE}/write/"
    title = f"Made fast {secrets.token_hex(4)}"
    article = {"title": title, "summary": "A line", "body": "Through the fairlead.", "status": "published"}
    page = visitor.post(page.url, article | {"csrfmiddlewaretoken": token(page)}, headers={"Referer": page.url})
    assert page.url == f"{SITE}/articles/{title.lower().replace(' ', '-')}/", page.text
    assert title in visitor.get(f"{SITE}/").text
    for database in ("default", "replica", "direct"):
        assert title in query(host, "SELECT title FROM articles_article", database).splitlines()


def test_a_post_without_a_token_is_refused(visitor: requests.Session) -> None:
    assert visitor.post(f"{SITE}/write/", {"title": "x"}).status_code == 403


def test_using_the_replica_works(host: Any, container: str) -> None:
    code = "from articles.models import Article; print(Article.objects.using('replica').count() == Article.objects.count())"
    assert host.check_output("docker exec %s python manage.py shell -v 0 -c %s", container, code) == "True"


def test_a_page_comes_compressed_and_then_not_again(host: Any, container: str, visitor: requests.Session) -> None:
    manage(host, container, "createsamples")
    whole = visitor.get(f"{SITE}/archive/", headers={"Accept-Encoding": "identity"})
    packed = visitor.get(f"{SITE}/archive/", headers={"Accept-Encoding": "gzip"}, stream=True)
    size = len(packed.raw.read())
    assert len(whole.content) > 380_000
    assert packed.headers["Content-Encoding"] == "gzip" and size < len(whole.content) / 2
    for answer, encoding in ((whole, "identity"), (packed, "gzip")):
        again = visitor.get(f"{SITE}/archive/", headers={"If-None-Match": answer.headers["ETag"], "Accept-Encoding": encoding})
        assert (again.status_code, again.content) == (304, b"")


def test_static_files_are_served_by_nginx_for_a_year(visitor: requests.Session) -> None:
    found = re.search(r'href="(/static/[^"]+\.css)"', visitor.get(f"{SITE}/").text)
    assert found
    style = visitor.get(SITE + found[1])
    assert style.status_code == 200
    assert "immutable" in style.headers["Cache-Control"]


def test_what_the_application_stores_as_media_is_served_and_watched(host: Any, container: str, visitor: requests.Session) -> None:
    host.check_output("docker exec %s sh -c 'mkdir -p media/2026 && echo harbour >media/2026/map.txt'", container)
    answer = visitor.get(f"{SITE}/media/2026/map.txt")
    assert (answer.status_code, answer.text, answer.headers["Content-Type"]) == (200, "harbour\n", "text/plain; charset=utf-8")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert visitor.get(f"{SITE}/media/2026/").status_code == 403
    assert visitor.get(f"{SITE}/media/2026/none.txt").status_code == 404
    host.check_output("systemctl restart fairlead-metrics")
    measured = "grep -qs '^fairlead_area_bytes{area=\"media\"}' /var/lib/prometheus/node-exporter/*.prom"
    host.check_output(f"timeout 30 sh -c {shlex.quote(f'until {measured}; do sleep 0.5; done')}")


def test_no_tool_of_development_answers(visitor: requests.Session) -> None:
    assert visitor.get(f"{SITE}/silk/").status_code == 404
    page = visitor.get(f"{SITE}/no-such-page/")
    assert page.status_code == 404 and "DEBUG" not in page.text


def test_the_container_is_confined(host: Any, container: str) -> None:
    assert host.run("docker exec %s touch /app/x", container).rc != 0
    assert host.run("docker exec %s touch /x", container).rc != 0
    status = host.check_output("cat /proc/$(docker inspect -f '{{ .State.Pid }}' %s)/status", container)
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Uid:\t10001"):
        assert line in status
    found = json.loads(host.check_output("docker inspect %s", container))[0]["HostConfig"]
    assert found["ReadonlyRootfs"] and found["Memory"] > 0 and found["NanoCpus"] > 0 and found["PidsLimit"] > 0
    assert not found["PortBindings"]


def test_the_container_cannot_gain_a_capability(host: Any, container: str) -> None:
    """A setuid program of the image, run by the container's user, stays that user."""
    code = "import os, socket; os.setuid(0)"
    assert "Operation not permitted" in host.run("docker exec %s python -c %s", container, code).stderr


def test_only_its_own_folder_leads_to_the_socket(host: Any) -> None:
    assert host.run("setpriv --reuid nobody --regid nogroup --clear-groups ls /srv/demo/current/run").rc != 0
    assert host.run("setpriv --reuid nobody --regid nogroup --clear-groups ls /srv/demo/current/secrets").rc != 0
    assert host.run("setpriv --reuid www-data --regid www-data --clear-groups ls /srv/demo/current/run").rc == 0
    assert host.run("setpriv --reuid www-data --regid www-data --clear-groups ls /srv/demo/current/secrets").rc != 0
