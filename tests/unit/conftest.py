"""What unit tests of the store need of the machine."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disks import disk_of


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
    with disk_of("1m", tmp_path / "small") as point:
        (point / "ballast").write_bytes(bytes(256 << 10))
        yield point
