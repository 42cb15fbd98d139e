"""Configuration from the environment: NAME holds a value, NAME_FILE the path of a file that holds it."""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

REQUIRED = object()


def read(name, default=REQUIRED):
    file_name = f"{name}_FILE"
    value = os.environ.get(name)
    path = os.environ.get(file_name)
    if value is not None and path is not None:
        raise ImproperlyConfigured(f"{name} and {file_name} are both set: unset one of them.")
    if path is not None:
        try:
            value = Path(path).read_text().rstrip("\r\n")
        except OSError as error:
            raise ImproperlyConfigured(
                f"{file_name} names {path}, which cannot be read ({error.strerror}): mount a readable file there."
            ) from None
    if value:
        return value
    if default is REQUIRED:
        raise ImproperlyConfigured(f"{name} is missing: set {name}, or {file_name} to a file that holds it.")
    return default


def read_list(name, default=REQUIRED):
    value = read(name, default)
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value
