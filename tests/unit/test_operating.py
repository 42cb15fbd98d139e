"""What the verbs status, doctor, logs, exec and parity make of what they see."""

from __future__ import annotations

import gzip
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.fairlead.site.plugins.filter.merge_lines import merge_lines
from ansible_collections.fairlead.site.plugins.module_utils.nginx import settings
from ansible_collections.fairlead.site.plugins.module_utils.operating import age, doctor, facts, parity, status
from ansible_collections.fairlead.site.plugins.module_utils.remote import command, follow, one_off
from ansible_collections.fairlead.site.plugins.modules import log_lines, survey
from ansible_collections.fairlead.site.plugins.modules.log_lines import moment, newest, of_files, stamped
from conftest import ROOT

IMAGE = "registry.example.org/shop@sha256:" + "a" * 64
OTHER = "registry.example.org/shop@sha256:" + "b" * 64

LOCK = {"who": "ada@desk", "since": "noon", "reason": "", "age_seconds": 9}


def container(**changes: Any) -> dict[str, Any]:
    return {
        "name": "shop-r2",
        "process": "web",
        "kind": "web",
        "release": "r2",
        "image": IMAGE,
        "image_id": "sha256:" + "c" * 64,
        "state": "running",
        "health": "healthy",
        "since": 1000.0,
        "restarts": 0,
    } | changes


