# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.fairlead.site.plugins.module_utils.scram import ITERATIONS, ScramError, salt_from, verifier

DOCUMENTATION = """
name: scram_secret
short_description: Make the SCRAM-SHA-256 verifier of a password
description:
  - Returns what PostgreSQL stores for a password and what pgbouncer's userlist takes, so that the password itself
    need not leave the controller.
  - The same password and salt text give the same verifier, so that a second run finds nothing to change.
  - Whoever holds a verifier cannot log in with it, but can guess passwords against it. Keep it as a secret.
options:
  _input:
    description:
      - The password, printable ASCII only.
    type: str
    required: true
  salt_text:
    description:
      - Text of which the salt is made. It need not be secret, but should be the role's own, so that two roles with
        one password do not share a verifier.
    type: str
    required: true
  iterations:
    description:
      - Rounds of PBKDF2. A client pays for them at each login; 4096 is PostgreSQL's own number.
    type: int
    default: 4096
"""

EXAMPLES = """
postgresql_roles:
  - name: shop
    password_verifier: "{{ database_password | fairlead.site.scram_secret(site_name + 'shop') }}"
"""

RETURN = """
_value:
  description:
    - "C(SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey)"
  type: str
"""


def scram_secret(password: str, salt_text: str, iterations: int = ITERATIONS) -> str:
    try:
        return verifier(password, salt_from(salt_text), iterations)
    except ScramError as error:
        raise AnsibleFilterError(f"fairlead.site.scram_secret: {error}.") from error


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"scram_secret": scram_secret}
