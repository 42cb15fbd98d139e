"""What agents are made of, and that no application is the worse for them."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fairlead.site.plugins.modules import wheels
from conftest import ROOT

FILES = ROOT / "roles/agents/files"
LOCKS = sorted((FILES / "locks").glob("*.txt"))
PYTHONS = ["3.11", "3.13"]

PURE = "thing-1.0-py3-none-any.whl"
GLIBC = "thing-1.0-cp{0}-cp{0}-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
MUSL = "thing-1.0-cp{0}-cp{0}-musllinux_1_2_x86_64.whl"
STABLE = "thing-1.0-cp310-abi3-manylinux2014_x86_64.whl"
OTHERS = ["thing-1.0-cp313-cp313-win_amd64.whl", "thing-1.0-cp313-cp313t-musllinux_1_2_x86_64.whl", MUSL.format(310)]


def chosen(*found: str) -> list[str]:
    return wheels.chosen("thing", list(found), PYTHONS, "x86_64")


def test_one_plain_wheel_serves_all() -> None:
    assert chosen(PURE, *OTHERS) == [PURE]


def test_compiled_wheels_are_taken_for_each_python_and_libc() -> None:
    made = [form.format(version) for form in (GLIBC, MUSL) for version in ("311", "313")]
    assert set(chosen(PURE, *made, *OTHERS)) == set(made)


def test_the_plain_wheel_serves_where_no_compiled_one_does_and_lies_below_the_others() -> None:
    assert chosen(STABLE, PURE, *OTHERS) == [PURE, STABLE]


def test_a_python_without_a_wheel_is_named() -> None:
    with pytest.raises(wheels.LockError, match=r"thing has no locked wheel for Python 3.11 on x86_64"):
        chosen(GLIBC.format(313), *OTHERS)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_each_lock_names_every_package_once_with_hashes(lock: Path) -> None:
    text = lock.read_text()
    assert len(wheels.locked(text)) == text.count("==") > 0
    assert all(wheels.locked(text).values())


def test_a_lock_that_differs_by_python_is_refused() -> None:
    entry = "thing=={} ; python_version < '3.12' \\\n    --hash=sha256:" + "0" * 64 + "\n"
    with pytest.raises(wheels.LockError, match="locked in two versions"):
        wheels.locked(entry.format(1) + entry.format(2))


def wheel(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return packed.getvalue()


def test_programs_are_left_out_and_nothing_leaves_the_folder(tmp_path: Path) -> None:
    wheels.unpack(wheel("thing/__init__.py", "thing-1.0.data/scripts/thing"), str(tmp_path / "in"))
    assert [path.name for path in tmp_path.rglob("*.*")] == ["__init__.py"]
    with pytest.raises(wheels.LockError, match="outside of its folder"):
        wheels.unpack(wheel("../thing.py"), str(tmp_path / "in"))


def test_an_index_that_gives_other_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(b"locked").hexdigest()
    page = f'<a href="../{PURE}#sha256={digest}">{PURE}</a>'.encode()
    monkeypatch.setattr(wheels, "fetch", lambda url, accept="": page if accept else b"other")
    with pytest.raises(wheels.LockError, match="is not what is locked"):
        wheels.fill(str(tmp_path), f"thing==1.0 \\\n    --hash=sha256:{digest}\n", PYTHONS, "https://index", "x86_64")


@pytest.fixture
def agents(tmp_path: Path) -> Path:
    """The folder as a container sees it, with an SDK that remembers how it was started, and a Django beside it."""
    folder = tmp_path / "1"
    (folder / "packages/sentry/sentry_sdk").mkdir(parents=True)
    (folder / "packages/sentry/sentry_sdk/__init__.py").write_text("def init(**options):\n    global given\n    given = options\n")
    (folder / "packages/sentry/sentry_sdk/scrubber.py").write_text("def EventScrubber(recursive): return recursive\n")
    (folder / "fairlead_agents").mkdir()
    for name in ("sitecustomize.py", *(f"fairlead_agents/{part}.py" for part in ("__init__", "sentry", "opentelemetry"))):
        (folder / name).write_text((FILES / name).read_text())
    (tmp_path / "current").symlink_to("1")
    (tmp_path / "site/django/core").mkdir(parents=True)
    (tmp_path / "site/django/__init__.py").write_text("VERSION = 6\n")
    for name in ("__init__", "exceptions", "wsgi"):
        (tmp_path / f"site/django/core/{name}.py").touch()
    return tmp_path


def python(agents: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{agents}/current:{agents}/site"
    return subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path, **environment}, capture_output=True, text=True, cwd=agents
    )


WOKEN = "import sys, django.core.wsgi; print(django.VERSION, sys.modules['sentry_sdk'].given['dsn'])"
DSN = "https://0123456789abcdef@errors.example.org/1"


def test_a_worker_wakes_the_agent(agents: Path) -> None:
    (agents / "dsn").write_text(DSN + "\n")
    assert python(agents, WOKEN, SENTRY_DSN_FILE=f"{agents}/dsn").stdout == f"6 {DSN}\n"
    assert python(agents, WOKEN, SENTRY_DSN=DSN).stdout == f"6 {DSN}\n"


def test_a_secret_is_lent_under_names_that_no_settings_read(agents: Path) -> None:
    """OpenTelemetry's instruments load the settings, which may refuse to be given a value beside the file that holds it."""
    packages = agents / "1/packages/opentelemetry/opentelemetry/instrumentation"
    packages.mkdir(parents=True)
    (packages / "auto_instrumentation.py").write_text(
        "import os\n\n\ndef initialize(swallow_exceptions):\n    print({n: t for n, t in os.environ.items() if 'HEADERS' in n})\n"
    )
    (agents / "headers").write_text("api-key=1\n")
    file = {"OTEL_EXPORTER_OTLP_HEADERS_FILE": f"{agents}/headers"}
    own = {"OTEL_EXPORTER_OTLP_LOGS_HEADERS": "api-key=2"}
    code = "import os, django.core.wsgi; print({n: t for n, t in os.environ.items() if 'HEADERS' in n})"
    done = python(agents, code, OTEL_EXPORTER_OTLP_ENDPOINT="https://otlp.example.org", **file, **own)
    lent = {f"OTEL_EXPORTER_OTLP_{signal}_HEADERS": "api-key=1" for signal in ("TRACES", "METRICS")}
    assert list(map(ast.literal_eval, done.stdout.splitlines())) == [{**file, **own, **lent}, {**file, **own}]


