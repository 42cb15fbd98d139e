"""The dashboards are what Grafana knows, by the model that it publishes (grafana-foundation-sdk), and a Grafana finds them."""

from __future__ import annotations

import enum
import json
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any

import pytest
import yaml
from conftest import ROOT
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

BOARDS = sorted((ROOT / "roles/monitoring/files/grafana").glob("*.json"))
MODEL = "grafana_foundation_sdk."
# What Grafana writes itself and its model leaves to data sources and to the editor.
BEYOND = {"/annotations/list/0/useValueForTime", "/annotations/list/0/titleFormat", "/annotations/list/0/step"}
BEYOND |= {"/templating/list/0/definition"}


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{place}/{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from leaves(item, f"{place}/{number}")
    else:
        yield place, value


def mistakes(value: Any, hint: Any, place: str = "") -> list[str]:
    """Places whose values are not of the type that the model has for them."""
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if kind in (typing.Union, UnionType):
        found = [mistakes(value, part, place) for part in parts]
        return min(found, key=len)
    if kind is list and isinstance(value, list):
        return [wrong for number, item in enumerate(value) for wrong in mistakes(item, parts[0], f"{place}/{number}")]
    if kind is dict and isinstance(value, dict):
        return [wrong for key, item in value.items() for wrong in mistakes(item, parts[1], f"{place}/{key}")]
    if kind is typing.Literal:
        right = value in parts
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        right = value in {member.value for member in hint}
    elif type(value).__module__.startswith(MODEL) and (hint is object or isinstance(value, hint)):
        hints = typing.get_type_hints(type(value))
        return [wrong for name, part in hints.items() for wrong in mistakes(getattr(value, name), part, f"{place}/{name}")]
    elif hint is float:
        right = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        right = hint is object or type(value) is hint
    return [] if right else [place]


def problems(board: dict[str, Any]) -> set[str]:
    """Keys that the model does not know, values that it changes, and places with a value of another type."""
    plugins.register_default_plugins()
    read = Dashboard.from_json(board)
    written = dict(leaves(json.loads(JSONEncoder().encode(read))))
    return {place for place, value in leaves(board) if written.get(place) != value} | set(mistakes(read, Dashboard))


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_valid(path: Path) -> None:
    assert problems(json.loads(path.read_text())) == BEYOND


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("title", 3),
        ("tagz", ["a"]),
        ("graphTooltip", 7),
        ("time", {"from": "now-1h", "until": "now"}),
        ("panels/1/gridPos/w", "12"),
        ("panels/1/targets/0/expression", "up"),
        ("panels/1/fieldConfig/defaults/thresholds/mode", "relative"),
        ("panels/1/options/graphMode", "curve"),
        ("templating/list/0/multi", "yes"),
    ],
)
def test_a_mistake_in_a_dashboard_is_found(place: str, value: Any) -> None:
    board = json.loads((BOARDS[0].parent / "fairlead-site.json").read_text())
    *way, last = place.split("/")
    part: Any = board
    for step in way:
        part = part[int(step) if isinstance(part, list) else step]
    part[last] = value
    assert problems(board) > BEYOND


def test_a_grafana_on_the_host_is_told_where_all_is(evaluate: Callable[..., Any]) -> None:
    given = {"monitoring_grafana_enabled": True, "ansible_search_path": [str(ROOT / "roles/monitoring")]}
    files = {Path(file["path"]): file["content"] for file in evaluate("monitoring", "_monitoring_files", **given)}
    provisioning = Path("/etc/grafana/provisioning")
    assert yaml.safe_load(files.pop(provisioning / "datasources/fairlead.yaml")) == {
        "apiVersion": 1,
        # Not the default one: a Grafana for which two are the default does not start.
        "datasources": [
            {"name": "Fairlead", "uid": "fairlead", "type": "prometheus", "access": "proxy", "url": "http://127.0.0.1:9090"}
        ],
    }
    assert yaml.safe_load(files.pop(provisioning / "dashboards/fairlead.yaml")) == {
        "apiVersion": 1,
        "providers": [{"name": "fairlead", "type": "file", "folder": "Fairlead", "options": {"path": "/etc/grafana/fairlead"}}],
    }
    boards = {path: json.loads(path.read_text()) for path in BOARDS}
    assert {path: json.loads(text) for path, text in files.items()} == {
        Path("/etc/grafana/fairlead") / path.name: board for path, board in boards.items()
    }
    # Whatever a dashboard asks, it asks of that data source.
    for board in boards.values():
        assert {value for place, value in leaves(board) if place.endswith("/datasource/uid")} == {"fairlead"}
