"""What runs beside the web server: workers, one scheduler, jobs; all of the release in service, and back after whatever happens."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import DOMAIN, Run

RELEASE = {"site_environment_variables": {"LOG_LEVEL": "DEBUG"}}


def containers(host: Any, *filters: str, kind: str = "worker") -> list[str]:
    chosen = " ".join(f"--filter {word}" for word in (f"label=fairlead.process.kind={kind}", *filters))
    return sorted(host.check_output(f"docker ps {chosen} --format '{{{{ .Names }}}}'").split())


def one(host: Any, process: str) -> str:
    return containers(host, f"label=fairlead.process={process}")[0]


def job_runs(host: Any, job: str) -> bool:
    return f"demo-job-{job}" in containers(host, kind="job")


def wait(what: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.5)
    return found


def current(host: Any) -> str:
    return host.check_output("readlink /srv/demo/current").rsplit("/", 1)[1]


@contextmanager
def visits(visitor: requests.Session) -> Iterator[list[int | str]]:
    """Statuses that a visitor got meanwhile."""
    statuses: list[int | str] = []
    stop = threading.Event()

    def visit() -> None:
        while not stop.wait(0.05):
            try:
                statuses.append(visitor.get(f"https://{DOMAIN}/", timeout=30).status_code)
            except requests.RequestException as error:
                statuses.append(repr(error))

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join()


def test_workers_are_of_the_release_and_as_locked_in_as_the_web_server(host: Any, container: str) -> None:
    assert len(containers(host)) == 3
    name = one(host, "mail")
    web, worker = (json.loads(host.check_output(f"docker inspect {item}"))[0] for item in (container, name))
    assert worker["Image"] == web["Image"] and worker["Config"]["Env"] == web["Config"]["Env"]
    for key in ("ReadonlyRootfs", "CapDrop", "SecurityOpt", "PidsLimit", "Tmpfs"):
        assert worker["HostConfig"][key] == web["HostConfig"][key], key
    assert worker["HostConfig"]["Memory"] == 64 * 1024**2
    assert host.check_output(f"docker exec {name} id -u") == "10001"
    assert host.run(f"docker exec {name} ls /run/app").rc != 0
    assert f"works for {current(host)}" in host.run(f"docker logs {name}").stdout


def test_a_release_is_followed_new_ones_first(host: Any, playbook: Callable[..., Run]) -> None:
    before, began = containers(host), host.check_output("date +%s")
    run = playbook("playbooks/app.yml", **RELEASE)
    assert run.code == 0, run.output
    after = containers(host)
    assert len(after) == 3 and not set(before) & set(after)
    listed = host.check_output(f"docker events --since {began} --until $(date +%s) --format '{{{{ json . }}}}'").splitlines()
    events = [json.loads(line) for line in listed]
    named = [(event["Action"], event["Actor"]["Attributes"].get("name")) for event in events if event["Type"] == "container"]
    last_start = max(number for number, event in enumerate(named) if event[0] == "start" and event[1] in after)
    first_stop = min(number for number, event in enumerate(named) if event[0] == "kill" and event[1] in before)
    assert last_start < first_stop
    ends = {event["Actor"]["Attributes"]["name"]: event for event in events if event["Action"] == "die"}
    # By their own signal, after what they did then.
    assert {ends[name]["Actor"]["Attributes"]["exitCode"] for name in before if "mail" in name} == {"0"}
    assert playbook("playbooks/app.yml").code == 0
    assert f"works for {current(host)}" in host.run(f"docker logs {one(host, 'mail')}").stdout


def test_a_rollback_takes_the_workers_back(host: Any, playbook: Callable[..., Run], visitor: requests.Session) -> None:
    before = current(host)
    run = playbook("playbooks/deploy.yml", **RELEASE)
    assert run.code == 0, run.output
    newer = containers(host)
    with visits(visitor) as statuses:
        run = playbook("playbooks/rollback.yml")
    assert run.code == 0, run.output
    after = containers(host)
    assert current(host) == before
    assert len(after) == 3 and not set(newer) & set(after)
    environments = [host.check_output(f"docker inspect --format '{{{{ .Config.Env }}}}' {name}") for name in after]
    assert all(f"RELEASE={before}" in environment.strip("[]").split() for environment in environments)
    assert set(statuses) == {200}
    # The inventory's release is the one again.
    assert playbook("playbooks/deploy.yml").code == 0 and containers(host) == after


def test_a_worker_that_does_not_run_leaves_those_of_before(host: Any, playbook: Callable[..., Run]) -> None:
    before = containers(host)
    broken = {"name": "mail", "command": ["sh", "-c", "echo wrong queue; exit 7"], "settle_seconds": 3}
    run = playbook("playbooks/app.yml", "--tags", "django_processes", site_workers=[broken], site_jobs=[])
    try:
        assert run.code == 2
        assert "worker mail ended (exit code 7): wrong queue" in run.sentence and "The workers of before run on." in run.sentence
        assert containers(host) == before
    finally:
        back = playbook("playbooks/app.yml", "--tags", "django_processes")
    assert back.code == 0 and containers(host) == before, back.output
    assert playbook("playbooks/app.yml", "--tags", "django_processes").changes == 0


def claim(host: Any, how: str) -> subprocess.Popen[str]:
    """Another host's scheduler, as far as the database can tell."""
    beat = one(host, "beat")
    found = json.loads(host.check_output(f"docker inspect {beat}"))[0]
    host.check_output(
        f"docker inspect --format '{{{{ range .Config.Env }}}}{{{{ println . }}}}{{{{ end }}}}' {beat} > /run/beat.env"
    )
    command = f"docker run --rm --name claimant --volumes-from {beat} --env-file /run/beat.env --user 10001:10001 {found['Image']}"
    program = f"python /opt/fairlead/only_one.py {how} beat echo mine"
    argv = ["docker", "exec", host.backend.host, *command.split(), *program.split()]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_scheduler_runs_once_and_another_takes_over_from_one_that_died(host: Any) -> None:
    beat = one(host, "beat")
    wait(lambda: "beats" in host.run(f"docker logs {beat}").stdout)
    skipped = claim(host, "skip")
    assert "nothing to do here" in skipped.communicate(timeout=60)[1]
    claimant = claim(host, "wait")
    try:
        time.sleep(5)
        assert claimant.poll() is None
        host.check_output(f"docker kill {beat}")
        assert claimant.communicate(timeout=60)[0] == "mine\n"
    finally:
        host.run("docker rm --force claimant")
        host.check_output("systemctl start fairlead-processes")
    wait(lambda: containers(host, "label=fairlead.process=beat"))


