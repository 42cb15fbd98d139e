"""Bad input for PostgreSQL and its pooler gets one sentence that names the variable and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conftest import certificate
from cryptography.hazmat.primitives.asymmetric import ec

KEY = ec.generate_private_key(ec.SECP256R1())
VERIFIER = "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy"
ROLES = [{"name": "shop", "password_verifier": VERIFIER}]
GIVEN: dict[str, dict[str, Any]] = {
    "postgresql": {
        "postgresql_roles": ROLES,
        "postgresql_databases": [{"name": "shop", "owner": "shop"}],
        "postgresql_clients": [{"address": "local", "databases": ["shop"], "roles": ["shop"]}],
    },
    "pgbouncer_rr": {
        "pgbouncer_rr_users": ROLES,
        "pgbouncer_rr_databases": [{"name": "default", "host": "/run/postgresql", "dbname": "shop"}],
    },
}

GROUP = {"name": "readers", "primary": "default", "replicas": ["db2"]}


@pytest.mark.parametrize("role", GIVEN)
def test_what_is_right_is_taken(refusal: Callable[..., str], role: str) -> None:
    assert refusal(role, **GIVEN[role]) == ""


TLS = {
    "postgresql_tls_certificate": certificate(KEY),
    "postgresql_tls_key": "K",
    "postgresql_tls_ca": "A",
    "postgresql_listen_addresses": ["::1"],
}
PEER = {"name": "db2", "address": "192.0.2.22"}


def client(**changes: Any) -> dict[str, Any]:
    return {"postgresql_clients": [GIVEN["postgresql"]["postgresql_clients"][0] | changes]}


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"ansible_facts": {"distribution": "Debian", "distribution_major_version": "12", "memtotal_mb": 8192}}, "needs Debian 13"),
        ({"ansible_facts": {"distribution": "Ubuntu", "distribution_major_version": "24", "memtotal_mb": 8192}}, "needs Debian 13"),
        ({"postgresql_roles": [{"name": "shop", "password_verifier": "plain"}]}, "fairlead.site.scram_secret"),
        ({"postgresql_roles": [*ROLES, {"name": "pg_shop"}]}, "pg_shop has a name that PostgreSQL keeps for itself"),
        ({"postgresql_databases": [{"name": "shop", "owner": "shap"}]}, "names shap as owner"),
        ({"postgresql_databases": [{"name": "shop", "owner": "shop", "connect": ["bi"]}]}, "names bi as owner or under connect"),
        (client(roles=["shap"]), "postgresql_clients names shap"),
        (client(databases=["shap"]), "postgresql_clients names shap"),
        (client(address="db.example.org"), "postgresql_clients names db.example.org"),
        (client(address="192.0.2.11/32"), "set postgresql_listen_addresses to an address of one"),
        ({"postgresql_tls_certificate": "-----BEGIN"}, "Only one of postgresql_tls_certificate and postgresql_tls_key"),
        ({"postgresql_roles": [*ROLES, {"name": "replicator"}]}, "replicator has a name that PostgreSQL keeps for itself"),
        ({"postgresql_peers": [PEER]}, "set postgresql_tls_certificate, postgresql_tls_key, postgresql_tls_ca and"),
        (
            TLS | {"postgresql_peers": [PEER, {"name": "one", "address": "192.0.2.21"}]},
            "list each other server once, never this one",
        ),
        (TLS | {"postgresql_peers": [PEER, PEER | {"name": "DB2"}]}, "list each other server once"),
        (TLS | {"postgresql_peers": [PEER | {"address": "db2.example.org"}]}, "the IP address that its certificate holds"),
        (TLS | {"postgresql_tls_certificate": certificate(KEY, days=-1)}, "postgresql_tls_certificate has expired"),
        ({"postgresql_primary": PEER}, "postgresql_primary is db2, which is none of postgresql_peers"),
        (TLS | {"postgresql_peers": [PEER], "postgresql_synchronous_standbys": 2}, "more than the 1 of postgresql_peers"),
        ({"postgresql_shared_buffers_mb": 5000}, "more than half of the 8192 MB of one"),
    ],
)
def test_postgresql_refuses(refusal: Callable[..., str], variables: dict[str, Any], words: str) -> None:
    assert words in refusal("postgresql", **{**GIVEN["postgresql"], **variables})


def test_postgresql_takes_a_primary_among_its_peers(refusal: Callable[..., str]) -> None:
    assert refusal("postgresql", **GIVEN["postgresql"], postgresql_peers=[PEER], postgresql_primary=PEER, **TLS) == ""


def test_postgresql_lets_a_network_in_where_it_listens(refusal: Callable[..., str]) -> None:
    for address, network in (("192.0.2.10", "192.0.2.11/32"), ("::1", "2001:db8::/64")):
        given = {**GIVEN["postgresql"], **client(address=network), "postgresql_listen_addresses": [address]}
        assert refusal("postgresql", **given) == ""


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"pgbouncer_rr_users": [{"name": "shop", "password_verifier": "plain"}]}, "pgbouncer_rr_users: shop"),
        ({"pgbouncer_rr_databases": []}, "must have at least one database"),
        ({"pgbouncer_rr_databases": [{"name": "pgbouncer"}]}, "not pgbouncer, which is the console"),
        ({"pgbouncer_rr_databases": [{"name": "a b"}]}, "each name must be letters"),
        ({"pgbouncer_rr_socket_dir": "/run/postgresql"}, "a directory of its own"),
        ({"pgbouncer_rr_server_tls_sslmode": "verify-full"}, "set pgbouncer_rr_server_tls_ca"),
        ({"pgbouncer_rr_limit_nofile": 500}, "pgbouncer_rr_limit_nofile is 500"),
        ({"pgbouncer_rr_deb": "/nowhere/rr.deb"}, "/nowhere/rr.deb, which is not on the controller"),
        ({"pgbouncer_rr_package": "pgbouncer", "pgbouncer_rr_builtin_enabled": True}, "which cannot route"),
        ({"pgbouncer_rr_package": "pgbouncer", "pgbouncer_rr_rules": [{"target": "default"}]}, "which cannot route"),
        ({"pgbouncer_rr_replica_groups": [GROUP]}, "names db2, which pgbouncer_rr_databases does not have"),
        ({"pgbouncer_rr_replica_groups": [GROUP | {"replicas": ["default"]}]}, "needs pgbouncer_rr_check_user"),
        ({"pgbouncer_rr_rules": [{"target": "default"}], "pgbouncer_rr_rules_file": __file__}, "exclude each other"),
        ({"pgbouncer_rr_rules_file": "/nowhere/rules.py"}, "/nowhere/rules.py, which is not on the controller"),
        ({"pgbouncer_rr_rewrite_enabled": True}, "needs pgbouncer_rr_rules_file"),
        ({"pgbouncer_rr_rules": [{"target": "elsewhere"}]}, "sends queries to elsewhere, but a target is one of default."),
    ],
)
def test_pgbouncer_refuses(refusal: Callable[..., str], variables: dict[str, Any], words: str) -> None:
    assert words in refusal("pgbouncer_rr", **{**GIVEN["pgbouncer_rr"], **variables})
