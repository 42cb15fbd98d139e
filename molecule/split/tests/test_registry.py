"""The registry as the other hosts meet it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import ADDRESSES, ROOT, Run
from scenario import registry_login

On = Callable[[str], Any]

STORE = ADDRESSES["store1"]
PULL, PUSH = f"{STORE}:5000", f"{STORE}:5001"
# A port that the firewall closes does not answer at all.
CONNECT = "timeout 3 bash -c 'exec 3<>/dev/tcp/%s/%s'"

# Begin to push a layer, as every push begins.
UPLOAD = """
import base64, ssl, sys, urllib.request
registry, password = sys.argv[1:]
trust = ssl.create_default_context(cafile=f"/etc/docker/certs.d/{registry}/ca.crt")
login = {"Authorization": "Basic " + base64.b64encode(f"pull:{password}".encode()).decode()}
request = urllib.request.Request(f"https://{registry}/v2/demo/blobs/uploads/", b"", login, method="POST")
urllib.request.urlopen(request, context=trust)
"""


@pytest.fixture
def pusher(secrets: dict[str, str]) -> Iterator[requests.Session]:
    """Somebody on this machine, from which may be pushed."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "authority/trust.pem")
        session.auth = ("push", secrets["registry_push_password"])
        yield session


def push_blob(pusher: requests.Session, content: bytes) -> dict[str, Any]:
    """Push it, and return how a manifest names it."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    place = pusher.post(f"https://{PUSH}/v2/demo/blobs/uploads/").headers["Location"]
    assert pusher.put(f"https://{PUSH}{place}", content, params={"digest": digest}).status_code == 201
    return {"size": len(content), "digest": digest}


@pytest.fixture(scope="module")
def pushed(playbook: Callable[..., Run]) -> str:
    """The image's name, by digest, as make push says it."""
    run = playbook("playbooks/push.yml", image=str(ROOT / "build/site.tar"))
    assert run.code == 0, run.output
    said = re.search(r"site_image: (\S+@sha256:[0-9a-f]{64})", run.output)
    assert said, run.output
    return said[1]


def test_it_listens_on_the_sites_network_alone(on: On) -> None:
    listening = on("store1").check_output("ss --listening --tcp --numeric --no-header --processes")
    addresses = [line.split()[3] for line in listening.splitlines() if "docker-registry" in line]
    assert sorted(addresses) == [PULL, PUSH]


def test_the_packages_own_service_cannot_start(on: On) -> None:
    assert on("store1").run("systemctl start docker-registry.service").rc != 0


def test_app_hosts_pull_and_nobody_else_comes_in(on: On) -> None:
    assert on("app1").run(CONNECT, STORE, "5000").rc == 0
    assert on("app1").run(CONNECT, STORE, "5001").rc != 0
    for port in ("5000", "5001"):
        assert on("stranger").run(CONNECT, STORE, port).rc != 0


def test_a_password_is_good_for_its_own_instance_alone(on: On, secrets: dict[str, str], pusher: requests.Session) -> None:
    assert "Login Succeeded" in registry_login(on("app1"), PULL, "pull", secrets["registry_pull_password"])
    for user, password in (("pull", "wrong"), ("push", secrets["registry_push_password"])):
        assert "401 Unauthorized" in registry_login(on("app1"), PULL, user, password)
    assert pusher.get(f"https://{PUSH}/v2/").status_code == 200
    assert pusher.get(f"https://{PUSH}/v2/", auth=("pull", secrets["registry_pull_password"])).status_code == 401


def test_an_unknown_authority_is_refused(on: On, secrets: dict[str, str]) -> None:
    """Under another name, for which the app host knows no authority, though the certificate is good for it."""
    app, path = on("app1"), f"/etc/docker/certs.d/{PULL}"
    app.check_output("mv %s %s.away", path, path)
    try:
        assert "unknown authority" in registry_login(app, PULL, "pull", secrets["registry_pull_password"])
    finally:
        app.check_output("mv %s.away %s", path, path)


def test_what_is_pushed_can_be_pulled_by_its_digest(on: On, pushed: str, secrets: dict[str, str]) -> None:
    app = on("app1")
    pull = (
        "export DOCKER_CONFIG=$(mktemp -d /run/login.XXXXXX); "
        "printf %%s %s | docker login -u pull --password-stdin %s && docker pull --quiet %s"
    )
    try:
        assert app.check_output(pull, secrets["registry_pull_password"], PULL, pushed).endswith(pushed)
    finally:
        app.check_output("rm -r /run/login.*; docker image rm %s", pushed)


def test_pushing_again_changes_nothing(playbook: Callable[..., Run], pushed: str) -> None:
    run = playbook("playbooks/push.yml", image=str(ROOT / "build/site.tar"))
    assert pushed in run.output
    assert run.changes == 0


def test_the_pull_instance_takes_nothing(on: On, secrets: dict[str, str]) -> None:
    """Not even from the account that may pull: the instance is read-only, and its process too."""
    said = on("app1").run("python3 -c %s %s %s", UPLOAD, PULL, secrets["registry_pull_password"])
    assert "HTTP Error 405" in said.stderr
    store = on("store1")
    process = store.check_output("systemctl show --value --property MainPID docker-registry@pull.service")
    assert store.run("nsenter --target %s --mount touch /var/lib/docker-registry/x", process).rc != 0


def test_garbage_goes_while_pulling_goes_on(on: On, pushed: str, pusher: requests.Session) -> None:
    store = on("store1")

    def kept(digest: str) -> bool:
        path = f"/var/lib/docker-registry/docker/registry/v2/blobs/sha256/{digest[-64:-62]}/{digest[-64:]}/data"
        return bool(store.file(path).exists)

    docker = "application/vnd.docker"
    layer = push_blob(pusher, os.urandom(1000))
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{docker}.distribution.manifest.v2+json",
        "config": push_blob(pusher, b"{}") | {"mediaType": f"{docker}.container.image.v1+json"},
        "layers": [layer | {"mediaType": f"{docker}.image.rootfs.diff.tar.gzip"}],
    }
    manifests = f"https://{PUSH}/v2/demo/manifests"
    put = pusher.put(f"{manifests}/second", json.dumps(manifest), headers={"Content-Type": manifest["mediaType"]})
    assert put.status_code == 201 and kept(layer["digest"])
    assert pusher.delete(f"{manifests}/{put.headers['Docker-Content-Digest']}").status_code == 202

    before = store.check_output("systemctl show --value --property MainPID docker-registry@pull.service")
    store.check_output("systemctl start docker-registry-gc.service")
    assert "Pushing is off" in store.check_output("journalctl --no-pager --unit docker-registry-gc.service")
    assert store.check_output("systemctl show --value --property MainPID docker-registry@pull.service") == before
    for _ in range(20):
        if store.run("systemctl is-active docker-registry@push.service && sleep 1").rc == 0:
            break
    assert store.run("systemctl is-active docker-registry@push.service").rc == 0
    assert kept(pushed) and not kept(layer["digest"])


def test_garbage_is_looked_for_every_week(on: On) -> None:
    assert on("store1").check_output("systemctl show --value --property NextElapseUSecRealtime docker-registry-gc.timer")
