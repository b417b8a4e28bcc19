"""An array as its users start it, with one LUN that the suite's two hosts see at two portals."""

import json
import subprocess
import time
from contextlib import contextmanager
from tempfile import TemporaryDirectory

# The names that iscsi-test-cu logs in by.
HOSTS = {
    "first": "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test",
    "second": "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test-2",
}
SECONDS_TO_START = 30


@contextmanager
def serve_array(program, size):
    """The LUN's URLs, one for each portal. The array ends in peace, or this fails."""
    with TemporaryDirectory(prefix="umbra-conformance-") as folder:
        portal = ["--listen", "127.0.0.1:0"]
        words = ["array", "serve", "--dir", folder, "--size", "2G", *portal, *portal, "--insecure-no-auth"]
        with subprocess.Popen([program, *words], stderr=subprocess.DEVNULL) as process:
            try:
                yield present_lun(program, folder, size)
            finally:
                process.terminate()
            if process.wait(timeout=60) != 0:
                raise SystemExit("conformance: the array ended badly")


def present_lun(program, folder, size):
    def umbra(*words):
        command = [program, "--array", f"unix:{folder}/array.sock", *words, "--json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)

    until_served(lambda: umbra("pool", "status"))
    umbra("lun", "create", "suite", "--size", size)
    for name, initiator in HOSTS.items():
        umbra("host", "add", name, "--initiator", initiator)
        umbra("lun", "unmask", "suite", "--to", name)
    first, second = (presented["urls"] for presented in umbra("lun", "show", "suite")["lun"]["presentations"])
    assert first == second, "both hosts see it by the same number"
    return first


def until_served(ask):
    end = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            ask()
            return
        except subprocess.CalledProcessError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
