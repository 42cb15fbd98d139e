"""The database comes back: a moment of it into a throwaway cluster, all of it after a mistake, and after the disk is gone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Run

On = Callable[[str], Any]
STORE = "db3"
DATA = "/var/lib/postgresql/17/main"
THROWAWAY = "/var/lib/postgresql/throwaway"
RECORD = "/var/lib/fairlead/backup/drill.json"


def ask(host: Any, sql: str, socket: str = "/run/postgresql") -> str:
    return str(host.check_output("runuser -u postgres -- psql -h %s -XAtqc %s", socket, sql))


def info(host: Any) -> dict[str, Any]:
    """What the repository on the host holds."""
    return dict(json.loads(host.check_output("runuser -u postgres -- pgbackrest --output=json info"))[0])


def now(host: Any) -> str:
    """The time in UTC; before and after it a second goes by in which nothing is written."""
    time.sleep(1.5)
    moment = str(host.check_output("date --utc +%Y-%m-%dT%H:%M:%SZ"))
    time.sleep(1.5)
    return moment


def archive(server: Any, store: Any) -> None:
    """Wait until all that the primary has written so far is in the repository."""
    segment = ask(server, "SELECT pg_walfile_name(pg_current_wal_lsn())")
    ask(server, "SELECT pg_switch_wal()")
    deadline = time.monotonic() + 60
    while info(store)["archive"][-1]["max"] < segment:
        assert time.monotonic() < deadline, ask(server, "SELECT * FROM pg_stat_archiver")
        time.sleep(0.5)


@pytest.fixture
def server(on: On, primary: Callable[[], str]) -> Any:
    return on(primary())


@pytest.fixture
def store(on: On) -> Any:
    return on(STORE)


@pytest.fixture
def moment(server: Any, store: Any) -> Iterator[str]:
    """A time at which a row was there that was deleted later."""
    ask(server, "CREATE TABLE precious AS SELECT 'here' AS words")
    found = now(server)
    ask(server, "DELETE FROM precious")
    archive(server, store)
    yield found
    ask(server, "DROP TABLE precious")


@pytest.fixture(scope="module")
def whole(on: On, primary: Callable[[], str], playbook: Callable[..., Run]) -> Iterator[Callable[..., Run]]:
    """A function (target) that restores the whole database; the old data goes, and the replicas come back, at the end."""

    def restore(target: str) -> Run:
        on(primary()).check_output("rm -rf %s.before-restore", DATA)
        return playbook("playbooks/restore.yml", target=target)

    yield restore
    on(primary()).check_output("rm -rf %s.before-restore", DATA)
    for name in {"db1", "db2", "db3"} - {primary()}:
        run = playbook("playbooks/rebuild_replica.yml", host=f"split-{name}")
        assert run.code == 0, run.output[-3000:]


def test_a_moment_comes_back_beside_the_running_database(
    moment: str, server: Any, store: Any, playbook: Callable[..., Run]
) -> None:
    run = playbook("playbooks/throwaway.yml", target=moment)
    assert run.code == 0, run.output[-3000:]
    socket = f"{THROWAWAY}/{moment}"
    assert f"psql -h {socket}" in run.sentence
    assert ask(store, "SELECT words FROM precious", socket) == "here"
    assert ask(server, "SELECT count(*) FROM precious") == "0"
    # It is one of its own: it takes writes, and sends nothing into the archive.
    assert ask(store, "UPDATE precious SET words = 'there' RETURNING words; SHOW archive_mode", socket) == "there\noff"
    assert playbook("playbooks/throwaway.yml", target=moment).changed == []
    assert playbook("playbooks/throwaway.yml", target=moment, state="absent").code == 0
    assert store.check_output("ls %s", THROWAWAY) == ""


def test_a_moment_that_no_backup_reaches_is_refused(store: Any, playbook: Callable[..., Run]) -> None:
    run = playbook("playbooks/restore.yml", target="2020-01-01T00:00:00Z")
    assert run.code != 0 and run.changes == 0
    assert "no backup ended before 2020-01-01T00:00:00Z" in run.sentence


def test_a_restore_that_fails_leaves_the_old_data_running(server: Any, store: Any, whole: Callable[..., Run]) -> None:
    """The moment is later than all that was written."""
    archive(server, store)
    before = ask(server, "SELECT system_identifier FROM pg_control_system()")
    run = whole(now(server))
    assert run.code != 0
    assert "recovery ended before configured recovery target was reached" in run.sentence
    assert "runs with its old data again" in run.sentence
    assert ask(server, "SELECT pg_is_in_recovery()") == "f"
    assert ask(server, "SELECT system_identifier FROM pg_control_system()") == before
    assert server.check_output("ls %s/..", DATA) == "main"


def test_the_whole_database_goes_back_to_a_moment(moment: str, server: Any, store: Any, whole: Callable[..., Run]) -> None:
    run = whole(moment)
    assert run.code == 0, run.output[-3000:]
    assert ask(server, "SELECT words FROM precious") == "here"
    # Nothing of the restore is left in its settings, and what it writes now goes to the repository.
    assert "recovery" not in server.check_output("cat %s/postgresql.auto.conf", DATA)
    archive(server, store)


def test_data_that_was_kept_is_not_lost_to_a_second_restore(server: Any, playbook: Callable[..., Run]) -> None:
    assert server.file(f"{DATA}.before-restore").is_directory
    run = playbook("playbooks/restore.yml", target="latest")
    assert run.code != 0 and run.changes == 0
    assert f"{DATA}.before-restore is still there from an earlier restore" in run.sentence


def test_a_primary_without_its_disk_comes_back_from_the_backup(server: Any, store: Any, whole: Callable[..., Run]) -> None:
    ask(server, "CREATE TABLE written_last ()")
    archive(server, store)
    server.check_output("systemctl stop postgresql@17-main; rm -rf %s", DATA)
    run = whole("latest")
    assert run.code == 0, run.output[-3000:]
    assert ask(server, "SELECT to_regclass('written_last')") == "written_last"
    ask(server, "DROP TABLE written_last")


def test_a_drill_succeeds_and_says_so(store: Any, playbook: Callable[..., Run]) -> None:
    begun = store.check_output("date --utc +%Y-%m-%dT%H:%M:%SZ")
    run = playbook("playbooks/drill.yml")
    assert run.code == 0, run.output[-3000:]
    record = json.loads(store.check_output("cat %s", RECORD))
    assert record["last_success"]["at"] >= begun
    assert record["last_success"]["backup"] == info(store)["backup"][-1]["label"]
    assert store.check_output("ls %s", THROWAWAY) == ""


@pytest.fixture
def damaged(store: Any) -> Iterator[str]:
    """The newest backup, one byte of which is another one."""
    store.check_output("systemctl start fairlead-backup@full.service")
    label = str(info(store)["backup"][-1]["label"])
    largest = "find /var/lib/pgbackrest/backup/*/%s/bundle -type f -printf '%%s %%p\\n' | sort -n | tail -n 1 | cut -d ' ' -f 2"
    path = store.check_output(largest, label)
    store.check_output("cp -a %s /run/whole && printf X | dd of=%s bs=1 seek=5000 conv=notrunc status=none", path, path)
    yield label
    store.check_output("cp -a /run/whole %s && rm /run/whole", path)


def test_a_drill_with_a_damaged_backup_fails_and_leaves_nothing(damaged: str, store: Any, playbook: Callable[..., Run]) -> None:
    before = json.loads(store.check_output("cat %s", RECORD))["last_success"]
    run = playbook("playbooks/drill.yml")
    assert run.code != 0
    assert "fairlead-drill.service failed: error: pgbackrest failed" in run.sentence
    assert store.check_output("systemctl is-failed fairlead-drill.service") == "failed"
    record = json.loads(store.check_output("cat %s", RECORD))
    assert record["last_success"] == before and "pgbackrest failed" in record["last_failure"]["reason"]
    assert "THE LAST DRILL FAILED" in store.check_output("runuser -u postgres -- fairlead-backup status")
    assert store.check_output("ls %s", THROWAWAY) == ""


@pytest.fixture
def wrong_answer(store: Any) -> Iterator[str]:
    """The application's question, which the data answers with no."""
    path = "/etc/fairlead/backup.json"
    before = store.check_output("cat %s", path)
    ask_no = json.dumps(json.loads(before) | {"drill_query": "SELECT count(*) < 0 FROM django_migrations"})
    store.check_output("printf %s %s >%s", "%s", ask_no, path)
    yield "`SELECT count(*) < 0 FROM django_migrations` answered 'f'"
    store.check_output("printf %s %s >%s", "%s\\n", before, path)


