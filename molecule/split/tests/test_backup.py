"""Backups from the primary to another host: that they arrive, that nobody else can read them, and that nobody else is let in."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

STORE = "db3"
REPOSITORY = "/var/lib/pgbackrest"
# The stanza is the last section of the configuration.
STANZA = "$(sed -n 's/^\\[\\(.*\\)\\]$/\\1/p' /etc/pgbackrest/pgbackrest.conf | tail -n 1)"
PGBACKREST = f"runuser -u postgres -- pgbackrest --stanza={STANZA}"


def ask(host: Any, sql: str) -> str:
    return host.check_output("runuser -u postgres -- psql -XAtqc %s", sql)


def info(host: Any) -> dict[str, Any]:
    return json.loads(host.check_output(f"{PGBACKREST} --output=json info"))[0]


@pytest.fixture
def server(on: Callable[[str], Any], primary: Callable[[], str]) -> Any:
    """The primary, which is not the host of the repository."""
    assert primary() != STORE
    return on(primary())


@pytest.fixture
def store(on: Callable[[str], Any]) -> Any:
    """The host of the repository, once the backup that the first run began is there."""
    host = on(STORE)
    if not info(host)["backup"]:
        host.check_output("systemctl start fairlead-backup@full.service")
    return host


@pytest.fixture
def mark(server: Any) -> Iterator[str]:
    """Words that are in a table of the primary, and in its files."""
    words = "fairlead" + os.urandom(12).hex()
    ask(server, f"CREATE TABLE backup_mark AS SELECT '{words}'::text AS words; CHECKPOINT")
    assert server.run("grep --recursive --text --quiet %s /var/lib/postgresql/17/main/base", words).rc == 0
    yield words
    ask(server, "DROP TABLE backup_mark")


def test_the_log_arrives_at_once(server: Any, store: Any) -> None:
    ask(server, "SELECT pg_create_restore_point('fairlead')")
    segment = ask(server, "SELECT pg_walfile_name(pg_switch_wal())")
    deadline = time.monotonic() + 30
    while info(store)["archive"][-1]["max"] < segment:
        assert time.monotonic() < deadline, ask(server, "SELECT * FROM pg_stat_archiver")
        time.sleep(0.5)


def test_a_backup_of_the_primary_is_made_and_every_database_host_sees_it(server: Any, store: Any) -> None:
    before = {backup["label"] for backup in info(store)["backup"]}
    store.check_output("systemctl start fairlead-backup@incr.service")
    found = info(server)
    assert found["status"]["message"] == "ok"
    made = [backup for backup in found["backup"] if backup["label"] not in before]
    assert [backup["type"] for backup in made] == ["incr"] and not made[0]["error"]
    said = store.check_output("runuser -u postgres -- fairlead-backup status")
    assert made[0]["label"] in said and "encrypted with aes-256-cbc" in said


def test_nothing_in_the_repository_can_be_read(mark: str, server: Any, store: Any) -> None:
    segment = ask(server, "SELECT pg_walfile_name(pg_switch_wal())")
    store.check_output("systemctl start fairlead-backup@incr.service")
    assert info(store)["archive"][-1]["max"] >= segment
    assert store.run("grep --recursive --text --quiet %s %s", mark, REPOSITORY).rc == 1
    # Compression alone would hide the words as well; but it begins with its name (28b52ffd is zstd's), and leaves lists as text.
    heads = store.check_output("find %s -type f -exec sh -c 'head -c 4 \"$1\" | od -An -tx1' _ {} \\;", REPOSITORY).splitlines()
    assert len(heads) > 5 and " 28 b5 2f fd" not in heads
    assert store.run("grep --recursive --text --quiet backrest-version %s", REPOSITORY).rc == 1


def test_the_passphrase_is_nowhere_else(store: Any, server: Any, secrets: dict[str, str]) -> None:
    passphrase = secrets["backup_passphrase"]
    # The pattern comes in by a file, so that no command line holds it.
    store.run("umask 077; printf %s %s >/run/pattern", "%s", passphrase)
    found = store.check_output(
        "systemctl start --no-block fairlead-backup@incr.service; "
        "for _ in $(seq 30); do grep -laFf /run/pattern /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; done | sort -u; "
        "journalctl --no-pager --output=cat | grep -cFf /run/pattern; rm /run/pattern"
    )
    assert found.split()[-1:] == ["0"] and "/proc/" not in found.replace("/proc/self", "")
    assert store.run("grep --recursive --files-with-matches %s /etc /var/log", passphrase).stdout.split() == [
        "/etc/pgbackrest/conf.d/secrets.conf"
    ]
    assert store.file("/etc/pgbackrest/conf.d/secrets.conf").mode == 0o600
    assert server.run("grep --recursive %s /etc /var/log", passphrase).rc == 1


@pytest.fixture
def stranger(server: Any) -> Iterator[Callable[[str], str]]:
    """A function from a host's short name to what the repository host says to who comes with that host's certificate."""
    hosts = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "authority/hosts"
    server.check_output("install -d -o postgres -m 0700 /run/stranger")

    def come(name: str) -> str:
        for kind in ("pem", "key"):
            text = next(hosts.glob(f"*-{name}.{kind}")).read_text()
            server.check_output("printf %s %s >/run/stranger/host.%s", "%s", text, kind)
        server.check_output("chown postgres /run/stranger/host.*; chmod 0600 /run/stranger/host.*")
        files = "--repo1-host-cert-file=/run/stranger/host.pem --repo1-host-key-file=/run/stranger/host.key"
        done = server.run(f"{PGBACKREST} {files} --io-timeout=3 info")
        return done.stdout + done.stderr

    yield come
    server.check_output("rm -r /run/stranger")


def test_a_host_that_is_not_of_the_database_is_refused(
    stranger: Callable[[str], str], primary: Callable[[], str], store: Any
) -> None:
    assert "status: ok" in stranger(primary())
    assert "status: ok" not in (said := stranger("app1")) and "access denied" in said


def test_a_certificate_of_another_authority_is_refused(server: Any, store: Any) -> None:
    server.check_output(
        "install -d -o postgres -m 0700 /run/forged; cd /run/forged; "
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -keyout host.key -out host.pem "
        "-subj /CN=$(hostname) 2>/dev/null; chown postgres host.*"
    )
    files = "--repo1-host-cert-file=/run/forged/host.pem --repo1-host-key-file=/run/forged/host.key"
    done = server.run(f"{PGBACKREST} {files} --io-timeout=3 info; rm -r /run/forged")
    assert "status: ok" not in done.stdout and "tlsv1 alert unknown ca" in done.stdout + done.stderr


def test_every_time_has_come_to_the_timers(store: Any) -> None:
    timers = store.check_output("systemctl list-timers --no-legend 'fairlead-*'")
    for unit in ("fairlead-backup@full", "fairlead-backup@diff", "fairlead-drill"):
        assert f"{unit}.timer" in timers
