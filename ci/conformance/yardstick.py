"""The suite against somebody else's target: its sums, and the names of the tests that did not pass."""

import socket

import document
from suite import listed, run


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def measure(url):
    seen = {}
    for name, tests in listed().items():
        seen.update(run(name, tests, [url])[0])
    print(document.counts(seen))
    for verdict in document.VERDICTS[1:]:
        tests = [test for test, (found, _) in seen.items() if found == verdict]
        print(f"{verdict}: {document.by_suite(tests) or 'none'}")
