"""Logs as one JSON object a line on stdout, each with the id of the request that it belongs to."""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime

request_id = ContextVar("request_id", default=None)


class JSONFormatter(logging.Formatter):
    def __init__(self, **constants):
        super().__init__()
        self.constants = {name: value for name, value in constants.items() if value}

    def format(self, record):
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self.constants,
        }
        if identifier := request_id.get():
            entry["request_id"] = identifier
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


def logging_config(level, environment, release):
    """For Django's LOGGING and gunicorn's logconfig_dict alike, so that both write the same lines."""
    to_root = {"handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JSONFormatter, "environment": environment, "release": release}},
        "handlers": {
            "stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"},
        },
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            # These bring handlers of their own.
            "django": to_root,
            "django.server": to_root,
            "gunicorn.error": to_root,
            # The site writes a line a request itself, with the request's id.
            "gunicorn.access": {"handlers": [], "propagate": False, "level": "CRITICAL"},
        },
    }
