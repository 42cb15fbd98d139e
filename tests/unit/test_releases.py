"""What the records say, how releases differ, and what the controller brings along."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import multiprocessing
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.fairlead.site.plugins.action import release as action
from ansible_collections.fairlead.site.plugins.module_utils import engine, releases
from ansible_collections.fairlead.site.plugins.modules import release as module
from conftest import ROOT


def record(name: str, result: str, *irreversible: str) -> dict[str, Any]:
    return {"id": name, "result": result, "irreversible": list(irreversible)}


@pytest.mark.parametrize(
    ("records", "good", "current", "target"),
    [
        ([], [], "", ""),
        ([record("a", "live")], ["a"], "a", ""),
        ([record("a", "live"), record("b", "live")], ["a", "b"], "b", "a"),
        ([record("a", "live"), record("b", "failed")], ["a"], "a", ""),
        # One that was put back into service is the newest again, and what it replaced is no longer good.
        ([record("a", "live"), record("b", "live"), record("c", "live"), record("c", "rolled_back"), record("b", "live")],
         ["a", "b"], "b", "a"),
        ([record("a", "live"), record("b", "live"), record("a", "live")], ["b", "a"], "a", "b"),
        # A controller was killed while c came: it was never good.
        ([record("a", "live"), record("b", "live")], ["a", "b"], "c", "b"),
    ],
)  # fmt: skip
def test_where_a_rollback_goes(records: list[dict[str, Any]], good: list[str], current: str, target: str) -> None:
    assert releases.good(records) == good
    assert releases.last_good(records, current) == target


def test_what_is_kept_to_go_back_to() -> None:
    records = [record("a", "live"), record("b", "live"), record("c", "failed"), record("d", "live"), record("d", "rolled_back")]
    assert releases.worth_keeping(records, 2) == ["a", "b"]
    assert releases.worth_keeping(records, 3) == ["a", "b", "d"]


def test_migrations_since_a_release_count_whatever_became_of_those_that_brought_them() -> None:
    records = [record("a", "live", "app.0001"), record("b", "failed", "app.0002"), record("c", "live", "app.0003")]
    assert releases.irreversible_since(records, "a") == ["app.0002", "app.0003"]
    assert releases.irreversible_since(records, "c") == []
    assert releases.irreversible_since([*records, record("a", "live")], "a") == []


def test_a_line_that_was_cut_off_is_no_record() -> None:
    text = json.dumps(record("a", "live")) + '\n{"id": "b", "resu'
    assert [item["id"] for item in releases.read(text)] == ["a"]


def test_a_release_has_one_row_and_its_last_word() -> None:
    rows = releases.history([record("a", "live"), record("b", "live"), record("b", "rolled_back"), record("a", "live")])
    assert [(row["id"], row["result"], row["times_live"]) for row in rows] == [("a", "live", 2), ("b", "rolled_back", 1)]


def test_a_difference_shows_fingerprints_of_secrets() -> None:
    before = releases.shown({"image": "a", "environment": {"X": "1"}}, {"KEY": "former"})
    after = releases.shown({"image": "a", "environment": {"X": "2"}}, {"KEY": "new"})
    assert [line.split(":")[0] for line in after if line not in before] == ["secret KEY", "environment X"]
    assert "former" not in str(before) and "new" not in str(after)
    assert releases.shown({}, {"KEY": "new"}) == releases.shown({}, {"KEY": "new"})


def entry(status: int = 200, seconds: float = 0.1, upstream: str = "unix:/x") -> str:
    return json.dumps({"upstream": upstream, "status": status, "request_time": seconds})


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([], ""),
        ([entry()] * 50, ""),
        # Two failures may be anything; what nginx answers itself is not the application's.
        ([entry(500)] * 2, ""),
        ([entry(503, upstream="")] * 50, ""),
        ([entry()] * 97 + [entry(502)] * 3, ""),
        ([entry()] * 27 + [entry(502)] * 3, "3 of 30 requests failed, more than 5.0%"),
        ([entry(seconds=3)] * 19, ""),
        ([entry()] * 18 + [entry(seconds=3)] * 2, "5 % of 20 requests took 3.00 s or more, beyond 2 s"),
        (["not JSON", "{}", "[]"], ""),
    ],
)
def test_what_nginxs_log_says_of_the_canary(lines: list[str], sentence: str) -> None:
    assert releases.judged(lines, share=0.05, latency=2)[0] == sentence


def test_output_comes_without_the_engines_frames() -> None:
    stream = b"".join(bytes([kind, 0, 0, 0]) + len(text).to_bytes(4, "big") + text for kind, text in ((1, b"out\n"), (2, b"err\n")))
    assert b"".join(engine.frames(stream)) == b"out\nerr\n"


def test_a_controller_that_has_ended_is_known_as_such() -> None:
    child = subprocess.Popen(["sleep", "60"])
    name = action.owner()["process"].split(":")[0]
    process = f"{name}:{child.pid}:{action.began(str(child.pid))}"
    assert not action.dead(process)
    child.kill()
    child.wait()
    assert action.dead(process)
    assert not action.dead("another-machine:1:1")
    assert action.dead(f"{name}:{child.pid}:")
    # The number of one that has gone may be another's by now.
    assert action.dead(f"{name}:{os.getpid()}:1")


def test_a_task_is_its_playbooks_even_when_that_has_been_killed() -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(action.owner)["process"] == action.owner()["process"]


def test_the_judge_comes_with_its_linter(tmp_path: Path) -> None:
    (tmp_path / "linter").mkdir()
    (tmp_path / "linter/x.py").write_text("")
    made = base64.b64decode(action.bundle(str(ROOT / "roles/django/files/judge.py"), str(tmp_path)))
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        assert archive.namelist() == ["__main__.py", "linter/x.py"]


def test_the_judge_says_what_refused(tmp_path: Path) -> None:
    """In any image with Python: its command's own words, and one line for the host."""
    (tmp_path / "manage.py").write_text("import sys\nprint('no, not', sys.argv[1])\nsys.exit(1)\n")
    request = {"manage": "manage.py", "debug_allowed": True, "gates": [["check", "--deploy"]]}
    judge = ROOT / "roles/django/files/judge.py"
    done = subprocess.run([sys.executable, judge, json.dumps(request)], cwd=tmp_path, capture_output=True, text=True)
    answer = json.loads(done.stdout.rpartition(module.MARK)[2])
    assert answer == {"refused_by": "check", "words": "no, not check\n"}


