"""What the role docker promises, asked of the engine and of containers, with images made here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

# An image with two programs of the host and their libraries: there is no registry to pull one from.
MAKE_IMAGE = r"""
set -e
files=$(ldd /usr/bin/sleep /usr/bin/grep | grep -o '/[^ ]*\.so[^ ]*' | sort -u)
tar --create --dereference /usr/bin/sleep /usr/bin/grep $files 2>/dev/null | docker import - fairlead-test:1
"""

# An image that looks as if it had been built in 2020: only an image's own configuration says when.
MAKE_OLD_IMAGE = r"""
import hashlib, io, json, sys, tarfile
name, label = sys.argv[1:]
layer = io.BytesIO()
tarfile.open(fileobj=layer, mode="w").close()
layer = layer.getvalue()
config = json.dumps({
    "architecture": "amd64", "os": "linux", "created": "2020-01-01T00:00:00Z",
    "config": {"Labels": {label: "yes"}},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
}).encode()
manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as image:
    for path, data in (("layer.tar", layer), ("config.json", config), ("manifest.json", manifest)):
        member = tarfile.TarInfo(path)
        member.size = len(data)
        image.addfile(member, io.BytesIO(data))
"""


@pytest.fixture(scope="module")
def image(host: Any) -> Iterator[str]:
    host.check_output("bash -c %s", MAKE_IMAGE)
    yield "fairlead-test:1"
    host.check_output("docker rmi --force fairlead-test:1")


@pytest.fixture
def container(host: Any, image: str) -> Iterator[dict[str, Any]]:
    host.check_output("docker run --detach --name fairlead-test --publish 8099:80 %s /usr/bin/sleep 60", image)
    yield json.loads(host.check_output("docker inspect fairlead-test"))[0]
    host.check_output("docker rm --force fairlead-test")


@pytest.fixture(scope="module")
def info(host: Any) -> dict[str, Any]:
    return json.loads(host.check_output("docker info --format '{{ json . }}'"))


def test_no_tcp_port_leads_to_the_engine(host: Any) -> None:
    listening = host.check_output("ss --listening --tcp --udp --processes --numeric")
    assert "dockerd" not in listening and "containerd" not in listening


def test_only_its_group_reaches_the_socket(host: Any) -> None:
    socket = host.file("/run/docker.sock")
    assert (socket.user, socket.group, socket.mode) == ("root", "docker", 0o660)
    assert host.check_output("getent group docker").endswith(":")


def test_the_engine_starts_at_boot(host: Any) -> None:
    assert host.service("docker").is_enabled and host.service("docker").is_running


def test_containers_outlive_the_engine(info: dict[str, Any]) -> None:
    assert info["LiveRestoreEnabled"] is True


def test_networks_come_from_the_pool(host: Any) -> None:
    host.check_output("docker network create fairlead-test")
    try:
        (network,) = json.loads(host.check_output("docker network inspect fairlead-test"))
    finally:
        host.check_output("docker network rm fairlead-test")
    assert network["IPAM"]["Config"][0]["Subnet"].startswith("10.210.")
    assert network["Options"]["com.docker.network.bridge.host_binding_ipv4"] == "127.0.0.1"


def test_a_published_port_is_the_hosts_own(container: dict[str, Any]) -> None:
    assert container["NetworkSettings"]["Ports"]["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "8099"}]


@pytest.mark.usefixtures("container")
def test_no_process_waits_at_a_published_port(host: Any) -> None:
    assert host.run("pgrep docker-proxy").rc == 1


def test_a_container_logs_to_the_journal(container: dict[str, Any]) -> None:
    """Whose limits are test_base's."""
    assert container["HostConfig"]["LogConfig"] == {"Type": "journald", "Config": {"tag": "{{ .Name }}"}}


def test_a_container_gains_no_privileges(host: Any, image: str) -> None:
    status = host.check_output("docker run --rm %s /usr/bin/grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status", image)
    assert status.split() == ["NoNewPrivs:", "1", "Seccomp:", "2"]


def test_an_image_is_named_by_its_configuration(host: Any, image: str) -> None:
    found = host.check_output("docker inspect --format '{{ .Id }}' %s", image)
    manifest = json.loads(host.check_output("docker save %s | tar --extract --to-stdout manifest.json", image))
    assert found.removeprefix("sha256:") in manifest[0]["Config"]


def test_pruning_takes_old_images_that_nothing_keeps(host: Any, image: str) -> None:
    for name, label in (("fairlead-old:1", "any"), ("fairlead-kept:1", "fairlead.keep")):
        host.check_output("python3 -c %s %s %s | docker load", MAKE_OLD_IMAGE, name, label)
    try:
        host.check_output("systemctl start fairlead-docker-prune.service")
        left = host.check_output("docker images --format '{{ .Repository }}:{{ .Tag }}'").split()
    finally:
        host.run("docker rmi fairlead-old:1 fairlead-kept:1")
    assert "fairlead-old:1" not in left
    assert {"fairlead-kept:1", image} <= set(left)


def test_pruning_is_due(host: Any) -> None:
    assert host.service("fairlead-docker-prune.timer").is_running
