"""The nginx role's rendered configuration, judged by structure and by two programs of other people (crossplane, gixy)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import crossplane
import pytest
import yaml
from conftest import ROOT

Directive = dict[str, Any]

SITE: dict[str, Any] = {
    "nginx_server_names": ["www.example.org", "192.0.2.1", "2001:db8::1"],
    "nginx_upstream_servers": ["unix:/run/site-app/gunicorn.sock"],
}
EVERYTHING: dict[str, Any] = {
    **SITE,
    "nginx_upstream_servers": ["192.0.2.11:443 weight=2", "192.0.2.12:443 down", "[2001:db8::12]:443 backup"],
    "nginx_static_root": "/srv/site/static",
    "nginx_maintenance_from": ["192.0.2.0/24", "2001:db8::/32"],
    "nginx_maintenance_message": "Back at noon.",
    "nginx_media_root": "/srv/site/media",
    "nginx_acme_enabled": True,
    "nginx_cache_seconds": 1,
    "nginx_http3_enabled": True,
    "nginx_hsts_subdomains_enabled": True,
    "nginx_hsts_preload_enabled": True,
    "nginx_proxy_headers": {"X-Edge": "$hostname"},
    "nginx_public_https_port": 8443,
    "nginx_streaming_paths": ["/ws/", "/events/"],
    "nginx_trusted_proxies": ["10.0.0.0/8", "2001:db8::/32"],
    "nginx_upload_paths": {"/upload/": 500},
}
INTERNAL = {
    "nginx_internal_ca": "-----BEGIN CERTIFICATE-----",
    "nginx_internal_certificate": "-----BEGIN CERTIFICATE-----",
    "nginx_internal_key": "-----BEGIN PRIVATE KEY-----",
    "nginx_internal_name": "app.site.internal",
}
EDGE: dict[str, Any] = {**EVERYTHING, **INTERNAL, "nginx_static_root": ""}
BEHIND: dict[str, Any] = {
    **SITE,
    **INTERNAL,
    "nginx_edges": ["192.0.2.31"],
    "nginx_http3_enabled": True,
    "nginx_acme_enabled": True,
}
NEIGHBOUR = {"name": "errors.example.org", "upstream": "unix:/srv/bugsink/current/run/gunicorn.sock"}
VARIANTS = {
    "plain": SITE,
    "everything": EVERYTHING,
    "edge host": EDGE,
    "behind edge hosts": BEHIND,
    "beside another": {**SITE, "nginx_acme_enabled": True, "nginx_additional_servers": [NEIGHBOUR]},
    "no limits": {**SITE, "nginx_limit_requests_per_second": 0, "nginx_limit_connections": 0},
}


@pytest.fixture(params=VARIANTS)
def variables(request: pytest.FixtureRequest) -> dict[str, Any]:
    return VARIANTS[request.param]


@pytest.fixture
def write(render_tree: Callable[..., dict[str, str]], tmp_path: Path) -> Callable[..., Path]:
    """A function that writes the configuration below a folder as the host would have it, and returns nginx.conf's path."""

    def to_folder(**variables: Any) -> Path:
        for path, content in render_tree("nginx", **variables).items():
            target = tmp_path / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
        (tmp_path / "etc/nginx/mime.types").write_text("types { text/html html; }\n")
        return tmp_path / "etc/nginx/nginx.conf"

    return to_folder


@pytest.fixture
def parse(write: Callable[..., Path]) -> Callable[..., list[Directive]]:
    """A function that returns the whole configuration as crossplane understands it, includes merged."""

    def parsed(**variables: Any) -> list[Directive]:
        result = crossplane.parse(str(write(**variables)), combine=True)
        assert result["status"] == "ok", result["errors"]
        return result["config"][0]["parsed"]

    return parsed


def walk(block: list[Directive], context: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Directive]]:
    for directive in block:
        yield context, directive
        yield from walk(directive.get("block", []), (*context, directive["directive"]))


def find(block: list[Directive], name: str) -> list[tuple[tuple[str, ...], list[str]]]:
    return [(context, directive["args"]) for context, directive in walk(block) if directive["directive"] == name]


def look_up(block: list[Directive], variable: str, value: str) -> str:
    """What nginx's map to `variable` gives for `value`: exact keys first, then regular expressions in order."""
    rules = next(d["block"] for _, d in walk(block) if d["directive"] == "map" and d["args"][1] == f"${variable}")
    pairs = [(rule["directive"], rule["args"][0]) for rule in rules]
    for key, result in pairs:
        if key.lower() == value.lower() and not key.startswith("~"):
            return result
    for key, result in pairs:
        if key.startswith("~"):
            insensitive = key.startswith("~*")
            found = re.search(re.sub(r"\(\?<(\w+)>", r"(?P<\1>", key.lstrip("~*")), value, re.IGNORECASE if insensitive else 0)
            if found:
                return found.groupdict().get(result.lstrip("$"), result)
    return dict(pairs)["default"]


