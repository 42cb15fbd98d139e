"""Many deployments and rollbacks, and all that can go wrong in one, while visitors come: what ran before serves everywhere, the
report says why, and the next deployment succeeds unaided."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import ADDRESSES, DOMAIN, ROOT, Run
from load import Load, loading

On = Callable[[str], Any]
Deploy = Callable[..., Run]

SITE = f"https://{DOMAIN}"
APPS = ("app1", "app2")
PROBE = Path(__file__).resolve().parent.parent / "probe"
INVENTORY = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "inventory"
# How many times the site is deployed and rolled back under load.
DEPLOYMENTS = int(os.environ.get("FAIRLEAD_DEPLOYMENTS", "20"))
ERRANDS = (
    {"name": "page", "path": "/", "visitors": 3, "pause": 0.3},
    {"name": "post", "path": "/probe/visit", "method": "POST", "visitors": 2, "pause": 0.3},
    {"name": "slow", "path": "/probe/slow", "visitors": 2},
)
EXPECTED = ("page 200", "post 200", "slow 200")


@pytest.fixture(scope="module")
def images(playbook: Callable[..., Run]) -> Iterator[list[str]]:
    """Versions of the site, as the registry names them."""
    found = []
    for version in range(1, 5):
        name = f"fairlead/probe:{version}"
        build = ["docker", "build", "--quiet", "--build-arg", f"VERSION={version}", "--tag", name, str(PROBE)]
        subprocess.run(build, check=True, env=os.environ | {"DOCKER_BUILDKIT": "0"})
        run = playbook("playbooks/push.yml", image=name)
        said = re.search(r"site_image: (\S+@sha256:[0-9a-f]{64})", run.output)
        assert said, run.output
        found.append(said[1])
    yield found
    subprocess.run(["docker", "image", "rm", *(f"fairlead/probe:{version}" for version in range(1, 5))], check=True)


def variables(image: str, given: dict[str, Any]) -> dict[str, Any]:
    """Extra variables of a deployment; what is for the image is in capitals."""
    environment = {name: value for name, value in given.items() if name.isupper()}
    others = {name: value for name, value in given.items() if not name.isupper()}
    return {
        "site_image": image,
        "django_image_archive": "",
        "django_settings_module": "probe.settings",
        "django_bake_seconds": 1,
        "site_environment_variables": environment,
    } | others


@pytest.fixture(scope="module")
def deploy(playbook: Callable[..., Run], images: list[str]) -> Iterator[Deploy]:
    """A function (version, **variables) that deploys. In the end the scenario's own release serves again."""
    yield lambda version=1, **given: playbook("playbooks/deploy.yml", **variables(images[version - 1], given))
    assert playbook("playbooks/deploy.yml").code == 0


def current(on: On, name: str) -> str:
    return str(on(name).check_output("basename $(readlink /srv/demo/current)"))


def serving(on: On) -> str:
    """The release that serves everywhere, and nothing else runs or is locked."""
    found = {current(on, name) for name in APPS}
    assert len(found) == 1, found
    (release,) = found
    for name in APPS:
        containers = on(name).check_output("docker ps --all --filter label=fairlead.site=demo --format '{{ .Names }}'")
        assert containers == f"demo-{release}"
        assert on(name).run("test -e /srv/demo/lock.json").rc == 1
    return release


def records(on: On, name: str = "app1") -> list[dict[str, Any]]:
    return [json.loads(line) for line in on(name).check_output("cat /srv/demo/records.jsonl").splitlines()]


@pytest.fixture
def visits(on: On, primary: Callable[[], str]) -> Callable[[], int]:
    """A function that counts what the POSTs left in the database."""
    count = "runuser -u postgres -- psql -XAtq demo -c 'SELECT count(*) FROM probe_visit'"
    return lambda: int(on(primary()).check_output(count))


@pytest.fixture
def load(visitor: requests.Session) -> Callable[[], Any]:
    return lambda: loading(ADDRESSES["edge1"], DOMAIN, str(visitor.verify), *ERRANDS)


