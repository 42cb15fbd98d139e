"""What a person says to a door of the Makefile arrives, whatever it holds."""

from __future__ import annotations

import os
import shutil
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


def test_a_build_that_fails_leaves_the_package_that_is_there(tmp_path: Path) -> None:
    def program(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / path).chmod(0o755)

    def build(result: str) -> int:
        environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "RESULT": result}
        return subprocess.run([tmp_path / "scripts/pgbouncer-rr", "build"], env=environment, capture_output=True).returncode

    for name in ("bin/docker", "scripts/engine", "scripts/host-image"):
        program(name, "")
    # As the true one: an older package in the folder goes first.
    program(
        "packages/pgbouncer-rr/build-deb",
        'test "$1" != --find || exec ls "$2"\nmkdir -p "$1"\nrm -f "$1"/*.deb\n'
        'test "$RESULT" || { touch "$1/build.log"; exit 1; }\ntouch "$1/pgbouncer-rr_$RESULT.deb"',
    )
    for name in ("lib.sh", "pgbouncer-rr"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")

    def kept() -> list[str]:
        return sorted(path.name for path in (tmp_path / "build").iterdir() if path.is_file())

    assert build("1") == 0 and kept() == ["pgbouncer-rr_1.deb"]
    assert build("") != 0 and kept() == ["pgbouncer-rr_1.deb"]
    assert build("2") == 0 and kept() == ["pgbouncer-rr_2.deb"]