def test_gixy_finds_nothing(write: Callable[..., Path], variables: dict[str, Any]) -> None:
    gixy = Path(sys.executable).with_name("gixy")
    run = subprocess.run([gixy, "--format", "json", write(**variables)], capture_output=True, text=True, check=False)
    findings = [f"{found['plugin']}: {found['reason']} {found['config']}" for found in json.loads(run.stdout)]
    assert findings == [], run.stderr


def test_a_certificate_is_for_all_names(evaluate: Callable[..., Any]) -> None:
    given = VARIANTS["beside another"]
    assert evaluate("nginx", "_nginx_self_signed_sans", **given).endswith(",DNS:errors.example.org")
    assert evaluate("nginx", "_nginx_acme_command", **given)[-2].endswith(",errors.example.org")


def test_includes_are_relative(write: Callable[..., Path], variables: dict[str, Any]) -> None:
    included = re.findall(r"^\s*include\s+(\S+);", "".join(p.read_text() for p in write(**variables).parent.rglob("*.conf")), re.M)
    assert included
    assert [path for path in included if path.startswith("/")] == []


def test_descriptors_suffice(parse: Callable[..., list[Directive]], render_tree: Callable[..., dict[str, str]]) -> None:
    conf = parse(**SITE)
    [(_, [connections])], [(_, [files])] = find(conf, "worker_connections"), find(conf, "worker_rlimit_nofile")
    assert int(files) >= 2 * int(connections) + 512
    unit = render_tree("nginx", **SITE)["/etc/systemd/system/nginx.service.d/fairlead.conf"]
    assert int(re.search(r"^LimitNOFILE=(\d+)$", unit, re.M)[1]) >= int(files)  # type: ignore[index]


@pytest.mark.parametrize(
    ("path", "state"),
    [
        ("/etc/systemd/system/nginx.service.d/fairlead.conf", "restarted"),
        ("/etc/systemd/system/nginx-certificate.service", "reloaded"),
        ("/etc/nginx/sites.d/site.conf", "reloaded"),
    ],
)
def test_nginx_restarts_for_its_own_unit_alone(evaluate: Callable[..., Any], path: str, state: str) -> None:
    handlers = yaml.safe_load((ROOT / "roles/nginx/handlers/main.yml").read_text())
    [handler] = [one for one in handlers if "ansible.builtin.systemd_service" in one]
    wanted = handler["ansible.builtin.systemd_service"]["state"]
    tree = {"changed": True, "paths": [path]}
    assert evaluate("nginx", "wanted", wanted=wanted, __nginx_tree=tree, **SITE) == state
    assert handler["throttle"] == 1


def test_errors_are_logged(parse: Callable[..., list[Directive]], variables: dict[str, Any]) -> None:
    assert find(parse(**variables), "error_log") == [((), ["/var/log/nginx/error.log", "warn"])]


def test_upstream_connections_are_kept(parse: Callable[..., list[Directive]], variables: dict[str, Any]) -> None:
    conf = parse(**variables)
    for _, directive in walk(conf):
        if directive["directive"] == "upstream":
            inside = {inner["directive"] for inner in directive["block"]}
            assert {"zone", "keepalive", "keepalive_timeout"} <= inside
    assert find(conf, "proxy_http_version") == [(("http",), ["1.1"])]
    assert look_up(conf, "fairlead_connection", look_up(conf, "fairlead_upgrade", "/ ")) == ""


def test_headers_are_set_in_one_place(parse: Callable[..., list[Directive]], variables: dict[str, Any]) -> None:
    conf = parse(**variables)
    for name in ("add_header", "proxy_set_header", "proxy_hide_header"):
        assert {context for context, _ in find(conf, name)} == {("http",)}


def test_buffering_stays_on(parse: Callable[..., list[Directive]], variables: dict[str, Any]) -> None:
    conf = parse(**variables)
    assert find(conf, "proxy_buffering") == [(("http",), ["on"])]
    for _, location in walk(conf):
        inside = {inner["directive"]: inner["args"] for inner in location.get("block", [])}
        if location["directive"] == "location" and "proxy_pass" in inside:
            streaming = location["args"][-1] in variables.get("nginx_streaming_paths", [])
            assert (inside.get("proxy_ignore_headers") == ["X-Accel-Buffering"]) is not streaming


