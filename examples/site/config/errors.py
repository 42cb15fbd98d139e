"""Errors are reported to Sentry, or to a receiver that speaks its protocol, where the environment names one."""

import sentry_sdk
from sentry_sdk.scrubber import EventScrubber

from config.environment import read
from config.logs import request_id


def with_request_id(event, hint):
    if identifier := request_id.get():
        event.setdefault("tags", {})["request_id"] = identifier
    return event


def report_errors(environment, release):
    dsn = read("SENTRY_DSN", "")
    if not dsn:
        return
    sentry_sdk.init(
        dsn=dsn,
        environment=environment,
        release=release,
        server_name=read("SENTRY_SERVER_NAME", None),
        traces_sample_rate=float(read("SENTRY_TRACES_SAMPLE_RATE", "0")),
        profiles_sample_rate=float(read("SENTRY_PROFILES_SAMPLE_RATE", "0")),
        # Nothing of a visitor, and nothing whose name says that it is a secret.
        send_default_pii=False,
        max_request_body_size="never",
        event_scrubber=EventScrubber(recursive=True),
        before_send=with_request_id,
        ca_certs=read("SENTRY_CA_BUNDLE_PATH", None),
        http_proxy=read("SENTRY_PROXY", None),
        https_proxy=read("SENTRY_PROXY", None),
    )