def test_the_judge_asks_whether_all_is_migrated_once_it_has_migrated(tmp_path: Path) -> None:
    (tmp_path / "manage.py").write_text(
        "import sys\nprint(sys.argv[1:], file=open('said', 'a'))\nsys.exit('--check' in sys.argv)\n"
    )
    request = {"manage": "manage.py", "migrate": True}
    judge = ROOT / "roles/django/files/judge.py"
    done = subprocess.run([sys.executable, judge, json.dumps(request)], cwd=tmp_path, capture_output=True, text=True)
    assert json.loads(done.stdout.rpartition(module.MARK)[2])["refused_by"] == "migrate --check"
    assert (tmp_path / "said").read_text() == "['migrate', '--noinput']\n['migrate', '--check']\n"


def test_the_judge_limits_each_session_on_postgresql(tmp_path: Path) -> None:
    """Beside a stand-in for Django's signal and its connections."""
    package = tmp_path / "django/db/backends"
    package.mkdir(parents=True)
    (package / "signals.py").write_text(
        "class Signal:\n    def connect(self, receiver, weak):\n        self.receiver = receiver\nconnection_created = Signal()\n"
    )
    (tmp_path / "manage.py").write_text(
        "import contextlib, sys\n"
        "from django.db.backends.signals import connection_created\n"
        "class Connection:\n"
        "    vendor = sys.argv[1]\n"
        "    def cursor(self):\n"
        "        return contextlib.nullcontext(self)\n"
        "    def execute(self, sql, values):\n"
        "        print(self.vendor, sql % tuple(values), file=open('said', 'a'))\n"
        "connection_created.receiver(sender=None, connection=Connection())\n"
    )
    request = {"manage": "manage.py", "gates": [["sqlite"], ["postgresql"]], "session": {"lock_timeout": "5s"}}
    judge = ROOT / "roles/django/files/judge.py"
    done = subprocess.run([sys.executable, judge, json.dumps(request)], cwd=tmp_path, capture_output=True, text=True)
    assert json.loads(done.stdout.rpartition(module.MARK)[2]) == {"refused_by": "", "words": ""}
    assert (tmp_path / "said").read_text() == "postgresql SELECT set_config(lock_timeout, 5s, false)\n"


