"""git's own test scripts, from the Debian source, each in a folder of the side."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from .sides import Checks, Client, Side
from .sources import built

SCRIPTS = [
    *("t0000", "t0001", "t0021", "t0050", "t1006", "t1300", "t1400", "t2107", "t3000", "t3600", "t3903"),
    *("t4001", "t5000", "t5300", "t5304", "t5510", "t6500", "t7001", "t7300", "t7508", "t7600"),
]
_WITHOUT = ["NO_CURL=1", "NO_GETTEXT=1", "NO_TCLTK=1", "NO_PYTHON=1", "NO_EXPAT=1"]
_LINE = re.compile(r"^(ok|not ok) (\d+)(.*)$", re.MULTILINE)
_TIMEOUT_S = 900


def prepare(cache: Path) -> None:
    built(cache, "git", ["make", "-j2", *_WITHOUT])


def run(side: Side, checks: Checks) -> None:
    tests = built(side.cache, "git") / "t"
    for script in SCRIPTS:
        [path] = tests.glob(f"{script}-*.sh")
        done = subprocess.run(
            ["sh", path.name, f"--root={side.folder}"],
            cwd=tests,
            # The results go elsewhere: both sides use one build.
            env={
                **os.environ,
                "TEST_OUTPUT_DIRECTORY": os.fspath(side.scratch),
                "HOME": os.fspath(side.scratch),
            },
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
        found = _LINE.findall(done.stdout)
        checks.require(
            script, bool(found), f"no test ran, exit status {done.returncode}: {done.stderr[-300:]}"
        )
        for verdict, number, title in found:
            is_expected = "# TODO known breakage" in title
            failed = verdict == "not ok" and not is_expected
            # Skipped on one side and run on the other is no failure.
            checks.require(f"{script}.{number}", not failed, title)


CLIENT = Client("git-scripts", "git's own test scripts, from the Debian source", run, prepare)
