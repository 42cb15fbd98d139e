"""The status page behind each kind of door. What it shows is in molecule/observability."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from conftest import ROOT
from nginx_twin import twin


@pytest.mark.parametrize(("access", "site", "alone"), [("public", 200, 200), ("none", 502, 404)])
def test_the_status_page_is_shown_to_whom_the_inventory_says(host: Any, address: str, access: str, site: int, alone: int) -> None:
    """By the site's nginx, where anything else is the application's (here it is away), and by the one of a monitor host alone."""
    given = yaml.safe_load((ROOT / "group_vars/all/monitoring.yml").read_text()) | {"site_status_access": access}
    (_, watch) = yaml.safe_load((ROOT / "playbooks/observability.yml").read_text())
    (nginx,) = [role["vars"] for role in watch["roles"] if role["role"].endswith("nginx")]
    given |= {"groups": {"monitor": ["one"]}, "nginx_upstream_servers": nginx["nginx_upstream_servers"]}
    for status, snippets in ((site, given["nginx_snippets"]), (alone, nginx["nginx_snippets"])):
        with twin(host, address, apps=0, **given | {"nginx_snippets": snippets}) as made:
            answer = made.ask("/status/")
            assert answer.status == status
            assert (b"Uptime" in answer.body) == (status == 200)
            # A guess at its password has its price.
            assert (429 in [made.ask("/status/").status for _ in range(40)]) == (status == 200)
            if snippets is nginx["nginx_snippets"]:
                assert made.ask("/other").status == (404 if access == "none" else 301)
