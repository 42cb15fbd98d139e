"""What the rotation of a secret says before it changes anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


def rotate(folder: Path, **variables: str) -> str:
    """Return what is said, in one line; nothing may have been changed."""
    inventory = folder / "hosts.json"
    inventory.write_text(json.dumps({"all": {"children": {"app": {"hosts": {"one": {"ansible_connection": "local"}}}}}}))
    done = subprocess.run(
        ["ansible-playbook", "-i", str(inventory), "-e", json.dumps(variables), "playbooks/rotate.yml"],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "changed=0" in done.stdout
    return " ".join(done.stdout.split())


@pytest.mark.parametrize("secret", ["", "authority", "database"])
def test_another_secret_is_refused(tmp_path: Path, secret: str) -> None:
    said = rotate(tmp_path, secret=secret)
    assert f"SECRET is '{secret}'" in said.replace("''", "'") and "registry_push_password" in said


@pytest.mark.parametrize("secret", ["secret_key", "database_password"])
def test_a_release_of_before_goes_first(tmp_path: Path, secret: str) -> None:
    """It has its own values, which would be worthless."""
    said = rotate(tmp_path, secret=secret, site_secrets_dir=str(tmp_path), site_release="1f2e3d4c5b6a")
    assert f"Release 1f2e3d4c5b6a serves since a rollback, and knows no {secret} but its own" in said
    assert list(tmp_path.glob("*.txt")) == []


def test_a_vault_is_its_owners_to_edit(tmp_path: Path) -> None:
    said = rotate(tmp_path, secret="secret_key")
    steps = [said.index(step) for step in ("1. Add a new", "2. Exchange it", "3. When no session")]
    assert steps == sorted(steps) and "site_secret_key_fallbacks" in said
    said = rotate(tmp_path, secret="registry_push_password")
    assert "1. Put a new random value" in said and "2." not in said
