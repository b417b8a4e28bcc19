"""The exceptions, and the part of docs/conformance.md that is made of what was seen."""

import difflib
import fnmatch
from collections import Counter

BEGIN, END = "<!-- seen: written by ci/conformance/run --write -->", "<!-- end of seen -->"
VERDICTS = ("pass", "skip", "fail", "incomplete")


def exceptions(path):
    """(way, test, verdict, reason) of each line; way and test may be patterns."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    found = [tuple(field.strip() for field in line.split("|")) for line in lines]
    for line in found:
        if len(line) != 4 or line[2] not in ("skip", "fail") or not line[3]:
            raise SystemExit(f"conformance: {path.name}: not WAY | TEST | skip or fail | REASON: {line}")
    return found


def reason(way, test, verdict, exceptions):
    """The exception that this is, or none."""
    for line in exceptions:
        ways = line[0].split(",")
        if any(fnmatch.fnmatchcase(way, one) for one in ways) and fnmatch.fnmatchcase(test, line[1]) and verdict == line[2]:
            return line
    return None


def faults(seen, exceptions, complete):
    """What stands in no list, and, where every way was gone, what stands there in vain."""
    found, used = [], set()
    for way, tests in seen.items():
        for test, (verdict, why) in tests.items():
            line = None if verdict == "pass" else reason(way, test, verdict, exceptions)
            used.add(line)
            if verdict != "pass" and line is None:
                found.append(f"{way}: {test}: {verdict}: {why}")
    if complete:
        found += [f"{line[1]} is listed as {line[2]} in vain" for line in exceptions if line not in used]
    return found


def counts(tests):
    number = Counter(verdict for verdict, _ in tests.values())
    return ", ".join(f"{number[verdict]} {verdict}" for verdict in VERDICTS if number[verdict])


def render(ways, seen, exceptions):
    """The part of the document."""
    lines = ["| way | what | tests | pass | skip | fail |", "|---|---|---:|---:|---:|---:|"]
    for way, what in ways.items():
        number = Counter(verdict for verdict, _ in seen[way].values())
        lines.append(f"| {way} | {what} | {len(seen[way])} | {number['pass']} | {number['skip']} | {number['fail']} |")
    for verdict, title in (("fail", "Failures"), ("skip", "Skipped")):
        lines += ["", f"### {title}", "", "| tests | ways | why |", "|---|---|---|"]
        lines += [row(line, seen, exceptions) for line in exceptions if line[2] == verdict]
    return "\n".join(lines)


def row(line, seen, exceptions):
    tests, ways = {}, {}
    for way, of_way in seen.items():
        for test, (verdict, _) in of_way.items():
            if reason(way, test, verdict, exceptions) == line:
                tests[test] = ways[way] = None
    everywhere = len(ways) == sum(any(test in of_way for test in tests) for of_way in seen.values())
    return f"| {by_suite(tests)} | {'all' if everywhere else ', '.join(ways)} | {line[3]} |"


def by_suite(tests):
    """Names of tests, each suite named once."""
    suites = {}
    for test in tests:
        suite, _, name = test.partition(".")
        suites.setdefault(suite, []).append(name)
    return "; ".join(f"{suite}: {', '.join(names)}" for suite, names in suites.items())


def split(path):
    text = path.read_text()
    before, begin, rest = text.partition(BEGIN)
    middle, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"conformance: {path.name} has no part for what was seen")
    return before, middle.strip("\n"), after


def replace(path, told):
    before, _, after = split(path)
    path.write_text(f"{before}{BEGIN}\n{told}\n{END}{after}")


def differences(path, told):
    """The document against what was seen, line by line."""
    _, stands, _ = split(path)
    lines = difflib.unified_diff(stands.splitlines(), told.splitlines(), path.name, "seen", lineterm="", n=0)
    return list(lines)
