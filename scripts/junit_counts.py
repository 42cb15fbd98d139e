"""Print how many tests of a JUnit report passed and failed, then the names of those that failed and why, a line each."""

import sys
import xml.etree.ElementTree as ElementTree

root = ElementTree.parse(sys.argv[1]).getroot()
total = failed = skipped = 0
for suite in root.iter("testsuite"):
    total += int(suite.get("tests", 0))
    failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    skipped += int(suite.get("skipped", 0))
print(total - failed - skipped, failed)
for case in root.iter("testcase"):
    for fault in [*case.iter("failure"), *case.iter("error")]:
        reason = " ".join((fault.get("message") or "").split())
        print(f"FAILED {case.get('classname')}::{case.get('name')}: {reason[:300]}")
