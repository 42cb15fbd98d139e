# Copyright (c) 2026 The Fairlead authors
# SPDX-License-Identifier: ISC
"""The capacity model: from the few numbers that a person can know to every limit that must agree with another.

One pure function over plain data, `plan`. It never raises for a chain that does not fit; it returns a sentence for each
misfit, which names the variable to change. docs/capacity.md tells the reasoning behind each formula.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

# The site's numbers: name -> (smallest value allowed, may be fractional, may be left empty so that the model derives it).
INPUTS: dict[str, tuple[float, bool, bool]] = {
    "connections": (1, False, False),
    "requests_per_second": (0.001, True, False),
    "request_ms": (0.001, True, False),
    "page_kb": (0.001, True, False),
    "answers_mb": (1, False, False),
    "bandwidth_mbit": (0.001, True, False),
    "threads": (1, False, False),
    "worker_memory_mb": (16, False, False),
    "process_connections": (1, False, False),
    "workers": (1, False, True),
    "pooler_processes": (1, False, False),
    "pool_size": (1, False, True),
    "max_connections": (1, False, True),
    "graceful_seconds": (1, False, False),
    "drain_seconds": (1, False, False),
    "stop_seconds": (1, False, False),
    "gunicorn_keepalive_seconds": (1, False, False),
    "upstream_keepalive_seconds": (1, False, False),
}

# A host's numbers: name -> smallest value allowed.
HOST_INPUTS = {"cores": 1, "memory_mb": 1, "nofile_max": 1024}

STORAGE = {"ssd": (200, 1.1), "hdd": (2, 4.0)}  # effective_io_concurrency, random_page_cost

# nginx
_SOCKETS_PER_CLIENT = 2  # the client's and the upstream's
_IMBALANCE = 1.25  # the kernel does not deal connections to the workers evenly
_CONNECTION_RESERVE = 64  # listening sockets, health checks; nginx closes idle clients shortly before it is full
_FILE_RESERVE = 512  # logs, cached files, the resolver
_NGINX_KB_PER_CLIENT = 64  # TLS state and buffers of both sides
_MOST_COUNTED = 65535  # nginx counts requests under way in 16 bits
_LEAST_FILE_KB = 16  # nginx takes no less than one buffer

# gunicorn
_RELEASES = 2  # the old and the new one run side by side while a deployment switches
_CONTAINER_BASE_MB = 128  # gunicorn's arbiter and what is written to /tmp
_BUSY = 0.75  # a server that is busier than this makes its requests queue

# pgbouncer
_ALIASES = 2  # `default` and `replica`: a thread holds a connection of each
_POOLER_DATABASES = 3  # `default`, `replica` and `direct`; each replica is one more
_CHECK_CONNECTIONS = 2  # by which a pooler asks a primary with replicas how it is, for `default` and for `replica`
_POOLER_USERS = 4  # the site's, its owner's, the monitor's, the administrator's
_DIRECT_POOL = 3  # session pooling: a migration, a shell, one to spare
_EXTRA_CLIENTS = 20  # migrations, management commands, monitoring
_POOLER_RESERVE = 100  # listening sockets, log, DNS, TLS files

# PostgreSQL
_CONNECTIONS_PER_CORE = 8
_ACTIVE_FLOOR = 16
_SUPERUSER_RESERVED = 3
_OTHER_CONNECTIONS = 10  # monitoring, backups, a person's psql
_AUTOVACUUM_WORKERS = 3
_BACKEND_MB = 4
_WORK_MEM_MB = (4, 64)
_FILES_PER_BACKEND = 1000  # PostgreSQL's max_files_per_process

# memory of what is there besides
_DOCKER_MB = 256
_POOLER_MB = 32
_GROUP_MB = {"monitor": 1024, "registry": 256}


@dataclass
class _Chain:
    """The rows of one host's table, and the misfits found while it was filled."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, number: str, formula: str, value: float, limit: float | None = None, misfit: str = "") -> None:
        """Note a number; a value above its limit is a misfit, told by the sentence given."""
        self.rows.append({"number": number, "formula": formula, "value": value, "limit": limit})
        if limit is not None and value > limit:
            self.errors.append(misfit)