def test_a_process_that_does_not_start_django_pays_nothing(agents: Path) -> None:
    done = python(
        agents, "import sys, http.client; print([m for m in sys.modules if 'agents' in m or 'sentry' in m])", SENTRY_DSN=DSN
    )
    assert done.stdout == "[]\n"


def test_without_a_dsn_no_agent_wakes(agents: Path) -> None:
    assert python(agents, "import sys, django.core.wsgi; print('sentry_sdk' in sys.modules)").stdout == "False\n"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("packages/sentry/sentry_sdk/__init__.py", "agents: sentry does not report: RuntimeError: broken\n"),
        ("fairlead_agents/__init__.py", "agents: RuntimeError: broken\n"),
    ],
)
def test_an_agent_that_fails_is_named_and_the_application_goes_on(agents: Path, broken: str, said: str) -> None:
    (agents / "1" / broken).write_text("raise RuntimeError('broken')\n")
    done = python(agents, "import django.core.wsgi; print(django.VERSION)", SENTRY_DSN=DSN)
    assert (done.returncode, done.stdout, done.stderr) == (0, "6\n", said)


def test_a_folder_that_is_not_there_stops_nothing(agents: Path) -> None:
    (agents / "current").unlink()
    done = python(agents, "import django.core.wsgi; print(django.VERSION)", SENTRY_DSN=DSN)
    assert (done.returncode, done.stdout) == (0, "6\n")


def test_what_the_image_brings_comes_first(agents: Path) -> None:
    (agents / "site/sentry_sdk").mkdir()
    (agents / "site/sentry_sdk/__init__.py").write_text("def init(**options):\n    global given\n    given = {'dsn': 'own'}\n")
    (agents / "site/sentry_sdk/scrubber.py").write_text("EventScrubber = dict\n")
    (agents / "site/sitecustomize.py").write_text("print('own sitecustomize')\n")
    assert python(agents, WOKEN, SENTRY_DSN=DSN).stdout == "own sitecustomize\n6 own\n"


def test_no_secret_of_the_container_is_in_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FILES))
    import fairlead_agents

    (tmp_path / "PASSWORD").write_text("s3cret-s3cret\n")
    (tmp_path / "PIN").write_text("1234\n")
    monkeypatch.setattr(fairlead_agents, "SECRETS", f"{tmp_path}/")
    for name in ("PASSWORD", "PIN"):
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    monkeypatch.setenv("OTHER_FILE", os.devnull)
    hidden = fairlead_agents.secrets()
    assert hidden == ["s3cret-s3cret"]
    event: dict[str, Any] = {"message": "with s3cret-s3cret in it", "frames": [{"vars": {"n": 1, "x": ("s3cret-s3cret",)}}]}
    assert fairlead_agents.without(hidden, event) == {
        "message": "with [Filtered] in it",
        "frames": [{"vars": {"n": 1, "x": ["[Filtered]"]}}],
    }
