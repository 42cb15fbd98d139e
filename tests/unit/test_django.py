from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Evaluate = Callable[..., Any]

IMAGE = "192.0.2.41:5000/shop@sha256:" + "0" * 64


def test_another_account_makes_no_other_release(evaluate: Evaluate) -> None:
    names = {evaluate("django", "_django_id", django_image=IMAGE, django_registry_password=word) for word in ("", "a", "b")}
    assert len(names) == 1


def test_all_that_the_container_is_made_of_makes_another_release(evaluate: Evaluate) -> None:
    """Or the running container would be replaced in its place."""
    given = [{}, {"django_start_timeout_seconds": 90}, {"django_stop_timeout_seconds": 90}, {"django_health_path": "/other"}]
    names = {evaluate("django", "_django_id", django_image=IMAGE, **variables) for variables in given}
    assert len(names) == len(given)


def test_the_size_of_a_host_makes_no_other_release(evaluate: Evaluate) -> None:
    """Hosts of different sizes run the same release; but each its own container."""
    given = [{"django_workers": 3}, {"django_workers": 9, "django_memory_mb": 4096, "django_cpus": 4.0}]
    assert len({evaluate("django", "_django_id", django_image=IMAGE, **variables) for variables in given}) == 1
    assert "--workers=9" in evaluate("django", "_django_spec.command", django_image=IMAGE, django_workers=9)


def test_a_release_of_before_keeps_its_own_id(evaluate: Evaluate) -> None:
    assert evaluate("django", "_django_id", django_image=IMAGE, django_release="0123456789ab") == "0123456789ab"


@pytest.mark.parametrize(
    ("size", "batches"),
    [
        ("50%", [["b", "c", "d"], ["e"]]),
        ("1", [["b"], ["c"], ["d"], ["e"]]),
        (2, [["b", "c"], ["d", "e"]]),
        ("100%", [["b", "c", "d", "e"]]),
    ],
)
def test_the_others_follow_in_batches(evaluate: Evaluate, size: str | int, batches: list[list[str]]) -> None:
    assert evaluate("django", "_django_batches", django_batch_size=size, ansible_play_hosts_all=list("abcde")) == batches


def test_one_host_has_no_others(evaluate: Evaluate) -> None:
    assert evaluate("django", "_django_batches", ansible_play_hosts_all=["a"]) == []


@pytest.mark.parametrize(
    ("variables", "word"),
    [
        ({"django_image": "shop:latest"}, "names no image by content"),
        ({"django_image_archive": "/none.tar"}, "no such file on the controller"),
        ({"django_secrets": {"KEY": ""}}, "no value for KEY"),
        ({"django_drain_seconds": 30}, "cut off"),
        ({"django_stop_timeout_seconds": 35}, "cut off"),
        ({"django_batch_size": "0%"}, "use a number of hosts"),
        ({"django_error_share": 5}, "between 0 and 1"),
        ({"django_accept": ["all"]}, "destructive and unlinted"),
        ({"django_keep_releases": 1}, "keep 2 at least"),
    ],
)
def test_bad_input_has_its_sentence(evaluate: Evaluate, variables: dict[str, Any], word: str) -> None:
    good = {"django_image": IMAGE}
    assert all(item["ok"] for item in evaluate("django", "_django_requirements", **good))
    (said,) = [item for item in evaluate("django", "_django_requirements", **good | variables) if not item["ok"]]
    assert word in said["otherwise"]


def test_what_any_host_said_counts(evaluate: Evaluate) -> None:
    hostvars = {
        "a": {"__django_prepare": {"problem": ""}, "__django_switch": {"problem": "", "changed": True}},
        "b": {"__django_prepare": {"problem": ""}, "__django_switch": {"unreachable": True, "msg": "no way there"}},
        "c": {"__django_switch": {"problem": "not healthy"}, "__django_back": {"problem": "no"}},
    }
    given = {"hostvars": hostvars, "ansible_play_hosts_all": list("abc")}
    assert evaluate("django", "_django_problems", **given) == ["b: no way there", "c: not healthy"]
    assert evaluate("django", "_django_stranded", **given) == ["c: no"]


