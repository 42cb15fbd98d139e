"""
Real servers for the tests: a primary, two streaming replicas, and a pooler.

Runs as root, because rule files must belong to root; the servers run as postgres.
PGBOUNCER names the program to test (default: the installed one).
"""

import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from pgwire import Wire

PGBOUNCER = os.environ.get("PGBOUNCER", "/usr/sbin/pgbouncer")
PG_BIN = Path(subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True).stdout.strip())
POSTGRES = pwd.getpwnam("postgres")


def free_port():
    """Below the range that outgoing connections take theirs from."""
    while True:
        port = random.randint(10000, 30000)
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) != 0:
                return port


def as_postgres(*command, **kwargs):
    return subprocess.run(
        [str(part) for part in command],
        user=POSTGRES.pw_uid,
        group=POSTGRES.pw_gid,
        extra_groups=[],
        check=True,
        capture_output=True,
        text=True,
        cwd="/tmp",
        **kwargs,
    ).stdout


def wait_for(condition, timeout=15, what="condition"):
    """The first true value of condition()."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what}: not within {timeout} s"
        time.sleep(0.02)


class Server:
    """One PostgreSQL server."""

    def __init__(self, folder, name):
        self.name = name
        self.data = folder / name
        self.folder = folder
        self.port = free_port()

    def configure(self, **settings):
        settings = {
            "port": self.port,
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": "''",
            "fsync": "off",
            "max_connections": 60,
            "wal_receiver_status_interval": 1,
            "wal_retrieve_retry_interval": "'200ms'",
            "hot_standby_feedback": "on",
            "wal_keep_size": "'256MB'",
            "log_statement": "all",
            "log_line_prefix": "'%m [%p] %u@%d %a '",
            **settings,
        }
        with open(self.data / "postgresql.auto.conf", "a") as conf:
            for key, value in settings.items():
                conf.write(f"{key} = {value}\n")

    def start(self):
        try:
            as_postgres(PG_BIN / "pg_ctl", "-w", "-D", self.data, "-l", self.log, "start")
        except subprocess.CalledProcessError as error:
            raise AssertionError(self.log.read_text()[-2000:]) from error

    def stop(self, mode="fast"):
        as_postgres(PG_BIN / "pg_ctl", "-w", "-D", self.data, "-m", mode, "stop")

    @property
    def log(self):
        return self.folder / f"{self.name}.log"

    @property
    def pids(self):
        """The server's processes, the postmaster first."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
        return [pid] + [int(child) for child in children]

    def signal(self, number):
        for pid in self.pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def kill(self):
        pids = self.pids
        self.signal(signal.SIGKILL)
        wait_for(lambda: not any(self.lives(pid) for pid in pids), what="death")
        (self.data / "postmaster.pid").unlink()

    @staticmethod
    def lives(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def listens(self):
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def connect(self, dbname="app", user="postgres", **kwargs):
        return psycopg.connect(host="127.0.0.1", port=self.port, dbname=dbname, user=user, autocommit=True, **kwargs)

    def sql(self, statement, dbname="app"):
        with self.connect(dbname) as conn:
            cursor = conn.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None

    def statements(self):
        return self.log.read_text()


class Cluster:
    """A primary and its replicas."""

    def __init__(self, folder, replicas=2):
        self.folder = folder
        self.primary = Server(folder, "primary")
        as_postgres(PG_BIN / "initdb", "-A", "trust", "-N", "--no-instructions", "-D", self.primary.data)
        self.primary.configure(synchronous_commit="on")
        self.primary.start()
        for statement in (
            "CREATE DATABASE app",
            "CREATE ROLE alice LOGIN SUPERUSER",
            "CREATE ROLE bob LOGIN",
            "CREATE ROLE watcher LOGIN",
            "GRANT ALL ON SCHEMA public TO bob",
        ):
            self.primary.sql(statement, "postgres")
        self.primary.sql("CREATE TABLE t (id serial PRIMARY KEY, v text); GRANT ALL ON ALL TABLES IN SCHEMA public TO bob")
        self.primary.sql("INSERT INTO t (v) SELECT 'row ' || i FROM generate_series(1, 10) i")
        self.replicas = [self.add_replica(f"replica{n}") for n in range(1, replicas + 1)]
        self.caught_up()

    def add_replica(self, name):
        replica = Server(self.folder, name)
        as_postgres(
            PG_BIN / "pg_basebackup", "-h", "127.0.0.1", "-p", self.primary.port, "-U", "postgres",
            "-D", replica.data, "-R", "-c", "fast",
        )  # fmt: skip
        replica.configure()
        replica.start()
        return replica

    def caught_up(self, *replicas):
        lsn = self.primary.sql("SELECT pg_current_wal_flush_lsn()")
        for replica in replicas or self.replicas:
            wait_for(
                lambda replica=replica: replica.sql(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'"),
                what=f"{replica.name} catching up",
            )

    def stop(self):
        for server in [*self.replicas, self.primary]:
            try:
                server.stop("immediate")
            except subprocess.CalledProcessError:
                pass


@contextmanager
def new_cluster(replicas=2):
    folder = Path(tempfile.mkdtemp(prefix="rr-pg-"))
    os.chown(folder, POSTGRES.pw_uid, POSTGRES.pw_gid)
    folder.chmod(0o755)
    cluster = Cluster(folder, replicas)
    try:
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def cluster():
    with new_cluster() as cluster:
        yield cluster


@pytest.fixture
def tls(cluster):
    """TLS on the primary and the first replica; the folder of cert.pem, which is also its own CA, and key.pem."""
    folder = cluster.folder
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(["chown", "postgres", folder / "key.pem", folder / "cert.pem"], check=True)
    servers = (cluster.primary, cluster.replicas[0])
    for server in servers:
        as_postgres("cp", folder / "key.pem", folder / "cert.pem", server.data)
        server.configure(ssl="on", ssl_cert_file="'cert.pem'", ssl_key_file="'key.pem'")
        server.sql("SELECT pg_reload_conf()")
    wait_for(lambda: all(server.sql("SHOW ssl") == "on" for server in servers), what="TLS")
    yield folder
    for server in servers:
        server.configure(ssl="off")
        server.sql("SELECT pg_reload_conf()")
    wait_for(lambda: all(server.sql("SHOW ssl") == "off" for server in servers), what="no TLS")


class Pooler:
    """A pgbouncer-rr with a configuration of its own."""

    def __init__(self, cluster, folder, program=PGBOUNCER):
        self.cluster = cluster
        self.folder = folder
        self.program = program
        self.port = free_port()
        self.process = None
        self.databases = {
            "app": f"host=127.0.0.1 port={cluster.primary.port} dbname=app",
        }
        for replica in cluster.replicas:
            self.databases[replica.name] = f"host=127.0.0.1 port={replica.port} dbname=app"
        self.groups = {}
        self.peers = {}
        self.settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "logfile": str(folder / "pgbouncer.log"),
            "auth_type": "trust",
            "auth_file": str(folder / "userlist.txt"),
            "admin_users": "alice, console",
            "pool_mode": "transaction",
            "server_login_retry": 1,
            "max_client_conn": 500,
            "routing_check_connstr": "user=watcher",
            "routing_check_period": 0.2,
            "routing_check_timeout": 1,
        }
        self.users = {"alice": "", "bob": ""}

    @property
    def ini(self):
        return self.folder / "pgbouncer.ini"

    @property
    def log(self):
        return (self.folder / "pgbouncer.log").read_text()

    def write(self):
        lines = ["[databases]"]
        lines += [f"{name} = {value}" for name, value in self.databases.items()]
        for section, entries in {"replica_groups": self.groups, "peers": self.peers}.items():
            if entries:
                lines += [f"[{section}]"] + [f"{name} = {value}" for name, value in entries.items()]
        lines += ["[pgbouncer]"] + [f"{name} = {value}" for name, value in self.settings.items()]
        self.ini.write_text("\n".join(lines) + "\n")
        users = {"console": "console", **self.users}
        (self.folder / "userlist.txt").write_text("".join(f'"{u}" "{p}"\n' for u, p in users.items()))

    def rules(self, source, name="rules.py"):
        """A rule file as the pooler wants it; its path."""
        folder = self.folder / "rules"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        path = folder / name
        path.write_text(source)
        path.chmod(0o644)
        return path

    def start(self, **settings):
        self.settings.update(settings)
        self.write()
        self.process = subprocess.Popen(
            [self.program, self.ini], user=POSTGRES.pw_uid, group=POSTGRES.pw_gid, extra_groups=[], cwd="/tmp",
            stdout=subprocess.DEVNULL, stderr=open(self.folder / "stderr", "w"),
            env={**os.environ, "MALLOC_PERTURB_": "85"},  # whoever reads freed memory finds no sense in it
        )  # fmt: skip

        def up():
            assert self.process.poll() is None, self.log
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", self.port)) == 0

        wait_for(up, what="the pooler's start")
        return self

    def start_builtin(self, replicas=("replica1",), **settings):
        """With the builtin routing, once its replicas are well."""
        self.groups["readers"] = "app: " + ", ".join(replicas)
        self.start(routing_builtin="readwrite", **settings)
        self.wait_state(*replicas)
        return self

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(1)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait(10)

    def wire(self, dbname="app", user="alice", **kwargs):
        return Wire(self.port, dbname, user, **kwargs)

    def connect(self, dbname="app", user="alice", host="127.0.0.1", **kwargs):
        kwargs.setdefault("autocommit", True)
        return psycopg.connect(host=host, port=self.port, dbname=dbname, user=user, **kwargs)

    def console(self, command):
        with self.connect("pgbouncer", "console", password="console") as conn:
            cursor = conn.execute(command)
            return cursor.fetchall() if cursor.description else None

    def stats(self):
        return {key: int(value) for key, value in self.console("SHOW RR_STATS")}

    def states(self):
        return {row[1]: row[3] for row in self.console("SHOW RR_TARGETS")}

    def wait_state(self, *names, state="well", timeout=15):
        wait_for(
            lambda: all(self.states().get(name) == state for name in names),
            timeout,
            f"{names} {state}, but {self.console('SHOW RR_TARGETS')}",
        )

    def reload(self, **settings):
        self.settings.update(settings)
        self.write()
        self.console("RELOAD")

    def server_of(self, port):
        """The name of the server at this port."""
        servers = [self.cluster.primary, *self.cluster.replicas]
        return {str(server.port): server.name for server in servers}[str(port)]


@contextmanager
def new_pooler(cluster, program=PGBOUNCER):
    """It must live to its end, and log nothing that must not be."""
    folder = Path(tempfile.mkdtemp(prefix="rr-pooler-"))
    folder.chmod(0o755)
    (folder / "pgbouncer.log").touch()
    os.chown(folder / "pgbouncer.log", POSTGRES.pw_uid, POSTGRES.pw_gid)
    pooler = Pooler(cluster, folder, program)
    try:
        yield pooler
        alive = pooler.process is None or pooler.process.poll() is None
        log = pooler.log
    finally:
        pooler.stop()
        shutil.rmtree(folder)
    assert alive, log[-4000:]
    assert not re.search(r"\] FATAL|Assert|FIXME|bug in ", log), log[-4000:]


@pytest.fixture
def pooler(cluster):
    with new_pooler(cluster) as pooler:
        yield pooler
