"""OpenTelemetry's own instrumentation, as opentelemetry-instrument starts it, with the headers from a file."""

import os

from fairlead_agents import value


def start():
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return
    if headers := value("OTEL_EXPORTER_OTLP_HEADERS"):
        os.environ["OTEL_EXPORTER_OTLP_HEADERS"] = headers
    release = os.environ.get("RELEASE", "")
    attributes = [os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""), f"service.version={release}" if release else ""]
    os.environ["OTEL_RESOURCE_ATTRIBUTES"] = ",".join(filter(None, attributes))
    from opentelemetry.instrumentation.auto_instrumentation import initialize

    initialize(swallow_exceptions=False)