@pytest.mark.parametrize(
    ("migration", "after"),
    [
        ({"skipped": True}, {"shop": "0001"}),
        ({"heads": {"shop": "0003"}}, {"shop": "0003"}),
        ({"problem": "refused", "heads": {"shop": "0002"}}, {"shop": "0002"}),
        # The database did not say any more.
        ({"problem": "gone"}, {"shop": "0001"}),
    ],
)
def test_the_record_says_how_far_migrations_came(evaluate: Evaluate, migration: dict[str, Any], after: dict[str, str]) -> None:
    hostvars = {"one": {"__django_prepare": {"heads": {"shop": "0001"}}, "__django_migrate": migration}}
    assert evaluate("django", "_django_record.migrations_after", django_image=IMAGE, hostvars=hostvars) == after


def test_a_release_of_before_leaves_the_schema_as_it_was_recorded(evaluate: Evaluate) -> None:
    records = [{"migrations_after": {"shop": "0001"}}, {"migrations_after": {"shop": "0002"}}, {"migrations_after": {}}, {}]
    hostvars = {"one": {"__django_inspect": {"records": records}, "__django_prepare": {"changed": True}}}
    record = evaluate("django", "_django_record", django_image=IMAGE, django_release="0123456789ab", hostvars=hostvars)
    assert record["migrations_before"] == record["migrations_after"] == {"shop": "0002"}


def test_the_record_tells_of_migrations_that_were_begun_and_never_recorded(evaluate: Evaluate) -> None:
    pending = [{"name": f"shop.000{number}", "irreversible": number == 3, "errors": []} for number in (3, 4)]
    first = {"__django_inspect": {"unrecorded": []}, "__django_prepare": {"pending": pending}}
    hostvars = {"a": first, "b": {"__django_inspect": {"unrecorded": ["shop.0002"]}}, "c": {}}
    given = {"django_image": IMAGE, "ansible_play_hosts_all": list("abc")}
    assert evaluate("django", "_django_options.irreversible", **given, hostvars=hostvars) == ["shop.0003"]
    assert evaluate("django", "_django_record.irreversible", **given, hostvars=hostvars) == ["shop.0002"]
    hostvars["a"] |= {"__django_migrate": {"problem": "gone"}}
    assert evaluate("django", "_django_record.irreversible", **given, hostvars=hostvars) == ["shop.0002", "shop.0003"]


def test_the_record_is_that_of_any_host_that_settled(evaluate: Evaluate) -> None:
    written = [{"id": "0123456789ab", "result": "failed"}]
    lost = {"__django_settle": {"unreachable": True, "msg": "no way there"}}
    for hostvars in (
        {"a": lost, "b": {}, "c": {"__django_settle": {"written": written}}},
        {"a": {"__django_settle": {"written": written}}},
    ):
        assert evaluate("django", "_django_written", hostvars=hostvars, ansible_play_hosts_all=list(hostvars)) == written
    assert evaluate("django", "_django_written", hostvars={"a": lost}, ansible_play_hosts_all=["a"]) == []


def test_who_is_refused_on_one_host_is_refused(evaluate: Evaluate) -> None:
    free, held = {"__django_prepare": {"holder": {}}}, {"__django_prepare": {"holder": {"who": "anna"}}}
    for hostvars, refused in (({"a": free, "b": held}, True), ({"a": free, "b": free}, False), ({"a": {}, "b": free}, False)):
        assert evaluate("django", "_django_settling.refused", hostvars=hostvars, ansible_play_hosts_all=list("ab")) is refused


def test_migrations_have_limits_of_their_own(evaluate: Evaluate) -> None:
    given = {"django_migrate_lock_seconds": 1, "django_migrate_statement_seconds": 60}
    options = evaluate("django", "_django_options", django_image=IMAGE, **given)
    assert options["migrate_session"] == {"lock_timeout": "1s", "statement_timeout": "60s"}
    assert options["migrate_environment"]["PGOPTIONS"] == "-c lock_timeout=1s -c statement_timeout=60s"
