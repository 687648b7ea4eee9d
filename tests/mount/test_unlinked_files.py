"""Files that lost their name while they were open, or before the commit was finished, through a real mount."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.system import System

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

LARGE = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """A mount without a runner, which finishes nothing by itself."""
    with System("", run=False, autocommit_s=60) as system:
        yield system


def staged(system: System) -> list[Path]:
    """Return the files with bytes of open commits."""
    return [path for path in system.store.staging.rglob("*.data") if path.is_file()]


def test_a_removed_file_takes_no_room_any_more(system: System) -> None:
    """
    A program makes a large temporary file, closes it and removes it; the commit goes on.
    """
    system.create_repo("temporary")
    path = system.branch("temporary") / "large"
    path.write_bytes(LARGE)
    assert staged(system)

    path.unlink()

    system.until(lambda: not staged(system), "the bytes are gone")
    (system.branch("temporary") / "small").write_bytes(b"x")
    assert {"small": b"x"} == system.files("temporary", system.finish("temporary"))


@pytest.mark.parametrize("data", [b"small", LARGE])
def test_an_unlinked_file_is_read_until_its_last_descriptor_is_closed(system: System, data: bytes) -> None:
    """
    The writer has closed it, a reader has not; in between the commit is finished.
    """
    repo = f"reader-{len(data)}"
    system.create_repo(repo)
    path = system.branch(repo) / "file"
    path.write_bytes(data)
    with open(path, "rb", buffering=0) as reader:
        path.unlink()
        with open(system.branch(repo) / "other", "wb") as other:
            other.write(b"x")
        assert data == os.pread(reader.fileno(), len(data), 0)
        system.finish(repo)
        os.posix_fadvise(reader.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert data == os.pread(reader.fileno(), len(data), 0)

    system.until(lambda: not staged(system), "the bytes are gone")
