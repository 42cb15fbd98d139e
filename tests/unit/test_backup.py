"""What the backup role refuses, who gets which secret, and how a restore chooses its backup."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from conftest import FACTS, ROOT, certificate
from cryptography.hazmat.primitives.asymmetric import ec

Evaluate = Callable[..., Any]
PASSPHRASE = "unit-test-passphrase-of-length"
KEY = ec.generate_private_key(ec.SECP256R1())
GIVEN: dict[str, Any] = {
    "backup_database_hosts": [{"name": "db1", "address": "192.0.2.21"}, {"name": "db2", "address": "192.0.2.22"}],
    "backup_repository_host": {"name": "store", "address": "192.0.2.41"},
    "backup_passphrase": PASSPHRASE,
    "backup_tls_ca": "CA",
    "backup_tls_certificate": certificate(KEY),
    "backup_tls_key": "KEY",
}
ALONE: dict[str, Any] = {"backup_database_hosts": [{"name": "db1"}], "backup_passphrase": PASSPHRASE}
CONFIG = "/etc/pgbackrest/pgbackrest.conf"


@pytest.fixture
def refusals(evaluate: Evaluate) -> Callable[..., list[str]]:
    """A function (host, **variables) → the sentences with which the role refuses them there."""

    def sentences(host: str, **variables: Any) -> list[str]:
        found = evaluate("backup", "_backup_requirements", **{**GIVEN, "inventory_hostname": host, **variables})
        return [item["otherwise"] for item in found if not item["ok"]]

    return sentences


@pytest.mark.parametrize("host", ["db1", "db2", "store"])
def test_what_is_right_is_taken(refusals: Callable[..., list[str]], host: str) -> None:
    assert refusals(host) == []


def test_one_database_host_needs_no_certificate(refusals: Callable[..., list[str]]) -> None:
    assert refusals("db1", backup_repository_host={}, backup_tls_key="", **ALONE) == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"ansible_facts": FACTS["ansible_facts"] | {"distribution_major_version": "12"}}, "needs Debian 13"),
        ({"backup_stanza": "My Shop"}, "backup_stanza is 'My Shop'"),
        ({"backup_tls_certificate": certificate(KEY, days=-1)}, "backup_tls_certificate has expired"),
        ({"backup_repository_host": {}}, "name the one host that keeps the repository"),
        ({"backup_repository_type": "nfs"}, "set it to posix (a folder) or s3"),
        ({"backup_repository_path": "backups"}, "set it to an absolute path"),
        (
            {"backup_repository_type": "s3", "backup_s3_bucket": "b"},
            "backup_s3_endpoint, backup_s3_key, backup_s3_key_secret is not",
        ),
        ({"backup_passphrase": ""}, "`openssl rand -base64 36`"),
        ({"backup_retention_full": 0}, "backup_retention_full is less than 1"),
        ({"backup_retention_diff": 0}, "backup_retention_diff is less than 1"),
        ({"backup_retention_full_type": "weeks"}, "set it to count (of backups) or time (days)"),
        ({"backup_schedule_full": ""}, "all other backups build on a full one"),
        ({"backup_tls_key": ""}, "store and db1, db2 reach each other over TLS: give all three"),
    ],
)
def test_refuses_in_one_sentence(refusals: Callable[..., list[str]], variables: dict[str, Any], words: str) -> None:
    found = refusals("store", **variables)
    if "backup_repository_host" in variables:
        found = refusals("db1", **variables)
    assert len(found) == 1 and words in found[0]


def host_says(evaluate: Evaluate, user: int | None = None, **variables: Any) -> str:
    script = evaluate("backup", "_backup_host_checks", inventory_hostname="db1", **ALONE, **variables)
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, user=user)
    assert (done.returncode == 0) == (done.stdout == ""), done
    return done.stdout


def test_a_repository_that_cannot_be_there_is_refused(evaluate: Evaluate, tmp_path: Path) -> None:
    """A read-only disk looks to root as a folder of somebody else's looks to nobody."""
    times = {"backup_schedule_full": "", "backup_schedule_diff": ""}
    good = str(tmp_path / "repository")
    assert host_says(evaluate, backup_repository_path=good, **times) == ""
    assert "mount the disk" in host_says(evaluate, backup_repository_path=f"{good}/of/shop", **times)
    nobody = 65534 if os.geteuid() == 0 else None
    assert "mount it writable" in host_says(evaluate, nobody, backup_repository_path="/usr/repository", **times)
    full = host_says(evaluate, backup_repository_path=good, backup_repository_min_free_mb=10**9, **times)
    assert "less than backup_repository_min_free_mb 1000000000" in full
    assert list(tmp_path.iterdir()) == []


