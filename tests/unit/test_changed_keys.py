from __future__ import annotations

import pytest
from ansible_collections.fairlead.site.plugins.filter.changed_keys import changed_keys

PATH = "/etc/docker/daemon.json"


def part(before: str, after: str, path: str = PATH) -> dict[str, str]:
    return {"before_header": path if before else "/dev/null", "after_header": path, "before": before, "after": after}


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        ('{"a": 1, "b": [1]}', '{"a": 1, "b": [2]}', ["b"]),
        ('{"a": 1}', '{"a": 1, "b": {"c": 1}}', ["b"]),
        ('{"a": 1, "b": 2}', '{"a": 1}', ["b"]),
        ('{"a":1}', '{ "a": 1 }', []),
        ("", '{"a": 1, "b": 2}', ["a", "b"]),
        ('{"a": 1', '{"a": 1}', ["a"]),
        ("[1]", '{"a": 1}', ["a"]),
        ("owner 0:0 mode 0600\n", "owner 0:0 mode 0644\n", []),
    ],
)
def test_changed_keys(before: str, after: str, keys: list[str]) -> None:
    assert changed_keys([part(before, after)], PATH) == keys


def test_other_files_do_not_count() -> None:
    assert changed_keys([part("", '{"a": 1}', "/etc/other.json")], PATH) == []
    assert changed_keys([], PATH) == []
