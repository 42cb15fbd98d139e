"""Errors are reported to Sentry, or to a receiver that speaks its protocol, where the environment names one."""

import os

import sentry_sdk
from sentry_sdk.scrubber import EventScrubber

from config.environment import read
from config.logs import request_id

SECRETS = "/run/secrets/"


def with_request_id(event):
    if identifier := request_id.get():
        event.setdefault("tags", {})["request_id"] = identifier
    return event


def secrets():
    """What the container was given as secrets, the longest first."""
    names = [name.removesuffix("_FILE") for name, path in os.environ.items() if path.startswith(SECRETS) and name.endswith("_FILE")]
    # A shorter one stands in too many texts by chance.
    return sorted({value for value in (read(name, "") for name in names) if len(value) >= 8}, key=len, reverse=True)


def without(hidden, data):
    """The data with none of the secrets in it, wherever in a text they stand."""
    if isinstance(data, str):
        for secret in hidden:
            data = data.replace(secret, "[Filtered]")
        return data
    if isinstance(data, dict):
        return {key: without(hidden, item) for key, item in data.items()}
    if isinstance(data, (list, tuple)):
        return [without(hidden, item) for item in data]
    return data


def report_errors(environment, release):
    dsn = read("SENTRY_DSN", "")
    if not dsn:
        return
    hidden = secrets()

    def prepared(event, hint):
        return without(hidden, with_request_id(event))

    sentry_sdk.init(
        dsn=dsn,
        environment=environment,
        release=release,
        server_name=read("SENTRY_SERVER_NAME", None),
        traces_sample_rate=float(read("SENTRY_TRACES_SAMPLE_RATE", "0")),
        profiles_sample_rate=float(read("SENTRY_PROFILES_SAMPLE_RATE", "0")),
        # Nothing of a visitor, nothing whose name says that it is a secret, and no secret itself.
        send_default_pii=False,
        max_request_body_size="never",
        event_scrubber=EventScrubber(recursive=True),
        before_send=prepared,
        before_send_transaction=prepared,
        ca_certs=read("SENTRY_CA_BUNDLE_PATH", None),
        http_proxy=read("SENTRY_PROXY", None),
        https_proxy=read("SENTRY_PROXY", None),
    )
