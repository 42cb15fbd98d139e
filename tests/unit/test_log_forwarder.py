"""The role log_forwarder: what it refuses, and what it tells rsyslog."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Render = Callable[..., dict[str, str]]

RECEIVER = {"log_forwarder_receiver": "logs.example.org:6514"}
CONFIG = "/etc/fairlead/log-forwarder/forwarder.conf"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (RECEIVER, ""),
        ({}, "log_forwarder_receiver is ''"),
        ({"log_forwarder_receiver": "https://logs.example.org"}, "logs.example.org:6514"),
        (RECEIVER | {"log_forwarder_certificate": "PEM"}, "set both or none"),
        (RECEIVER | {"log_forwarder_files": [{"path": "/a", "name": "two words"}]}, "gives /a a name"),
        (RECEIVER | {"log_forwarder_queue_mb": 1}, "at least 10"),
    ],
)
def test_bad_input_gets_one_sentence(refusal: Callable[..., str], given: dict[str, Any], says: str) -> None:
    said = refusal("log_forwarder", **given)
    assert says in said and bool(said) == bool(says)


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        (
            "syslog",
            ['streamDriverAuthMode="x509/name"', 'streamDriverPermittedPeers="logs.example.org"', 'tcp_framing="octet-counted"'],
        ),
        ("relp", ['tls="on"', 'tls.authMode="name"', 'tls.permittedPeer=["logs.example.org"]']),
    ],
)
def test_only_the_receiver_of_that_name_is_told(render_tree: Render, protocol: str, words: list[str]) -> None:
    given = RECEIVER | {"log_forwarder_protocol": protocol}
    config = render_tree("log_forwarder", **given)[CONFIG]
    assert all(word in config for word in [*words, 'target="logs.example.org" port="6514"', "/etc/ssl/certs/ca-certificates.crt"])
    assert "imfile" not in config and "host.key" not in config
    files = [{"path": "/var/log/nginx/access.log", "name": "nginx-access"}]
    tls = {"log_forwarder_ca": "PEM", "log_forwarder_certificate": "PEM", "log_forwarder_key": "PEM"}
    found = render_tree("log_forwarder", **given, **tls, log_forwarder_files=files)
    assert 'file="/var/log/nginx/access.log" tag="nginx-access"' in found[CONFIG]
    assert all(f"/etc/fairlead/log-forwarder/{name}" in found[CONFIG] for name in ("ca.pem", "host.pem", "host.key"))
