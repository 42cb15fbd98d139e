from __future__ import annotations

import errno
import itertools
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fairlead.site.plugins.modules import kernel_limits
from ansible_collections.fairlead.site.plugins.modules.kernel_limits import (
    HEADER,
    compare,
    granted_nofile,
    merge,
    parse,
    read_file,
    replace_file,
    show,
    write_value,
)

BACKLOG = "net.core.somaxconn"
PORTS = "net.ipv4.ip_local_port_range"


@pytest.mark.parametrize(("text", "value"), [(4096, (4096,)), ("4096\n", (4096,)), ("10240\t65535", (10240, 65535)), ("0", (0,))])
def test_parse(text: Any, value: tuple[int, ...]) -> None:
    assert parse(text) == value


@pytest.mark.parametrize("text", ["", "many", "1 2 3", "-1", "65535 1024", "1.5", True, None])
def test_parse_refuses(text: Any) -> None:
    with pytest.raises(ValueError):
        parse(text)


@pytest.mark.parametrize("pair", list(itertools.product([(0,), (128,), (4096,), (2**63 - 1,)], repeat=2)))
def test_a_number_is_never_lowered(pair: Any) -> None:
    current, floor = pair
    assert merge(current, floor) >= current and merge(current, floor) >= floor
    assert merge(current, floor) in pair


@pytest.mark.parametrize("current", [(32768, 60999), (1024, 65535), (1024, 20000), (20000, 65535)])
def test_a_range_is_only_widened(current: tuple[int, int]) -> None:
    low, high = merge(current, (10240, 65000))
    assert low <= min(current[0], 10240) and high >= max(current[1], 65000)


def test_a_range_is_no_number() -> None:
    with pytest.raises(ValueError):
        merge((1, 2), (3,))


def test_what_is_low_is_raised_and_kept() -> None:
    outcome = compare({BACKLOG: (4096,)}, {BACKLOG: (128,)}, {BACKLOG}, "")
    assert outcome.raised == {BACKLOG: (4096,)}
    assert outcome.text == HEADER + "net.core.somaxconn = 4096\n"


def test_what_is_high_by_itself_is_left_alone_and_not_kept() -> None:
    outcome = compare({BACKLOG: (4096,)}, {BACKLOG: (9000,)}, {BACKLOG}, "")
    assert (outcome.raised, outcome.unwritable, outcome.text) == ({}, {}, "")


def test_a_second_run_changes_nothing() -> None:
    floors: dict[str, Any] = {BACKLOG: (4096,), PORTS: (10240, 65535)}
    first = compare(floors, {BACKLOG: (128,), PORTS: (32768, 60999)}, set(floors), "")
    second = compare(floors, dict(first.raised), set(floors), first.text)
    assert (second.raised, second.text) == ({}, first.text)


def test_a_lower_floor_lowers_nothing() -> None:
    text = HEADER + "net.core.somaxconn = 8192\n"
    outcome = compare({BACKLOG: (4096,)}, {BACKLOG: (8192,)}, {BACKLOG}, text)
    assert (outcome.raised, outcome.text) == ({}, text)


def test_drift_of_the_kernel_is_mended() -> None:
    text = HEADER + "net.core.somaxconn = 4096\n"
    outcome = compare({BACKLOG: (4096,)}, {BACKLOG: (100,)}, {BACKLOG}, text)
    assert (outcome.raised, outcome.text) == ({BACKLOG: (4096,)}, text)


def test_a_floor_that_is_gone_leaves_the_file() -> None:
    assert compare({}, {}, set(), HEADER + "net.core.somaxconn = 4096\n").text == ""


def test_what_cannot_be_written_is_reported() -> None:
    outcome = compare({BACKLOG: (4096,), PORTS: (1, 2)}, {BACKLOG: (128,), PORTS: None}, set(), "")
    assert (outcome.raised, outcome.unwritable, outcome.text) == ({}, {BACKLOG: (128,), PORTS: ()}, "")


def test_what_is_high_enough_need_not_be_writable() -> None:
    assert compare({BACKLOG: (4096,)}, {BACKLOG: (4096,)}, set(), "").unwritable == {}


def test_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "sysctl.d" / "x.conf"
    replace_file(str(path), HEADER + "a.b = 1\nc = 2 3\n# d = 4\ne = five\n")
    assert read_file(path.read_text()) == {"a.b": (1,), "c": (2, 3)}
    assert show((2, 3)) == "2 3"
    assert path.stat().st_mode & 0o777 == 0o644
    replace_file(str(path), "")
    assert not path.exists() and list(path.parent.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_kernel_that_refuses_is_no_failure(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(code, "no")

    monkeypatch.setattr(kernel_limits, "open", refuse, raising=False)
    assert write_value(BACKLOG, (1,)) is False


def test_a_broken_kernel_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(kernel_limits, "open", refuse, raising=False)
    with pytest.raises(OSError):
        write_value(BACKLOG, (1,))


@pytest.mark.parametrize(
    ("hard", "may_raise", "granted"), [(20000, False, 20000), (20000, True, 65536), (10**6, False, 65536), (-1, False, 65536)]
)
def test_granted_nofile(monkeypatch: pytest.MonkeyPatch, hard: int, may_raise: bool, granted: int) -> None:
    def setrlimit(kind: int, limits: tuple[int, int]) -> None:
        if not may_raise:
            raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(kernel_limits.resource, "getrlimit", lambda kind: (1024, hard))
    monkeypatch.setattr(kernel_limits.resource, "setrlimit", setrlimit)
    assert granted_nofile(65536) == granted
