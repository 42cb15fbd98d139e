"""What a person says to a door of the Makefile arrives, whatever it holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml
from conftest import ROOT


def maintenance(inventory: Path, *words: str) -> dict[str, object]:
    """What is recorded; the inventory has no host whose nginx could be told."""
    (inventory / "group_vars/all").mkdir(parents=True, exist_ok=True)
    (inventory / "hosts.yml").write_text("all: {hosts: {one: {ansible_connection: local}}}")
    done = subprocess.run(["make", "maintenance", f"INVENTORY={inventory}", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    recorded = yaml.safe_load((inventory / "group_vars/all/maintenance.yml").read_text())
    assert isinstance(recorded, dict)
    return recorded


def test_the_words_of_maintenance(tmp_path: Path) -> None:
    message = 'We\'re back at "noon".'
    said = maintenance(tmp_path / "site", "STATE=on", f"MESSAGE={message}", "ALLOW=192.0.2.0/24, 2001:db8::7")
    assert said == {"site_maintenance_message": message, "site_maintenance_from": ["192.0.2.0/24", "2001:db8::7"]}
    said = maintenance(tmp_path / "site", "STATE=on")
    assert said == {"site_maintenance_message": "We will be back soon.", "site_maintenance_from": []}
    assert maintenance(tmp_path / "site", "STATE=off")["site_maintenance_message"] == ""
