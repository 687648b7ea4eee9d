"""rsync's own test suite, from the Debian source."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from .sides import Checks, Client, Side
from .sources import built

_WITHOUT = ["--disable-md2man", "--disable-openssl", "--disable-xxhash", "--disable-zstd", "--disable-lz4"]
_LINE = re.compile(r"^(PASS|FAIL|ERROR|XFAIL|SKIP)\s+(\S+)(.*)$", re.MULTILINE)
_TIMEOUT_S = 1800


def prepare(cache: Path) -> None:
    _built(cache)


_HELPERS = r"""printf 'include Makefile\nhelpers: $(CHECK_PROGS) $(CHECK_SYMLINKS)\n' | make -f - helpers"""
"""The Makefile makes these only as a part of running the suite."""


def _built(cache: Path) -> Path:
    return built(cache, "rsync", ["./configure", *_WITHOUT], ["make", "-j2", "all"], ["sh", "-c", _HELPERS])


def run(side: Side, checks: Checks) -> None:
    source = _built(side.cache)
    done = subprocess.run(
        ["./runtests.sh"],
        cwd=source,
        env={**os.environ, "rsync_bin": f"{source}/rsync", "scratchbase": os.fspath(side.folder)},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_TIMEOUT_S,
        check=False,
    )
    found = _LINE.findall(done.stdout)
    checks.require("the suite ran", bool(found), done.stdout + done.stderr)
    for verdict, name, more in found:
        checks.require(name, verdict not in ("FAIL", "ERROR", "XFAIL"), f"{verdict} {more}")


CLIENT = Client("rsync-suite", "rsync's own test suite, from the Debian source", run, prepare)
