"""The status page of the site that is watched, in Chromium: on a phone and on a desk, light and dark.

The pictures stay in .cache/reports.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

PAGE = "https://status.example.org/status/"
PICTURES = ROOT / ".cache/reports"


@pytest.fixture(scope="module")
def shown(watch: Any, secrets: dict[str, str]) -> list[dict[str, Any]]:
    """What Chromium saw, as tests/browser.py tells it. It asks nginx on the watching host, as a visitor with the password."""
    watch.check_output("apt-get install -y --no-install-recommends chromium fonts-dejavu-core")
    name, folder = watch.backend.name, "/srv/pictures"
    address = PAGE.replace("//", f"//status:{secrets['status_password']}@")
    with (Path(__file__).parent / "browser.py").open() as program:
        look = ["docker", "exec", "-i", name, "timeout", "120", "python3", "-", address, folder]
        done = subprocess.run(look, stdin=program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    PICTURES.mkdir(parents=True, exist_ok=True)
    subprocess.run(["docker", "cp", f"{name}:{folder}/.", str(PICTURES)], check=True, capture_output=True)
    return list(json.loads(done.stdout))


def test_it_is_shown_on_a_phone_and_on_a_desk_light_and_dark(shown: list[dict[str, Any]]) -> None:
    assert {(one["width"], one["scheme"]) for one in shown} == {(390, "light"), (390, "dark"), (1200, "light"), (1200, "dark")}
    for one in shown:
        for words in ("The site is", "Uptime", "Response times", "Bandwidth", "Disks", "obs-site", "Releases", "Alerts"):
            assert words in one["text"], (one["width"], words)
        picture = (PICTURES / f"status-{one['width']}-{one['scheme']}.png").read_bytes()
        assert picture.startswith(b"\x89PNG") and len(picture) > 10_000


def test_it_asks_for_nothing_but_itself(shown: list[dict[str, Any]]) -> None:
    """A browser asks each host for its icon, once."""
    for one in shown:
        assert set(one["asked"]) - {PAGE.replace("status/", "favicon.ico")} == {PAGE}
        assert one["complaints"] == []


def test_nothing_of_it_is_beside_the_screen(shown: list[dict[str, Any]]) -> None:
    for one in shown:
        assert one["window"] == one["width"] and one["scroll"] <= one["width"] and one["outside"] == []


def test_its_text_can_be_read(shown: list[dict[str, Any]]) -> None:
    for one in shown:
        assert one["size"] >= 13 and one["contrast"] >= 4.5, one["width"]
        assert one["ground"] > 0.9 if one["scheme"] == "light" else one["ground"] < 0.05
