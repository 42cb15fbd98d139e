"""Between edge host and app hosts: who is let in, who is believed, and an app host that goes away and comes back."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest
import requests
from conftest import ADDRESSES, DOMAIN, Run
from urllib3.exceptions import ProtocolError

SITE = f"https://{DOMAIN}"
# From an app host to its own nginx, past the firewall, as the host that it is: not an edge host.
CURL = f"curl -sk -o /dev/null -w '%{{http_code}}' -H 'Host: {DOMAIN}' https://{ADDRESSES['app1']}/"
CERTIFICATE = "--cert /etc/nginx/tls/internal.crt --key /etc/nginx/tls/internal.key"


@contextmanager
def clients(visitor: requests.Session, counts: Counter[str]) -> Iterator[None]:
    """Clients that read and write all the time; what went wrong is counted.

    A reload closes idle connections, and a request may be on its way in one: as a browser does, they ask again in a new one.
    Whom nobody answers, or who is refused, does not.
    """
    stop = Event()

    def answer(method: str) -> int:
        try:
            return visitor.request(method, f"{SITE}/health/live", timeout=20).status_code
        except requests.ConnectionError as error:
            cause = error.args[0].args[-1] if isinstance(error.args[0], ProtocolError) else None
            if not isinstance(cause, (ConnectionResetError, BrokenPipeError)):
                raise
            counts["asked again"] += 1
            return visitor.request(method, f"{SITE}/health/live", timeout=20).status_code

    def ask(method: str) -> None:
        while not stop.is_set():
            try:
                status = answer(method)
                # Django refuses such a POST; that it answers is the point.
                counts["answered" if status < 500 else f"{method} {status}"] += 1
            except requests.RequestException as error:
                counts[f"{method} {type(error).__name__}"] += 1
            time.sleep(0.05)

    threads = [Thread(target=ask, args=[method]) for method in ("GET", "POST")]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def requests_served(host: Any) -> int:
    time.sleep(1.2)  # the log is flushed once a second
    return int(host.check_output("cat /var/log/nginx/access.log | wc -l"))


def test_an_app_host_answers_edge_hosts_only(on: Callable[[str], Any]) -> None:
    app, edge = on("app1"), on("edge1")
    assert app.run(CURL).stdout == "400"  # no certificate
    assert app.run(f"{CURL} {CERTIFICATE}").stdout == "000"  # one of the site's, but from no edge host's address
    assert edge.run(f"{CURL} {CERTIFICATE}").stdout == "200"
    listening = app.check_output("ss -Hltn | awk '{ print $4 }'")
    assert ":443" in listening
    assert ":80\n" not in listening + "\n"


def test_an_app_host_that_is_another_is_not_believed(on: Callable[[str], Any]) -> None:
    edge = on("edge1")
    verify = (
        "openssl s_client -connect {address}:443 -CAfile /etc/nginx/tls/internal-ca.crt -verify_hostname {name} </dev/null 2>&1"
    )
    for name, code in (("app.demo.internal", 0), ("edge.demo.internal", 62)):
        assert f"Verify return code: {code} " in edge.run(verify.format(address=ADDRESSES["app1"], name=name)).stdout


def test_a_visitor_cannot_say_who_he_is(on: Callable[[str], Any], visitor: requests.Session) -> None:
    spoofed = {"X-Forwarded-For": "192.0.2.66", "X-Real-IP": "192.0.2.66", "X-Request-ID": "spoofed-by-the-visitor"}
    answer = visitor.get(f"{SITE}/", headers=spoofed)
    identity = answer.headers["X-Request-ID"]
    assert identity != "spoofed-by-the-visitor"
    time.sleep(1.2)
    lines = [on(name).run(f"grep -h {identity} /var/log/nginx/access.log").stdout for name in ("edge1", "app1", "app2")]
    entries = [json.loads(line) for line in lines if line]
    assert len(entries) == 2  # the edge host's and one app host's
    assert len({entry["client"] for entry in entries}) == 1
    assert "192.0.2.66" not in {entry["client"] for entry in entries}


def test_an_app_host_is_drained_without_a_failed_request(
    on: Callable[[str], Any], visitor: requests.Session, playbook: Callable[..., Run]
) -> None:
    counts: Counter[str] = Counter()
    with clients(visitor, counts):
        assert playbook("playbooks/drain.yml", host="split-app2", state="out").code == 0
        before = requests_served(on("app2"))
        on("app2").check_output("systemctl stop nginx")
        again = playbook("playbooks/drain.yml", host="split-app2", state="out")
        assert (again.code, again.changes) == (0, 0), again.output
        last = playbook("playbooks/drain.yml", host="split-app1", state="out")
        assert (last.code, last.changes) == (2, 0), last.output
        assert "the last app host that gets requests" in last.sentence
        on("app2").check_output("systemctl start nginx")
        assert requests_served(on("app2")) == before
        assert playbook("playbooks/drain.yml", host="split-app2", state="in").code == 0
        time.sleep(1)
    assert requests_served(on("app2")) > before
    # Two clients, three reloads.
    assert counts.pop("asked again", 0) <= 6
    assert set(counts) == {"answered"}, counts
    assert counts["answered"] > 100


def test_an_app_host_that_dies_is_not_noticed_by_readers(on: Callable[[str], Any], visitor: requests.Session) -> None:
    app = on("app2")
    try:
        app.check_output("systemctl kill --signal KILL nginx; systemctl stop nginx")
        assert {visitor.get(f"{SITE}/health/live").status_code for _ in range(20)} == {200}
    finally:
        app.check_output("systemctl reset-failed nginx; systemctl start nginx")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"host": "split-db1", "state": "out"}, "Name an app host with edge hosts in front of it, or a replica"),
        ({"host": "split-app1", "state": "away"}, "Name an app host with edge hosts in front of it, or a replica"),
        ({}, "Name an app host with edge hosts in front of it, or a replica"),
    ],
)
def test_draining_asks_for_a_host_and_a_state(playbook: Callable[..., Run], variables: dict[str, str], sentence: str) -> None:
    run = playbook("playbooks/drain.yml", **variables)
    assert run.code == 2
    assert sentence in run.sentence
