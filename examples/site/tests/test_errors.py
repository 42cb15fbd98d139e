"""Errors are reported where the environment says so, with what finds them and nothing of a visitor."""

import json

from config.errors import with_request_id
from config.logs import request_id

DSN = "https://0123456789abcdef0123456789abcdef@errors.example.org/1"
CODE = """
import json, sentry_sdk
client = sentry_sdk.get_client()
names = ["dsn", "release", "environment", "server_name", "send_default_pii", "max_request_body_size", "ca_certs"]
print(json.dumps({name: client.options[name] for name in names} if client.is_active() else None))
"""


def test_without_a_dsn_nothing_is_reported(manage):
    assert json.loads(manage("shell", "-v", "0", "-c", CODE).stdout) is None


def test_a_dsn_from_a_file_is_where_errors_go(manage, tmp_path):
    (tmp_path / "dsn").write_text(f"{DSN}\n")
    (tmp_path / "hostname").write_text("app1\n")
    result = manage(
        "shell", "-v", "0", "-c", CODE, SENTRY_DSN_FILE=str(tmp_path / "dsn"), SENTRY_SERVER_NAME_FILE=str(tmp_path / "hostname"),
        RELEASE="3f2a", ENVIRONMENT="staging",
    )  # fmt: skip
    assert json.loads(result.stdout) == {
        "dsn": DSN,
        "release": "3f2a",
        "environment": "staging",
        "server_name": "app1",
        "send_default_pii": False,
        "max_request_body_size": "never",
        "ca_certs": None,
    }


def test_an_event_carries_the_id_of_its_request():
    token = request_id.set("0123abcd")
    try:
        assert with_request_id({"tags": {"kept": "1"}}) == {"tags": {"kept": "1", "request_id": "0123abcd"}}
    finally:
        request_id.reset(token)
    assert with_request_id({}) == {}


SENT = """
import json, sentry_sdk
from config import errors
errors.SECRETS = "{folder}/"
errors.report_errors("test", "1")
sent = []
sentry_sdk.get_client().transport.capture_envelope = sent.append
try:
    raise ValueError("refused: " + open("{folder}/password").read())
except ValueError as error:
    sentry_sdk.capture_exception(error)
with sentry_sdk.start_transaction(name="/reset/" + open("{folder}/password").read()):
    pass
print(json.dumps([item.payload.json for envelope in sent for item in envelope.items if item.type in ("event", "transaction")]))
"""


def test_no_secret_of_the_container_is_in_what_is_sent(manage, tmp_path):
    (tmp_path / "password").write_text("s3cret-s3cret")
    result = manage(
        "shell", "-v", "0", "-c", SENT.format(folder=tmp_path), SENTRY_DSN=DSN, SENTRY_TRACES_SAMPLE_RATE="1",
        DATABASE_PASSWORD_FILE=str(tmp_path / "password"), without=["DATABASE_PASSWORD"],
    )  # fmt: skip
    event, transaction = json.loads(result.stdout)
    assert event["exception"]["values"][0]["value"] == "refused: [Filtered]"
    assert transaction["transaction"] == "/reset/[Filtered]"
    assert "s3cret-s3cret" not in result.stdout
