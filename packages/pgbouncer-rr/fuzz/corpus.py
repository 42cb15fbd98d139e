#!/usr/bin/env python3
"""corpus.py SQL CORPUS: the statements of all psql scripts in a folder, a file each, as long as a fuzzer likes them."""

import hashlib
import sys
from pathlib import Path

LONGEST = 300


def main() -> None:
    """Write the corpus; fail if there is too little for one."""
    source, corpus = Path(sys.argv[1]), Path(sys.argv[2])
    for script in source.glob("*.sql"):
        lines = [line for line in script.read_text(errors="replace").splitlines() if not line.startswith("\\")]
        for statement in "\n".join(lines).split(";"):
            text = statement.strip().encode()
            if 0 < len(text) <= LONGEST:
                (corpus / hashlib.sha1(text).hexdigest()).write_bytes(text)
    if sum(1 for _ in corpus.iterdir()) < 1000:
        sys.exit(f"{source} has too few statements")


if __name__ == "__main__":
    main()
