"""OpenTelemetry's own instrumentation, as opentelemetry-instrument starts it, with the headers from a file."""

import os

from fairlead_agents import lent, value


def start():
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return
    release = os.environ.get("RELEASE", "")
    attributes = [os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""), f"service.version={release}" if release else ""]
    os.environ["OTEL_RESOURCE_ATTRIBUTES"] = ",".join(filter(None, attributes))
    from opentelemetry.instrumentation.auto_instrumentation import initialize

    # Under other names than the file's: instruments load the application's settings meanwhile, and those may read the file.
    headers = value("OTEL_EXPORTER_OTLP_HEADERS")
    with lent(**{f"OTEL_EXPORTER_OTLP_{signal}_HEADERS": headers for signal in ("TRACES", "METRICS", "LOGS")}):
        initialize(swallow_exceptions=False)
