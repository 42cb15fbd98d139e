from __future__ import annotations

import base64
import hashlib
import hmac
import re

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.fairlead.site.plugins.filter.scram import scram_secret
from ansible_collections.fairlead.site.plugins.module_utils.scram import keys, verifier

# The exchange that RFC 7677 publishes in its section 3.
PASSWORD = "pencil"
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
ITERATIONS = 4096
AUTH_MESSAGE = (
    b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
)
CLIENT_PROOF = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
SERVER_SIGNATURE = base64.b64decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


def test_server_signs_as_rfc_7677_says():
    _, server_key = keys(PASSWORD, SALT, ITERATIONS)
    assert hmac.digest(server_key, AUTH_MESSAGE, "sha256") == SERVER_SIGNATURE


def test_stored_key_proves_the_client_of_rfc_7677():
    stored_key, _ = keys(PASSWORD, SALT, ITERATIONS)
    signature = hmac.digest(stored_key, AUTH_MESSAGE, "sha256")
    client_key = bytes(a ^ b for a, b in zip(CLIENT_PROOF, signature, strict=True))
    assert hashlib.sha256(client_key).digest() == stored_key


def test_verifier_has_the_form_that_postgresql_stores():
    text = verifier(PASSWORD, SALT, ITERATIONS)
    form = r"SCRAM-SHA-256\$4096:W22ZaJ0SNY7soEsUEjb6gQ==\$([A-Za-z0-9+/]{43}=):([A-Za-z0-9+/]{43}=)"
    found = re.fullmatch(form, text)
    assert found
    assert [base64.b64decode(group) for group in found.groups()] == list(keys(PASSWORD, SALT, ITERATIONS))


def test_same_input_gives_the_same_verifier_and_any_other_another():
    first = scram_secret("secret", "shop/app")
    assert first == scram_secret("secret", "shop/app")
    assert len({first, scram_secret("secret", "shop/other"), scram_secret("other", "shop/app")}) == 3


@pytest.mark.parametrize("password", ["", "pässword", "tab\there"])
def test_password_that_clients_could_read_differently_is_refused(password):
    with pytest.raises(AnsibleFilterError, match="printable ASCII"):
        scram_secret(password, "shop/app")


def test_empty_salt_text_is_refused():
    with pytest.raises(AnsibleFilterError, match="salt's text is empty"):
        scram_secret("secret", "")
