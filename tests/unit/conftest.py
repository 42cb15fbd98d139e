"""Renders the roles' templates as Ansible does, strict about undefined variables, without a host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
sys.path.insert(0, str(ROOT / "collections"))
init_plugin_loader([str(ROOT / "collections")])

FACTS = {
    "ansible_facts": {
        "architecture": "x86_64",
        "default_ipv4": {"address": "192.0.2.10", "interface": "eth0"},
        "distribution": "Debian",
        "distribution_major_version": "13",
        "distribution_release": "trixie",
        "memtotal_mb": 8192,
        "os_family": "Debian",
        "processor_vcpus": 2,
    },
    "ansible_check_mode": False,
    "inventory_hostname": "one",
    "ansible_play_hosts_all": ["one"],
    "group_names": [],
    "groups": {"all": ["one"]},
}


def certificate(key: ec.EllipticCurvePrivateKey, days: int = 1) -> str:
    """A certificate (PEM) of a host `store` that holds for so many days from now; less than 0: it has expired."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "store")])
    end = datetime.now(UTC) + timedelta(days=days)
    names = x509.SubjectAlternativeName([x509.DNSName("store"), x509.IPAddress(ip_address("192.0.2.41"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), end - timedelta(days=9), end)
    return builder.add_extension(names, False).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def role_variables(role: str) -> dict[str, Any]:
    """Return a role's defaults and vars as Ansible would load them, not yet rendered."""
    loader = DataLoader()
    found: dict[str, Any] = {}
    for name in ("defaults/main.yml", "vars/main.yml"):
        path = ROOT / "roles" / role / name
        if path.exists():
            found.update(loader.load_from_file(str(path), trusted_as_template=True) or {})
    return found


def trusted(value: Any) -> Any:
    """Let a test's own strings be templates, as an inventory's are."""
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return value


def templar(role: str, overrides: dict[str, Any]) -> Templar:
    variables = {**FACTS, "role_name": role, "ansible_role_name": role, **role_variables(role), **trusted(overrides)}
    made = Templar(loader=DataLoader(), variables=variables)
    return made.copy_with_new_env(searchpath=[str(ROOT / "roles" / role / "templates")], available_variables=variables)


@pytest.fixture(scope="session")
def render_tree() -> Callable[..., dict[str, str]]:
    """A function (role, **variables) → {absolute path on the host: content} of all of the role's templates.

    Templates that render to nothing are left out, as fairlead.site.tree leaves them out.
    """

    def render(role: str, **variables: Any) -> dict[str, str]:
        made = templar(role, variables)
        top = ROOT / "roles" / role / "templates"
        found = {}
        for source in sorted(top.rglob("*")):
            if not source.is_file() or source.name.startswith("_"):
                continue
            text = source.read_text()
            if source.suffix == ".j2":
                text = made.template(trust_as_template(text), escape_backslashes=False, overrides={"trim_blocks": True}) or ""
            if text.strip():
                found["/" + str(source.relative_to(top)).removesuffix(".j2")] = text
        return found

    return render


@pytest.fixture(scope="session")
def evaluate() -> Callable[..., Any]:
    """A function (role, expression, **variables) → the value of a Jinja expression with the role's variables."""

    def value(role: str, expression: str, **variables: Any) -> Any:
        return templar(role, variables).template(trust_as_template("{{ " + expression + " }}"))

    return value


@pytest.fixture
def refusal(evaluate: Callable[..., Any]) -> Callable[..., str]:
    """A function (role, **variables) → the first sentence with which the role refuses them; empty if it takes them."""

    def sentence(role: str, **variables: Any) -> str:
        requirements = evaluate(role, f"_{role}_requirements", **variables)
        return next((str(requirement["otherwise"]) for requirement in requirements if not requirement["ok"]), "")

    return sentence


@pytest.fixture
def run_plays(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function (plays, *flags) that runs them; programs in the test's folder come before the machine's."""

    def run(plays: list[dict[str, Any]], *flags: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "plays.json").write_text(json.dumps(plays))
        path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["ansible-playbook", *flags, str(tmp_path / "plays.json")],
            cwd=ROOT,
            env=os.environ | {"PATH": path, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
        )

    return run
