"""The kernel is asked to let inodes go, so that a walk over millions of files does not fill the memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfsfuse.mount.transports import TRANSPORTS
from tests.support.mounting import Mounted, mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

_MOST = 200


@pytest.fixture(params=list(TRANSPORTS))
def mount(request: pytest.FixtureRequest) -> Iterator[Mounted]:
    """A mount that wants to know few inodes, over a commit of 2,000 files."""
    with mounted(autocommit_s=-1, transport=request.param, most_inodes=_MOST) as made:
        made.world.commit({f"d{number % 20:02}/f{number:04}": b"%d" % number for number in range(2000)})
        made.barrier()
        yield made


def walk(folder: Path) -> dict[str, int]:
    """Look every file up, and return the inodes."""
    return {
        os.path.relpath(os.path.join(above, name), folder): os.stat(os.path.join(above, name)).st_ino
        for above, _, names in os.walk(folder)
        for name in names
    }


def wait_until_few(mount: Mounted) -> int:
    deadline = time.monotonic() + 20
    while (known := mount.status()["inodes"]) > _MOST and time.monotonic() < deadline:
        time.sleep(0.05)
    return int(known)


def test_the_number_of_inodes_stays_bounded_and_nothing_changes(mount: Mounted) -> None:
    """Walked twice: the files have the inodes and the bytes that they had."""
    master = mount.master()
    before = walk(master)
    assert wait_until_few(mount) <= _MOST

    assert before == walk(master)
    assert b"1234" == (master / "d14/f1234").read_bytes()


def test_what_is_in_use_is_kept(mount: Mounted) -> None:
    """A file that is open, one that is being written, a working directory."""
    master = mount.master()
    (master / "d00/new").write_bytes(b"new")
    with open(master / "d01/f0001", "rb") as read, open(master / "d02/new", "wb") as written:
        number = os.fstat(read.fileno()).st_ino
        folder = os.open(master / "d03", os.O_RDONLY | os.O_DIRECTORY)
        walk(master)
        assert wait_until_few(mount) <= _MOST
        written.write(b"still")

        assert (b"1", number) == (read.read(), os.stat(master / "d01/f0001").st_ino)
        assert 100 == len(os.listdir(folder))
        os.close(folder)
    mount.finish()
    assert (b"new", b"still") == (mount.files()["d00/new"], mount.files()["d02/new"])
