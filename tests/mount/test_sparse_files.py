"""Sparse files: what nobody wrote costs nothing, however long it is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support.mounting import Mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

TIB = 1 << 40


def stored_bytes(mount: Mounted) -> int:
    """Return what the packs of the store take."""
    return sum(path.stat().st_blocks * 512 for path in (mount.world.root / "packs").iterdir())


def seen(path: Path, *places: int) -> list[bytes]:
    """Return three bytes at each of the places."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return [os.pread(fd, 3, place) for place in places]
    finally:
        os.close(fd)


def test_a_hole_of_a_tebibyte_is_committed_in_a_moment(patient: Mounted) -> None:
    """Truncated to it; then three bytes are written in the middle, then it is cut, each in a commit of its own."""
    master = patient.repo("hole")
    path = master / "f"
    path.touch()
    patient.finish("hole")
    before, start = stored_bytes(patient), time.monotonic()

    os.truncate(path, TIB)
    first = patient.finish("hole")
    with open(path, "r+b") as file:
        file.seek(TIB // 3)
        file.write(b"abc")
    second = patient.finish("hole")
    os.truncate(path, TIB // 2 + 1)
    third = patient.finish("hole")

    took = time.monotonic() - start
    there = patient.point / "hole" / ".commits"
    zeros = bytes(3)
    assert [zeros] * 3 == seen(there / first.id.hex() / "f", 0, TIB // 3, TIB - 3)
    assert [zeros, b"abc", zeros] == seen(there / second.id.hex() / "f", 0, TIB // 3, TIB - 3)
    assert [zeros, b"abc", b"\0"] == seen(there / third.id.hex() / "f", 0, TIB // 3, TIB // 2)
    assert TIB // 2 + 1 == path.stat().st_size
    assert stored_bytes(patient) - before < 1 << 20
    assert took < 10


def test_blocks_tell_what_was_written(patient: Mounted) -> None:
    """Of an open file and in the finished commit: `du` is true, and programs see that there are holes."""
    master = patient.repo("blocks")
    path = master / "f"
    with open(path, "wb") as file:
        file.truncate(1 << 30)
        file.seek(500 << 20)
        file.write(os.urandom(3 << 20))
    (master / "full").write_bytes(os.urandom(2 << 20))
    wanted = 3 << 20

    assert wanted <= path.stat().st_blocks * 512 <= wanted + (1 << 20)
    assert 2 << 20 == (master / "full").stat().st_blocks * 512
    patient.finish("blocks")
    patient.restart()
    assert wanted <= path.stat().st_blocks * 512 <= wanted + (4 << 20)
    assert 2 << 20 == (master / "full").stat().st_blocks * 512
    os.chmod(path, 0o600)
    patient.finish("blocks")
    assert wanted <= path.stat().st_blocks * 512 <= wanted + (4 << 20)