@pytest.mark.parametrize(("migrating", "session"), [(True, {"lock_timeout": "5s"}), (False, None)])
def test_the_judge_is_told_the_limits_where_it_may_migrate(
    host: module.Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, migrating: bool, session: dict[str, str] | None
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(module.tempfile, "TemporaryDirectory", lambda **given: contextlib.nullcontext(str(tmp_path)))
    monkeypatch.setattr(host, "config", lambda slot, spec, command, **changes: asked.append(json.loads(command[-1])))
    for name in ("create", "start", "remove"):
        monkeypatch.setattr(host.engine, name, lambda *given: None)
    monkeypatch.setattr(host.engine, "wait", lambda *given: 0)
    monkeypatch.setattr(host.engine, "logs", lambda name: module.MARK + '{"refused_by": ""}')
    host.parameters["judge"] = ""
    host.options |= {
        "migrate_files": {},
        "migrate_environment": {},
        "migrate_mounts": [],
        "migrate_session": {"lock_timeout": "5s"},
    }
    host.ask("a", {}, {"manage": "manage.py"}, migrating, None)
    assert asked[0].get("session") == session


@pytest.mark.parametrize(("wanted", "code"), [("", 0), ("a", 0), ("b", 2)])
def test_a_release_that_nobody_knows_is_told_of(
    run_plays: Callable[..., subprocess.CompletedProcess[str]], wanted: str, code: int
) -> None:
    (play,) = yaml.safe_load((ROOT / "playbooks/releases.yml").read_text())
    row = {"started": "", "seconds": 1, "who": "anna", "image": "x", "reason": "", "environment_hash": "", "static": ""}
    row |= record("a", "live") | {"migrations_before": {}, "migrations_after": {}}
    found = {"records": [row], "history": [row], "count": 1, "current": "a", "lock": {}}
    tasks = [{"ansible.builtin.set_fact": {"__releases": found}}, *play["tasks"][1:]]
    play |= {"hosts": "all", "become": False, "tasks": tasks, "vars": {"release": wanted}}
    done = run_plays([play], "-i", "one,")
    assert done.returncode == code, done.stdout
    assert ("There is no record of a release b: " in done.stdout) == (code == 2)
    assert ("anna" in done.stdout) == (code == 0)


class Lock(module.Lock):
    def __init__(self, root: Path, who: str) -> None:
        super().__init__(str(root), {"who": who, "process": f"{who}:1:1"}, expiry=60)


@pytest.fixture(autouse=True)
def anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files belong to root on a host; here they are the test's."""
    monkeypatch.setattr(os, "fchown", lambda *given: None)


def test_a_lock_keeps_others_out_until_it_is_given_back(tmp_path: Path) -> None:
    anna, ben = Lock(tmp_path, "anna"), Lock(tmp_path, "ben")
    anna.take("")
    anna.take("")
    with pytest.raises(module.LockedError, match="locked by anna since .*, whose last sign of life is 0 s old"):
        ben.take("")
    ben.give_back()
    assert anna.holder()["who"] == "anna"
    anna.give_back()
    ben.take("")


def test_a_lock_ends_without_a_sign_of_life_or_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, ben = Lock(tmp_path, "anna"), Lock(tmp_path, "ben")
    anna.take("")
    ben.take(taken_over="anna:1:1")
    assert ben.holder()["who"] == "ben"
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    anna.take("")
    assert anna.holder()["who"] == "anna"


def test_a_persons_lock_has_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, ben = Lock(tmp_path, "anna"), Lock(tmp_path, "ben")
    anna.beat("The fair opens at noon.")
    later = time.time() + 10_000
    monkeypatch.setattr(time, "time", lambda: later)
    # The process that took it has ended, as it should.
    for taken_over in ("", "anna:1:1"):
        with pytest.raises(module.LockedError, match="The fair opens at noon"):
            ben.take(taken_over)


@pytest.fixture
def host(tmp_path: Path) -> module.Host:
    parameters = {"root": str(tmp_path), "name": "shop", "owner": {"who": "anna", "process": "x:1:1"}, "options": {}}
    (tmp_path / "static").mkdir()
    return module.Host(parameters, check=False)


def make(host: module.Host, slot: str, **files: str) -> None:
    folder = Path(host.folder(slot))
    (folder / "static").mkdir(parents=True)
    (folder / "release.json").write_text(json.dumps({"id": slot}))
    for name, text in files.items():
        (folder / "static" / name).write_text(text)


def test_static_files_stay_as_long_as_a_release_has_them(host: module.Host) -> None:
    make(host, "a", old="1", both="1", plain="of a")
    make(host, "b", new="2", both="1", plain="of b")
    for slot in ("a", "b"):
        host.publish_static(slot)
    static = Path(host.root) / "static"
    assert {path.name: path.read_text() for path in static.iterdir()} == {"old": "1", "both": "1", "new": "2", "plain": "of b"}
    host.publish_static("a")
    assert (static / "plain").read_text() == "of a"
    host.link("b")
    host.publish_static("b")
    host.engine.remove_image = lambda name: None  # type: ignore[method-assign]
    host.options["keep"] = 2
    (Path(host.root) / "records.jsonl").write_text(json.dumps(record("b", "live")) + "\n")
    host.prune("b")
    assert {path.name for path in static.iterdir()} == {"both", "new", "plain"}
    assert [path.name for path in (Path(host.root) / "releases").iterdir()] == ["b"]


def test_new_static_files_are_on_every_host_before_the_first_is_switched(
    host: module.Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(host, "a", old="1", plain="of a")
    host.publish_static("a")
    static = Path(host.root) / "static"

    def extract(slot: str, spec: dict[str, Any]) -> None:
        top = Path(host.folder(slot)) / "static"
        top.mkdir()
        (top / "new").write_text("2")
        (top / "plain").write_text("of b")

    host.parameters |= {"slot": "b", "spec": {"id": "b", "image": "x"}, "secrets": {}}
    monkeypatch.setattr(host, "install_files", lambda *given: None)
    monkeypatch.setattr(host, "extract_static", extract)
    monkeypatch.setattr(host, "judge", lambda *given: {})
    monkeypatch.setattr(host.engine, "containers", lambda label: [])
    monkeypatch.setattr(host.engine, "has_image", lambda name: True)
    host.prepare()
    assert {path.name: path.read_text() for path in static.iterdir()} == {"old": "1", "new": "2", "plain": "of a"}
    host.publish_static("b")
    assert (static / "plain").read_text() == "of b"


def test_a_release_of_another_size_gets_another_folder(host: module.Host) -> None:
    make(host, "a")
    host.parameters["again"] = False
    assert host.slot_for("a", {"id": "a"}, "a") == "a"
    assert host.slot_for("a", {"id": "a", "cpus": 4}, "a") == "a.2"
    assert host.slot_for("b", {"id": "b"}, "a") == "b"
    host.parameters["again"] = True
    assert host.slot_for("a", {"id": "a"}, "a") == "a.2"


@pytest.mark.parametrize(
    ("image", "archive", "fetched"),
    [
        ("sha256:1", "image.tar", "image.tar"),
        ("shop:1", "image.tar", "image.tar"),
        # As after a rollback: what the inventory's archive holds is another release's.
        ("10.0.0.1:5000/shop@sha256:1", "image.tar", "pull word"),
        ("10.0.0.1:5000/shop@sha256:1", "", "pull word"),
        ("registry.example.org/shop@sha256:1", "", "pull "),
        ("10.0.0.1:50001/shop@sha256:1", "", "pull "),
    ],
)
def test_where_an_image_comes_from_and_who_is_told_the_password(
    host: module.Host, tmp_path: Path, image: str, archive: str, fetched: str
) -> None:
    path = tmp_path / "image.tar"
    path.touch()
    calls: list[str] = []
    host.parameters["registry_password"] = "word"  # noqa: S105 (opens nothing)
    host.options |= {"archive": str(path) if archive else "", "registry": "10.0.0.1:5000/", "registry_username": "pull"}
    host.options["pull_seconds"] = 1
    host.engine.load = lambda path: calls.append(Path(path).name)  # type: ignore[method-assign]
    host.engine.pull = lambda name, user, word, timeout: calls.append(f"pull {word}")  # type: ignore[method-assign]
    host.engine.has_image = lambda name: True  # type: ignore[method-assign]
    host.fetch_image(image)
    assert calls == [fetched]


def test_lines_of_a_log_are_read_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    with module.tail(str(log), module.log_size(str(log))) as read, log.open("a") as stream:
        stream.write("one\ntw")
        stream.flush()
        assert read() == ["one"]
        stream.write("o\n")
        stream.flush()
        assert read() == ["two"]
    with module.tail(str(tmp_path / "none"), 0) as read:
        assert read() == []


@pytest.mark.parametrize(
    ("lines", "current", "slot", "back"),
    [
        ([], "", "a", ""),
        # Of before there were records.
        ([], "x", "a", "x"),
        ([record("a", "live")], "a", "b", "a"),
        # In service, and recorded: another host fails.
        ([record("a", "live"), record("b", "live")], "b", "b", "b"),
        # A controller was killed after this host had been switched.
        ([record("a", "live")], "b", "b", "a"),
        ([record("a", "live")], "b", "c", "a"),
        ([record("x", "live"), record("a", "live")], "b", "a", "a"),
    ],
)
def test_where_a_host_goes_back_to(host: module.Host, lines: list[dict[str, Any]], current: str, slot: str, back: str) -> None:
    for name in "abx":
        make(host, name)
    assert host.back(current, slot, lines) == back


def test_nothing_is_begun_where_another_deployment_lives(
    host: module.Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make(host, "a")
    host.parameters |= {"spec": {}, "secrets": {}, "release": "a"}
    monkeypatch.setattr(host, "containers", dict)
    monkeypatch.setattr(host, "archived", lambda image: False)
    (Path(host.folder("a")) / "release.json").write_text('{"id": "a", "image": "x"}')
    assert host.inspect()["todo"]
    Lock(tmp_path, "ben").take("")
    with pytest.raises(module.LockedError, match="locked by ben"):
        host.inspect()
    # One that has ended is no hindrance, nor does it keep from looking.
    host.options["taken_over"] = "ben:1:1"
    assert host.inspect()["todo"]
    del host.options["taken_over"]
    host.check, host.engine.path = True, str(tmp_path)
    assert host.inspect()["todo"]


def test_who_is_refused_elsewhere_leaves_what_is_prepared(host: module.Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other's lock may have run out on a host where it has nothing to do for a while."""
    make(host, "a", new="1")
    host.publish_static("a")
    monkeypatch.setattr(host, "containers", dict)
    monkeypatch.setattr(host.engine, "remove_image", lambda name: None)
    host.parameters |= {"slot": "b"}
    host.options |= {"record": {"id": "b", "result": "failed"}, "started": 0, "back": "", "rollback": False, "keep": 2}
    host.options |= {"refused": True}
    assert not module.perform(host, "settle")["changed"]
    assert host.slots() == ["a"] and (Path(host.root) / "static/new").exists()
    assert not Path(host.root, "records.jsonl").exists() and not Path(host.root, "lock.json").exists()


def said(words: str, **more: Any) -> dict[str, Any]:
    return {"refused_by": "migrate" if words else "", "words": words, **more}


BUSY = said("django.db.utils.OperationalError: canceling statement due to lock timeout\n")
LONG = said("django.db.utils.OperationalError: canceling statement due to statement timeout\n", heads={"shop": "0002_b"})
DONE = said("", heads={"shop": "0003_c"})


@pytest.mark.parametrize(
    ("answers", "tries", "problem", "heads"),
    [
        ([DONE], 1, "", {"shop": "0003_c"}),
        ([BUSY, DONE], 2, "", {"shop": "0003_c"}),
        ([BUSY, BUSY, BUSY], 3, "is refused by 'migrate', tried 3 times.", None),
        # Only a busy table may be free in a moment; what was applied before it counts.
        ([LONG], 1, "is refused by 'migrate', tried 1 times.", {"shop": "0002_b"}),
        ([BUSY, LONG], 2, "is refused by 'migrate', tried 2 times.", {"shop": "0002_b"}),
    ],
)
def test_a_migration_is_tried_again_while_a_table_is_busy(
    host: module.Host,
    monkeypatch: pytest.MonkeyPatch,
    answers: list[dict[str, Any]],
    tries: int,
    problem: str,
    heads: dict[str, str] | None,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    left = list(answers)
    monkeypatch.setattr(host, "ask", lambda *_: left.pop(0))
    make(host, "a")
    host.parameters["slot"] = "a"
    host.options |= {"manage": "manage.py", "migrate_tries": 3, "migrate_pause_seconds": 7, "irreversible": []}
    result = host.migrate()
    assert left == [] and result["tries"] == tries and pauses == [7.0] * (tries - 1)
    assert problem in result.get("problem", "") and bool(result.get("problem")) == bool(problem)
    assert answers[-1]["words"].strip() in result.get("words", "")
    assert result.get("heads") == heads


@pytest.mark.parametrize(("wanted", "asked"), [(1, 2), (2, 5), (3, 9)])
def test_a_release_is_healthy_after_so_many_good_answers_in_a_row(
    host: module.Host, monkeypatch: pytest.MonkeyPatch, wanted: int, asked: int
) -> None:
    answers = ["no answer yet", "", "503", "", "", "503", "", "", ""]
    left = iter(answers)
    monkeypatch.setattr(module, "ask_health", lambda folder, spec: next(left))
    monkeypatch.setattr(host.engine, "inspect", lambda name: {"State": {"Running": True}})
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    host.await_health("a", {"id": "a", "start_seconds": 60, "health_successes": wanted, "health_path": "/"})
    assert len(answers) - len(list(left)) == asked


def test_what_a_killed_controller_began_stands_in_the_way_back(host: module.Host, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Path(host.root) / "records.jsonl"
    records.write_text(json.dumps(record("a", "live")) + "\n")
    make(host, "a")
    make(host, "b")
    monkeypatch.setattr(host, "containers", dict)
    monkeypatch.setattr(host.engine, "remove_image", lambda name: None)
    host.parameters |= {"slot": "b", "release": "a"}
    host.options |= {"manage": "manage.py", "migrate_tries": 1, "irreversible": ["shop.0002_b"]}

    def killed(*given: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(host, "ask", killed)
    with pytest.raises(KeyboardInterrupt):
        host.migrate()
    # A second one brings others; whatever becomes of their releases' folders, both are known.
    host.options["irreversible"] = ["shop.0003_c"]
    with pytest.raises(KeyboardInterrupt):
        host.migrate()
    assert host.history()["irreversible"] == host.unrecorded() == ["shop.0002_b", "shop.0003_c"]
    # The next deployment that comes to its end writes them down, and only what is written is let go.
    told = {"id": "b", "result": "live", "irreversible": host.unrecorded()}
    host.options |= {"record": told, "started": 0, "back": "a", "rollback": False, "keep": 2, "refused": True}
    host.settle()
    assert host.unrecorded() == told["irreversible"]
    monkeypatch.setattr(host, "described", lambda slot, record: record)
    host.options["refused"] = False
    host.settle()
    assert host.unrecorded() == []
    assert host.history()["irreversible"] == told["irreversible"]
