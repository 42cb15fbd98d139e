"""The repository moves to an object store (Debian's python3-moto speaks S3's protocol) and is restored from there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Run

On = Callable[[str], Any]
FOLDER = "/srv/objects"
NAME = "objects.example.org"
BUCKET = (
    f"import boto3; s3 = boto3.client('s3', endpoint_url='https://{NAME}', verify='{FOLDER}/cert.pem', region_name='us-east-1', "
    "aws_access_key_id='key', aws_secret_access_key='any'); "
)


PACKAGES = "python3-moto python3-flask python3-flask-cors openssl stunnel4"
# moto's own TLS hangs up without a word, which pgBackRest does not take for an end.
TLS = f"""foreground = yes
pid =
[objects]
accept = 127.0.0.1:443
connect = 127.0.0.1:5000
cert = {FOLDER}/cert.pem
key = {FOLDER}/key.pem
"""


@pytest.fixture(scope="module")
def store(on: On) -> Iterator[Any]:
    """The host of the repository, with an object store beside it whose certificate no public authority signed."""
    host = on("db3")
    host.check_output(f"apt-get update -q && apt-get install -qy --no-install-recommends {PACKAGES}")
    host.check_output(
        f"mkdir -p {FOLDER} && cd {FOLDER} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -subj /CN={NAME} -addext subjectAltName=DNS:{NAME} -keyout key.pem -out cert.pem && printf %s >tls.conf"
        f" && echo 127.0.0.1 {NAME} >>/etc/hosts"
        " && systemd-run --unit objects --setenv S3_IGNORE_SUBDOMAIN_BUCKETNAME=true moto_server -H 127.0.0.1 -p 5000"
        f" && systemd-run --unit objects-tls stunnel {FOLDER}/tls.conf"
        f" && timeout 60 sh -c 'until curl -s --cacert {FOLDER}/cert.pem https://{NAME}/; do sleep 1; done'",
        TLS,
    )
    host.check_output("python3 -c %s", BUCKET + "s3.create_bucket(Bucket='backups')")
    yield host
    host.check_output(
        f"systemctl stop objects objects-tls; rm -r {FOLDER};"
        f" sed '/{NAME}/d' /etc/hosts >/run/hosts && cat /run/hosts >/etc/hosts; rm /run/hosts"
    )
    host.check_output(f"apt-get autoremove -qy --purge {PACKAGES.replace(' openssl', '')}")


@pytest.fixture(scope="module")
def moved(store: Any, playbook: Callable[..., Run]) -> Iterator[dict[str, Any]]:
    """The variables with which the repository was moved to the object store; at the end it moves back into its folder."""
    variables = {
        "backup_repository_type": "s3",
        "backup_repository_path": "/shop",
        "backup_s3_bucket": "backups",
        "backup_s3_endpoint": NAME,
        "backup_s3_key": "key",
        "backup_s3_key_secret": "a-secret-of-the-store",
        "backup_s3_uri_style": "path",
        "backup_s3_ca": store.file(f"{FOLDER}/cert.pem").content_string,
    }
    run = playbook("playbooks/backup.yml", **variables)
    assert run.code == 0, run.output[-3000:]
    yield variables
    run = playbook("playbooks/backup.yml")
    assert run.code == 0, run.output[-3000:]
    run = playbook("playbooks/backup_now.yml", type="full")
    assert run.code == 0, run.output[-3000:]


def test_a_backup_and_the_log_arrive_there_encrypted(moved: dict[str, Any], store: Any, playbook: Callable[..., Run]) -> None:
    run = playbook("playbooks/backup_now.yml", type="full")
    assert run.code == 0, run.output[-3000:]
    info = json.loads(store.check_output("runuser -u postgres -- pgbackrest --output=json info"))[0]
    # The role began one of its own when it made the repository.
    assert {backup["type"] for backup in info["backup"]} == {"full"} and info["archive"][-1]["max"]
    listed = "print(*[found['Key'] for found in s3.list_objects_v2(Bucket='backups')['Contents']], sep='\\n')"
    keys = store.check_output("python3 -c %s", BUCKET + listed).splitlines()
    assert any(key.startswith("shop/backup/") for key in keys) and any(key.startswith("shop/archive/") for key in keys)
    read = "print(s3.get_object(Bucket='backups', Key='shop/backup/demo/backup.info')['Body'].read()[:8])"
    assert store.check_output("python3 -c %s", BUCKET + read) == "b'Salted__'"


def test_a_second_run_changes_nothing(moved: dict[str, Any], playbook: Callable[..., Run]) -> None:
    assert playbook("playbooks/backup.yml", **moved).changed == []


def test_the_keys_are_on_the_repository_host_alone(moved: dict[str, Any], on: On) -> None:
    for name, there in {"db3": True, "db1": False, "db2": False}.items():
        assert (on(name).run("grep -rq a-secret-of-the-store /etc/pgbackrest").rc == 0) == there
    assert on("db3").check_output("stat -c '%U %a' /etc/pgbackrest/conf.d/secrets.conf") == "postgres 600"


def test_a_drill_restores_from_there(moved: dict[str, Any], store: Any, playbook: Callable[..., Run]) -> None:
    run = playbook("playbooks/drill.yml")
    assert run.code == 0, run.output[-3000:]
    record = json.loads(store.check_output("cat /var/lib/fairlead/backup/drill.json"))
    info = json.loads(store.check_output("runuser -u postgres -- pgbackrest --output=json info"))[0]
    assert record["last_success"]["backup"] == info["backup"][-1]["label"]
