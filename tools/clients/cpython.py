"""CPython's own tests of files, in the interpreter that has them (Debian: libpython3.11-testsuite)."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from .sides import Checks, Client, ClientError, Side

TESTS = [
    *("test_os", "test_shutil", "test_tempfile", "test_tarfile", "test_zipfile"),
    *("test_fileio", "test_io", "test_pathlib", "test_mmap", "test_sqlite3"),
]

_FAILED = re.compile(r"^(?:FAIL|ERROR): (.+)$", re.MULTILINE)
_TIMEOUT_S = 600


def run(side: Side, checks: Checks) -> None:
    for name in TESTS:
        interpreter = _interpreter_with(name)
        if interpreter is None:
            raise ClientError(f"no interpreter here has {name}: install libpython3.11-testsuite")
        # The working directory is not on the mount: the test runner makes one of its own below --tempdir.
        done = subprocess.run(
            [interpreter, "-m", "test", "-W", "--tempdir", os.fspath(side.folder), name],
            cwd="/tmp",
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        failures = _FAILED.findall(done.stdout + done.stderr)
        checks.require(name, done.returncode == 0 or bool(failures), f"exit status {done.returncode}")
        for failure in failures:
            checks.outcomes[f"{name}: {failure}"] = "fails"


def _interpreter_with(test: str) -> str | None:
    """Return an interpreter that has this test: Debian's, this one, or the one that made this environment."""
    looking = f"import importlib.util, sys; sys.exit(importlib.util.find_spec('test.{test}') is None)"
    for candidate in dict.fromkeys(("/usr/bin/python3", sys.executable, os.path.realpath(sys.executable))):
        if subprocess.run([candidate, "-c", looking], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


CLIENT = Client("cpython", "CPython's own tests of files", run)