def test_an_if_does_nothing_but_return(parse: Callable[..., list[Directive]], variables: dict[str, Any]) -> None:
    for context, directive in walk(parse(**variables)):
        if directive["directive"] == "if":
            assert context == ("http", "server")
            assert [inner["directive"] for inner in directive["block"]] == ["return"]


def test_metrics_are_on_loopback_only(parse: Callable[..., list[Directive]], variables: dict[str, Any]) -> None:
    for _, server in walk(parse(**variables)):
        if server["directive"] == "server" and find(server.get("block", []), "stub_status"):
            assert [args[0] for _, args in find(server["block"], "listen")] == ["127.0.0.1:8089"]


def test_apps_are_reached_through_groups(parse: Callable[..., list[Directive]], variables: dict[str, Any]) -> None:
    conf = parse(**variables)
    groups = {args[0] for _, args in find(conf, "upstream")}
    assert {re.sub("^https?://", "", args[0]) for _, args in find(conf, "proxy_pass")} <= groups


def test_several_servers_share_the_load(parse: Callable[..., list[Directive]]) -> None:
    conf = parse(**EVERYTHING)
    assert find(conf, "least_conn") == [(("http", "upstream"), [])]
    assert [args for context, args in find(conf, "server") if context == ("http", "upstream")] == [
        ["192.0.2.11:443", "max_fails=3", "fail_timeout=10s", "weight=2"],
        ["192.0.2.12:443", "max_fails=3", "fail_timeout=10s", "down"],
        ["[2001:db8::12]:443", "max_fails=3", "fail_timeout=10s", "backup"],
    ]
    assert find(parse(**{**EVERYTHING, "nginx_upstream_balance": "random"}), "random") == [
        (("http", "upstream"), ["two", "least_conn"])
    ]


def test_no_post_is_repeated(parse: Callable[..., list[Directive]], variables: dict[str, Any]) -> None:
    assert find(parse(**variables), "proxy_next_upstream") == [(("http",), ["error", "timeout", "http_502"])]


@pytest.mark.parametrize(
    ("request_headers", "audience"),
    [
        (" ", "public"),
        (" csrftoken=1", "public"),
        (" mysessionid=1; sessionid2=2", "public"),
        (" sessionid=1", "private"),
        (" csrftoken=1; sessionid=1", "private"),
        (" a=b;\tsessionid =1", "private"),
        (" __Host-sessionid=1", "private"),
        (" a=b; __Secure-sessionid=1", "private"),
        (" x__Host-sessionid=1", "public"),
        ("Bearer x ", "private"),
        ("Bearer x csrftoken=1", "private"),
    ],
)
def test_signed_in_visitors_are_private(parse: Callable[..., list[Directive]], request_headers: str, audience: str) -> None:
    assert look_up(parse(**SITE), "fairlead_audience", request_headers) == audience


def test_private_pages_are_neither_cached_nor_compressed(parse: Callable[..., list[Directive]]) -> None:
    locations = {d["args"][-1]: d["block"] for _, d in walk(parse(**EVERYTHING)) if d["directive"] == "location"}
    for path in ("@private", "/ws/", "/events/", "/upload/"):
        assert find(locations[path], "gzip") == [((), ["off"])]
        assert find(locations[path], "brotli") == [((), ["off"])]
    assert [path for path, block in locations.items() if find(block, "proxy_cache")] == ["@public"]


@pytest.mark.parametrize(
    ("uri", "cached"),
    [
        ("/static/css/app.0123456789ab.css", "public, max-age=31536000, immutable"),
        ("/static/app.js.0123456789ab.map", "public, max-age=31536000, immutable"),
        ("/static/app.css", "public, max-age=3600"),
        ("/articles/app.0123456789ab.css", ""),
    ],
)
def test_hashed_files_are_immutable(parse: Callable[..., list[Directive]], uri: str, cached: str) -> None:
    assert look_up(parse(**EVERYTHING), "fairlead_cache_control", uri) == cached


@pytest.mark.parametrize(
    ("host", "port"),
    [("www.example.org", ""), ("www.example.org:8443", ":8443"), ("[2001:db8::1]:8443", ":8443"), ("x:99999999", "")],
)
def test_host_keeps_its_port(parse: Callable[..., list[Directive]], host: str, port: str) -> None:
    assert look_up(parse(**SITE), "fairlead_port", host) == port


def test_http3_has_the_public_port(parse: Callable[..., list[Directive]]) -> None:
    # nginx knows no Host header in HTTP/3.
    assert look_up(parse(**EVERYTHING), "fairlead_port", "") == ":8443"
    assert look_up(parse(**SITE), "fairlead_port", "") == ""


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("1:0123abcd-ef", "0123abcd-ef"),
        ("0:0123abcd-ef", "$request_id"),
        ("1:short", "$request_id"),
        ('1:0123"abcd', "$request_id"),
    ],
)
def test_request_id_is_believed_of_trusted_proxies(parse: Callable[..., list[Directive]], given: str, known: str) -> None:
    assert look_up(parse(**EVERYTHING), "fairlead_request_id", given) == known


