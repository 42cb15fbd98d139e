"""`make dev`: production's roles with the source mounted. What is saved shows, and what differs from production is meant to."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from scenario import ROOT

PRODUCTION = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "inventory"


def make(*words: str) -> str:
    done = subprocess.run(["make", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


def left() -> str:
    """What git does not keep in the inventory of development."""
    command = ["git", "status", "--porcelain", "--ignored", "inventories/dev"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The source of the site that `make dev` serves."""
    running = subprocess.run(["docker", "container", "inspect", "fairlead-dev"], capture_output=True).returncode == 0
    assert not running, "somebody develops here: `make dev-down` first"
    folder = tmp_path_factory.mktemp("development") / "source"
    shutil.copytree(ROOT / "examples/site", folder, ignore=shutil.ignore_patterns(".*_cache", "__pycache__"))
    try:
        make("dev", f"SOURCE={folder}", "IMAGE=fairlead/example-site")
        yield folder
    finally:
        make("dev-down")


@pytest.fixture
def url(source: Path) -> str:
    return f"https://localhost:{(ROOT / 'build/dev.port').read_text().strip()}"


def get(url: str) -> str:
    answer = requests.get(url, verify=False, timeout=30)  # noqa: S501 (its certificate is self-made)
    assert answer.status_code == 200, answer.text[:500]
    return answer.text


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_what_is_saved_is_served(source: Path, url: str) -> None:
    assert "ok" in get(f"{url}/health/live")
    view = source / "config/health.py"
    view.write_text(view.read_text().replace('{"status": "ok"}', '{"status": "edited"}'))
    deadline = time.monotonic() + 30
    while True:
        try:
            # As gunicorn starts its worker again, nobody answers for a moment.
            if "edited" in get(f"{url}/health/live"):
                break
        except AssertionError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.5)
    template = source / "templates/base.html"
    template.write_text(template.read_text().replace("</body>", "<p>edited</p></body>"))
    assert "<p>edited</p>" in get(f"{url}/")


@pytest.mark.usefixtures("source")
def test_what_differs_from_production_is_meant_to() -> None:
    said = make("parity", "A=inventories/dev", f"B={PRODUCTION}")
    assert "static files come from the source" in said, said


@pytest.mark.usefixtures("source")
def test_nothing_is_left_of_it() -> None:
    """Such as a release that was gone back to, which the next host has not."""
    (ROOT / "inventories/dev/group_vars/all/release.yml").write_text('site_release: "0123456789ab"\n')
    make("dev-down")
    assert left() == ""