def test_a_time_that_systemd_does_not_know_is_refused(evaluate: Evaluate, tmp_path: Path) -> None:
    if subprocess.run(["sh", "-c", "command -v systemd-analyze"], capture_output=True).returncode:
        pytest.skip("systemd-analyze is not installed here")
    path = {"backup_repository_path": str(tmp_path)}
    assert host_says(evaluate, **path) == ""
    assert "backup_schedule_diff is sometimes" in host_says(evaluate, backup_schedule_diff="sometimes", **path)
    wrong_drill = host_says(evaluate, backup_drill_enabled=True, backup_drill_schedule="25:00", **path)
    assert "backup_drill_schedule is 25:00" in wrong_drill


def lines(text: str, start: str) -> list[str]:
    return [line.removeprefix(start) for line in text.splitlines() if line.startswith(start)]


def test_the_repository_host_alone_has_the_passphrase(render_tree: Callable[..., dict[str, str]]) -> None:
    trees = {host: render_tree("backup", inventory_hostname=host, **GIVEN) for host in ("db1", "db2", "store")}
    assert [host for host, tree in trees.items() if PASSPHRASE in "".join(tree.values())] == ["store"]
    assert PASSPHRASE not in trees["store"][CONFIG]
    assert lines(trees["store"][CONFIG], "tls-server-auth=") == ["db1=main", "db2=main"]
    assert lines(trees["db1"][CONFIG], "tls-server-auth=") == ["store=main"]
    assert lines(trees["db1"][CONFIG], "repo1-host=") == ["192.0.2.41"]
    assert lines(trees["store"][CONFIG], "pg2-host=") == ["192.0.2.22"]


def test_a_repository_host_with_a_database_knows_its_own_first(render_tree: Callable[..., dict[str, str]]) -> None:
    given = GIVEN | {"backup_repository_host": GIVEN["backup_database_hosts"][1], "inventory_hostname": "db2"}
    config = render_tree("backup", **given)[CONFIG]
    assert lines(config, "pg1-host=") == [] and lines(config, "pg2-host=") == ["192.0.2.21"]
    assert lines(config, "tls-server-auth=") == ["db1=main"]


def test_a_single_host_needs_no_server(render_tree: Callable[..., dict[str, str]]) -> None:
    config = render_tree("backup", inventory_hostname="db1", **ALONE)[CONFIG]
    assert "tls" not in config and lines(config, "repo1-path=") == ["/var/lib/pgbackrest"]


def test_only_what_is_scheduled_has_a_timer(render_tree: Callable[..., dict[str, str]]) -> None:
    def timers(host: str, **variables: Any) -> set[str]:
        tree = render_tree("backup", inventory_hostname=host, **GIVEN, **variables)
        found = {Path(path).name for path in tree if path.endswith(".timer")}
        required = lines(tree.get("/etc/systemd/system/fairlead-backup.target", ""), "Requires=")
        assert set(" ".join(required).split()) == found
        return found

    assert timers("db1") == set()
    assert timers("store") == {"fairlead-backup@full.timer", "fairlead-backup@diff.timer"}
    assert timers("store", backup_schedule_diff="", backup_schedule_incr="hourly", backup_drill_enabled=True) == {
        "fairlead-backup@full.timer",
        "fairlead-backup@incr.timer",
        "fairlead-drill.timer",
    }


def test_an_object_store_is_spoken_to_by_the_repository_host(render_tree: Callable[..., dict[str, str]]) -> None:
    store = {"bucket": "shop", "endpoint": "s3.example.org", "key": "AK", "key_secret": "not-shown", "ca": "S3CA"}
    given = GIVEN | {f"backup_s3_{name}": value for name, value in store.items()} | {"backup_repository_type": "s3"}
    tree = render_tree("backup", inventory_hostname="store", **given)
    assert lines(tree[CONFIG], "repo1-s3-bucket=") == ["shop"] and "not-shown" not in tree[CONFIG]
    assert lines(tree["/etc/pgbackrest/conf.d/secrets.conf"], "repo1-s3-key-secret=") == ["not-shown"]
    assert "not-shown" not in "".join(render_tree("backup", inventory_hostname="db1", **given).values())


def test_every_written_path_is_removed_again(evaluate: Evaluate, render_tree: Callable[..., dict[str, str]]) -> None:
    written = render_tree("backup", inventory_hostname="store", backup_drill_enabled=True, backup_schedule_incr="hourly", **GIVEN)
    removed = evaluate("backup", "_backup_files")
    assert [path for path in written if not path.startswith(tuple(removed))] == []


