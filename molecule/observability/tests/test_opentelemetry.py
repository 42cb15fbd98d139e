"""OpenTelemetry's instrumentation in the site's own image, against a receiver of its protocol."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import Run

LICENSE = "0123456789abcdef0123456789abcdef01234567"
VISIT = """
import django.core.wsgi
django.core.wsgi.get_wsgi_application()
from django.test import Client
print(Client().get("/", secure=True, HTTP_HOST="www.example.org").status_code)
"""


def test_a_request_and_its_queries_arrive(host: Any, playbook: Callable[..., Run], container: str, tmp_path: Path) -> None:
    """Beside the deployed container, which has other agents: of its image, environment and secrets."""
    (tmp_path / "agents.yml").write_text(json.dumps([{"hosts": "app", "roles": ["fairlead.site.agents"]}]))
    run = playbook(str(tmp_path / "agents.yml"), agents_names=["opentelemetry"], agents_root="/srv/opentelemetry")
    assert run.code == 0, run.output
    host.check_output("docker inspect -f '{{ range .Config.Env }}{{ println . }}{{ end }}' %s | grep . >/srv/otlp.env", container)
    host.check_output("grep -vE '^(SENTRY|NEW_RELIC)_' /srv/otlp.env >/srv/otlp && mv /srv/otlp /srv/otlp.env")
    host.check_output("echo api-key=%s >/srv/otlp.headers && chmod 644 /srv/otlp.headers", LICENSE)
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example.org:8443",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/run/secrets/SENTRY_CA_BUNDLE",
        "OTEL_EXPORTER_OTLP_HEADERS_FILE": "/run/headers",
        "OTEL_SERVICE_NAME": "demo",
    }
    options = " ".join(f"--env {name}={value}" for name, value in variables.items())
    mounts = "--volume /srv/opentelemetry:/opt/agents:ro --volume /srv/otlp.headers:/run/headers:ro"
    image = host.check_output("docker inspect -f '{{ .Image }}' %s", container)
    command = f"docker run --rm --env-file /srv/otlp.env {options} --volumes-from {container}:ro {mounts} {image} python -c %s"
    assert host.check_output(command, VISIT).endswith("200")
    sent = [json.loads(line) for line in host.check_output("cat /srv/collected").splitlines()]
    (traces, *_) = [call["data"] for call in reversed(sent) if call["method"] == "otlp/v1/traces"]
    assert all(call["known"] for call in sent if call["method"].startswith("otlp"))
    release = host.check_output("readlink /srv/demo/current").rsplit("/", 1)[1]
    for text in ("service.name", "demo", release, "https://www.example.org/", "SELECT", "articles_article"):
        assert text in traces, text
