"""Configuration from the environment: NAME holds a value, NAME_FILE the path of a file that holds it."""

import os
from pathlib import Path


def read(name, default=""):
    if path := os.environ.get(f"{name}_FILE"):
        return Path(path).read_text().rstrip("\r\n")
    return os.environ.get(name, default)
