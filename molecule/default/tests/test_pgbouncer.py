"""What the role pgbouncer_rr promises, asked through its socket, of its consoles and of the kernel."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

CONSOLES = "/run/pgbouncer"
PGBENCH = "/usr/lib/postgresql/17/bin/pgbench"

# Each of these runs on the host, with the pooler's address and a login in the environment.

# Clients that are cancelled all at once while their query runs: prints how many ran, how many heard of it, and after how
# many seconds.
CANCEL = """
import json, os, signal, subprocess, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
query = "SELECT pg_sleep(30)"
clients = [subprocess.Popen(["psql", "-X", "-d", "default", "-c", query],
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(CLIENTS)]
running = ["runuser", "-u", "postgres", "--", "psql", "-XAtq", "-h", "/run/postgresql", "-p", "5432", "-U", "postgres",
           "-d", "postgres", "-c", "SELECT count(*) FROM pg_stat_activity WHERE query = '" + query + "' AND state = 'active'"]
deadline, ran = time.monotonic() + 20, 0
while time.monotonic() < deadline and ran != CLIENTS:
    time.sleep(0.2)
    ran = int(subprocess.run(running, capture_output=True, text=True, check=True).stdout)
started = time.monotonic()
for client in clients:
    client.send_signal(signal.SIGINT)
errors = [client.communicate()[1] for client in clients]
heard = sum("canceling statement due to user request" in error for error in errors)
print(json.dumps([ran, heard, time.monotonic() - started]))
"""

# Clients that come and go while the pooler restarts and reloads: prints how many were served, and what the others were told.
RESTART = """
import json, subprocess, threading, time
served, refused, end = [], [], time.monotonic() + 5
def visit():
    while time.monotonic() < end:
        done = subprocess.run(["psql", "-XAtq", "-d", "default", "-c", "SELECT 1"], capture_output=True, text=True)
        (served if done.returncode == 0 else refused).append(done.stderr)
threads = [threading.Thread(target=visit) for _ in range(3)]
for thread in threads:
    thread.start()
time.sleep(1)
subprocess.run(["systemctl", "restart", "pgbouncer"], check=True)
subprocess.run(["systemctl", "reload", "pgbouncer"], check=True)
for thread in threads:
    thread.join()
print(json.dumps([len(served), refused]))
"""


class Pooler:
    def __init__(self, host: Any, password: str) -> None:
        self.host = host
        self.password = password
        sockets = re.findall(r"(/\S+)/\.s\.PGSQL\.6432\b", host.check_output("ss --listening --unix"))
        assert len(sockets) == 1
        self.directory = sockets[0]
        names = "SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname ~ '^demo_[0-9a-f]{8}$'"
        self.user = host.check_output("runuser -u postgres -- psql -XAtq -c %s", names)
        self.group = host.check_output("stat --format %%g %s", self.directory)
        self.consoles = host.check_output("ls -A %s", CONSOLES).split()

    def run(self, command: str, *words: str, password: str | None = None, group: str | None = None) -> Any:
        """Run a client on the host as the application's container would: with its group and nothing else."""
        secret, group = password or self.password, group or self.group
        return self.host.run(
            "PGHOST=%s PGPORT=6432 PGUSER=%s PGPASSWORD=%s setpriv --reuid 65533 --regid %s --clear-groups " + command,
            self.directory, self.user, secret, group, *words,
        )  # fmt: skip

    def script(self, text: str) -> Any:
        code = base64.b64encode(text.encode()).decode()
        done = self.host.run(
            "echo %s | base64 -d | PGHOST=%s PGPORT=6432 PGUSER=%s PGPASSWORD=%s python3 -",
            code, self.directory, self.user, self.password,
        )  # fmt: skip
        assert done.rc == 0, done.stderr
        return json.loads(done.stdout)

    def console(self, command: str) -> list[list[str]]:
        """Return the rows of all processes' consoles."""
        rows = []
        for socket in self.consoles:
            port = socket.rsplit(".", 1)[1]
            ask = "runuser -u postgres -- psql -XAtq -h %s -p %s -U pgbouncer -d pgbouncer -c %s"
            rows += [line.split("|") for line in self.host.check_output(ask, CONSOLES, port, command).splitlines()]
        return rows

    def processes(self) -> list[str]:
        return self.host.check_output("pgrep --exact pgbouncer").split()


@pytest.fixture(scope="module")
def pooler(host: Any, secrets: dict[str, str]) -> Pooler:
    return Pooler(host, secrets["database_password"])


@pytest.mark.parametrize("database", ["default", "replica", "direct"])
def test_the_application_reaches_its_database(pooler: Pooler, database: str) -> None:
    # The login role of the password, which acts as the owner.
    query = "SELECT session_user, current_user, current_database(), current_setting('TimeZone')"
    answer = pooler.run("psql -XAtq -d %s -c %s", database, query)
    assert answer.stdout.strip() == f"{pooler.user}|demo|demo|UTC", answer.stderr


def test_a_wrong_password_is_refused(pooler: Pooler) -> None:
    refused = pooler.run("psql -d default -c 'SELECT 1'", password=pooler.password[::-1])
    assert refused.rc != 0 and "SASL authentication failed" in refused.stderr


def test_other_groups_cannot_reach_the_socket(pooler: Pooler) -> None:
    refused = pooler.run("psql -d default -c 'SELECT 1'", group="65533")
    assert refused.rc != 0 and "Permission denied" in refused.stderr


def test_no_other_socket_is_beside_it(host: Any, pooler: Pooler) -> None:
    assert host.check_output("ls -A %s", pooler.directory).split() == [".s.PGSQL.6432"]


def test_listens_on_no_network(host: Any) -> None:
    assert "pgbouncer" not in host.check_output("ss --listening --tcp --processes --numeric")


def test_only_the_unix_user_postgres_has_the_console(pooler: Pooler) -> None:
    refused = pooler.run("psql -d pgbouncer -c 'SHOW POOLS'")
    assert refused.rc != 0 and "not allowed" in refused.stderr
    assert pooler.host.run("psql -h %s -p 1 -U pgbouncer -d pgbouncer -w -c 'SHOW POOLS'", CONSOLES).rc != 0
    assert pooler.console("SHOW POOLS")


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_many_clients_share_few_connections(pooler: Pooler, mode: str) -> None:
    config = {row[0]: row[1] for row in pooler.console("SHOW CONFIG")}
    most = int(config["max_db_connections"]) * len(pooler.consoles)
    clients = str(most + 20)
    pooler.host.check_output("install -m 0644 /dev/stdin /tmp/fairlead.sql << END\nSELECT 1 + :client_id;\nEND")
    bench = PGBENCH + " --no-vacuum --protocol=%s --client=%s --jobs=2 --transactions=20 --file=/tmp/fairlead.sql default"
    done = pooler.run(bench, mode, clients)
    assert done.rc == 0, done.stderr
    assert f"number of transactions actually processed: {int(clients) * 20}/" in done.stdout
    servers = [row for row in pooler.console("SHOW SERVERS") if row[2] == "default"]
    assert 0 < len(servers) <= most


def test_without_a_replica_nothing_is_routed(pooler: Pooler) -> None:
    counters = {row[0]: row[1] for row in pooler.console("SHOW RR_STATS")}
    assert counters["home"] == counters["away"] == "0"
    assert pooler.console("SHOW RR_TARGETS") == []


def test_a_session_is_kept_where_it_is_asked_for(pooler: Pooler) -> None:
    sql = "psql -XAtq -d direct -c 'CREATE TEMPORARY TABLE kept (x int)' -c 'INSERT INTO kept VALUES (7)' -c 'SELECT x FROM kept'"
    assert pooler.run(sql).stdout.strip() == "7"


def test_every_process_may_open_all_the_files_it_could_need(pooler: Pooler) -> None:
    clients = {int(row[1]) for row in pooler.console("SHOW CONFIG") if row[0] == "max_client_conn"}
    expected = pooler.host.check_output("journalctl --unit pgbouncer --output cat --grep 'max expected fd use' --lines 1")
    need = int(expected.rsplit(" ", 1)[1])
    assert len(pooler.processes()) == len(pooler.consoles)
    for process in pooler.processes():
        limits = pooler.host.file(f"/proc/{process}/limits").content_string
        soft = next(int(line.split()[3]) for line in limits.splitlines() if line.startswith("Max open files"))
        assert soft >= need > max(clients)


def test_a_cancel_request_reaches_the_process_that_has_the_query(pooler: Pooler) -> None:
    # Chance may give all of them to one process, which has to run them all at once.
    pool = min(int(row[1]) for row in pooler.console("SHOW CONFIG") if row[0] == "default_pool_size")
    clients = min(pool, 12)
    ran, cancelled, seconds = pooler.script(CANCEL.replace("CLIENTS", str(clients)))
    assert ran == cancelled == clients > 1
    assert seconds < 15


def test_new_clients_wait_while_it_restarts(pooler: Pooler) -> None:
    served, refused = pooler.script(RESTART)
    assert [error for error in refused if "refused" in error or "No such file" in error] == []
    # A client that was in already, without a query under way, is sent off: one of each thread at most.
    assert served > 10 and len(refused) <= 3, refused


def test_no_host_holds_the_password(host: Any, pooler: Pooler) -> None:
    assert host.run("grep --recursive --fixed-strings --quiet -e %s /etc/pgbouncer /etc/postgresql", pooler.password).rc == 1
    assert host.run("journalctl --output cat | grep --fixed-strings --quiet -e %s", pooler.password).rc == 1
