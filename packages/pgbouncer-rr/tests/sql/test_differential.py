"""The classifier against PostgreSQL's own grammar, over random statements.

RR_SQL_ROUNDS says how many (default: a few seconds' worth), RR_SQL_SEED from which seed.
"""

import os
import random
import re
from collections import Counter

import generate
import oracle
import pytest
import rr_sql
from test_classify import CASES

ROUNDS = int(os.environ.get("RR_SQL_ROUNDS", "10000"))
SEED = int(os.environ.get("RR_SQL_SEED", "1"))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Return the random statements."""
    return generate.corpus(SEED, ROUNDS, [sql for sql, _ in CASES])


def test_no_write_is_a_read(texts: list[str]) -> None:
    """What is not a read by the grammar never is one by the classifier; likewise the other kinds that are not a write."""
    classifier = rr_sql.Classifier()
    counts: Counter[tuple[str, str]] = Counter()
    wrong = []
    for text in texts:
        try:
            truth = oracle.kind(text)
        except oracle.RefusedError:
            counts["refused", ""] += 1
            continue
        found = classifier.classify(text)
        counts[truth, found.kind] += 1
        if found.kind not in ("write", truth) and (truth, found.kind) != ("begin read only", "begin"):
            wrong.append((truth, found.kind, text))
    reads = sum(number for (truth, _), number in counts.items() if truth == "read")
    share = counts["read", "read"] / reads
    print(f"\n{dict(counts)}\nof {reads} reads by the grammar the classifier knows {share:.1%}")
    assert not wrong, wrong[:10]
    assert counts["write", "write"] > len(texts) / 10, "the corpus has few writes"
    assert share > 0.5, "the corpus has few reads that are known"


def test_equal_fingerprints_are_classified_alike(texts: list[str]) -> None:
    """A fingerprint says all that the classifier looks at, and is its own fingerprint."""
    classifier = rr_sql.Classifier()
    kinds: dict[bytes, tuple[str, str | None]] = {}
    folded = 0
    for text in texts:
        fingerprint = classifier.fingerprint(text)
        if fingerprint is None:
            continue
        found = classifier.classify(text)
        before = kinds.setdefault(fingerprint, (found.kind, found.reason))
        folded += before is not None
        assert before == (found.kind, found.reason), (text, fingerprint)
        assert classifier.fingerprint(fingerprint) == fingerprint
        again = classifier.classify(fingerprint)
        assert (again.kind, again.reason) == before, (text, fingerprint)
    assert folded > len(texts) / 2


def test_equal_shapes_are_classified_alike(texts: list[str]) -> None:
    """Other digits in the place of digits are another kind, or another fingerprint, only where the shape is another too."""
    classifier = rr_sql.Classifier(functions="f1, lower2, s.f1")
    rng = random.Random(SEED)
    same = other = 0
    for text in texts:
        # some names that end in digits, some of them functions
        name = rng.choice(["{}", "{}1", "{}2", '"{}"', '"{}1"', '"{} 1"'])
        text = re.sub(r'(?<!")\b(f|lower|a)\b(?!")', lambda match: name.format(match[0]), text)
        # half of them only where a name is not touched
        digits = rng.choice([r"\d+", r"(?<![\w$])\d+"])
        changed = re.sub(digits, lambda match: str(rng.randrange(10 ** rng.randrange(1, 9))), text)
        shape = rr_sql.shape(text)
        if shape is None or rr_sql.shape(changed) != shape:
            other += 1
            continue
        same += changed != text
        for variant in (changed.encode(), shape):
            found = classifier.classify(variant)
            assert (found.kind, found.reason) == classifier.classify(text)[:2], (text, variant)
            assert classifier.fingerprint(variant) == classifier.fingerprint(text), (text, variant)
    print(f"\n{same} changed texts of the same shape, {other} of none or another")
    assert same > len(texts) / 10 and other > len(texts) / 100
