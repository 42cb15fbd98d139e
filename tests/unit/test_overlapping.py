"""The filter that finds overlapping networks."""

from __future__ import annotations

import pytest
from ansible_collections.fairlead.site.plugins.filter.overlapping import overlapping


@pytest.mark.parametrize(
    ("networks", "others", "shared"),
    [
        (["10.210.0.0/16"], ["10.203.0.11", "10.203.0.12"], []),
        (["10.210.0.0/16", "10.203.0.0/24"], ["10.203.0.11"], ["10.203.0.0/24"]),
        (["10.203.0.128/25"], ["10.203.0.11"], []),
        (["10.0.0.1/8"], ["10.203.0.0/24"], ["10.0.0.1/8"]),
        (["fd00::/48"], ["fd00::5", "10.0.0.1"], ["fd00::/48"]),
        (["0.0.0.0/0"], ["fd00::5"], []),
    ],
)
def test_overlapping(networks: list[str], others: list[str], shared: list[str]) -> None:
    assert overlapping(networks, others) == shared


def test_text_that_is_no_network_is_an_error() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        overlapping(["nowhere"], [])