def unharmed(load: Load) -> None:
    assert load.others(*EXPECTED) == {}
    assert load.of("page", 200) > 50 and load.of("post", 200) > 20 and load.of("slow", 200) > 2


@contextmanager
def websocket(address: str, domain: str, certificate: str) -> Iterator[Callable[[], float]]:
    """A connection that stays, over which the release sends a byte a second. A function that waits until it ends, and returns the
    seconds that it has lived."""
    key = "GET /probe/socket HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    trust = ssl.create_default_context(cafile=certificate)
    with trust.wrap_socket(socket.create_connection((address, 443), 60), server_hostname=domain) as connection:
        connection.sendall(key.format(domain).encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 101 ")
        begun = time.monotonic()

        def lived() -> float:
            with suppress(OSError):
                while connection.recv(1000):
                    pass
            return time.monotonic() - begun

        yield lived


def test_the_first_with_what_the_tests_need(deploy: Deploy, on: On) -> None:
    run = deploy(1)
    assert run.code == 0, run.output
    for name in APPS:
        last = [record for record in records(on, name) if record["result"] == "live"][-1]
        assert last["id"] == serving(on)
        assert last["migrations_after"]["probe"] == "0001_initial"


def test_again_changes_nothing(deploy: Deploy, on: On) -> None:
    before = records(on)
    run = deploy(1)
    assert run.code == 0 and run.changed == []
    assert records(on) == before


def test_many_deployments_and_rollbacks(
    deploy: Deploy,
    on: On,
    playbook: Callable[..., Run],
    load: Callable[[], Any],
    visits: Callable[[], int],
    visitor: requests.Session,
) -> None:
    before = visits()
    with load() as requested:
        for number in range(DEPLOYMENTS):
            version = number % 4 + 1
            run = deploy(version, LOG_LEVEL="INFO" if number % 8 < 4 else "DEBUG")
            assert run.code == 0, run.output
            if number % 4 == 3:
                # Pages of three releases back find their static files.
                for old in range(1, 5):
                    assert visitor.get(f"{SITE}/static/probe-{old}.txt").text == f"{old}\n"
                back = playbook("playbooks/rollback.yml")
                assert back.code == 0, back.output
        release = serving(on)
    unharmed(requested)
    assert visits() - before == requested.of("post", 200)
    assert release == records(on)[-1]["id"]


def test_a_websocket_is_held_until_the_drain_limit(deploy: Deploy, on: On, visitor: requests.Session) -> None:
    limits = {"capacity_graceful_seconds": 5, "capacity_drain_seconds": 20, "capacity_stop_seconds": 30}
    assert deploy(1, TIMES="held", **limits).code == 0
    before = serving(on)
    with websocket(ADDRESSES["edge1"], DOMAIN, str(visitor.verify)) as lived, ThreadPoolExecutor() as pool:
        end = pool.submit(lived)
        begun = time.monotonic()
        run = deploy(2, **limits)
        assert run.code == 0, run.output
        assert f"Release {before} was stopped with 1 requests in progress, after 20 s." in run.sentence
        # Its host drained at the end of the deployment.
        assert 20 < end.result(30) < time.monotonic() - begun
    assert serving(on) != before
    with websocket(ADDRESSES["edge1"], DOMAIN, str(visitor.verify)):
        pass


def test_a_slow_release_is_noticed_on_the_first_host(deploy: Deploy, on: On, visitor: requests.Session) -> None:
    before = serving(on)
    judged = {"django_bake_seconds": 60, "django_latency_seconds": 4}
    with loading(
        ADDRESSES["edge1"], DOMAIN, str(visitor.verify), {"name": "page", "path": "/", "visitors": 20, "pause": 0.5}
    ) as requested:
        run = deploy(3, PROBE_PAGE_SECONDS="6", **judged)
        assert run.code == 2
        assert re.search(r"app1: As it served, 5 % of \d+ requests took [\d.]+ s or more, beyond 4 s\.", run.sentence)
        assert serving(on) == before
    assert requested.others("page 200") == {}


def test_what_would_be_done_is_shown_and_not_done(playbook: Callable[..., Run], images: list[str], on: On) -> None:
    before = serving(on)
    given = variables(images[1], {"SHOWN": "yes", "site_secrets": {"TOKEN": "one-two-three"}})
    run = playbook("playbooks/deploy.yml", "--check", "--diff", **given)
    assert run.code == 0
    results = [result for play in run.report["plays"] for task in play["tasks"] for result in task["hosts"].values()]
    (shown, *_) = [part["after"] for result in results for part in result.get("diff") or []]
    assert "environment SHOWN: yes" in shown and re.search(r"secret TOKEN: [0-9a-f]{8}\n", shown)
    assert "one-two-three" not in json.dumps(results)
    assert serving(on) == before


def test_an_image_that_is_no_longer_on_the_hosts_is_pulled_for_a_rollback(
    deploy: Deploy, on: On, playbook: Callable[..., Run]
) -> None:
    assert deploy(1).code == 0
    before = serving(on)
    image = records(on)[-1]["image"]
    assert deploy(2).code == 0
    for name in APPS:
        on(name).check_output("docker image rm %s", image)
    run = playbook("playbooks/rollback.yml")
    assert run.code == 0, run.output
    assert serving(on) == before


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "never healthy": (
        {"PROBE_UNHEALTHY": "1", "django_start_timeout_seconds": 20},
        "did not answer 200 to /health/ready within 20 seconds (django_start_timeout_seconds), but: 503",
    ),
    "ends after a minute": ({"PROBE_CRASH_SECONDS": "60", "django_bake_seconds": 75}, "As it served, its container ended."),
    "a migration that takes away": ({"PROBE_MIGRATIONS": "destructive"}, "probe.0002_destructive: DROPPING columns"),
    "migrations that rename and require": (
        {"PROBE_MIGRATIONS": "breaking"},
        "probe.0002_renamed: RENAMING columns (probe_visit.note); probe.0003_required: NOT NULL constraint on columns",
    ),
    "a migration without end": (
        {"PROBE_MIGRATIONS": "endless", "django_migrate_statement_seconds": 3},
        "canceling statement due to statement timeout",
    ),
    "a migration nobody judged": (
        {"PROBE_MIGRATIONS": "irreversible", "django_linter": ""},
        "Its migrations (probe.0002_irreversible) could not be judged by the linter: ModuleNotFoundError",
    ),
    "settings with DEBUG": ({"django_settings_module": "config.settings.development"}, "is refused by 'debug'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_release_is_refused_and_nobody_notices(case: str, deploy: Deploy, on: On, load: Callable[[], Any]) -> None:
    given, sentence = REFUSED[case]
    before = serving(on)
    with load() as requested:
        run = deploy(3, **given)
        assert run.code == 2
        assert sentence in run.sentence and "What ran before runs on." in run.sentence
        assert serving(on) == before
        time.sleep(10)
    if case == "ends after a minute":
        # What the container that ended was asked is lost, and nothing after.
        with load() as requested:
            time.sleep(15)
        assert requested.others(*EXPECTED) == {} and requested.of("page", 200) > 50
    else:
        unharmed(requested)
    assert records(on)[-1]["result"] == "failed"


def test_a_migration_that_fails_after_another(deploy: Deploy, on: On) -> None:
    before = serving(on)
    run = deploy(3, PROBE_MIGRATIONS="failing")
    assert run.code == 2 and "division by zero" in run.sentence
    assert serving(on) == before
    last = records(on)[-1]
    assert last["result"] == "failed" and last["migrations_after"]["probe"] == "0002_harmless"


@contextmanager
def reading(on: On, name: str, table: str) -> Iterator[None]:
    """A report in the database that goes on and on."""
    command = ["docker", "exec", "--interactive", on(name).backend.name, "runuser", "-u", "postgres", "--", "psql", "-XAtq", "demo"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as session:
        assert session.stdin and session.stdout
        session.stdin.write(f"BEGIN; LOCK TABLE {table} IN ACCESS SHARE MODE; SELECT 'begun';\n")
        session.stdin.flush()
        assert session.stdout.readline() == "begun\n"
        yield


def test_a_migration_that_waits_for_a_busy_table_gives_up(
    deploy: Deploy, on: On, primary: Callable[[], str], load: Callable[[], Any], visits: Callable[[], int]
) -> None:
    """As it waits, visitors queue behind it. Later it goes through, and what the linter warns of is said."""
    before, counted = serving(on), visits()
    tries = {"django_migrate_lock_seconds": 1, "django_migrate_tries": 2, "django_migrate_pause_seconds": 1}
    with load() as requested:
        with reading(on, primary(), "probe_visit"):
            run = deploy(3, PROBE_MIGRATIONS="growing", **tries)
            assert run.code == 2
            assert "is refused by 'migrate', tried 2 times." in run.sentence
            assert "canceling statement due to lock timeout" in run.sentence
            assert serving(on) == before
        run = deploy(3, PROBE_MIGRATIONS="growing", **tries)
        assert run.code == 0, run.output
        assert "probe.0002_growing: CREATE INDEX locks table" in run.sentence
        assert serving(on) != before
    unharmed(requested)
    assert visits() - counted == requested.of("post", 200)


def test_a_release_whose_pages_fail_is_undone(deploy: Deploy, on: On, load: Callable[[], Any]) -> None:
    before = serving(on)
    with load() as requested:
        run = deploy(3, PROBE_BROKEN="1", django_bake_seconds=60)
        assert run.code == 2
        assert re.search(r"app1: As it served, \d+ of \d+ requests failed, more than 5.0%\.", run.sentence)
        assert serving(on) == before
        time.sleep(5)
    assert set(requested.others(*EXPECTED)) == {"page 500"}
    # It was noticed in seconds: the first host alone served it.
    assert requested.of("page", 500) < requested.of("page", 200)


def test_no_room_for_an_image(deploy: Deploy, on: On) -> None:
    before = serving(on)
    on("app2").run("docker image prune --all --force")
    run = deploy(4, django_disk_free_mb=10**8)
    assert run.code == 2
    assert re.search(r"app2: /var/lib/docker has \d+ MB free, less than django_disk_free_mb \(100000000\)", run.sentence)
    assert serving(on) == before


# Kilobytes that are left: none, and enough for the lock alone.
@pytest.mark.parametrize("left", [0, 64])
def test_a_full_disk(left: int, deploy: Deploy, on: On, load: Callable[[], Any]) -> None:
    before, release = serving(on), {"FILLED": left}
    with load() as requested:
        on("app2").run("dd if=/dev/zero of=/srv/filled bs=64K")
        try:
            on("app2").check_output(f"truncate --size=-{left}K /srv/filled")
            run = deploy(2, **release, django_disk_free_mb=0)
        finally:
            on("app2").check_output("rm /srv/filled")
        assert run.code == 2
        assert "app2: The disk of /srv/demo is full: make room there." in run.sentence
        assert {current(on, name) for name in APPS} == {before}
        run = deploy(2, **release)
        assert run.code == 0, run.output
        assert serving(on) != before
    unharmed(requested)


def test_the_registry_is_gone(deploy: Deploy, on: On) -> None:
    before = serving(on)
    for name in APPS:
        on(name).run("docker image prune --all --force")
    on("db1").check_output("systemctl stop docker-registry@pull.service")
    try:
        run = deploy(4, LOG_LEVEL="WARNING")
        assert run.code == 2
        assert "The Docker engine says:" in run.sentence
        assert serving(on) == before
    finally:
        on("db1").check_output("systemctl start docker-registry@pull.service")
    assert deploy(4, LOG_LEVEL="WARNING").code == 0


@contextmanager
def away(on: On, name: str) -> Iterator[None]:
    container = on(name).backend.name
    subprocess.run(["docker", "pause", container], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["docker", "unpause", container], check=True, capture_output=True)


@pytest.fixture
def over_ssh() -> Iterator[None]:
    """The way to one host that hosts have in life; how the tests reach theirs, a command that failed and a host that is away look
    the same."""
    file = INVENTORY / "host_vars/releases-app2.yml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"ansible_connection: ssh\nansible_host: {ADDRESSES['app2']}\nansible_ssh_timeout: 5\n")
    yield
    file.unlink()
    file.parent.rmdir()


@pytest.mark.usefixtures("over_ssh")
def test_a_host_is_away_from_the_start(deploy: Deploy, on: On) -> None:
    before = serving(on)
    with away(on, "app2"):
        run = deploy(1)
        assert run.code == 4, run.output
        assert run.report["stats"]["releases-app2"]["unreachable"] == 1
        assert current(on, "app1") == before
    assert serving(on) == before


@contextmanager
def deploying(images: list[str], **given: Any) -> Iterator[subprocess.Popen[str]]:
    """A deployment in a process group of its own."""
    command = ["ansible-playbook", "-i", str(INVENTORY), "playbooks/deploy.yml"]
    process = subprocess.Popen(
        [*command, "-e", json.dumps(variables(images[1], given))],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(moment: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 180
    while not moment():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0][-3000:]
        time.sleep(0.1)


def test_a_host_goes_away_on_the_way(deploy: Deploy, images: list[str], on: On) -> None:
    """All that have moved go back, and the one that has gone never moved."""
    before = serving(on)
    with deploying(images, TIMES="1", django_bake_seconds=15) as process:
        wait_for(lambda: current(on, "app1") != before, process)
        with away(on, "app2"):
            said = " ".join(process.communicate(timeout=180)[0].split())
            assert process.returncode == 2
            assert current(on, "app1") == before
    assert "is not in service." in said
    run = deploy(2, TIMES="1")
    assert run.code == 0, run.output
    assert serving(on) != before


MOMENTS: dict[str, Callable[[On, str], bool]] = {
    "the lock is taken": lambda on, before: on("app1").run("test -e /srv/demo/lock.json").rc == 0,
    "the image judges itself": lambda on, before: "judge" in on("app1").check_output("docker ps --format '{{ .Names }}'"),
    "the new container starts": lambda on, before: (
        len(on("app1").check_output("docker ps -q").splitlines()) > 1
        and "judge" not in on("app1").check_output("docker ps --format '{{ .Names }}'")
    ),
    "the first host has moved": lambda on, before: current(on, "app1") != before,
    "all hosts have moved": lambda on, before: current(on, "app2") != before,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_controller_that_is_killed(
    moment: str, deploy: Deploy, images: list[str], on: On, load: Callable[[], Any], visits: Callable[[], int]
) -> None:
    before, counted = serving(on), visits()
    environment = {"TIMES": f"killed as {moment}"}
    with load() as requested:
        with deploying(images, **environment, django_bake_seconds=5) as process:
            wait_for(lambda: MOMENTS[moment](on, before), process)
            os.killpg(process.pid, signal.SIGKILL)
        run = deploy(2, **environment)
        assert run.code == 0, run.output
        assert serving(on) != before
    unharmed(requested)
    assert visits() - counted == requested.of("post", 200)


BEATS = "docker logs $(docker ps --all --quiet --filter label=fairlead.process=beat)"
SCHEDULED: dict[str, Any] = {
    "site_workers": [
        {
            "name": "beat",
            "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do date +%s; sleep 0.5; done"],
            "only_one": True,
            "settle_seconds": 2,
        }
    ],
    "site_jobs": [{"name": "tell", "command": ["date", "+%H:%M"], "calendar": "*:*:00"}],
}


def test_one_scheduler_and_one_run_of_a_job_on_all_hosts(deploy: Deploy, on: On) -> None:
    run = deploy(1, TIMES="scheduled", **SCHEDULED)
    assert run.code == 0, run.output

    def beats(name: str) -> list[int]:
        return [int(line) for line in on(name).run(BEATS).stdout.split()]

    def told(*names: str) -> list[str]:
        said = [on(name).check_output("journalctl --unit fairlead-job@tell --output cat") for name in names]
        return re.findall(r"^\d\d:\d\d$", "\n".join(said), re.M)

    def within(seconds: float, what: Callable[[], Any]) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline
            time.sleep(0.5)

    within(20, lambda: any(beats(name) for name in APPS))
    (holder,) = (name for name in APPS if beats(name))
    (other,) = set(APPS) - {holder}
    within(70, lambda: told(*APPS))
    ran = len(told(other))
    with away(on, holder):
        paused = time.time()
        within(40, lambda: beats(other))
        assert beats(other)[0] - paused < 35
        # Jobs need no more than one host, either.
        within(70, lambda: len(told(other)) > ran)
    # A moment after it is back, its own has ended.
    time.sleep(3)
    ended = beats(holder)
    time.sleep(5)
    assert beats(holder) == ended and ended[-1] < beats(other)[-1]
    assert len(told(*APPS)) == len(set(told(*APPS))) >= 2
    assert deploy(1, TIMES="scheduled").code == 0


def test_two_at_a_time(deploy: Deploy, images: list[str], on: On) -> None:
    with deploying(images, TIMES="2", django_bake_seconds=25) as process:
        wait_for(lambda: on("app1").run("test -e /srv/demo/lock.json").rc == 0, process)
        run = deploy(3)
        assert run.code == 2 and "The site's releases are locked by " in run.sentence
        assert process.wait(timeout=180) == 0
    assert serving(on) == records(on)[-1]["id"]


def test_a_lock_by_hand(deploy: Deploy, playbook: Callable[..., Run], on: On) -> None:
    before = serving(on)
    assert playbook("playbooks/lock.yml", state="on", message="The fair opens at noon.").code == 0
    run = deploy(4)
    assert run.code == 2 and "The fair opens at noon." in run.sentence
    assert playbook("playbooks/lock.yml", state="off").code == 0
    assert serving(on) == before


def test_no_way_back_past_a_migration_that_cannot_be_undone(
    deploy: Deploy, playbook: Callable[..., Run], images: list[str], on: On
) -> None:
    """Nor if its deployment was killed: the next one has nothing to apply."""
    assert deploy(1).code == 0
    before = serving(on)
    with deploying(images, PROBE_MIGRATIONS="irreversible") as process:
        wait_for(lambda: on("app1").run("test -e /srv/demo/migrating.json").rc == 0, process)
        os.killpg(process.pid, signal.SIGKILL)
    run = deploy(2, PROBE_MIGRATIONS="irreversible")
    assert run.code == 0, run.output
    back = playbook("playbooks/rollback.yml")
    assert back.code == 2 and "probe.0002_irreversible" in back.sentence
    assert serving(on) != before
    assert playbook("playbooks/rollback.yml", force=True).code == 0
    assert serving(on) == before


def test_what_is_taken_away_on_purpose(deploy: Deploy, on: On) -> None:
    run = deploy(2, PROBE_MIGRATIONS="destructive", accept="destructive")
    assert run.code == 0, run.output
    assert records(on)[-1]["irreversible"] == ["probe.0002_destructive"]


def test_what_the_records_say(playbook: Callable[..., Run], on: On) -> None:
    run = playbook("playbooks/releases.yml", format="json")
    (said,) = [result["msg"] for play in run.report["plays"] for task in play["tasks"] for result in task["hosts"].values()
               if isinstance(result.get("msg"), dict)]  # fmt: skip
    assert set(said["serving"].values()) == {serving(on)}
    assert said["releases"][0]["id"] == serving(on)
    assert len((INVENTORY / "records.jsonl").read_text().splitlines()) == len(records(on))
