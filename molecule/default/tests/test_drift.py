"""`--check --diff` on the converged host reports what somebody changed by hand, exactly, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conftest import Run

# What is done by hand, by the task that reports it; and the handlers that such a change would call.
DRIFTS = {
    "Write and validate the configuration": ("/etc/nginx/nginx.conf", "worker_priority -1;"),
    "Configure the pooler": ("/etc/pgbouncer/pgbouncer.ini", "; a hand was here"),
    "Configure the system": ("/etc/systemd/journald.conf.d/fairlead.conf", "# a hand was here"),
}
HANDLERS = {"Reload nginx", "Reload the pooler", "Restart the journal"}


def test_planted_drift_is_reported_exactly(host: Any, playbook: Callable[..., Run]) -> None:
    for path, line in DRIFTS.values():
        host.check_output("cp -p %s %s.kept && printf '%%s\\n' %s >> %s", path, path, line, path)
    try:
        run = playbook("site.yml", "--check", "--diff")
        assert run.code == 0, run.output
        assert {name.split(" : ")[-1] for name in run.changed} == set(DRIFTS) | HANDLERS
        assert sorted(run.shown) == sorted(path for path, _ in DRIFTS.values())
    finally:
        for path, _ in DRIFTS.values():
            host.check_output("mv %s.kept %s", path, path)


def test_every_step_runs_alone(playbook: Callable[..., Run]) -> None:
    roles = ("docker", "nginx", "pgbouncer_rr", "postgresql")
    for step in ("configure", "service"):
        run = playbook("site.yml", "--check", "--tags", ",".join(f"{role}_{step}" for role in roles))
        assert run.code == 0 and run.changed == [], run.output[-3000:]
