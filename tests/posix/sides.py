"""A plain directory and an open commit of a mount."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.posix.cases import Sides, callers
from tests.support.mounting import mounted


@contextmanager
def both_sides(*, xattrs: bool = False) -> Iterator[Sides]:
    """A plain directory and an open commit of a mount of their own; the commit is finished at the end."""
    plain = Path(tempfile.mkdtemp(prefix="pfst-plain-", dir="/tmp"))
    try:
        with mounted(autocommit_s=-1, limit_s=300, xattrs=xattrs) as mount, callers() as made:
            branch = mount.repo("posix")
            for folder in (plain, mount.folder):
                os.chmod(folder, 0o755)
            yield Sides(made, plain, branch, mount)
            if mount.status()["open_commits"]:
                mount.finish("posix")
    finally:
        shutil.rmtree(plain)
