from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from conftest import certificate
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

Render = Callable[..., dict[str, str]]
Evaluate = Callable[..., Any]

HASH = "$2b$10$" + "a" * 53


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


KEY = ec.generate_private_key(ec.SECP256R1())
GOOD = {
    "registry_address": "192.0.2.41",
    "registry_pull_accounts": {"pull": HASH},
    "registry_push_accounts": {"push": HASH},
    "registry_tls_certificate": certificate(KEY),
    "registry_tls_key": pem(KEY),
}


@pytest.mark.parametrize(
    ("given", "refused", "says"),
    [
        ({}, [], ""),
        ({"registry_address": "store"}, [], ""),
        ({"registry_push_accounts": {}}, ["accounts"], "registry_push_accounts"),
        ({"registry_pull_accounts": {"pull": "plain"}}, ["accounts"], "(pull has none)"),
        ({"registry_tls_certificate": ""}, ["certificate"], "site_authority_enabled"),
        ({"registry_tls_key": pem(ec.generate_private_key(ec.SECP256R1()))}, ["key"], "belong together"),
        ({"registry_tls_certificate": certificate(KEY, days=-1)}, ["expiry"], "ended 20"),
        ({"registry_address": "192.0.2.42"}, ["names"], "192.0.2.41"),
        ({"registry_push_port": 5000}, ["ports"], "5000"),
        ({"registry_free_mb": 0}, ["free"], "at least 1"),
    ],
)
def test_bad_input_gets_one_sentence(evaluate: Evaluate, given: dict[str, Any], refused: list[str], says: str) -> None:
    found = [item for item in evaluate("registry", "_registry_requirements", **GOOD | given) if not item["ok"]]
    assert [item["name"] for item in found] == refused
    for item in found:
        assert says in item["otherwise"]


def test_only_one_instance_can_be_written_to(render_tree: Render) -> None:
    files = render_tree("registry", **GOOD)
    pull, push = (yaml.safe_load(files[f"/etc/docker-registry/{name}.yml"]) for name in ("pull", "push"))
    assert pull["storage"]["maintenance"]["readonly"] == {"enabled": True}
    assert "maintenance" not in push["storage"]
    assert (pull["http"]["addr"], push["http"]["addr"]) == ("192.0.2.41:5000", "192.0.2.41:5001")
    assert pull["auth"]["htpasswd"]["path"] != push["auth"]["htpasswd"]["path"]


def test_an_ipv6_address_stands_in_brackets(render_tree: Render) -> None:
    files = render_tree("registry", **GOOD | {"registry_address": "2001:db8::41"})
    assert yaml.safe_load(files["/etc/docker-registry/pull.yml"])["http"]["addr"] == "[2001:db8::41]:5000"
