# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""SCRAM-SHA-256 (RFC 7677) as PostgreSQL keeps it: the verifier from which no password can be read."""

from __future__ import annotations

import base64
import hashlib
import hmac

ITERATIONS = 4096
SALT_BYTES = 16


class ScramError(ValueError):
    """Why no verifier can be made, in one sentence."""


def keys(password: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """Return (StoredKey, ServerKey) of RFC 5802 with SHA-256."""
    # Other characters would need SASLprep, whose result depends on the Unicode version that a client knows.
    if not password or not (password.isascii() and password.isprintable()):
        raise ScramError("a database password must be made of printable ASCII characters, and at least one of them")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256")


def verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """Return what PostgreSQL stores in pg_authid.rolpassword."""
    stored, server = (base64.b64encode(key).decode() for key in keys(password, salt, iterations))
    return f"SCRAM-SHA-256${iterations}:{base64.b64encode(salt).decode()}${stored}:{server}"


def salt_from(text: str) -> bytes:
    """A salt that stays the same from run to run: a verifier that changed with each run could not be compared."""
    if not text:
        raise ScramError("the salt's text is empty: give one that is the role's own, such as the site's and the role's names")
    return hashlib.sha256(text.encode()).digest()[:SALT_BYTES]
