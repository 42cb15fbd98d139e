"""What the nginx role refuses before any change, and the sentence it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fairlead.site.plugins.filter.nginx_mistakes import nginx_mistakes
from conftest import ROOT

# Of www.example.org, good until 2020-01-01.
EXPIRED = """-----BEGIN CERTIFICATE-----
MIIBIDCBx6ADAgECAgEBMAoGCCqGSM49BAMCMBoxGDAWBgNVBAMMD3d3dy5leGFt
cGxlLm9yZzAeFw0xOTAxMDEwMDAwMDBaFw0yMDAxMDEwMDAwMDBaMBoxGDAWBgNV
BAMMD3d3dy5leGFtcGxlLm9yZzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJsL
TXdGAaAhhIBHoKhvtDuiJyUdqTOCMqh9Qo8mQkuDw5WLrXiUZXPrT7gzhFlyUWKQ
JAVRFuNAyQKaH3hLi74wCgYIKoZIzj0EAwIDSAAwRQIhAJVenMhRRlA0JriYTfu/
ga4YCcqZ+ym0TKgqdcTrxg6DAiBhE0Jqvv1yvp/ufPpIP8PPg7MuztUiR6UU3DK0
0OYCFA==
-----END CERTIFICATE-----
"""
SITE: dict[str, Any] = {
    "nginx_server_names": ["www.example.org"],
    "nginx_upstream_servers": ["unix:/run/site-app/gunicorn.sock"],
}


ROOM = {"stdout_lines": ["Avail", "5000"]}
SMALL = {"stdout_lines": ["Avail", " 4999", " 9"]}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"nginx_upload_paths": {"/a/": 50, "/b/": 500}, "__nginx_room": ROOM},
        {"nginx_upload_paths": {"/b/": 5000000}, "nginx_upload_connections": 0},
        {"nginx_upstream_max_fails": 0},
        {"nginx_acme_enabled": True},
        {"nginx_acme_enabled": True, "nginx_host_count": 2, "nginx_tls_certificate_path": "/x.crt", "nginx_tls_key_path": "/x.key"},
    ],
)
def test_a_good_site_is_taken(refusal: Callable[..., str], variables: dict[str, Any]) -> None:
    assert refusal("nginx", **SITE, **variables) == ""


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"nginx_server_names": []}, "nginx_server_names"),
        ({"nginx_upstream_servers": []}, "nginx_upstream_servers"),
        ({"nginx_server_names": ["https://example.org"]}, "holds https://example.org"),
        ({"nginx_server_names": ["example.org:8443"]}, "holds example.org:8443"),
        ({"nginx_server_names": ["ex_ample.org"]}, "holds ex_ample.org"),
        ({"nginx_tls_certificate": "-----BEGIN"}, "nginx_tls_key"),
        ({"nginx_tls_key_path": "/etc/ssl/private/x.key"}, "nginx_tls_certificate_path"),
        ({"nginx_tls_certificate": EXPIRED, "nginx_tls_key": "-----BEGIN"}, "expired at 2020"),
        ({"nginx_internal_ca": "-----BEGIN"}, "nginx_internal_key"),
        ({"nginx_edges": ["192.0.2.31"]}, "nginx_edges needs them"),
        ({"nginx_acme_enabled": True, "nginx_server_names": ["example.org", "*.example.org"]}, "not for *.example.org"),
        ({"nginx_acme_enabled": True, "nginx_server_names": ["192.0.2.1"]}, "not for 192.0.2.1"),
        ({"nginx_acme_enabled": True, "nginx_host_count": 2}, "lead to 2 (nginx_host_count)"),
        ({"nginx_worker_connections": 9000}, "nginx_worker_rlimit_nofile 18512 or more (it is 8704)"),
        ({"nginx_limit_nofile": 8000}, "nginx_limit_nofile (it is 8000)"),
        ({"nginx_app_keepalive_seconds": 60}, "nginx_app_keepalive_seconds (60)"),
        (
            {"nginx_upload_paths": {"/a/": 50, "/b/": 500}, "__nginx_room": SMALL},
            "nginx_upload_connections (10) uploads of 500 MB (nginx_upload_paths) need 5000 MB below /var/lib/nginx",
        ),
        (
            {"nginx_upload_paths": {"/a/": 400}, "nginx_requests": 1000, "nginx_answer_kb": 1024, "__nginx_room": SMALL},
            "beside 1000 MB of answers (nginx_requests x nginx_answer_kb), and 4999 MB are free there",
        ),
        ({"nginx_upstream_max_fails": 0, "nginx_upstream_servers": ["a:1", "b:1"]}, "nginx_upstream_max_fails is 0"),
        ({"nginx_error_log": "off"}, "nginx_error_log"),
        ({"nginx_access_log": "off"}, "nginx_access_log"),
        ({"nginx_upstream_balance": "ip_hash"}, "not ip_hash"),
        ({"nginx_snippets": {"server/../x": "#"}}, "server/../x"),
        ({"nginx_snippets": {"server/x": "ip_hash;"}}, "server/x, line 1: ip_hash"),
    ],
)
def test_bad_input_is_one_sentence(refusal: Callable[..., str], variables: dict[str, Any], words: str) -> None:
    assert words in refusal("nginx", **{**SITE, **variables})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("error_log off;", 1),
        ("location /x {\n  add_header X-Y z;\n}", 2),
        ("proxy_set_header Host x;", 1),
        ("proxy_hide_header Host;", 1),
        ("location /x { proxy_buffering  off; }", 1),
        ("if ($http_x) { proxy_pass http://app; }", 1),
        ('if ($http_x ~ "(a|b)") {\n set $y 1;\n return 403; }', 1),
        ("upstream other {\n  zone other 64k;\n  keepalive 8;\n  ip_hash;\n}", 4),
        ("location = /s { stub_status; }", 1),
        ("location /x {\n proxy_pass http://app; proxy_http_version 1.0; }", 2),
        ("location /x { proxy_next_upstream error non_idempotent; proxy_pass http://app; }", 1),
        ("\ninclude /etc/nginx/mine/*.conf;", 2),
        ("include '/etc/nginx/mine.conf';", 1),
        ("location / {\n\n proxy_pass http://127.0.0.1:8000; }", 3),
        ("location / { proxy_pass http://unix:/run/x.sock; }", 1),
        ("location / { proxy_pass http://localhost; }", 1),
        ("location / { proxy_pass https://[::1]; }", 1),
        ("upstream other { server 192.0.2.1; zone other 64k; }", 1),
        ("upstream other { server 192.0.2.1; keepalive 8; }", 1),
    ],
)
def test_a_mistake_in_a_snippet_is_named_with_its_line(text: str, line: int) -> None:
    [sentence] = nginx_mistakes({"server/mine": text})
    assert sentence.startswith(f"server/mine, line {line}: ")


@pytest.mark.parametrize(
    "text",
    [
        "# if ($x) { add_header }",
        "if ($http_user_agent ~ bot) { return 403; }",
        "if ($host ~ ^www) {\n  rewrite ^ https://example.org$request_uri permanent;\n}",
        "location /other/ { proxy_pass http://other; }",
        "upstream other { server 192.0.2.1:80; zone other 64k; keepalive 8; }",
        'location = /x { return 200 "add_headers # if"; }',
        "location /quiet/ { access_log off; proxy_pass http://app; }",
        "include mine/*.conf;",
    ],
)
def test_good_snippets_are_taken(text: str) -> None:
    assert nginx_mistakes({"server/mine": text}) == []


LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "site_address": "192.0.2.1"}


@pytest.fixture
def said(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """A function (expression, groups, given) → {host: value} with the site's variables."""

    def values(expression: str, groups: dict[str, Any], given: dict[str, Any]) -> dict[str, str]:
        inventory = tmp_path / "hosts.json"
        children = {name: {"hosts": hosts} for name, hosts in groups.items()}
        inventory.write_text(json.dumps({"all": {"vars": LOCAL, "children": children}}))
        play = ["-e", json.dumps(given), "-m", "debug", "-a", f"msg='{expression}'"]
        run = subprocess.run(
            ["ansible", "all", "-i", inventory, "--playbook-dir", ROOT, *play],
            cwd=ROOT,
            env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
        )
        found = dict(re.findall(r"(\w+) \| SUCCESS => \n?\s*\{?\s*\"?msg\"?: \"?([\d ]+)", run.stdout))
        assert len(found) == sum(len(hosts) for hosts in groups.values()), run.stdout + run.stderr
        return found

    return values


