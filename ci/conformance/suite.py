"""What iscsi-test-cu printed, test by test.

CUnit knows no skipped tests: they print `[SKIPPED] why` and count as passed. So the verbose output is read, and its sums are
held against CUnit's own.
"""

import os
import re
import subprocess

SECONDS_PER_SUITE = 120


def listed():
    """All tests there are: {suite: [test]}."""
    listing = subprocess.run(["iscsi-test-cu", "--list"], capture_output=True, text=True, timeout=60).stdout
    suites = {}
    for family, suite, test in re.findall(r"^(\w+)\.([^.\s]+)\.(\S+)$", listing, re.MULTILINE):
        if family == "ALL":
            suites.setdefault(suite, []).append(test)
    if not suites:
        raise SystemExit("conformance: iscsi-test-cu lists no tests; is libiscsi-bin installed?")
    return suites


def forget_settings():
    """The tool's own settings would change what is tested."""
    for variable in [name for name in os.environ if name.startswith("LIBISCSI_")]:
        del os.environ[variable]


def run(name, tests, urls):
    """What each test of a suite came to at a target, and all that the tool said."""
    command = ["iscsi-test-cu", "--dataloss", "--allow-sanitize", "-v", "-t", f"ALL.{name}", *urls]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS_PER_SUITE)
        text = done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as hung:
        text = (hung.stdout or b"").decode(errors="replace") + f"\nno end after {SECONDS_PER_SUITE} s\n"
    return judge(text, name, tests), text


def judge(text, suite, tests):
    """{"Suite.Test": (verdict, why)} for these tests, from one suite's output."""
    blocks = dict(re.findall(r"^  Test: (\S+) \.\.\.(.*?)(?=^  Test: |^Suite: |^Run Summary:|\Z)", text, re.MULTILINE | re.DOTALL))
    seen = {f"{suite}.{test}": verdict(blocks.get(test)) for test in tests}
    sums = re.search(r"^ +tests +(\d+) +(\d+) +(\d+) +(\d+)", text, re.MULTILINE)
    failed = sum(found == "fail" for found, _ in seen.values())
    if sums is None:
        # It crashed or hung: whatever passed before says nothing about the suite's end.
        last = f"{suite}.{tests[-1]}"
        seen[last] = ("incomplete", "no summary") if seen[last][0] in ("pass", "skip") else seen[last]
    elif (int(sums[2]), int(sums[4])) != (len(tests), failed):
        seen[f"{suite}.{tests[0]}"] = ("fail", f"CUnit counts otherwise: {sums[0].strip()}")
    return seen


def verdict(block):
    if block is None:
        return ("incomplete", "it did not run")
    if re.search(r"FAILED$", block, re.MULTILINE):
        why = re.search(r"\[FAILED\] *(.*)", block)
        return ("fail", why[1].strip() if why else "")
    # What the end of a suite prints may follow on the same line.
    if not re.search(r"(^|\s)passed(\s|$)", block):
        return ("incomplete", "it did not end")
    skipped = re.search(r"\[SKIPPED\] *(.*)", block)
    return ("skip", skipped[1].strip()) if skipped else ("pass", "")
