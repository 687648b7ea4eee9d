"""The two sides that each case is run on."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.posix.cases import Sides, callers
from tests.support.mounting import mounted


@pytest.fixture(scope="package")
def sides() -> Iterator[Sides]:
    """A plain directory and an open commit, for all tests of this folder."""
    plain = Path(tempfile.mkdtemp(prefix="pfst-plain-", dir="/tmp"))
    try:
        with mounted(autocommit_s=-1, limit_s=300) as mount, callers() as made:
            branch = mount.repo("posix")
            for folder in (plain, mount.folder):
                os.chmod(folder, 0o755)
            yield Sides(made, plain, branch)
            mount.finish("posix")
    finally:
        shutil.rmtree(plain)