def test_jobs_run_at_their_times_in_the_release_and_are_logged(host: Any) -> None:
    wait(lambda: f"ticks in {current(host)}" in host.check_output("journalctl --unit fairlead-job@tick --output cat"), 90)
    host.check_output("systemctl start fairlead-job@clearsessions")
    assert host.run("systemctl is-failed fairlead-job@clearsessions").rc != 0
    assert not job_runs(host, "clearsessions")


def test_a_job_does_not_overlap_is_ended_in_its_time_and_somebody_is_told(host: Any) -> None:
    host.run("rm -f /run/failed-jobs")
    host.check_output("systemctl start --no-block fairlead-job@slow")
    wait(lambda: job_runs(host, "slow"))
    again = host.run("fairlead-processes job slow")
    assert again.rc == 1 and "slow still runs" in again.stderr
    wait(lambda: "slow" in host.run("cat /run/failed-jobs").stdout)
    assert "slow has not ended within 8 seconds" in host.check_output("journalctl --unit fairlead-job@slow --output cat")
    assert not job_runs(host, "slow")
    assert host.run("systemctl start fairlead-job@broken").rc == 1
    assert "no good" in host.check_output("journalctl --unit fairlead-job@broken --output cat")
    wait(lambda: "broken" in host.run("cat /run/failed-jobs").stdout)


def test_a_stopped_job_does_not_run_on(host: Any) -> None:
    time.sleep(30)  # it is not begun again so soon
    host.check_output("systemctl start --no-block fairlead-job@slow")
    wait(lambda: job_runs(host, "slow"))
    host.run("systemctl stop fairlead-job@slow")
    assert not job_runs(host, "slow")


@pytest.mark.parametrize("process", ["mail", "web"])
def test_what_hangs_is_restarted(host: Any, container: str, process: str) -> None:
    name = container if process == "web" else one(host, process)
    since = host.check_output(f"docker inspect --format '{{{{ .State.StartedAt }}}}' {name}")
    if process == "web":
        host.check_output(f"docker top {name} -o pid,args | awk '/gunicorn/ && !/init/ {{print $1}}' | xargs kill -STOP")
    else:
        host.check_output(f"docker exec {name} touch /tmp/sick")
    wait(lambda: host.check_output(f"docker inspect --format '{{{{ .State.StartedAt }}}}' {name}") != since, 300)
    wait(lambda: host.check_output(f"docker inspect --format '{{{{ .State.Health.Status }}}}' {name}") == "healthy", 90)
    assert f"{name} is unhealthy and is restarted" in host.check_output("journalctl --unit fairlead-watchdog --output cat")


