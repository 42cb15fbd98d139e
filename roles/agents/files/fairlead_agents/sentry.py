"""Sentry's SDK, by the environment: SENTRY_DSN and what docs/sentry.md names beside it."""

import os
from functools import partial

from fairlead_agents import secrets, value, without


def start():
    dsn = value("SENTRY_DSN")
    if not dsn:
        return
    import sentry_sdk
    from sentry_sdk.scrubber import EventScrubber

    scrub = partial(without, secrets())
    sentry_sdk.init(
        dsn=dsn,
        environment=os.environ.get("ENVIRONMENT"),
        release=os.environ.get("RELEASE"),
        server_name=value("SENTRY_SERVER_NAME") or None,
        traces_sample_rate=float(os.environ.get("SENTRY_TRACES_SAMPLE_RATE") or 0),
        profiles_sample_rate=float(os.environ.get("SENTRY_PROFILES_SAMPLE_RATE") or 0),
        # Nothing of a visitor: no address, no cookie, no account, no form.
        send_default_pii=False,
        max_request_body_size="never",
        # By the names of what is secret, and by the secrets themselves.
        event_scrubber=EventScrubber(recursive=True),
        before_send=lambda event, hint: scrub(event),
        before_send_transaction=lambda event, hint: scrub(event),
        ca_certs=os.environ.get("SENTRY_CA_BUNDLE_PATH") or None,
        http_proxy=os.environ.get("SENTRY_PROXY") or None,
        https_proxy=os.environ.get("SENTRY_PROXY") or None,
    )
