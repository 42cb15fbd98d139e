"""Agents that report what an application does, for an image that brings none of them. The environment says which, and where to."""

import importlib
import os
import sys
from contextlib import contextmanager

HERE = os.path.dirname(os.path.abspath(__file__))
SECRETS = "/run/secrets/"
FILTERED = "[Filtered]"


def value(name):
    """What the environment gives as NAME, or as NAME_FILE: the path of a file that holds it. Empty if neither."""
    path = os.environ.get(f"{name}_FILE")
    if path:
        with open(path) as file:
            return file.read().rstrip("\r\n")
    return os.environ.get(name, "")


@contextmanager
def lent(**variables):
    """The environment has these while an agent reads them, and no longer: programs that the application starts inherit none."""
    new = {name: text for name, text in variables.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]


def secrets():
    """What the container was given as secrets, which must not leave it."""
    found = {value(name[:-5]) for name, path in os.environ.items() if name.endswith("_FILE") and path.startswith(SECRETS)}
    # A shorter one stands in too many texts by chance.
    return sorted((secret for secret in found if len(secret) >= 8), key=len, reverse=True)


def without(hidden, data):
    """The data with none of the secrets in it, wherever in a text they stand."""
    if isinstance(data, str):
        for secret in hidden:
            data = data.replace(secret, FILTERED)
        return data
    if isinstance(data, dict):
        return {key: without(hidden, item) for key, item in data.items()}
    if isinstance(data, (list, tuple)):
        return [without(hidden, item) for item in data]
    return data


def wake():
    """Start each agent that is here and that the environment asks for. The application's own packages come first on the path."""
    for name in ("sentry", "newrelic", "opentelemetry"):
        packages = os.path.join(os.path.dirname(HERE), "packages", name)
        if os.path.isdir(packages):
            sys.path.append(packages)
            try:
                importlib.import_module(f"fairlead_agents.{name}").start()
            except Exception as error:
                reason = without(secrets(), f"{type(error).__name__}: {error}")
                print(f"agents: {name} does not report: {reason}", file=sys.stderr, flush=True)