def app(*containers: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An app host on which all is well, but for the changes."""
    release = {
        "current": "r2",
        "records": [{"id": "r1", "result": "live", "image": OTHER}, {"id": "r2", "result": "live", "image": IMAGE}],
        "containers": list(containers) or [container()],
        "environment": ["RELEASE", "SECRET_KEY_FILE"],
        "lock": {},
        "error": "",
    }
    survey = {
        "services": {"nginx.service": {"state": "active", "since": 500.0}},
        "release": release | changes.pop("release", {}),
        "image": {"here": True, "error": ""},
        "disks": {"/": {"free_mb": 9000, "free_percent": 50, "free_inodes_percent": 50}},
        "certificates": {"/etc/nginx/tls/site.crt": 60.0},
        "clock": {"ahead_seconds": 0.5, "synchronized": True},
        "sockets": {"/run/shop-pooler/.s.PGSQL.6432": ""},
        "pooler": {"built_of": "1.24.1-1+deb13u2", "offered": ""},
    } | changes.pop("survey", {})
    host = {"groups": ["app"], "image": IMAGE, "image_archive": "", "pinned": False, "workers": [], "free_mb": 2048}
    return host | {"certificate_days": 14, "refusals": [], "migrations": {}, "survey": survey} | changes


def test_a_site_that_is_as_recorded_has_no_drift() -> None:
    seen = status({"app1": app()}, now=8200.0)
    assert seen["drift"] == []
    assert [row["what"] for row in seen["rows"]] == ["web", "nginx.service"]
    web = next(line for line in seen["text"].splitlines() if " web " in line)
    assert web.split() == ["app1", "web", "r2", "registry.example.org/shop@sha256:" + "a" * 12, "healthy", "2h"]


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (app() | {"survey": {}}, "app1 cannot be reached"),
        (app(release={"error": "the Docker engine does not answer: No such file"}), "engine does not answer"),
        (app(release={"current": ""}), "no release runs here: make deploy"),
        (app(container(release="r1", image=OTHER), image=OTHER, release={"current": "r1"}), "the last one recorded as live is r2"),
        (app(release={"containers": []}), "release r2 is current, but has no container"),
        (app(container(health="unhealthy")), "the web server of release r2 is unhealthy"),
        (app(container(state="exited")), "the web server of release r2 is exited"),
        (app(release={"lock": LOCK}), "ada@desk deploys since noon; the last sign of life is 9s old"),
        (app(container(image=OTHER), image=OTHER), "was recorded with image registry.example.org/shop@sha256:aaaaaaaaaaaa"),
        (app(image=OTHER), "the inventory names image registry.example.org/shop@sha256:bbbbbbbbbbbb"),
        (app(container(), container(name="shop-r1", release="r1")), "container shop-r1 of another release is still there"),
        (app(workers=[{"name": "mail", "count": 1}]), "worker mail has 0 of 1 containers"),
        (app(container(), container(process="mail", kind="worker")), "is of no worker in the inventory"),
        (app(survey={"services": {"nginx.service": {"state": "failed", "since": 0.0}}}), "nginx.service is failed"),
    ],
)
def test_drift_is_told_in_a_sentence(host: dict[str, Any], words: str) -> None:
    drift = status({"app1": host}, now=2000.0)["drift"]
    assert len(drift) == 1 and words in drift[0], drift


def test_a_worker_of_another_release_or_an_unhealthy_one_is_drift() -> None:
    worker = container(name="shop-mail-1", process="mail", kind="worker", release="r1", health="unhealthy")
    drift = status({"app1": app(container(), worker, workers=[{"name": "mail", "count": 1}])}, now=0.0)["drift"]
    assert drift == ["app1: worker mail is unhealthy.", "app1: worker mail is of release r1, the web server of r2."]


def test_a_release_made_again_on_a_host_is_the_same_release() -> None:
    again = container(name="shop-r2.2", release="r2.2")
    assert status({"app1": app(again, release={"current": "r2.2"})}, now=0.0)["drift"] == []


def test_hosts_with_different_releases_are_drift() -> None:
    old = app(container(release="r1", image=OTHER), image=OTHER, release={"current": "r1", "records": []})
    drift = status({"app1": app(), "app2": old}, now=0.0)["drift"]
    assert drift == ["Not all app hosts have the same release: app1 r2, app2 r1."]


def test_an_image_by_its_id_is_recognized() -> None:
    assert status({"app1": app(image="sha256:" + "c" * 64)}, now=0.0)["drift"] == []


def test_after_a_rollback_another_image_than_the_inventorys_is_wanted() -> None:
    assert status({"app1": app(image=OTHER, pinned=True)}, now=0.0)["drift"] == []


def test_ages() -> None:
    assert [age(seconds) for seconds in (5, 119, 120, 7199, 7200, 200_000)] == ["5s", "119s", "2m", "120m", "2h", "2d"]


def test_a_healthy_site_has_nothing_for_the_doctor() -> None:
    assert doctor({"app1": app()}) == {"problems": [], "warnings": []}


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (app() | {"survey": {}}, "app1 cannot be reached"),
        (app(survey={"disks": {"/": {"free_mb": 900, "free_percent": 1, "free_inodes_percent": 50}}}), "/ has 900 MB left"),
        (app(survey={"disks": {"/": {"free_mb": 9000, "free_percent": 50, "free_inodes_percent": 2}}}), "2 % of its inodes"),
        (app(survey={"services": {"docker.service": {"state": "failed", "since": 0}}}), "docker.service is failed: journalctl"),
        (app(survey={"clock": {"ahead_seconds": -300, "synchronized": True}}), "its clock is 300 s behind"),
        (app(survey={"certificates": {"/c.crt": -3.0}}), "the certificate /c.crt ended 3 days ago"),
        (app(survey={"certificates": {"/c.crt": None}}), "/c.crt is no certificate"),
        (app(release={"error": "the Docker engine does not answer"}), "systemctl status docker"),
        (app(survey={"sockets": {"/s": "Connection refused"}}), "nothing listens on the pooler's socket /s (Connection refused)"),
        (app(survey={"image": {"here": False, "error": "manifest unknown"}}), "cannot be had (manifest unknown)"),
        (app(container(health="unhealthy")), "the web server is unhealthy"),
        (app(release={"lock": LOCK | {"reason": "audit"}}), "keeps all from deploying since noon (audit): make lock STATE=off"),
        (app(migrations={"rc": 1, "stdout": "", "stderr": "Traceback\nOperationalError: no"}), "database (OperationalError: no)"),
    ],
)
def test_what_stops_a_deploy_is_a_problem(host: dict[str, Any], words: str) -> None:
    found = doctor({"app1": host})
    assert len(found["problems"]) == 1 and words in found["problems"][0], found
    assert found["warnings"] == []


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (app(survey={"clock": {"ahead_seconds": 1, "synchronized": False}}), "not synchronized by NTP"),
        (app(survey={"certificates": {"/c.crt": 9.6}}), "ends in 10 days: renew it"),
        (app(migrations={"rc": 1, "stdout": "Planned operations:\n", "stderr": ""}), "migrations that are not applied"),
        (
            app(survey={"pooler": {"built_of": "1.24.1-1+deb13u2", "offered": "1.24.1-1+deb13u3"}}),
            "pgbouncer 1.24.1-1+deb13u2, and Debian has 1.24.1-1+deb13u3: make pgbouncer-rr",
        ),
    ],
)
def test_what_can_wait_is_a_warning(host: dict[str, Any], words: str) -> None:
    found = doctor({"app1": host})
    assert len(found["warnings"]) == 1 and words in found["warnings"][0], found
    assert found["problems"] == []


def test_an_image_that_comes_as_a_file_need_not_be_in_a_registry() -> None:
    missing = {"image": {"here": False, "error": "it is not on the host"}}
    assert doctor({"app1": app(survey=missing, image_archive="site.tar")})["problems"] == []


def test_an_image_that_has_no_name_is_not_looked_for() -> None:
    """Preflight says so."""
    unnamed = app(image="")
    del unnamed["survey"]["image"]
    assert doctor({"app1": unnamed})["problems"] == []


def test_debians_own_pooler_is_not_built_of_anything() -> None:
    assert doctor({"app1": app(survey={"pooler": {}})})["warnings"] == []


@pytest.mark.parametrize(
    ("candidate", "offered"),
    [
        ("1.24.1-1+deb13u3", "1.24.1-1+deb13u3"),
        ("1.24.1-1+deb13u10", "1.24.1-1+deb13u10"),
        ("1.25.0-1+b2", "1.25.0-1"),
        ("1.24.1-1+deb13u2", ""),
        ("1.24.1-1+deb13u2+b1", ""),
        ("1.18.0-1+deb12u1", ""),
        ("(none)", ""),
    ],
)
def test_a_newer_pgbouncer_of_debians_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, candidate: str, offered: str
) -> None:
    def program(name: str, says: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
        (tmp_path / name).chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program("apt-cache", f"pgbouncer:\n  Installed: (none)\n  Candidate: {candidate}\n  Version table:\n     1.99-1 500")
    program("dpkg-query", "pgbouncer-rr 1.24.1-1+deb13u2+rr1.73c788c2ca installed")
    assert survey.pooler({}) == {"built_of": "1.24.1-1+deb13u2", "offered": offered}
    program("dpkg-query", "pgbouncer-rr 1.24.1-1+deb13u2+rr1.73c788c2ca config-files")
    assert survey.pooler({}) == {}


def test_one_file_system_is_told_of_once() -> None:
    full = {"free_mb": 9, "free_percent": 1, "free_inodes_percent": 50}
    assert len(doctor({"app1": app(survey={"disks": {"/": full, "/var": full}})})["problems"]) == 1


def test_what_preflight_would_say_is_told_once_and_of_whom() -> None:
    hosts = {"app1": app(refusals=["No domain.", "No address."]), "app2": app(refusals=["No domain."])}
    chain = ["capacity_threads is 0: set it to a whole number of at least 1."]
    assert doctor(hosts, chain)["problems"] == ["No domain.", "app1: No address.", *chain]


@pytest.mark.parametrize("form", ["text", "json"])
def test_doctor_asks_what_a_deploy_asks_first(tmp_path: Path, form: str) -> None:
    """Also where nothing else can be looked at, and with variables that the report itself could stumble over."""
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    size = {"capacity_cores": 2, "capacity_memory_mb": 4096, "capacity_threads": 0}
    groups = {"app": {"hosts": {"one": gone | {"site_address": "10.0.0.1"}}}, "db": {"hosts": {"two": gone}}}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"children": groups, "vars": size | {"site_domain": "https://x"}}}))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(tmp_path / "hosts.json"), "playbooks/doctor.yml"]
        + ["-e", f"format={form}"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "ANSIBLE_STDOUT_CALLBACK": "fairlead.site.plain"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done
    if form == "json":
        problems = json.loads(done.stdout)["problems"]
    else:
        problems = [line.removeprefix("problem  ") for line in done.stdout.splitlines()]
    assert f"{len(problems)} problem(s) stand in the way of a deploy." in done.stderr
    for words in (
        "site_domain is 'https://x', which is no domain name",
        "site_image is not set: name the image by content",
        "two: site_address of two is ''",
        "capacity_threads is 0: set it to a whole number",
        "one cannot be reached",
    ):
        assert sum(words in problem for problem in problems) == 1, problems


# --- parity ---


def test_every_difference_is_listed_and_expected_ones_have_their_reason() -> None:
    first = {
        "app / image": "x",
        "app / environment / DEBUG": "set",
        "db / postgresql / work_mem": "4096 kB",
        "edge / kernel / a": "1",
    }
    second = {"app / image": "y", "db / postgresql / work_mem": "8192 kB", "db / packages / postgresql-17": "17.1"}
    found = parity(first, second, [{"what": "* / work_mem", "why": "size"}, {"what": "group *", "why": "hosts"}])
    assert [(row["what"], row["a"], row["b"], row["expected"]) for row in found["rows"]] == [
        ("app / environment / DEBUG", "set", "-", ""),
        ("app / image", "x", "y", ""),
        ("db / packages / postgresql-17", "-", "17.1", ""),
        ("group edge", "there", "-", "hosts"),
        ("db / postgresql / work_mem", "4096 kB", "8192 kB", "size"),
    ]
    assert found["unexpected"] == 3
    twice = parity({"app / nginx / x": "1", "edge / nginx / x": "1"}, {"app / nginx / x": "2", "edge / nginx / x": "2"}, [])
    assert [row["what"] for row in twice["rows"]] == ["app, edge / nginx / x"]
    assert parity(first, first, [])["text"] == "No difference."


def test_a_limit_of_the_kernel_may_differ_only_where_it_is_named() -> None:
    def expected(path: str, key: str) -> set[str]:
        given = yaml.safe_load((ROOT / path).read_text())[key]
        rows = parity({f"app / kernel / {name}": "1" for name in names}, {f"app / kernel / {name}": "2" for name in names}, given)
        return {row["what"].removeprefix("app / kernel / ") for row in rows["rows"] if row["expected"]}

    names = yaml.safe_load((ROOT / "group_vars/all/parity.yml").read_text())["site_parity_sysctls"]
    derived = {"fs.file-max", "net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog"}
    assert expected("group_vars/all/parity.yml", "site_parity_expected_always") == derived
    # A container has the kernel of its machine, but sets its own network up.
    machine = {"fs.nr_open", "kernel.pid_max", "vm.overcommit_memory", "vm.swappiness"}
    assert expected("inventories/dev/group_vars/all/main.yml", "site_parity_expected_here") == machine


def test_hosts_of_a_group_that_differ_are_told_apart() -> None:
    def host(version: str) -> dict[str, Any]:
        return {"groups": ["db"], "survey": {"packages": {"postgresql-17": version}, "postgresql": {"work_mem": "4 MB"}}}

    assert facts({"db1": host("17.1"), "db2": host("17.2")}) == {
        "db / packages / postgresql-17": "17.1 (db1), 17.2 (db2)",
        "db / postgresql / work_mem": "4 MB",
    }
    seen = facts({"app1": app()})
    assert seen["app / environment / SECRET_KEY_FILE"] == "set"
    assert seen["app / image"] == "sha256:" + "c" * 64


def test_nginxs_directives_have_their_place() -> None:
    text = """# configuration file /etc/nginx/nginx.conf:
user www-data;
events { worker_connections 10; } # a comment; with { signs
# configuration file /etc/nginx/sites.d/site.conf:
server {
    listen 443 ssl; listen [::]:443 ssl;
    location ~ "^/a{2};$" { return 200 'x;}'; }
}
"""
    assert settings(text) == {
        "nginx.conf / user": "www-data",
        "nginx.conf / events / worker_connections": "10",
        "sites.d/site.conf / server / listen": "443 ssl | [::]:443 ssl",
        'sites.d/site.conf / server / location ~ "^/a{2};$" / return': "200 'x;}'",
    }


# --- exec and logs ---


def test_a_command_reaches_the_host_word_by_word() -> None:
    argv = ["printf", "%s\\n", "a b", "it's"]
    assert shlex.split(command({"connection": "community.docker.docker", "host": "one"}, argv, tty=True)) == [
        *("docker", "exec", "--interactive", "--tty", "one"),
        *argv,
    ]
    line = command({"connection": "local", "host": "one"}, argv, tty=False)
    local = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert local.stdout == "a b\nit's\n"
    over_ssh = shlex.split(
        command(
            {
                "host": "10.0.0.1",
                "user": "deploy",
                "port": 2222,
                "ssh_private_key_file": "/k",
                "ssh_common_args": "-o 'ProxyJump a b'",
            },
            argv,
            tty=True,
        )
    )
    assert over_ssh[:-1] == ["ssh", "-tt", "-p", "2222", "-i", "/k", "-o", "ProxyJump a b", "deploy@10.0.0.1", "--"]
    assert shlex.split(over_ssh[-1]) == ["sudo", *argv]
    assert shlex.split(command({"host": "h", "user": "root"}, argv, tty=False))[-1] == shlex.join(argv)


@pytest.mark.parametrize(
    ("run", "on", "end"),
    [
        ("shell", "app", ["run", "--tty", "python", "bin/manage.py", "shell"]),
        ("manage shell -c 'print(1)'", "app", ["run", "--tty", "python", "bin/manage.py", "shell", "-c", "print(1)"]),
        ("sh -c 'ls /app'", "app", ["run", "--tty", "sh", "-c", "ls /app"]),
        (
            "dbshell -c 'SELECT 1'",
            "db",
            ["PGOPTIONS=-c role=shop", "psql", "--host=/run/postgresql", "--dbname=shop", "-c", "SELECT 1"],
        ),
    ],
)
def test_one_off_commands(run: str, on: str, end: list[str]) -> None:
    found = one_off(run, "shop", tty=True, manage="bin/manage.py")
    assert found["on"] == on
    assert found["argv"][-len(end) :] == end


def test_lines_are_followed_with_their_source(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.touch()
    process = subprocess.Popen(
        follow([], [str(log)], [], "1s", "wanted"), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout
        for _ in range(200):  # until tail looks at the file, whatever came before is not shown
            with log.open("a") as stream:
                stream.write("other\nwanted line\n")
            if subprocess.run(["timeout", "0.05", "cat"], stdin=process.stdout, capture_output=True).stdout == b"":
                continue
            break
        else:
            pytest.fail("no line was shown")
    finally:
        process.terminate()
        process.wait(5)


def test_times_of_log_lines(tmp_path: Path) -> None:
    assert stamped("2026-11-22T23:36:00.123456789Z") == stamped("2026-11-22T23:36:00.123456Z")
    assert moment('{"time":"2026-11-22T23:36:00+00:00","status":200}') == stamped("2026-11-22T23:36:00Z")
    assert moment("2026/11/22 23:36:00 [error] 1#1: x") is not None
    assert moment("nothing") is None
    file = tmp_path / "access.log"
    file.write_text('{"time":"2026-11-22T23:00:00+00:00"}\n{"time":"2026-11-22T23:30:00+00:00"}\nits second line\n')
    since = stamped("2026-11-22T23:10:00Z")
    assert [line for _, _, line in of_files([str(file)], since)] == ['{"time":"2026-11-22T23:30:00+00:00"}', "its second line"]


def test_rotated_files_are_read_as_far_back_as_need_be(tmp_path: Path) -> None:
    log = tmp_path / "access.log"

    def write(end: str, day: int) -> None:
        text = f'{{"time":"2026-11-{day}T12:00:00+00:00"}}\n'.encode()
        file = tmp_path / f"access.log{end}"
        file.write_bytes(gzip.compress(text) if end.endswith(".gz") else text)
        os.utime(file, (stamped(f"2026-11-{day}T23:59:59Z"),) * 2)

    for end, day in (("", 22), (".1", 21), (".2.gz", 20), (".3.gz", 19), (".10.gz", 12), (".20.gz", 10)):
        write(end, day)
    (tmp_path / "access.log.kept").write_text('{"time":"2026-11-22T12:00:00+00:00"}\n')

    def days(since: str) -> list[str]:
        return [line[17:19] for _, _, line in of_files([str(log)], stamped(since))]

    assert days("2026-11-20T00:00:00Z") == ["20", "21", "22"]
    assert days("2026-11-11T00:00:00Z") == ["12", "19", "20", "21", "22"]
    assert {source for _, source, _ in of_files([str(log)], 0)} == {"access.log"}


def test_a_large_file_is_not_read_from_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "STEP", 1000)
    stamps = [f"2026-11-22T{hour:02}:{minute:02}:00+00:00" for hour in range(24) for minute in range(60)]
    file = tmp_path / "access.log"
    file.write_text("".join(f'{{"time":"{stamp}"}}\na second line\n' for stamp in stamps))
    asked = []
    monkeypatch.setattr(log_lines, "moment", lambda line: asked.append(line) or moment(line))
    for number in (0, 1, 700, len(stamps) - 1):
        wanted = [line for stamp in stamps[number:] for line in (f'{{"time":"{stamp}"}}', "a second line")]
        assert [line for _, _, line in of_files([str(file)], stamped(stamps[number][:19] + "Z"))] == wanted
    asked.clear()
    assert list(of_files([str(file)], stamped("2026-11-23T00:00:00Z") - 30)) == [] and len(asked) < 200


def test_the_last_lines_are_kept_in_their_order_and_it_is_known_when_there_were_more() -> None:
    lines = [(at, "web", text) for at, text in ((2.0, "b"), (2.0, "c"), (1.0, "a"), (3.0, "d"))]
    assert newest(lines, 4) == ([lines[2], lines[0], lines[1], lines[3]], False)
    assert newest(lines, 2) == ([lines[1], lines[3]], True)
    assert newest([], 2) == ([], False)


def test_lines_of_several_hosts_are_merged_by_time() -> None:
    lines = {
        "app1": [{"time": 0.5, "source": "web", "line": "second"}],
        "edge1": [{"time": 0.25, "source": "access.log", "line": "first"}],
    }
    assert merge_lines(lines) == ["1970-01-01T00:00:00.250Z edge1 access.log first", "1970-01-01T00:00:00.500Z app1 web second"]


def test_it_is_said_when_lines_are_missing(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("here ansible_connection=local\ngone ansible_host=127.0.0.1 ansible_port=1\n")
    log = tmp_path / "access.log"
    log.write_text("".join(f'{{"time":"2026-11-22T12:00:0{number}+00:00"}}\n' for number in range(3)))
    logs = {"labels": [], "files": [str(log)], "units": []}
    given = {"_site_logs": logs, "since": "9999d", "lines": 2, "ansible_become": False}
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(tmp_path / "hosts"), "playbooks/logs.yml"]
        + ["-e", json.dumps(given)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "ANSIBLE_STDOUT_CALLBACK": "fairlead.site.plain"},
        capture_output=True,
        text=True,
    )
    said = done.stdout.splitlines()
    assert said[:2] == [
        'here has more than these 2 lines (more: ARGS="-e lines=...").',
        "gone could not be read: its lines are missing.",
    ], done
    assert said[2:] == [
        f'2026-11-22T12:00:0{number}.000Z here access.log {{"time":"2026-11-22T12:00:0{number}+00:00"}}' for number in (1, 2)
    ]


def test_a_verb_prints_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    tasks = [
        {"ansible.builtin.debug": {"msg": "one\ttwo"}},
        {"ansible.builtin.debug": {"msg": {"a": [1]}}},
        {"ansible.builtin.assert": {"that": False, "fail_msg": "It is not so.", "quiet": True}},
    ]
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "one,", str(tmp_path / "play.yml")],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "ANSIBLE_STDOUT_CALLBACK": "fairlead.site.plain"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == 'one\ttwo\n{\n  "a": [\n    1\n  ]\n}\n'
    assert done.stderr == "one: It is not so.\n"
    assert done.returncode == 2