@pytest.fixture
def torn_index(server: Any, store: Any) -> Iterator[str]:
    """An index that has not the rows of its table, though no page of either is damaged."""
    ask(
        server,
        """
        CREATE TABLE torn_factor AS SELECT 1 AS n;
        CREATE FUNCTION torn_key(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql
          AS 'BEGIN RETURN i * (SELECT n FROM public.torn_factor); END';
        CREATE TABLE torn AS SELECT generate_series(1, 100) AS i;
        CREATE INDEX torn_index ON torn (torn_key(i));
        UPDATE torn_factor SET n = 2;
        """,
    )
    archive(server, store)
    yield "pg_amcheck failed"
    ask(server, "DROP TABLE torn, torn_factor; DROP FUNCTION torn_key")


@pytest.mark.parametrize("fault", ["wrong_answer", "torn_index"])
def test_a_drill_fails_whose_data_is_wrong(
    fault: str, request: pytest.FixtureRequest, store: Any, playbook: Callable[..., Run]
) -> None:
    reason = request.getfixturevalue(fault)
    before = json.loads(store.check_output("cat %s", RECORD))["last_success"]
    run = playbook("playbooks/drill.yml")
    assert run.code != 0
    assert reason in run.sentence
    record = json.loads(store.check_output("cat %s", RECORD))
    assert record["last_success"] == before and reason in record["last_failure"]["reason"]
    assert store.check_output("ls %s", THROWAWAY) == ""


def test_old_backups_go_and_what_is_left_is_told(store: Any, playbook: Callable[..., Run]) -> None:
    """Four full ones stay (backup_retention_full)."""

    def full() -> list[str]:
        return [backup["label"] for backup in info(store)["backup"] if backup["type"] == "full"]

    while len(before := full()) < 4:
        store.check_output("systemctl start fairlead-backup@full.service")
    store.check_output("systemctl start fairlead-backup@full.service")
    assert len(full()) == 4 and full()[:3] == before[1:]
    run = playbook("playbooks/backup_status.yml")
    assert (run.code, run.changes) == (0, 0), run.output[-3000:]
    assert f"last full backup: {full()[-1]}" in run.output and before[0] not in run.output