def _number(value: Any, fractional: bool) -> float | int | None:
    """The value as a number, or None if it is not one. Text counts: `-e capacity_threads=8` arrives as text."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(number) or (not fractional and number != int(number)):
        return None
    return number if fractional else int(number)


def _read_inputs(inputs: dict[str, Any], errors: list[str]) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for name, (smallest, fractional, optional) in INPUTS.items():
        value = inputs.get(name)
        if optional and value in (None, ""):
            numbers[name] = None
            continue
        number = _number(value, fractional)
        if number is None or number < smallest:
            kind = "a number" if fractional else "a whole number"
            least = "above 0" if fractional else f"of at least {smallest:g}"
            errors.append(f"capacity_{name} is {_shown(value)}: set it to {kind} {least}.")
        numbers[name] = number
    numbers["storage"] = inputs.get("storage")
    if numbers["storage"] not in STORAGE:
        errors.append(f"capacity_storage is {_shown(numbers['storage'])}: set it to {' or '.join(STORAGE)}.")
    return numbers


def _read_hosts(hosts: dict[str, Any], errors: list[str]) -> dict[str, dict[str, Any]]:
    read: dict[str, dict[str, Any]] = {}
    for name, host in hosts.items():
        read[name] = {"groups": set(host.get("groups") or []), "processes": _read_processes(name, host, errors)}
        missing = [key for key in ("cores", "memory_mb") if host.get(key) in (None, "")]
        if missing:
            errors.append(
                f"{name}: its {' and '.join(missing)} are not known, for its facts were not gathered: run without "
                f"--limit, or set {' and '.join('capacity_' + key for key in missing)} for this host."
            )
        for key, smallest in HOST_INPUTS.items():
            number = _number(host.get(key), fractional=False)
            if key not in missing and (number is None or number < smallest):
                errors.append(
                    f"{name}: capacity_{key} is {_shown(host.get(key))}: set it to a whole number of at least {smallest}."
                )
            read[name][key] = number
    return read


def _read_processes(name: str, host: dict[str, Any], errors: list[str]) -> list[int]:
    """Memory of each container that runs beside the web server's; 0: as much as that has."""
    containers: list[int] = []
    for worker in host.get("processes") or []:
        count, memory = (_number(worker.get(key, default), fractional=False) for key, default in (("count", 1), ("memory_mb", 0)))
        if count is None or memory is None or count < 1 or memory < 0:
            errors.append(
                f"{name}: the worker {worker.get('name')} has count {_shown(worker.get('count', 1))} and memory_mb "
                f"{_shown(worker.get('memory_mb', 0))}: set them in site_workers to whole numbers, or leave them out."
            )
        else:
            containers += [int(memory)] * int(count)
    return containers


def _shown(value: Any) -> str:
    return "empty" if value in (None, "") else repr(value) if isinstance(value, str) else str(value)


def _up(value: float, step: int) -> int:
    return math.ceil(value / step) * step


def _clamp(value: float, low: int, high: int) -> int:
    return int(min(max(value, low), high))


