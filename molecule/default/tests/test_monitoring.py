"""The watch of a site of one host: its rules do what they should, it sees everything, and nobody else does.

Faults that really happen are in molecule/observability.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections import Counter
from datetime import datetime
from typing import Any

import requests
from conftest import ROOT

FOLDERS = {"tests": ROOT / "tests/promtool", "tests/rules": ROOT / "roles/monitoring/templates/etc/prometheus/rules"}


def test_the_rules_pass_their_tests(host: Any) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, folder in FOLDERS.items():
            for path in folder.glob("*.yml"):
                tar.add(path, f"{name}/{path.name}")
    unpack = ["docker", "exec", "-i", host.backend.host, "tar", "-x", "-C", "/srv"]
    subprocess.run(unpack, input=packed.getvalue(), check=True)
    done = host.run("cd /srv/tests && promtool test rules *.yml")
    assert done.rc == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") == len(list(FOLDERS["tests"].glob("*.yml")))
    host.check_output("rm -r /srv/tests")


def test_everything_is_seen_on_the_loopback_alone(host: Any) -> None:
    listening = host.check_output("ss -Hltn 'sport >= :9090 and sport <= :9199' | awk '{ print $4 }'").split()
    assert {place.rsplit(":", 1)[0] for place in listening} == {"127.0.0.1"}
    ask = "curl -sfG http://127.0.0.1:9090/api/v1/query --data-urlencode query=%s"
    for query in ("up", "nginx_up", "pg_up", "pgbouncer_up", "site:up", "fairlead_section_success", "fairlead_containers_running"):
        rows = json.loads(host.check_output(ask, query))["data"]["result"]
        assert rows and {row["value"][1] for row in rows} == {"1"}, (query, rows)


def test_each_page_is_probed_once_in_an_interval(host: Any) -> None:
    """From one place, and no more often than every 15 s."""
    now = int(host.check_output("date +%s"))
    entries = [json.loads(line) for line in host.check_output("grep -F fairlead-probe /var/log/nginx/access.log").splitlines()]
    last_minute = [entry for entry in entries if datetime.fromisoformat(entry["time"]).timestamp() > now - 60]
    counts = Counter(entry["uri"] for entry in last_minute)
    assert set(counts) == {"/health/ready", "/"}
    assert all(2 <= count <= 5 for count in counts.values()), counts
    assert {entry["client"] for entry in last_minute} == {"127.0.0.1"}


def test_the_status_page_asks_who_is_there(visitor: requests.Session, secrets: dict[str, str]) -> None:
    page = "https://www.example.org/status/"
    assert visitor.get(page).status_code == 401
    answer = visitor.get(page, auth=("status", secrets["status_password"]))
    assert answer.status_code == 200 and "Uptime" in answer.text
