"""Processes beside the web server: what their containers are made of, and what starts and stops at a release."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.fairlead.site.plugins.module_utils.processes import compose, plan, wanted
from conftest import ROOT

Evaluate = Callable[..., Any]

WEB = {
    "Name": "/shop-r1",
    "Config": {
        "Image": "shop@sha256:1",
        "User": "10001:10001",
        "WorkingDir": "/app",
        "Entrypoint": None,
        "Cmd": ["gunicorn"],
        "Env": ["PATH=/venv/bin", "RELEASE=r1", "SECRET_KEY_FILE=/run/secrets/SECRET_KEY"],
        "Labels": {"fairlead.site": "shop", "fairlead.release": "r1"},
        "Healthcheck": {"Test": ["CMD", "probe"]},
        "StopTimeout": 45,
    },
    "HostConfig": {
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Tmpfs": {"/tmp": "rw"},
        "Memory": 1024 * 1024**2,
        "MemorySwap": 1024 * 1024**2,
        "NanoCpus": 2_000_000_000,
        "Binds": ["/srv/shop/media:/media:rw"],
        "Mounts": [
            {"Type": "bind", "Source": "/srv/shop/releases/r1/run", "Target": "/run/app"},
            {"Type": "bind", "Source": "/srv/shop/releases/r1/secrets", "Target": "/run/secrets", "ReadOnly": True},
        ],
        "PortBindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000"}]},
        "RestartPolicy": {"Name": "unless-stopped"},
    },
}
MAIL = {"name": "mail", "command": ["celery", "worker"]}


def test_a_worker_is_like_the_web_server_but_for_what_it_says() -> None:
    body = compose(
        WEB, "shop", "worker", MAIL | {"environment": {"QUEUE": "mail", "RELEASE": "other"}, "memory_mb": 256, "cpus": 0.5}
    )
    host = body["HostConfig"]
    assert (body["Image"], body["User"], body["Cmd"]) == ("shop@sha256:1", "10001:10001", ["celery", "worker"])
    assert body["Env"] == ["PATH=/venv/bin", "RELEASE=other", "SECRET_KEY_FILE=/run/secrets/SECRET_KEY", "QUEUE=mail"]
    assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and host["SecurityOpt"] == ["no-new-privileges"]
    assert [mount["Target"] for mount in host["Mounts"]] == ["/run/secrets"] and host["Binds"] == ["/srv/shop/media:/media:rw"]
    assert "PortBindings" not in host
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (256 * 1024**2, 256 * 1024**2, 500_000_000)
    assert host["RestartPolicy"] == {"Name": "unless-stopped"} and host["AutoRemove"] is False
    assert body["Healthcheck"] == {"Test": ["NONE"]}
    # The role of the web server must not take it for one of its own.
    assert "fairlead.site" not in body["Labels"] and body["Labels"]["fairlead.process.release"] == "r1"


def test_a_worker_has_its_own_stop_signal_and_health() -> None:
    body = compose(
        WEB, "shop", "worker", MAIL | {"stop_signal": "SIGQUIT", "stop_timeout_seconds": 300, "health_command": ["ping"]}
    )
    assert (body["StopSignal"], body["StopTimeout"], body["Healthcheck"]["Test"]) == ("SIGQUIT", 300, ["CMD", "ping"])


@pytest.mark.parametrize(
    ("kind", "process", "begin"),
    [
        ("worker", MAIL | {"only_one": True}, ["python", "/opt/fairlead/only_one.py", "wait", "mail", "celery"]),
        ("job", MAIL, ["python", "/opt/fairlead/only_one.py", "skip", "mail", "celery"]),
        ("run", MAIL, ["celery"]),
    ],
)
def test_what_runs_once_asks_first(kind: str, process: dict[str, Any], begin: list[str]) -> None:
    body = compose(WEB, "shop", kind, process)
    assert body["Cmd"][: len(begin)] == begin
    assert ("/opt/fairlead" in [mount["Target"] for mount in body["HostConfig"]["Mounts"]]) == (kind != "run")
    assert body["HostConfig"]["AutoRemove"] == (kind != "worker")
    assert (body["HostConfig"].get("LogConfig") == {"Type": "none"}) == (kind != "worker")


def test_whatever_changes_makes_a_container_beside_the_one_of_before() -> None:
    before = wanted(WEB, "shop", [MAIL | {"count": 2}])
    assert len(before) == 2 and all(name.startswith("shop-mail-") for name in before)
    after = wanted(WEB | {"Name": "/shop-r1.2"}, "shop", [MAIL | {"count": 2}])
    assert not set(before) & set(after)
    found = plan(list(after), dict.fromkeys(before, True))
    assert (found.make, found.start, found.remove) == (list(after), [], sorted(before))
    assert not plan(list(after), dict.fromkeys(after, True))
    assert plan(list(after), dict.fromkeys(after, False)).start == list(after)


def test_what_the_engine_fills_in_makes_no_other_container() -> None:
    after = WEB | {"HostConfig": WEB["HostConfig"] | {"Runtime": "runc", "MaskedPaths": ["/proc/kcore"], "Dns": [], "CapAdd": None}}
    assert list(wanted(after, "shop", [MAIL])) == list(wanted(WEB, "shop", [MAIL]))


def test_a_worker_that_is_no_longer_wanted_goes() -> None:
    assert plan([], {"shop-mail-1-x": True}).remove == ["shop-mail-1-x"]


# --- the role ---


def test_a_job_has_a_timer_and_the_target_starts_it(evaluate: Evaluate, render_tree: Callable[..., dict[str, str]]) -> None:
    jobs = [{"name": "clear", "command": ["python", "manage.py", "clearsessions"], "calendar": "hourly"}]
    given = {"django_processes_jobs": jobs, "django_processes_failure_command": ["/bin/tell", '50% "x" $y']}
    files = {
        file["path"]: file["content"] for file in evaluate("django_processes", "_django_processes_files", **given, role_path=ROLE)
    }
    timer = files["/etc/systemd/system/fairlead-job@clear.timer"]
    assert "OnCalendar=hourly\n" in timer and "PartOf=fairlead-processes.target" in timer
    tree = render_tree("django_processes", **given, role_path=ROLE)
    units = "/etc/systemd/system/"
    assert (
        "Wants=fairlead-processes.service fairlead-watchdog.timer fairlead-job@clear.timer\n"
        in tree[units + "fairlead-processes.target"]
    )
    assert "OnFailure=fairlead-job-failed@%i.service" in tree[units + "fairlead-job@.service"]
    assert 'ExecStart="/bin/tell" "50%% \\"x\\" $$y" %i\n' in tree[units + "fairlead-job-failed@.service"]
    without = render_tree("django_processes", role_path=ROLE)
    assert units + "fairlead-job@.service" not in without and units + "fairlead-job-failed@.service" not in without


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"django_processes_workers": [{"name": "Mail", "command": ["x"]}]}, "are called Mail: give each a name"),
        ({"django_processes_workers": [{"name": "web", "command": ["x"]}]}, "web is taken"),
        ({"django_processes_workers": [{"name": "a", "command": ["x"]}] * 2}, "are called a, a"),
        ({"django_processes_workers": [{"name": "a", "command": "celery worker"}]}, "a of django_processes_workers or"),
        ({"django_processes_jobs": [{"name": "a", "calendar": "hourly"}]}, "has no list of words"),
        ({"django_processes_jobs": [{"name": "a", "command": ["x"]}]}, "has no calendar"),
        (
            {"django_processes_workers": [{"name": "a", "command": ["x"], "only_one": True, "count": 2}]},
            "is only_one, but has a count",
        ),
    ],
)
def test_bad_input_gets_a_sentence(evaluate: Evaluate, given: dict[str, Any], words: str) -> None:
    refused = [
        item["otherwise"] for item in evaluate("django_processes", "_django_processes_requirements", **given) if not item["ok"]
    ]
    assert len(refused) == 1 and words in refused[0], refused


@pytest.fixture
def program(evaluate: Evaluate, tmp_path: Path) -> Path:
    """The program with its parts as they are on a host."""
    for file in evaluate("django_processes", "_django_processes_library", role_path=ROLE):
        path = tmp_path / Path(file["path"]).relative_to("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["content"])
    text = (ROOT / "roles/django_processes/templates/usr/local/sbin/fairlead-processes").read_text()
    (tmp_path / "program.py").write_text(text.replace('"/usr/local/lib/', f'"{tmp_path}/usr/local/lib/'))
    return tmp_path / "program.py"


def test_the_program_finds_its_parts_on_the_host(program: Path) -> None:
    """They import each other as they do here, and nothing of Ansible's."""
    done = subprocess.run([sys.executable, "-I", "-S", str(program), "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "follow" in done.stdout, done.stderr


RUNS = ["is-enabled --quiet fairlead-processes.target", "is-active --quiet fairlead-processes.target"]
STARTS = ["enable --now --quiet fairlead-processes.target"]


@pytest.mark.parametrize(
    ("call", "enabled", "asked", "said"),
    [
        ("False, False, []", True, RUNS, ""),
        ("False, False, []", False, RUNS[:1] + STARTS, "start fairlead-processes.target\n"),
        ("True, False, []", False, RUNS[:1], "start fairlead-processes.target\n"),
        (
            "False, True, ['fairlead-job@old.*']",
            True,
            ["stop fairlead-processes.target", "daemon-reload", "reset-failed fairlead-job@old.*", *STARTS],
            "start fairlead-processes.target\n",
        ),
    ],
    ids=["they run", "they do not", "what would be done", "others"],
)
def test_the_timers_are_those_that_are_configured(
    program: Path, tmp_path: Path, call: str, enabled: bool, asked: list[str], said: str
) -> None:
    systemctl = tmp_path / "bin/systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n[ "$1" != is-enabled ] || exit {0 if enabled else 1}\n')
    systemctl.chmod(0o755)
    script = f"import sys; sys.path.insert(0, {str(program.parent)!r}); import program; program.timers({call})"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        capture_output=True,
        text=True,
        env={"PATH": f"{systemctl.parent}:/usr/bin:/bin"},
    )
    assert done.stdout == said, done.stderr
    assert (tmp_path / "asked").read_text().splitlines() == asked


# One that the engine has restarted runs, for a moment, with the exit code 0 of a run that has not ended.
RESTARTED = """
import sys
sys.path.insert(0, sys.argv[1])
import program
states = iter([(True, False, 0), (True, True, 7)])
class Engine:
    def inspect(self, name):
        running, restarting, code = next(states)
        return {"State": {"Running": running, "Restarting": restarting, "ExitCode": code}, "RestartCount": 1}
class Site:
    engine = Engine()
    def last_words(self, name): return "wrong queue"
try:
    program.wait_until_well(Site(), "x", {"name": "mail", "settle_seconds": 0, "start_timeout_seconds": 60})
except program.ProcessError as error:
    print(error)
"""


def test_a_worker_that_ends_is_told_with_its_own_exit_code(program: Path) -> None:
    done = subprocess.run([sys.executable, "-I", "-S", "-c", RESTARTED, str(program.parent)], capture_output=True, text=True)
    assert done.stdout == "worker mail ended (exit code 7): wrong queue\n", done.stderr


ROLE = str(ROOT / "roles/django_processes")


# --- only_one ---

DATABASE = """
import sqlite3, time
Error = sqlite3.Error
class Cursor(sqlite3.Cursor):
    def __enter__(self): return self
    def __exit__(self, *_): self.close()
    def execute(self, sql, values=None):
        for old, new in (("clock_timestamp()", "now()"), ("* interval '1 s'", ""), ("timestamptz", "real"), ("greatest", "max")):
            sql = sql.replace(old, new)
        for name in values or {}:
            sql = sql.replace(f"%({name})s", f":{name}")
        return super().execute(sql, values or {})
class Connection:
    def cursor(self):
        self.made = sqlite3.connect(PATH, isolation_level=None, timeout=5)
        self.made.create_function("now", 0, time.time)
        return self.made.cursor(Cursor)
    def close(self): self.made.close()
connection = Connection()
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A folder with a module django.db that keeps leases in a file."""
    (tmp_path / "django").mkdir()
    (tmp_path / "django/__init__.py").touch()
    (tmp_path / "django/db.py").write_text(f"PATH = {str(tmp_path / 'leases')!r}\n{DATABASE}")
    return tmp_path


@pytest.fixture
def only_one(database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    path = ROOT / "roles/django_processes/templates/usr/local/lib/fairlead/only_one.py"
    spec = importlib.util.spec_from_file_location("only_one", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(database))
    spec.loader.exec_module(module)
    yield module
    for name in [name for name in sys.modules if name.split(".")[0] == "django"]:
        del sys.modules[name]


def start(database: Path, *words: str) -> subprocess.Popen[str]:
    program = ROOT / "roles/django_processes/templates/usr/local/lib/fairlead/only_one.py"
    return subprocess.Popen(
        [sys.executable, "-B", str(program), *words], cwd=database, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_scheduler_waits_for_the_one_before_and_takes_over(database: Path) -> None:
    first = start(database, "wait", "beat", "sh", "-c", "echo first; trap 'echo ends; exit 3' TERM; while :; do sleep 0.1; done")
    assert first.stdout and first.stdout.readline() == "first\n"
    second = start(database, "wait", "beat", "echo", "second")
    assert second.stderr and "beat runs elsewhere: waiting" in second.stderr.readline()
    time.sleep(1.2)
    assert second.poll() is None
    first.terminate()
    assert first.communicate(timeout=10)[0] == "ends\n"
    assert first.returncode == 3
    assert second.communicate(timeout=10)[0] == "second\n"


def test_a_job_that_runs_elsewhere_or_ran_a_moment_ago_is_left_out(database: Path) -> None:
    first = start(database, "skip", "clear", "echo", "done")
    assert first.communicate(timeout=10)[0] == "done\n"
    second = start(database, "skip", "clear", "echo", "done")
    out, err = second.communicate(timeout=10)
    assert (out, second.returncode) == ("", 0) and "nothing to do here" in err
    other = start(database, "skip", "other", "sh", "-c", "exit 4")
    other.communicate(timeout=10)
    assert other.returncode == 4


def test_who_cannot_renew_the_lease_stops_before_another_may_begin(only_one: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(only_one, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(only_one, "STOP_SECONDS", 0.5)
    only_one.ask(only_one.CREATE)
    lease = only_one.Lease("beat")
    assert lease.take()
    monkeypatch.setattr(only_one, "LEASE_SECONDS", 2)

    def broken(*_: Any, **__: Any) -> bool:
        from django.db import Error  # type: ignore[import-untyped,import-not-found,unused-ignore]

        raise Error("gone")

    threading.Timer(0.3, lambda: monkeypatch.setattr(only_one, "ask", broken)).start()
    begun = time.monotonic()
    # It does not heed SIGTERM, so it is killed.
    assert only_one.run(lease, ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], []) == -9
    assert 0.8 < time.monotonic() - begun < 2.3


def test_a_lease_belongs_to_its_holder_until_it_expires(only_one: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    only_one.ask(only_one.CREATE)
    first, second = only_one.Lease("beat"), only_one.Lease("beat")
    monkeypatch.setattr(only_one, "LEASE_SECONDS", 0.3)
    assert first.take() and first.take() and not second.take()
    time.sleep(0.4)
    assert second.take() and not first.take()
    second.leave(0)
    assert first.take()
