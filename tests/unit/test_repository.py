"""The repository as its users meet it: playbooks, inventories and the collection that is built from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"}


def run(*command: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT | environment, capture_output=True, text=True)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection as `make build` makes it."""
    folder = tmp_path_factory.mktemp("build")
    done = run("ansible-galaxy", "collection", "build", "--output-path", str(folder))
    assert done.returncode == 0, done.stderr
    return next(folder.glob("fairlead-site-*.tar.gz"))


def test_every_playbook_sees_the_same_group_vars_alone_and_through_site(tmp_path: Path) -> None:
    """Ansible looks for group_vars beside the playbook that it is given and beside each imported one.

    The tree that is run has the playbooks' names and links, and plays that print what they see.
    """
    sentinel = "group_vars_sentinel"
    plays = []
    # A tree of the same shape, whose plays print what they see.
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "group_vars").symlink_to(ROOT / "group_vars")
    assert (ROOT / "playbooks/group_vars").is_symlink()
    (tmp_path / "playbooks/group_vars").symlink_to((ROOT / "playbooks/group_vars").readlink())
    keys = sorted(
        line.split(":")[0]
        for file in (ROOT / "group_vars/all").glob("*.yml")
        for line in file.read_text().splitlines()
        if line[:1].isalpha() and ":" in line
    )
    assert "site_name" in keys and "nginx_upstream_servers" in keys
    for playbook in PLAYBOOKS:
        task = {
            "ansible.builtin.debug": {"msg": f"{sentinel} {playbook.name} {{{{ {json.dumps(keys)} | difference(vars | list) }}}}"}
        }
        play = [{"hosts": "all", "gather_facts": False, "tasks": [task]}]
        (tmp_path / "playbooks" / playbook.name).write_text(json.dumps(play))
        plays.append({"ansible.builtin.import_playbook": f"playbooks/{playbook.name}"})
    (tmp_path / "site.yml").write_text(json.dumps(plays))

    def seen(*playbooks: str) -> list[str]:
        done = run("ansible-playbook", *playbooks, "-i", "one,", cwd=tmp_path, ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"))
        assert done.returncode == 0, done.stdout
        return sorted(line.strip() for line in done.stdout.splitlines() if sentinel in line)

    through_site = seen("site.yml")
    assert len(through_site) == len(PLAYBOOKS)
    assert through_site == seen(*(f"playbooks/{playbook.name}" for playbook in PLAYBOOKS))
    assert all("[]" in line for line in through_site), through_site


@pytest.mark.parametrize("inventory", ["demo", "dev", "prod"])
@pytest.mark.parametrize("flag", ["--syntax-check", "--list-tasks"])
def test_the_inventories_can_be_read(flag: str, inventory: str) -> None:
    done = run("ansible-playbook", "site.yml", "-i", f"inventories/{inventory}", flag)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr


def test_no_inventory_holds_a_secret() -> None:
    tracked = run("git", "ls-files", "inventories", "molecule", "group_vars").stdout.split()
    assert tracked
    assert [path for path in tracked if "/secrets/" in path or path.endswith(("vault.yml", ".key", ".pem"))] == []
    for path in tracked:
        for line in (ROOT / path).read_text().splitlines():
            name, _, value = line.strip().lstrip("# ").partition(":")
            if name.endswith(("_password", "_secret_key", "_token", "_key")) and "regex" not in name:
                plain = value.split("#")[0].strip()
                assert plain in ("", ">-", '""') or plain.startswith('"{{'), f"{path}: {line}"


def test_the_collection_holds_what_runs_and_nothing_else(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    for needed in (
        "site.yml",
        "playbooks/app.yml",
        "playbooks/group_vars",
        "group_vars/all/site.yml",
        "roles/nginx/tasks/main.yml",
    ):
        assert needed in names
    for name in names:
        assert not name.startswith(("tests", "molecule", "bench", "build", "collections", ".", "examples")), name
        assert "/secrets/" not in name and not name.endswith(("vault.yml", ".pyc")), name


def test_the_collection_runs_the_site_where_it_is_installed(archive: Path, tmp_path: Path) -> None:
    """Down to the first thing that needs a host: the sentence about what the inventory lacks."""
    site = tmp_path / "ansible_collections/fairlead/site"
    inventory = tmp_path / "hosts.yml"
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory.write_text(json.dumps({"all": {"children": {"app": {"hosts": {"one": host}}, "db": {"hosts": {"one": {}}}}}}))
    (tmp_path / "ansible.cfg").touch()
    environment = {
        "ANSIBLE_COLLECTIONS_PATH": str(tmp_path),
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
        "ANSIBLE_GATHERING": "explicit",
    }
    done = run("ansible-galaxy", "collection", "install", "--no-deps", str(archive), cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    listed = run("ansible-playbook", str(site / "site.yml"), "-i", str(inventory), "--list-tasks", cwd=tmp_path, **environment)
    assert listed.returncode == 0, listed.stderr
    assert "fairlead.site.nginx : Install nginx" in listed.stdout
    command = ["ansible-playbook", str(site / "site.yml"), "-i", str(inventory), "-e", "ansible_become=false"]
    done = run(*command, cwd=tmp_path, **environment)
    assert "set `precedence` in ansible.cfg" in done.stdout + done.stderr
    precedence = next(line for line in (ROOT / "ansible.cfg").read_text().splitlines() if line.startswith("precedence"))
    (tmp_path / "ansible.cfg").write_text(f"[defaults]\n{precedence}\n")
    done = run(*command, cwd=tmp_path, **environment)
    assert done.returncode == 2
    assert "site_domain is ''" in done.stdout + done.stderr
    assert "changed=0" in done.stdout


def follows(folder: Path, expressions: dict[str, str], children: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What the shared group_vars make, on each host, of an inventory with these groups and variables."""
    (folder / "group_vars").symlink_to(ROOT / "group_vars")
    shown = {name: f"{{{{ {expression} }}}}" for name, expression in expressions.items()}
    task = {"ansible.builtin.debug": {"msg": shown}}
    (folder / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    (folder / "inventory").mkdir()
    (folder / "inventory/hosts.json").write_text(json.dumps({"all": {"children": children, "vars": given}}))
    done = run(
        *("ansible-playbook", "play.yml", "-i", "inventory"),
        cwd=folder,
        ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"),
        ANSIBLE_STDOUT_CALLBACK="json",
    )
    found = json.loads(done.stdout)["plays"][0]["tasks"][0]["hosts"]
    return {host: result["msg"] for host, result in found.items()}


def test_what_nginx_talks_to_follows_from_the_groups(tmp_path: Path) -> None:
    """The app's socket beside the app, the app hosts over TLS on an edge host, which alone is believed."""
    names = ("nginx_upstream_servers", "nginx_edges", "nginx_static_root", "nginx_internal_ca", "nginx_internal_name")
    children = {
        "app": {"hosts": {"a1": {"site_address": "192.0.2.1"}, "a2": {"site_address": "192.0.2.2"}}},
        "db": {"hosts": {"d1": {}}},
        "edge": {"hosts": {"e1": {"site_address": "192.0.2.9"}}},
    }
    seen = follows(tmp_path, {name: name for name in names}, children, {"site_trust": "PEM", "site_drained": ["a2"]})
    assert seen["a1"] == {
        "nginx_upstream_servers": ["unix:/srv/site/current/run/gunicorn.sock"],
        "nginx_edges": ["192.0.2.9"],
        "nginx_static_root": "/srv/site/static",
        "nginx_internal_ca": "PEM",
        "nginx_internal_name": "app.site.internal",
    }
    assert seen["e1"] == {
        "nginx_upstream_servers": ["192.0.2.1:443", "192.0.2.2:443 down"],
        "nginx_edges": [],
        "nginx_static_root": "",
        "nginx_internal_ca": "PEM",
        "nginx_internal_name": "app.site.internal",
    }


@pytest.mark.parametrize(
    ("given", "apps", "refused"),
    [
        ({}, 2, []),
        ({"site_media_root": "/srv/media"}, 1, []),
        ({"site_media_root": "/srv/media", "site_media_shared_enabled": True}, 2, []),
        ({"site_media_root": "media"}, 1, ["site_media_root is 'media': name a folder by its whole path"]),
        ({"site_media_root": "/srv/media"}, 2, ["each of the app hosts (a0, a1) would keep there what it was sent itself"]),
    ],
)
def test_uploaded_files_are_in_one_place(tmp_path: Path, given: dict[str, Any], apps: int, refused: list[str]) -> None:
    """It is mounted, served and watched on the app hosts, which must share it."""
    expressions = {
        "refused": "_media | rejectattr('ok') | map(attribute='otherwise') | list",
        "found": "[django_mounts | map(attribute='target') | last, nginx_media_root, _site_sections.areas.media | default('')]",
    }
    children = {
        "app": {"hosts": {f"a{number}": {} for number in range(apps)}},
        "db": {"hosts": {"d1": {}}},
        "edge": {"hosts": {"e1": {}}},
    }
    about = "{{ site_requirements | selectattr('name', 'match', 'site_media') | list }}"
    seen = follows(tmp_path, expressions, children, given | {"_media": about})
    root = given.get("site_media_root", "")
    assert seen["a0"]["found"] == ["/app/media" if root else "/run/site-pooler", root, root]
    assert seen["e1"]["found"][1:] == ["", ""]
    assert len(seen["a0"]["refused"]) == len(refused)
    assert all(word in sentence for word, sentence in zip(refused, seen["a0"]["refused"], strict=True))


def test_secrets_may_be_in_a_file_that_sops_encrypted(tmp_path: Path) -> None:
    """As docs/security.md says. The program is a stand-in, as Debian has none: what Ansible asks it, and does with its answer."""
    lines = (ROOT / "docs/security.md").read_text().splitlines()
    (documented,) = [line.split()[1] for line in lines if "export ANSIBLE_VARS" in line]
    secrets = tmp_path / "group_vars/all/vault.sops.yml"
    secrets.parent.mkdir(parents=True)
    secrets.write_text("site_secret_key: ENC[AES256_GCM,data:x]\nsops: {version: 3.10.2}\n")
    (tmp_path / "hosts").write_text("[app]\nh1\n")
    program = tmp_path / "bin/sops"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n'
        'if [ "$1" = --version ]; then echo "sops 3.10.2"; else echo "site_secret_key: in plain text"; fi\n'
    )
    program.chmod(0o755)
    name, _, value = documented.partition("=")
    given = {name: value, "PATH": f"{program.parent}:{ENVIRONMENT['PATH']}"}
    done = run("ansible-inventory", "-i", str(tmp_path), "--host", "h1", "--playbook-dir", str(ROOT), **given)
    assert json.loads(done.stdout)["site_secret_key"] == "in plain text", done.stderr
    assert (tmp_path / "asked").read_text().splitlines()[-1] == f"decrypt {secrets}"


@pytest.mark.parametrize(
    ("children", "given", "refused"),
    [
        ({"app": {"hosts": {"h1": {}}}}, {}, ["The inventory needs at least one host in the group app and one in the group db"]),
        (
            {"app": {"hosts": {"h1": {}}}, "db": {"hosts": {"h1": {}}}},
            {"site_primary": "h2"},
            ["site_primary is 'h2', which is no host of the group db"],
        ),
    ],
)
def test_a_site_without_a_database_gets_a_sentence(
    tmp_path: Path, children: dict[str, Any], given: dict[str, Any], refused: list[str]
) -> None:
    about = "{{ site_requirements | selectattr('name', 'in', ['groups', 'site_primary']) | list }}"
    expressions = {"refused": "_groups | rejectattr('ok') | map(attribute='otherwise') | list"}
    found = follows(tmp_path, expressions, children, given | {"_groups": about})["h1"]["refused"]
    assert len(found) == len(refused)
    assert all(word in sentence for word, sentence in zip(refused, found, strict=True))
