"""The site on several hosts answers as the one on a single host does."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import ADDRESSES, DOMAIN, Run

SITE = f"https://{DOMAIN}"


def test_pages_and_static_files_come_through_the_edge(visitor: requests.Session) -> None:
    page = visitor.get(f"{SITE}/")
    assert page.status_code == 200
    static = re.findall(r'(/static/[^"]+\.css)', page.text)
    assert static
    answer = visitor.get(SITE + static[0])
    assert answer.status_code == 200
    assert "immutable" in answer.headers["Cache-Control"]


def test_a_page_that_is_known_is_not_sent_again(visitor: requests.Session) -> None:
    first = visitor.get(f"{SITE}/")
    again = visitor.get(f"{SITE}/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_lines_of_one_request_are_found_on_all_hosts(visitor: requests.Session, playbook: Callable[..., Run]) -> None:
    identity = visitor.get(f"{SITE}/archive/").headers["X-Request-ID"]
    time.sleep(1.2)  # the log is flushed once a second
    run = playbook("playbooks/logs.yml", request=identity, since="5m")
    assert run.code == 0, run.output
    (show,) = [task for play in run.report["plays"] for task in play["tasks"] if task["task"]["name"] == "Show them"]
    (said,) = [result["msg"] for result in show["hosts"].values() if "msg" in result]
    places = [tuple(line.split(" ", 3)[1:3]) for line in said]
    hosts = {host.partition("-")[2]: source for host, source in places if source == "access.log"}
    (app,) = set(hosts) - {"edge1"}
    assert app in ("app1", "app2") and "edge1" in hosts, said
    assert any(host.endswith(app) and source.startswith("demo-") for host, source in places), said
    assert all(identity in line and "/archive/" in line for line in said), said


def test_both_app_hosts_take_requests(visitor: requests.Session, on: Callable[[str], Any]) -> None:
    def served(name: str) -> int:
        return int(on(name).check_output("cat /var/log/nginx/access.log | wc -l"))

    before = {name: served(name) for name in ("app1", "app2")}
    for _ in range(20):
        visitor.get(f"{SITE}/", headers={"Connection": "close"})
    time.sleep(2)  # the log is written once a second
    for name, count in before.items():
        assert served(name) > count, f"{name} got none of 20 requests"


@pytest.mark.parametrize("name", [*sorted(ADDRESSES)])
def test_every_host_has_a_certificate_of_the_sites_authority(name: str, tmp_path: Path) -> None:
    """As the controller keeps them: verified by what all hosts trust, for the host's name and address."""
    folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "authority"
    certificate = folder / f"hosts/split-{name}.pem"
    trust = str(folder / "trust.pem")
    for purpose in ("sslserver", "sslclient"):
        done = subprocess.run(
            ["openssl", "verify", "-CAfile", trust, "-purpose", purpose, "-verify_ip", ADDRESSES[name], str(certificate)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    ssl.create_default_context(cafile=trust).load_cert_chain(certificate, certificate.with_suffix(".key"))
    assert (folder.stat().st_mode & 0o777, certificate.with_suffix(".key").stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"site_primary": "split-app1"}, "site_primary is 'split-app1', which is no host of the group db"),
        ({"site_address": "10.203.0.31"}, "Two hosts have the same site_address"),
        ({"site_container_networks": [{"base": "10.203.0.0/16", "size": 24}]}, "site_container_networks holds 10.203.0.0/16"),
        ({"site_authority_passphrase": ""}, "site_authority_passphrase is missing or shorter than 16 characters"),
    ],
)
def test_bad_input_is_refused_before_any_change(variables: dict[str, Any], sentence: str, playbook: Callable[..., Run]) -> None:
    run = playbook("site.yml", **variables)
    assert run.code == 2
    assert sentence in run.sentence
    assert run.changes == 0
