"""What unit tests of the store need of the machine."""

from __future__ import annotations

import inspect
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_undeclared_warning(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which pfs logged a warning; a test that expects one looks at `caplog` itself."""
    yield
    if "caplog" not in inspect.signature(request.function).parameters:
        records = [*caplog.get_records("setup"), *caplog.get_records("call")]
        undeclared = [
            r.getMessage() for r in records if r.levelno >= logging.WARNING and r.name.startswith("pfsfuse")
        ]
        assert not undeclared, undeclared


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own with 1 MiB, a quarter of which the file `ballast` takes: root only."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    point = tmp_path / "small"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", os.fspath(point)], check=True)
    try:
        (point / "ballast").write_bytes(bytes(256 << 10))
        yield point
    finally:
        subprocess.run(["umount", "-l", os.fspath(point)], check=True)
