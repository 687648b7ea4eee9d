"""
Other people's programs on the mount: CPython's own file tests, on an open commit and on a plain folder.

    python -m tools.clients [--python INTERPRETER] [TEST ...]

Every test runs twice with the same interpreter, in a plain folder and in an open commit.  Passes if
no test fails on the mount that passes in the folder.  The tests come with the interpreter, or
with Debian's package libpython3.11-testsuite; what an interpreter does not have is named.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TESTS = [
    *("test_os", "test_shutil", "test_tempfile", "test_tarfile", "test_zipfile"),
    *("test_fileio", "test_io", "test_pathlib", "test_mmap", "test_sqlite3"),
]

_FAILED = re.compile(r"^(?:FAIL|ERROR): (.+)$", re.MULTILINE)
_TIMEOUT_S = 300
_ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--python", help="the interpreter whose tests to run; default: the first that has them"
    )
    parser.add_argument("tests", nargs="*", default=TESTS)
    arguments = parser.parse_args()
    worse = 0
    with tempfile.TemporaryDirectory(prefix="pfs-clients-") as scratch, mounted(Path(scratch)) as point:
        plain, branch = Path(scratch) / "plain", point / "clients" / "master" / "t"
        plain.mkdir()
        (point / "clients").mkdir()
        branch.mkdir()
        for name in arguments.tests:
            interpreter = arguments.python or _interpreter_with(name)
            if interpreter is None:
                print(f"{name:14} not run: no interpreter here has it (Debian: libpython3.11-testsuite)")
                continue
            worse += _compare(interpreter, name, plain, branch)
    print(
        "no test fails on the mount that passes in a folder"
        if not worse
        else f"{worse} tests are worse on the mount"
    )
    return 1 if worse else 0


def _interpreter_with(test: str) -> str | None:
    """Return an interpreter that has this test: Debian's, this one, or the one that made this environment."""
    for candidate in dict.fromkeys(("/usr/bin/python3", sys.executable, os.path.realpath(sys.executable))):
        found = subprocess.run(
            [
                candidate,
                "-c",
                f"import importlib.util, sys; sys.exit(importlib.util.find_spec('test.{test}') is None)",
            ],
            capture_output=True,
            check=False,
        )
        if found.returncode == 0:
            return candidate
    return None


def _compare(interpreter: str, name: str, plain: Path, branch: Path) -> int:
    expected, expected_s = _failures(interpreter, name, plain)
    got, got_s = _failures(interpreter, name, branch)
    worse = sorted(got - expected)
    verdict = "as in a folder" if not worse else "WORSE: " + "; ".join(worse)
    print(f"{name:14} folder {expected_s:5.1f} s, mount {got_s:5.1f} s  {verdict}", flush=True)
    return len(worse)


def _failures(interpreter: str, name: str, folder: Path) -> tuple[set[str], float]:
    """Return the names of the tests that fail in *folder*, and the seconds it took."""
    start = time.monotonic()
    # The working directory is not on the mount: the test runner makes one of its own below --tempdir.
    done = subprocess.run(
        [interpreter, "-m", "test", "-W", "--tempdir", os.fspath(folder), name],
        cwd="/tmp",
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    failures = set(_FAILED.findall(done.stdout + done.stderr))
    if done.returncode and not failures:
        failures = {f"{name}: exit status {done.returncode}"}
    return failures, time.monotonic() - start


@contextmanager
def mounted(scratch: Path) -> Iterator[Path]:
    """A mounted, empty store below *scratch*, without a runner; gone at the end."""
    point = scratch / "pfs"
    env = {**os.environ, "PFS_ROOT": os.fspath(scratch / "store")}
    pfs = os.fspath(_ROOT / ".venv" / "bin" / "pfs")
    subprocess.run([pfs, "up", os.fspath(point), "--detach", "--no-runner"], env=env, check=True)
    try:
        yield point
    finally:
        subprocess.run([pfs, "down"], env=env, check=True)


if __name__ == "__main__":
    sys.exit(main())
