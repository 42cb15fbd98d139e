"""The certificate of an ACME authority: got, renewed, and looked after by Debian's timer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Run
from testssl import findings

testinfra_hosts = ["ansible://fairlead-edge"]
SHOWN = "openssl s_client -connect 127.0.0.1:443 -servername {name} </dev/null 2>/dev/null | openssl x509 -noout {what}"


def shown(host: Any, what: str, name: str = "www.example.org") -> str:
    """A part of the certificate that a client is shown."""
    return host.check_output(SHOWN.format(name=name, what=what))


def renew(host: Any) -> None:
    """Renew as certbot's timer would, and wait until no worker process shows the certificate of before."""
    worker = host.check_output("pgrep -P $(cat /run/nginx.pid) | head -n 1")
    host.check_output("certbot renew --force-renewal --non-interactive --no-random-sleep-on-renew")
    host.check_output(f"for _ in $(seq 50); do [ -d /proc/{worker} ] || break; sleep 0.1; done")


def test_certificate_is_the_authoritys(host: Any) -> None:
    assert "Pebble" in shown(host, "-issuer")
    assert set(re.findall(r"DNS:([\w.]+)", shown(host, "-ext subjectAltName"))) == {"www.example.org", "example.org"}
    assert shown(host, "-serial") == shown(host, "-serial", "example.org")


def test_nobody_finds_a_fault_in_its_tls(host: Any) -> None:
    host.check_output("curl -sk https://localhost:15000/roots/0 >/run/pebble.pem")
    found = findings(host, "www.example.org", "127.0.0.1", "--add-ca", "/run/pebble.pem")
    # The authority tells nobody of certificates that it took back.
    assert {name: text for name, text in found.items() if name != "cert_revocation"} == {}


def test_renewal_reaches_the_clients(host: Any) -> None:
    before = shown(host, "-serial")
    renew(host)
    assert shown(host, "-serial") != before
    assert "Pebble" in shown(host, "-issuer")


def test_renewal_is_planned(host: Any) -> None:
    assert host.service("certbot.timer").is_running
    assert host.service("certbot.timer").is_enabled


def test_logs_are_rotated(host: Any) -> None:
    assert host.service("logrotate.timer").is_running


def test_key_is_roots_alone(host: Any) -> None:
    key = host.check_output("nginx -T 2>/dev/null | sed -n 's/^ *ssl_certificate_key *\\(.*\\);/\\1/p'")
    assert (host.file(key).user, host.file(key).mode) == ("root", 0o600)


def test_another_certificate_does_not_take_its_place(host: Any) -> None:
    before = shown(host, "-serial")
    host.check_output("RENEWED_LINEAGE=/etc/letsencrypt/live/another /usr/local/sbin/nginx-certificate")
    assert shown(host, "-serial") == before


CHANGES = {
    "trials": ({"nginx_acme_directory": "https://localhost:14001/dir"}, {"www.example.org", "example.org"}),
    "other names": ({"nginx_server_names": ["www.example.org", "new.example.org"]}, {"www.example.org", "new.example.org"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_got_before_is_not_renewed_any_more(host: Any, playbook: Callable[..., Run], change: str) -> None:
    """Another authority, or other names, and back: each time there is a new certificate, and it is the only one."""

    def run(**variables: Any) -> tuple[str, str]:
        assert playbook("molecule/edge/converge.yml", "--limit", "fairlead-edge", **variables).code == 0
        kept = {host.check_output(f"ls /etc/letsencrypt/{folder}").replace(".conf", "") for folder in ("renewal", "archive")}
        assert len(kept) == 1 and len(kept.pop().split()) == 1
        return shown(host, "-serial"), shown(host, "-issuer")

    variables, names = CHANGES[change]
    serial, issuer = shown(host, "-serial"), shown(host, "-issuer")
    changed = run(**variables)
    assert set(re.findall(r"DNS:([\w.]+)", shown(host, "-ext subjectAltName"))) == names
    assert changed[0] != serial
    assert (changed[1] != issuer) is (change == "trials")
    again = run()
    assert again[0] not in (serial, changed[0])
    assert again[1] == issuer
    host.check_output("certbot renew --force-renewal --non-interactive --no-random-sleep-on-renew")


def test_a_name_that_is_refused_spoils_no_other(host: Any, playbook: Callable[..., Run]) -> None:
    """The other names keep their certificate, which is renewed, too, until the refused one is right or taken out again."""
    apply = ("molecule/edge/converge.yml", "--limit", "fairlead-edge")
    # It leads to an address that nobody can connect to.
    lost = '{"host": "refused.example.org", "addresses": ["255.255.255.255"]}'
    host.check_output(f"curl -sf -d '{lost}' http://127.0.0.1:8055/add-a")
    serial = shown(host, "-serial")
    run = playbook(*apply, nginx_server_names=["www.example.org", "example.org", "refused.example.org"])
    assert run.code == 2
    assert "fairlead.site.nginx : Keep the certificate that nginx shows" in run.changed
    assert shown(host, "-serial") == shown(host, "-serial", "refused.example.org") == serial
    renew(host)
    renewed = shown(host, "-serial")
    assert renewed != serial
    assert playbook(*apply).code == 0
    assert shown(host, "-serial") == renewed


def test_nobody_renews_once_it_is_turned_off(host: Any, playbook: Callable[..., Run]) -> None:
    """The certificate stays in its place until then; turned on again, there is a new one."""
    apply = ("molecule/edge/converge.yml", "--limit", "fairlead-edge")
    serial = shown(host, "-serial")
    assert playbook(*apply, nginx_acme_enabled=False).code == 0
    assert host.check_output("ls -A /etc/letsencrypt/renewal") == ""
    assert shown(host, "-serial") == serial
    assert playbook(*apply, nginx_acme_enabled=False).changed == []
    assert playbook(*apply).code == 0
    assert shown(host, "-serial") != serial
    host.check_output("certbot renew --force-renewal --non-interactive --no-random-sleep-on-renew")
