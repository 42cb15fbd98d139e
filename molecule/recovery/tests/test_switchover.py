"""The primary changes while visitors read and the application writes, and changes back."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from conftest import DOMAIN, Run

SITE = f"https://{DOMAIN}/"
On = Callable[[str], Any]

# Run by manage.py in a container until it is told to stop: how often it wrote, what failed, and the longest that a write took.
WRITER = """
import json, os, time
from articles.models import Article

key = Article.objects.order_by("pk").first().pk
said = {"writes": 0, "failed": [], "longest": 0.0}
while not os.path.exists("/tmp/stop"):
    begun = time.monotonic()
    try:
        Article.objects.filter(pk=key).update(summary=f"write {said['writes']}")
        said["writes"] += 1
    except Exception as error:
        said["failed"].append(str(error))
    said["longest"] = max(said["longest"], time.monotonic() - begun)
    time.sleep(0.02)
os.remove("/tmp/stop")
print(json.dumps(said))
"""


# A transaction that takes a minute.
HOLDER = """
import time
from django.db import transaction
from articles.models import Article

with transaction.atomic():
    Article.objects.count()
    time.sleep(60)
"""


def inside(on: On) -> list[str]:
    """The beginning of a command that runs in the release's container on app1."""
    release = on("app1").check_output("basename $(readlink /srv/demo/current)")
    return ["docker", "exec", "split-app1", "docker", "exec", f"demo-{release}"]


@contextmanager
def load(on: On, visitor: requests.Session) -> Iterator[dict[str, Any]]:
    """Reads by a visitor and writes by the application; what became of them is in the dict afterwards."""
    writer = subprocess.Popen([*inside(on), "python", "manage.py", "shell", "-c", WRITER], stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = {"reads": []}
    done = threading.Event()

    def read() -> None:
        while not done.wait(0.05):
            result["reads"].append(visitor.get(SITE, timeout=60).status_code)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield result
    finally:
        done.set()
        reader.join()
        subprocess.run([*inside(on), "touch", "/tmp/stop"], check=True)
        output, _ = writer.communicate(timeout=60)
        result |= json.loads(output.splitlines()[-1])


def followers(on: On, name: str) -> list[str]:
    sql = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming' ORDER BY 1"
    return list(on(name).check_output("runuser -u postgres -- psql -XAtqc %s", sql).split())


@pytest.mark.parametrize(("to", "others"), [("db2", ["split-db1", "split-db3"]), ("db1", ["split-db2", "split-db3"])])
def test_no_request_fails(
    on: On, visitor: requests.Session, playbook: Callable[..., Run], primary: Callable[[], str], to: str, others: list[str]
) -> None:
    with load(on, visitor) as result:
        run = playbook("playbooks/switchover.yml", to=f"split-{to}")
        assert run.code == 0, run.output[-3000:]
    assert f"split-{to} is the primary. Clients waited for" in run.sentence
    assert result["failed"] == [] and result["writes"] > 100
    assert set(result["reads"]) == {200}
    assert result["longest"] < 20
    assert primary() == to
    assert followers(on, to) == others
    again = playbook("playbooks/switchover.yml", to=f"split-{to}")
    assert (again.code, again.changed) == (0, [])


def test_what_is_no_db_host_is_refused(playbook: Callable[..., Run]) -> None:
    run = playbook("playbooks/switchover.yml", to="split-app1")
    assert run.code != 0 and run.changes == 0
    assert "'split-app1' is no host of the group db" in run.sentence


def test_clients_go_on_when_a_transaction_does_not_end(on: On, visitor: requests.Session, playbook: Callable[..., Run]) -> None:
    with load(on, visitor) as result:
        holder = subprocess.Popen([*inside(on), "python", "manage.py", "shell", "-c", HOLDER])
        try:
            run = playbook("playbooks/switchover.yml", to="split-db2")
        finally:
            holder.terminate()
    assert run.code != 0
    assert "has not ended within 5 s" in run.sentence
    assert "Nothing was switched, split-db1 is still the primary" in run.sentence
    assert result["failed"] == [] and result["writes"] > 100
    assert set(result["reads"]) == {200}