@pytest.mark.parametrize(
    ("given", "app", "edge"),
    [({}, "2 75", "60 65"), ({"capacity_upstream_keepalive_seconds": 70}, "2 75", "70 65")],
)
def test_a_connection_to_an_app_host_is_kept_by_its_nginx(
    said: Callable[..., dict[str, str]], given: dict[str, Any], app: str, edge: str
) -> None:
    """On an edge host the other end is not gunicorn: 70 s are refused there, since an app host's nginx keeps them for 65."""
    groups: dict[str, Any] = {"app": {"app1": {}, "app2": {}}, "edge": {"edge1": {"nginx_keepalive_timeout_seconds": 300}}}
    kept = "{{ nginx_upstream_keepalive_timeout_seconds }} {{ nginx_app_keepalive_seconds }}"
    assert said(kept, groups, given) == {"app1": app, "app2": app, "edge1": edge}


def test_the_hosts_that_the_names_lead_to_are_counted(said: Callable[..., dict[str, str]]) -> None:
    """A host of Bugsink has a name of its own."""
    groups: dict[str, Any] = {"app": {"app1": {}}, "edge": {"edge1": {}, "edge2": {}, "edge3": {}}, "bugsink": {"errors1": {}}}
    counts = said("{{ nginx_host_count }}", groups, {})
    assert (counts["edge1"], counts["errors1"]) == ("3", "1")
    assert said("{{ nginx_host_count }}", {"app": {"app1": {}, "app2": {}}}, {}) == {"app1": "2", "app2": "2"}
