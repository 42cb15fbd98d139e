"""A deployment, one that fails, and a rollback, while visitors come and keep their connections."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import ADDRESSES, DOMAIN, Run
from load import loading

On = Callable[[str], Any]

# A form that the application takes: both of the same token.
TOKEN = {"Cookie": f"csrftoken={'a' * 32}", "X-CSRFToken": "a" * 32}
ERRANDS = (
    {"name": "page", "path": "/", "visitors": 3},
    {"name": "post", "path": "/login/", "method": "POST", "visitors": 2, "headers": TOKEN},
)


@pytest.fixture
def releases(on: On) -> Callable[[], set[str]]:
    """A function that returns the releases that serve; each host is to run nothing else."""

    def serving() -> set[str]:
        found = set()
        for name in ("app1", "app2"):
            current = on(name).check_output("basename $(readlink /srv/demo/current)")
            containers = on(name).check_output("docker ps --all --filter label=fairlead.site=demo --format '{{ .Names }}'")
            assert containers == f"demo-{current}"
            found.add(current)
        return found

    return serving


@pytest.fixture
def inventory() -> Iterator[None]:
    """As it was before: a rollback writes the release into it."""
    yield
    (Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "inventory/group_vars/all/release.yml").unlink(missing_ok=True)


@pytest.mark.usefixtures("inventory")
def test_no_visitor_notices(
    on: On, visitor: requests.Session, playbook: Callable[..., Run], releases: Callable[[], set[str]]
) -> None:
    before = releases()
    assert len(before) == 1
    with loading(ADDRESSES["edge1"], DOMAIN, str(visitor.verify), *ERRANDS) as load:
        deployed = playbook("playbooks/deploy.yml", site_environment_variables={"LOG_LEVEL": "DEBUG"}, django_bake_seconds=3)
        assert deployed.code == 0, deployed.output
        new = releases()
        assert len(new) == 1 and new != before

        failed = playbook("playbooks/deploy.yml", django_health_path="/none/", django_start_timeout_seconds=8)
        assert failed.code == 2
        assert "did not answer 200 to /none/ within 8 seconds (django_start_timeout_seconds), but: 404" in failed.sentence
        assert "What ran before runs on." in failed.sentence
        assert releases() == new

        back = playbook("playbooks/rollback.yml")
        assert back.code == 0, back.output
        assert releases() == before
    assert load.others("page 200", "post 200") == {}
    assert load.of("page", 200) > 100 and load.of("post", 200) > 50
    for name in ("app1", "app2"):
        records = [json.loads(line) for line in on(name).check_output("cat /srv/demo/records.jsonl").splitlines()]
        assert [record["result"] for record in records[-4:]] == ["live", "failed", "rolled_back", "live"]
        assert {records[-4]["id"], records[-2]["id"]} == new and {records[-1]["id"]} == before
        assert on(name).run("test -e /srv/demo/lock.json").rc == 1