# --- fairlead-backup ---


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program that the role puts on the hosts, with a repository of three backups."""
    path = ROOT / "roles/backup/templates/usr/local/sbin/fairlead-backup"
    loader = importlib.machinery.SourceFileLoader("fairlead_backup", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("fairlead_backup", loader) or pytest.fail())
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    loader.exec_module(module)
    backups = [
        {"label": label, "type": kind, "timestamp": {"start": stop - 60, "stop": stop}, "info": {"size": 10 * 1024 * 1024}}
        for label, kind, stop in (("A", "full", 1_700_000_000), ("B", "diff", 1_700_100_000), ("C", "full", 1_700_200_000))
    ]
    stanza = [{"name": "main", "status": {"message": "ok"}, "backup": backups, "archive": [{"min": "1", "max": "2"}]}]
    monkeypatch.setattr(module, "run", lambda *command: yaml.safe_dump(stanza) if "info" in command else pytest.fail())
    monkeypatch.setattr(module.json, "loads", yaml.safe_load)
    return module


@pytest.fixture
def backup(program: ModuleType, tmp_path: Path) -> Any:
    (tmp_path / "main").mkdir()
    return program.Backup({"stanza": "main", "state_dir": str(tmp_path), "data_dir": str(tmp_path / "main")})


@pytest.mark.parametrize(
    ("target", "label"),
    [("latest", "C"), ("2023-11-15T00:00:00Z", "A"), ("2023-11-16T02:00:00Z", "B"), ("2024-01-01T00:00:00Z", "C")],
)
def test_a_moment_is_restored_from_the_backup_before_it(backup: Any, target: str, label: str) -> None:
    assert backup.chosen(target)["label"] == label


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("2023-11-14T00:00:00Z", "the first that is kept ended 2023-11-14T22:13:20Z"),
        ("2093-01-01T00:00:00Z", "has not come yet"),
        ("2023-11-16 02:00", "is no target"),
    ],
)
def test_a_moment_that_cannot_be_restored_is_refused(program: ModuleType, backup: Any, target: str, words: str) -> None:
    with pytest.raises(program.BackupError, match=words):
        backup.chosen(target)


def test_a_restore_needs_room_beside_the_old_data(
    program: ModuleType, backup: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "main/data").write_bytes(bytes(8 * 1024 * 1024))
    monkeypatch.setattr(program.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 4 * 1024 * 1024}))
    with pytest.raises(program.BackupError, match="4 MB free, but the data is 10 MB: free some, or give up the old data"):
        backup.plan("latest", "keep")
    backup.plan("latest", "drop")
    assert capsys.readouterr().out.startswith("from backup C of 2023-11-17")
    (tmp_path / "main.before-restore").mkdir()
    with pytest.raises(program.BackupError, match="still there from an earlier restore"):
        backup.plan("latest", "drop")


def test_a_failed_drill_keeps_the_record_of_the_last_good_one(
    program: ModuleType, backup: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup.write({"last_success": {"at": "2024-01-01T00:00:00Z"}})

    def copy(*_: str) -> None:
        raise program.BackupError("the repository is damaged")

    monkeypatch.setattr(backup, "copy", copy)
    with pytest.raises(program.BackupError, match="damaged"):
        backup.drill()
    record = backup.drills()
    assert record["last_success"] == {"at": "2024-01-01T00:00:00Z"}
    assert record["last_failure"]["reason"] == "the repository is damaged"
    assert record["last_failure"]["at"] >= record["last_attempt"]


def test_a_recovery_that_ends_before_the_archive_does_is_none(
    program: ModuleType, backup: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive that stops answering looks to PostgreSQL like one that has ended."""

    class Cluster:
        stopped = False

        def restore(self, *_: str) -> None: ...
        def start(self, *_: str) -> None: ...
        def query(self, *_: str) -> str:
            return "000000020000000000000006"

        def stop(self, *_: str) -> None:
            self.stopped = True

    cluster = Cluster()
    stanza = {"archive": [{"max": "000000010000000000000007"}]}
    monkeypatch.setattr(backup, "stanza", lambda: stanza)
    with pytest.raises(program.BackupError, match="the archive goes on to 000000010000000000000007"):
        backup.recover(cluster, "latest", "/etc/x.conf")
    assert cluster.stopped
    stanza["archive"][0]["max"] = "000000010000000000000006"
    backup.recover(cluster, "latest", "/etc/x.conf")