@pytest.mark.parametrize(
    ("request_line", "upgrade"),
    [("/ws/chat websocket", "websocket"), ("/ws/chat h2c", ""), ("/chat websocket", ""), ("/ws/chat ", "")],
)
def test_upgrade_passes_on_streaming_paths_only(parse: Callable[..., list[Directive]], request_line: str, upgrade: str) -> None:
    assert look_up(parse(**EVERYTHING), "fairlead_upgrade", request_line) == upgrade


def test_names_of_all_kinds(parse: Callable[..., list[Directive]], evaluate: Callable[..., Any]) -> None:
    names = [args for context, args in find(parse(**SITE), "server_name") if args != ["_"]]
    assert names == [["www.example.org", "192.0.2.1", "[2001:db8::1]"]] * 2
    assert evaluate("nginx", "_nginx_self_signed_sans", **SITE) == "DNS:www.example.org,IP:192.0.2.1,IP:2001:db8::1"


def test_behind_edge_hosts_only_they_are_answered(parse: Callable[..., list[Directive]]) -> None:
    conf = parse(**BEHIND)
    site = next(d["block"] for _, d in walk(conf) if d["directive"] == "server" and find(d.get("block", []), "proxy_pass"))
    assert find(conf, "ssl_verify_client") == [(("http",), ["on"])]
    assert find(conf, "ssl_certificate") == [(("http",), ["tls/internal.crt"])]
    assert find(site, "if") == [((), ["$fairlead_trusted", "=", "0"])]
    assert find(conf, "set_real_ip_from") == [(("http",), ["192.0.2.31"])]
    assert {args[0] for _, args in find(conf, "listen")} == {"443", "[::]:443", "127.0.0.1:8089"}


def test_static_files_are_free_of_limits(parse: Callable[..., list[Directive]]) -> None:
    for given in (EVERYTHING, EDGE):
        locations = {d["args"][-1]: d["block"] for _, d in walk(parse(**given)) if d["directive"] == "location"}
        assert find(locations["/static/"], "limit_req") == find(locations["/static/"], "limit_conn") == []
        assert find(locations["/"], "limit_req")


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ({}, {"connections": "200", "uploads": "10", "client_uploads": "2"}),
        ({"nginx_upload_connections": 3}, {"connections": "200", "uploads": "3", "client_uploads": "1"}),
        ({"nginx_upload_connections": 0}, {"connections": "200"}),
        ({"nginx_limit_connections": 0}, {"uploads": "10"}),
    ],
)
def test_no_client_has_all_uploads(parse: Callable[..., list[Directive]], given: dict[str, Any], limits: dict[str, str]) -> None:
    conf = parse(**EVERYTHING, **given)
    [upload] = [d["block"] for _, d in walk(conf) if d["directive"] == "location" and d["args"] == ["/upload/"]]
    assert dict(args for _, args in find(upload, "limit_conn")) == limits
    zones = {args[1].removeprefix("zone=").partition(":")[0]: args[0] for _, args in find(conf, "limit_conn_zone")}
    keys = {"connections": "$fairlead_client", "uploads": "$server_name", "client_uploads": "$fairlead_client"}
    assert zones == {zone: keys[zone] for zone in limits}


def test_answers_on_the_disk_are_bounded_over_all_clients(parse: Callable[..., list[Directive]]) -> None:
    conf = parse(**EVERYTHING, nginx_requests=5120, nginx_answer_kb=819)
    assert find(conf, "proxy_max_temp_file_size") == [(("http",), ["819k"])]
    locations = {d["args"][-1]: d["block"] for _, d in walk(conf) if d["directive"] == "location"}
    for path in ("/", "/upload/", "/ws/", "/events/"):
        assert ["all_requests", "5120"] in [args for _, args in find(locations[path], "limit_conn")]
    assert ["all", "zone=all_requests:64k"] in [args for _, args in find(conf, "limit_conn_zone")]
    assert "all_requests" not in str(parse(**EVERYTHING))


def test_an_edge_host_verifies_the_app_hosts(parse: Callable[..., list[Directive]]) -> None:
    conf = parse(**EDGE)
    assert {args[0] for _, args in find(conf, "proxy_pass")} == {"https://app"}
    assert find(conf, "proxy_ssl_verify") == [(("http",), ["on"])]
    assert find(conf, "proxy_ssl_name") == [(("http",), ["app.site.internal"])]
    assert find(conf, "ssl_verify_client") == []