def _system_mb(host: dict[str, Any]) -> int:
    """Memory of the operating system and of the groups that have a fixed need."""
    fixed = sum(need for group, need in _GROUP_MB.items() if group in host["groups"])
    docker = _DOCKER_MB if host["groups"] & {"app", "registry"} else 0
    return max(384, int(host["memory_mb"]) // 20) + docker + fixed


@dataclass
class _Site:
    numbers: dict[str, Any]
    hosts: dict[str, dict[str, Any]]

    def __post_init__(self) -> None:
        def group(name: str) -> list[str]:
            return [host for host, facts in self.hosts.items() if name in facts["groups"]]

        self.app, self.db, self.edge = group("app"), group("db"), group("edge")
        self.replicas = max(0, len(self.db) - 1)
        self.facing = self.edge or self.app
        self.django = {name: _django(self, self.hosts[name]) for name in self.app}
        self.poolers = len(self.app) * self.numbers["pooler_processes"]
        self.pgbouncer = {name: _pgbouncer(self, name) for name in self.app}
        self.max_connections = _max_connections(self)

    @property
    def server_connections(self) -> int:
        """The most that all poolers together open to one server: it may have to be primary and replica alone."""
        checks = _CHECK_CONNECTIONS if self.replicas else 0
        return sum(
            pooler["processes"] * (_ALIASES * pooler["max_db_connections"] + pooler["direct_pool_size"] + checks)
            for pooler in self.pgbouncer.values()
        )


def _clients(site: _Site, host: dict[str, Any]) -> int:
    """Concurrent clients of this host's nginx: the world's, or what the edge hosts pass on."""
    connections = int(site.numbers["connections"])
    if "edge" in host["groups"] or not site.edge:
        return connections
    return math.ceil(connections * len(site.edge) / len(site.app))


def _django(site: _Site, host: dict[str, Any]) -> dict[str, Any]:
    numbers, shared = site.numbers, "db" in host["groups"]
    workers = numbers["workers"]
    if workers is None:
        by_cores = math.ceil(2 * host["cores"] * (0.5 if shared else 1)) + 1
        database_mb = max(384, host["memory_mb"] // 4) if shared else 0
        left = host["memory_mb"] - _system_mb(host) - _nginx_mb(site, host) - _POOLER_MB - database_mb
        # What runs beside it in containers of the same size gets as much.
        each = (left / _RELEASES - sum(host["processes"])) / (1 + host["processes"].count(0))
        by_memory = int((each - _CONTAINER_BASE_MB) // numbers["worker_memory_mb"])
        workers = max(1, min(by_cores, by_memory))
    alone = not host["groups"] & {"db", "monitor", "registry"}
    memory_mb = workers * numbers["worker_memory_mb"] + _CONTAINER_BASE_MB
    return {
        "workers": workers,
        "threads": numbers["threads"],
        "slots": workers * numbers["threads"],
        "memory_mb": memory_mb,
        "processes_memory_mb": sum(memory or memory_mb for memory in host["processes"]),
        "processes_connections": len(host["processes"]) * numbers["process_connections"],
        "cpus": float(host["cores"]) if alone else round(host["cores"] * 0.75, 2),
        "pids": workers * (numbers["threads"] + 8) + 64,
    }


def _nginx_mb(site: _Site, host: dict[str, Any]) -> int:
    return math.ceil(_clients(site, host) * _NGINX_KB_PER_CLIENT / 1024)


def _pgbouncer(site: _Site, name: str) -> dict[str, Any]:
    numbers, django = site.numbers, site.django[name]
    slots = django["slots"] + django["processes_connections"]
    pool = numbers["pool_size"]
    if pool is None:
        cores = min((site.hosts[host]["cores"] for host in site.db), default=0)
        pool = min(math.ceil(max(_ACTIVE_FLOOR, _CONNECTIONS_PER_CORE * cores) / site.poolers), slots)
        if numbers["max_connections"] is not None:
            each = (numbers["max_connections"] - _reserved()) // site.poolers
            pool = min(pool, (each - _DIRECT_POOL) // _ALIASES * 4 // 5)
        pool = max(1, pool)
    reserve = math.ceil(pool / 4)
    clients = _up(_RELEASES * slots * _ALIASES + _EXTRA_CLIENTS, 10)
    servers = (_POOLER_DATABASES + site.replicas) * _POOLER_USERS * (pool + reserve)
    return {
        "processes": numbers["pooler_processes"],
        "max_client_conn": clients,
        "pool_size": pool,
        "reserve_pool_size": reserve,
        "max_db_connections": pool + reserve,
        "direct_pool_size": _DIRECT_POOL,
        "limit_nofile": max(1024, _up(clients + servers + _POOLER_RESERVE, 64)),
    }


def _reserved() -> int:
    return _SUPERUSER_RESERVED + _OTHER_CONNECTIONS


def _max_connections(site: _Site) -> int:
    return int(site.numbers["max_connections"] or max(20, _up(site.server_connections + _reserved(), 10)))


def _nginx(site: _Site, name: str, chain: _Chain) -> dict[str, Any]:
    host = site.hosts[name]
    clients, processes, limit = _clients(site, host), host["cores"], host["nofile_max"]
    connections = _up(_SOCKETS_PER_CLIENT * _IMBALANCE * clients / processes + _CONNECTION_RESERVE, 64)
    files = _SOCKETS_PER_CLIENT * connections + _FILE_RESERVE
    behind = [name] if name in site.app else site.app
    requests = min(processes * connections // _SOCKETS_PER_CLIENT, _MOST_COUNTED)
    answer_kb = site.numbers["answers_mb"] * 1024 // requests
    answer_kb = answer_kb if answer_kb >= _LEAST_FILE_KB else 0
    chain.add(
        "nginx worker_connections",
        f"{_SOCKETS_PER_CLIENT} sockets x {_IMBALANCE} x {clients} clients / {processes} workers + {_CONNECTION_RESERVE}",
        connections,
    )
    chain.add(
        "nginx worker_rlimit_nofile",
        f"2 x {connections} + {_FILE_RESERVE}",
        files,
        limit,
        f"{name}: nginx needs {files} descriptors a worker, but the host grants {limit}: lower capacity_connections "
        f"({site.numbers['connections']}), add edge hosts, or raise the host's limit and capacity_nofile_max.",
    )
    chain.add("nginx LimitNOFILE", "worker_rlimit_nofile", files)
    chain.add("nginx requests under way", f"{processes} workers x {connections} / {_SOCKETS_PER_CLIENT} sockets", requests)
    chain.add("nginx kB of an answer on disk", f"{site.numbers['answers_mb']} MB x 1024 / {requests} requests", answer_kb)
    return {
        "worker_processes": processes,
        "worker_connections": connections,
        "worker_rlimit_nofile": files,
        "limit_nofile": files,
        "backlog": _clamp(2 ** math.ceil(math.log2(max(clients / 4, 1))), 1024, 32768),
        "upstream_keepalive": max(16, sum(site.django[app]["slots"] for app in behind)),
        "requests": requests,
        "answer_kb": answer_kb,
    }


def _postgresql(site: _Site, name: str, left_mb: int, chain: _Chain) -> tuple[dict[str, Any], int]:
    """The server's settings and the memory that it may take; `left_mb` is what the host's other services leave."""
    host, connections = site.hosts[name], site.max_connections
    share = 0.5 if "app" in host["groups"] else 1.0
    smallest = 64 + _AUTOVACUUM_WORKERS * 16 + connections * (_BACKEND_MB + _WORK_MEM_MB[0])
    # In steps, so that a kernel that keeps a little more for itself does not ask for a restart of the server.
    memory = max(smallest, int(min(left_mb, host["memory_mb"] * share)) // 64 * 64)
    buffers = _clamp(memory / 4, 64, 32768)
    maintenance = _clamp(memory / 16, 16, 2048)
    spare = memory - buffers - _AUTOVACUUM_WORKERS * maintenance - connections * _BACKEND_MB
    io_concurrency, page_cost = STORAGE[site.numbers["storage"]]
    # A standby refuses to start with fewer worker processes than its primary has, and any server may become either.
    most_cores = max(site.hosts[other]["cores"] for other in site.db)
    chain.add("PostgreSQL memory MB", f"what is left, at most {share:.0%} of {host['memory_mb']}", memory)
    chain.add("PostgreSQL shared_buffers MB", f"{memory} / 4", buffers)
    return {
        "max_connections": connections,
        "superuser_reserved": _SUPERUSER_RESERVED,
        "shared_buffers_mb": buffers,
        "effective_cache_size_mb": memory * 3 // 4,
        "work_mem_mb": _clamp(spare / connections, *_WORK_MEM_MB),
        "maintenance_work_mem_mb": maintenance,
        "wal_buffers_mb": _clamp(buffers / 32, 2, 16),
        "max_wal_size_mb": _clamp(memory / 2, 1024, 8192),
        "max_worker_processes": max(8, most_cores),
        "max_parallel_workers": max(2, host["cores"]),
        "max_parallel_workers_per_gather": _clamp(host["cores"] / 2, 1, 4),
        "effective_io_concurrency": io_concurrency,
        "random_page_cost": page_cost,
    }, memory


def _kernel(result: dict[str, Any], host: dict[str, Any], chain: _Chain) -> dict[str, int]:
    nginx, pooler, server = (result.get(part, {}) for part in ("nginx", "pgbouncer", "postgresql"))
    backlog = max(4096, nginx.get("backlog", 0))
    wanted = max(8192, nginx.get("limit_nofile", 0), pooler.get("limit_nofile", 0))
    files = (
        nginx.get("worker_processes", 0) * nginx.get("worker_rlimit_nofile", 0)
        + pooler.get("processes", 0) * pooler.get("limit_nofile", 0)
        + server.get("max_connections", 0) * _FILES_PER_BACKEND
    )
    kernel = {
        "somaxconn": backlog,
        "tcp_max_syn_backlog": 2 * backlog,
        "file_max": max(262144, _up(2 * files, 1024)),
        "nofile": min(wanted, host["nofile_max"]),
    }
    chain.add("fs.file-max (at least)", "2 x all descriptors of nginx, pgbouncer, PostgreSQL", kernel["file_max"])
    chain.add("descriptors a process", "largest LimitNOFILE, 8192 or more", kernel["nofile"], host["nofile_max"])
    return kernel


def _traffic(site: _Site, name: str, chain: _Chain) -> None:
    """Page weight and requests against the line and the processes that serve them."""
    numbers = site.numbers
    rate, page, line = numbers["requests_per_second"], numbers["page_kb"], numbers["bandwidth_mbit"]
    if name in site.facing:
        used = round(rate * page * 8 / 1000 / len(site.facing), 1)
        chain.add(
            "bandwidth Mbit/s",
            f"{rate:g} requests/s x {page:g} kB x 8 / 1000 / {len(site.facing)} hosts",
            used,
            line,
            f"{name}: {rate:g} requests/s of {page:g} kB need {used:g} Mbit/s, but the line has {line:g}: raise "
            f"capacity_bandwidth_mbit, add edge hosts, or lower capacity_page_kb or capacity_requests_per_second.",
        )
    if name in site.app:
        slots = site.django[name]["slots"]
        busy = round(rate * numbers["request_ms"] / 1000 / len(site.app), 1)
        free = round(slots * _BUSY, 1)
        chain.add(
            "requests at the same time",
            f"{rate:g} requests/s x {numbers['request_ms']:g} ms / {len(site.app)} hosts",
            busy,
            free,
            f"{name}: {busy:g} requests run at the same time, but {slots} threads take only {free:g} without a queue: "
            f"raise capacity_threads or capacity_workers, add app hosts or memory, or lower capacity_request_ms or "
            f"capacity_requests_per_second.",
        )


def _pool_rows(site: _Site, name: str, chain: _Chain) -> None:
    django, pooler, limit = site.django[name], site.pgbouncer[name], site.hosts[name]["nofile_max"]
    places = f"{django['slots']} threads"
    if django["processes_connections"]:
        places = f"({places} + {django['processes_connections']} of workers)"
    chain.add("gunicorn workers", "2 x cores (half of them beside a database) + 1, as memory allows", django["workers"])
    chain.add("gunicorn threads", f"{django['workers']} workers x {django['threads']} threads", django["slots"])
    chain.add(
        "pgbouncer max_client_conn",
        f"{_RELEASES} releases x {places} x {_ALIASES} aliases + {_EXTRA_CLIENTS}",
        pooler["max_client_conn"],
    )
    chain.add(
        "pgbouncer LimitNOFILE",
        f"max_client_conn + {_POOLER_DATABASES + site.replicas} databases x {_POOLER_USERS} users x "
        f"{pooler['max_db_connections']} + {_POOLER_RESERVE}",
        pooler["limit_nofile"],
        limit,
        f"{name}: pgbouncer needs {pooler['limit_nofile']} descriptors, but the host grants {limit}: lower "
        f"capacity_threads, capacity_workers or capacity_pool_size, or raise the host's limit and capacity_nofile_max.",
    )


def _server_rows(site: _Site, chain: _Chain) -> None:
    demand, offered = site.server_connections, site.max_connections - _reserved()
    checks = f" + {_CHECK_CONNECTIONS} checks" if site.replicas else ""
    chain.add(
        "pools of all poolers",
        f"{site.poolers} poolers x ({_ALIASES} x (pool + reserve) + {_DIRECT_POOL} direct{checks})",
        demand,
        offered,
        f"The poolers may open {demand} connections, but PostgreSQL leaves them {max(offered, 0)} (max_connections "
        f"{site.max_connections} - {_reserved()} reserved): raise capacity_max_connections, or lower capacity_pool_size "
        f"or capacity_pooler_processes.",
    )
    chain.add("PostgreSQL max_connections", f"pools + {_reserved()} reserved", site.max_connections)


def _memory(site: _Site, name: str, result: dict[str, Any], chain: _Chain) -> None:
    """Add what needs the memory of the others first, then the sum against the host's memory."""
    host = site.hosts[name]
    parts = {"system": _system_mb(host)}
    if "nginx" in result:
        parts["nginx"] = _nginx_mb(site, host)
    if "django" in result:
        parts["gunicorn"] = _RELEASES * result["django"]["memory_mb"]
        chain.add(
            "gunicorn memory MB",
            f"{_RELEASES} releases x ({result['django']['workers']} workers x {site.numbers['worker_memory_mb']} "
            f"+ {_CONTAINER_BASE_MB})",
            parts["gunicorn"],
        )
        if host["processes"]:
            parts["workers"] = _RELEASES * result["django"]["processes_memory_mb"]
            chain.add(
                "workers memory MB",
                f"{_RELEASES} releases x {len(host['processes'])} containers, {result['django']['processes_memory_mb']} together",
                parts["workers"],
            )
        parts["pgbouncer"] = _POOLER_MB * site.numbers["pooler_processes"]
    if name in site.db:
        left = host["memory_mb"] - sum(parts.values())
        result["postgresql"], parts["PostgreSQL"] = _postgresql(site, name, left, chain)
    total = sum(parts.values())
    formula = " + ".join(f"{part} {need}" for part, need in parts.items())
    chain.add(
        "memory MB",
        formula,
        total,
        host["memory_mb"],
        f"{name} has {host['memory_mb']} MB of memory, but the chain needs {total} MB ({formula}): give it more, lower "
        f"capacity_connections, capacity_workers, capacity_worker_memory_mb or capacity_max_connections"
        f"{', or the count or memory_mb of site_workers' if host['processes'] else ''}, or move one of its groups to another "
        f"host.",
    )


def _timeouts(numbers: dict[str, Any], chain: _Chain) -> dict[str, int]:
    """Each must end before the one that would cut it off."""
    for shorter, longer, why in (
        ("graceful_seconds", "drain_seconds", "gunicorn must end its requests before nginx stops waiting for them"),
        ("drain_seconds", "stop_seconds", "nginx must have drained before Docker kills the container"),
        (
            "upstream_keepalive_seconds",
            "gunicorn_keepalive_seconds",
            "gunicorn must not close a connection that nginx still uses",
        ),
    ):
        chain.add(
            f"capacity_{shorter}",
            f"below capacity_{longer} {numbers[longer]}",
            numbers[shorter],
            numbers[longer] - 1,
            f"capacity_{shorter} ({numbers[shorter]}) must be below capacity_{longer} ({numbers[longer]}): {why}.",
        )
    return {
        "graceful": numbers["graceful_seconds"],
        "drain": numbers["drain_seconds"],
        "stop": numbers["stop_seconds"],
        "gunicorn_keepalive": numbers["gunicorn_keepalive_seconds"],
        "upstream_keepalive": numbers["upstream_keepalive_seconds"],
    }


def _host(site: _Site, name: str) -> tuple[dict[str, Any], list[str]]:
    chain = _Chain()
    result: dict[str, Any] = {}
    _traffic(site, name, chain)
    if name in site.app or name in site.edge:
        result["nginx"] = _nginx(site, name, chain)
    if name in site.app:
        result["django"], result["pgbouncer"] = site.django[name], site.pgbouncer[name]
        _pool_rows(site, name, chain)
    if name in site.app or name in site.db:
        _server_rows(site, chain)
    _memory(site, name, result, chain)
    result["kernel"] = _kernel(result, site.hosts[name], chain)
    result["timeouts"] = _timeouts(site.numbers, chain)
    result["table"] = chain.rows
    return result, chain.errors


def table_text(rows: list[dict[str, Any]]) -> str:
    """The rows as aligned text, one line a row."""
    titles = {"number": "number", "value": "value", "limit": "limit", "formula": "formula"}
    cells = [
        {key: "" if row[key] is None else f"{row[key]:g}" if isinstance(row[key], float) else str(row[key]) for key in titles}
        for row in [titles, *rows]
    ]
    width = {key: max(len(cell[key]) for cell in cells) for key in titles}
    return "\n".join(
        f"{cell['number']:<{width['number']}}  {cell['value']:>{width['value']}}  "
        f"{cell['limit']:>{width['limit']}}  {cell['formula']}"
        for cell in cells
    )


def plan(hosts: dict[str, Any], inputs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The result for each host: a part per component that it runs, the `table`, and the `errors` of the whole site.

    Errors belong to the site, for a host's numbers follow from the others'; so every host carries all of them.
    """
    errors: list[str] = []
    numbers, read = _read_inputs(inputs, errors), _read_hosts(hosts, errors)
    if not errors and not any("db" in host["groups"] for host in read.values()) and numbers["max_connections"] is None:
        errors.append(
            "No host is in the group db: put one into it, or set capacity_max_connections to what the database "
            "server that you use allows."
        )
    if errors:
        return {name: {"table": [], "errors": errors} for name in hosts}
    site = _Site(numbers, read)
    results: dict[str, dict[str, Any]] = {}
    for name in read:
        results[name], found = _host(site, name)
        errors += [error for error in found if error not in errors]
    for result in results.values():
        result["errors"] = errors
    return results
