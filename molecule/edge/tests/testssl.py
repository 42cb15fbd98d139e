"""testssl.sh, Debian's package of it, looks at a server as a stranger does."""

from __future__ import annotations

import json
import shlex
from typing import Any

REPORT = "/run/testssl.json"
# Protocols, kinds of ciphers, forward secrecy, the server's preference, certificate and extensions, headers, known attacks.
# The rest asks for each cipher again in the name of each browser.
_PARTS = ["-p", "-s", "-f", "-P", "-S", "-h", "-U"]
# A name that no zone has has no record there; and what everybody may read is compressed, what is private is not.
_REASONED = {"DNS_CAArecord", "BREACH"}


def findings(host: Any, name: str, address: str, *options: str) -> dict[str, str]:
    """What is less than good in a server's TLS, from a host that has bash, dig and apt.

    Args:
        host: testinfra's way onto the host that looks.
        name: the server's name.
        address: where the name leads to; no name server is asked.
        options: more of testssl's own, such as --add-ca FILE.

    Returns:
        What was found by the identifier of the finding; of severity LOW, MEDIUM, HIGH or CRITICAL.
    """
    host.check_output(
        "command -v testssl >/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends testssl.sh; }"
    )
    words = shlex.join(
        [*_PARTS, "--warnings", "off", "--color", "0", "--overwrite", "--jsonfile", REPORT, *options, "--ip", address, name]
    )
    host.run(f"testssl {words} >/dev/null 2>&1")
    found = {entry["id"]: entry for entry in json.loads(host.check_output(f"cat {REPORT} && rm {REPORT}"))}
    # It came to its end, and to what it judges by.
    assert {"TLS1_2", "TLS1_3", "FS_ECDHE_curves", "overall_grade"} <= set(found), sorted(found)
    return {
        name: entry["finding"]
        for name, entry in found.items()
        if entry["severity"] in {"LOW", "MEDIUM", "HIGH", "CRITICAL"} and name not in _REASONED
    }