def test_the_web_server_is_not_restarted_for_what_lies_behind_it(host: Any, container: str) -> None:
    since = host.check_output(f"docker inspect --format '{{{{ .State.StartedAt }}}}' {container}")
    host.check_output("systemctl stop pgbouncer.socket pgbouncer.service")
    try:
        health = "docker inspect --format '{{ .State.Health.Status }}' "
        wait(lambda: host.check_output(health + container) == "unhealthy", 240)
        host.check_output("systemctl start fairlead-watchdog.service")
    finally:
        host.check_output("systemctl start pgbouncer.service")
    assert host.check_output(f"docker inspect --format '{{{{ .State.StartedAt }}}}' {container}") == since


def test_a_restart_of_the_engine_is_not_noticed(host: Any, visitor: requests.Session) -> None:
    inspect = "docker inspect --format '{{ .Id }} {{ .State.StartedAt }}' $(docker ps --quiet --filter label=fairlead.site) "
    before = host.check_output(inspect)
    with visits(visitor) as statuses:
        host.check_output("systemctl restart docker")
        wait(lambda: host.run("docker info").rc == 0)
        time.sleep(1)
    assert host.check_output(inspect) == before
    assert len(statuses) > 10 and set(statuses) == {200}


def test_a_restarted_host_has_all_of_it_again(host: Any, visitor: requests.Session) -> None:
    before = containers(host)
    subprocess.run(["docker", "restart", "--time", "60", host.backend.host], check=True, capture_output=True)
    wait(lambda: host.run("docker info").rc == 0, 120)

    def answers() -> bool:
        try:
            return visitor.get(f"https://{DOMAIN}/", timeout=10).status_code == 200
        except requests.RequestException:
            return False

    wait(answers, 120)
    wait(lambda: containers(host, "health=healthy") == [name for name in before if "mail" in name], 120)
    wait(lambda: containers(host) == before, 60)
    timers = host.check_output("systemctl list-timers --full --no-legend --plain 'fairlead-*'")
    assert "fairlead-job@clearsessions.timer" in timers and "fairlead-watchdog.timer" in timers


def test_what_is_no_longer_wanted_goes(host: Any, playbook: Callable[..., Run]) -> None:
    settings = "/etc/fairlead/processes.json"
    host.run(f"mv {settings} {settings}.away && systemctl start fairlead-job@tick; mv {settings}.away {settings}")
    assert host.check_output("systemctl is-failed fairlead-job@tick")
    run = playbook("playbooks/app.yml", "--tags", "django_processes", site_workers=[], site_jobs=[])
    assert run.code == 0, run.output
    assert containers(host) == []
    timers = host.check_output("systemctl list-timers --all --full --no-legend --plain 'fairlead-*'")
    assert "fairlead-job@" not in timers and "fairlead-watchdog.timer" in timers
    assert host.run("ls /etc/systemd/system/fairlead-job@*").rc != 0
    assert "fairlead-job@tick" not in host.check_output("systemctl list-units --failed --plain --no-legend")
    assert playbook("playbooks/app.yml", "--tags", "django_processes").code == 0
    assert len(containers(host)) == 3


def test_all_of_it_is_removed(host: Any, playbook: Callable[..., Run], tmp_path: Path) -> None:
    play = tmp_path / "remove.yml"
    role = "{name: fairlead.site.django_processes, tasks_from: remove}"
    play.write_text(
        f"- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.include_role: {role}\n"
        "      vars: {django_processes_name: demo}\n"
    )
    run = playbook(str(play))
    assert run.code == 0, run.output
    assert containers(host) == []
    assert host.check_output("systemctl list-units --all --no-legend --plain 'fairlead-job*' 'fairlead-watchdog*'") == ""
    assert host.run("ls /usr/local/lib/fairlead /usr/local/sbin/fairlead-processes /etc/fairlead/processes.json").stdout == ""
    assert host.run("docker ps --quiet --filter label=fairlead.site=demo").stdout
    assert playbook("playbooks/app.yml").code == 0
