"""Drivers that other tests do not use: pgJDBC in all of its modes, and Django."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path("/usr/share/java/postgresql.jar")
FUNCTIONS = {"routing_read_functions": "inet_server_port"}


@pytest.fixture(scope="module")
def jdbc(tmp_path_factory):
    """The command that runs Jdbc.java."""
    folder = tmp_path_factory.mktemp("jdbc")
    subprocess.run(["javac", "-d", folder, Path(__file__).with_name("Jdbc.java")], check=True, timeout=300)
    return ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{folder}:{DRIVER}", "Jdbc"]


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize("mode", ["simple", "extended", "extendedForPrepared", "extendedCacheEverything"])
@pytest.mark.parametrize("threshold", [1, 5, 0])
def test_jdbc(pooler, jdbc, mode, threshold):
    pooler.start_builtin(**FUNCTIONS, max_prepared_statements=100)
    address = f"jdbc:postgresql://127.0.0.1:{pooler.port}/app?user=alice&preferQueryMode={mode}&prepareThreshold={threshold}"
    done = subprocess.run([*jdbc, address], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    found = [line.split() for line in done.stdout.splitlines()]
    reads = [pooler.server_of(port) for what, port in found if what == "read"]
    assert "replica1" in reads[-4:], reads
    assert {pooler.server_of(port) for what, port in found if what == "transaction"} == {"primary"}
    assert [int(count) for what, count in found if what == "count"] == [*range(1, 22), 0, 5]


SITE = """
import json, sys, time
import django
from django.conf import settings
from django.db import connection, connections, models, transaction

port, options = int(sys.argv[1]), json.loads(sys.argv[2])
database = {"ENGINE": "django.db.backends.postgresql", "NAME": "app", "USER": "alice", "HOST": "127.0.0.1", "PORT": port,
            "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True, "DISABLE_SERVER_SIDE_CURSORS": True, "OPTIONS": options}
settings.configure(DATABASES={"default": database}, USE_TZ=True, INSTALLED_APPS=[])
django.setup()

class Row(models.Model):
    v = models.TextField()
    class Meta:
        app_label, db_table = "rows", "t"

def where():
    return Row.objects.annotate(port=models.Func(function="inet_server_port", output_field=models.IntegerField())).first().port

# what a new connection sets counts as a write
end, reads = time.monotonic() + 20, [where()]
while reads[-1] == reads[0] and time.monotonic() < end:
    time.sleep(0.1)
    reads.append(where())
said = {"reads": reads, "counts": []}
with transaction.atomic():
    said["atomic"] = [where()]
    row = Row.objects.create(v="django")
    said["atomic"].append(where())
for number in range(30):
    Row.objects.filter(pk=row.pk).update(v=f"django {number}")
    said["counts"].append(Row.objects.filter(v=f"django {number}").count())
said["iterator"] = len(list(Row.objects.all().iterator(chunk_size=2)))
Row.objects.filter(v__startswith="django").delete()
said["left"] = Row.objects.filter(v__startswith="django").count()
print(json.dumps(said))
"""


@pytest.mark.parametrize("options", [{}, {"server_side_binding": True}, {"prepare_threshold": 0}], ids=str)
def test_django(pooler, options):
    pooler.start_builtin(**FUNCTIONS, max_prepared_statements=100)
    done = subprocess.run(
        [sys.executable, "-c", SITE, str(pooler.port), json.dumps(options)], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert "replica1" in [pooler.server_of(port) for port in said["reads"]]
    assert {pooler.server_of(port) for port in said["atomic"]} == {"primary"}
    assert said["counts"] == [1] * 30
    assert said["iterator"] == 11
    assert said["left"] == 0
