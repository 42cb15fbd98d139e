"""Raw HTTP/2 frames, well and badly made."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

testinfra_hosts = ["ansible://fairlead-edge"]
REFUSED = [
    *("upper case", "body too long", "body too short", "line feed in a value", "line feed in the path", "space in the path"),
    *("relative path", "no path", "no method", "two paths", "another host", "endless headers"),
]
BROKEN = ["data on stream 0", "even stream", "broken compression", "empty window update"]


@pytest.fixture(scope="module")
def heard(host: Any, app: None) -> dict[str, list[str]]:
    packed = base64.b64encode(Path(__file__).with_name("h2_frames.py").read_bytes()).decode()
    return json.loads(host.check_output(f"echo {packed} | base64 -d | python3 -"))


def test_good_requests_are_answered(heard: dict[str, list[str]]) -> None:
    assert heard["plain"] == heard["body"] == ["200"]


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_requests_are_refused(heard: dict[str, list[str]], kind: str) -> None:
    assert heard[kind][0] in ("400", "reset", "closed"), heard[kind]


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_frames_end_the_connection(heard: dict[str, list[str]], kind: str) -> None:
    assert heard[kind][-1] == "closed"


def test_chunks_inside_frames_are_no_second_request(host: Any, heard: dict[str, list[str]]) -> None:
    assert heard["chunks inside"][0] in ("200", "400", "501", "reset")
    assert host.run("grep -c /two /var/log/nginx/access.log /run/app/heard").stdout.split() == [
        "/var/log/nginx/access.log:0",
        "/run/app/heard:0",
    ]


def test_many_resets_do_not_hold_others_up(host: Any, heard: dict[str, list[str]]) -> None:
    assert heard["rapid resets"][-1] == "closed"
    # Of ten thousand.
    assert int(host.check_output("grep -c '^GET / ' /run/app/heard")) < 1000
    ask = "curl -sk -o /dev/null -w '%{http_code}' --max-time 3 --resolve www.example.org:443:127.0.0.1 https://www.example.org/"
    assert host.check_output(ask) == "200"
