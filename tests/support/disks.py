"""Small disks, for tests of what happens when there is no room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def disk_of(size: str, point: Path) -> Iterator[Path]:
    """A tmpfs of *size*, as mount(8) writes it, on the new folder *point*; gone at the end.  Root only."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", os.fspath(point)], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", os.fspath(point)], check=True)
