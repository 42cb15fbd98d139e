"""What the classifier calls a read runs on a real standby: PostgreSQL's own regression SQL, and sqlsmith's.

RR_POSTGRESQL_SOURCE is the unpacked source of the PostgreSQL that runs here.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import POSTGRES, Cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]
RUN = Path(__file__).parent / "sql/standby_run.py"
DATABASE = "regression"


@pytest.fixture(scope="module")
def servers():
    """Connection strings of a primary that waits until its standby has replayed, and of the standby."""
    folder = Path(tempfile.mkdtemp(prefix="rr-standby-"))
    os.chown(folder, POSTGRES.pw_uid, POSTGRES.pw_gid)
    cluster = Cluster(folder)
    cluster.primary.configure(synchronous_standby_names="'ANY 2 (*)'", synchronous_commit="remote_apply", log_statement="none")
    cluster.primary.sql("SELECT pg_reload_conf()")
    cluster.primary.sql(f"CREATE DATABASE {DATABASE}")
    yield [f"host=127.0.0.1 port={server.port} dbname={DATABASE} user=postgres" for server in (cluster.primary, cluster.replicas[0])]
    cluster.stop()
    shutil.rmtree(folder)


def judged(servers, source, least):
    done = subprocess.run([sys.executable, RUN, *servers, source, str(least)], capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def test_regression_sql(servers):
    judged(servers, os.environ["RR_POSTGRESQL_SOURCE"], 5000)


def test_sqlsmith(servers, tmp_path):
    """On the tables that the regression SQL left; most of what it asks calls functions that stay home."""
    done = subprocess.run(
        ["sqlsmith", f"--target={servers[0]}", "--dry-run", "--max-queries=4000", "--seed=7"], capture_output=True, text=True
    )
    source = tmp_path / "sqlsmith.sql"
    source.write_text(done.stdout)
    assert done.stdout.count(";") >= 4000, done.stderr[-2000:]
    judged(servers, source, 100)
