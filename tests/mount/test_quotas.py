"""Quotas in the mount: EDQUOT where another file system would say it, and a true `df`."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfsfuse.versions.repos import update_repo
from tests.support.commands import PfsProcess
from tests.support.mounting import Mounted, mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(90)]

LIMIT = 1 << 20
PIECE = bytes(64 << 10)


@pytest.fixture(params=["pyfuse3", "direct"])
def it(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mounted]:
    """A mount, by either transport, whose commits are finished by name."""
    monkeypatch.setenv("PFS_TRANSPORT", request.param)
    with mounted(autocommit_s=-1.0) as made:
        yield made


@pytest.fixture
def master(it: Mounted) -> Path:
    """The branch master of a repo that may have 1 MiB."""
    found = it.repo()
    set_quota(it, LIMIT)
    return found


def set_quota(it: Mounted, quota: int | None) -> None:
    with it.world.store.write() as txn:
        update_repo(txn, "images", quota_bytes=quota)
    it.barrier()


def fill(path: Path) -> tuple[int, int]:
    """Write to a file until that fails; return how many bytes it took, and the error number."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    done = 0
    try:
        while True:
            done += os.write(fd, PIECE)
    except OSError as error:
        return done, error.errno or 0
    finally:
        os.close(fd)


def test_a_write_beyond_the_quota_is_told_by_that_write(it: Mounted, master: Path) -> None:
    """
    A file is written until nothing more fits; another is removed, and there is room again.
    """
    (master / "other").write_bytes(bytes(LIMIT // 2))

    assert (LIMIT // 2, errno.EDQUOT) == fill(master / "file")
    with pytest.raises(OSError, match="quota") as caught:
        (master / "one more").write_bytes(b"x")
    assert errno.EDQUOT == caught.value.errno
    (master / "other").unlink()
    (master / "one more").write_bytes(bytes(LIMIT // 2))

    it.finish()
    assert LIMIT == sum(map(len, it.files().values()))


def test_a_truncation_beyond_the_quota_is_refused(it: Mounted, master: Path) -> None:
    """
    Holes count: what is promised is what a reader would get.
    """
    (master / "file").write_bytes(b"x" * 1000)

    with pytest.raises(OSError, match="quota") as caught:
        os.truncate(master / "file", LIMIT + 1)

    assert (errno.EDQUOT, 1000) == (caught.value.errno, (master / "file").stat().st_size)
    os.truncate(master / "file", LIMIT)
    it.finish()
    assert [LIMIT] == list(map(len, it.files().values()))


def test_far_below_a_quota_who_exceeds_it_is_told_at_the_latest_by_fsync(it: Mounted, master: Path) -> None:
    """
    The kernel collects writes where there is plenty of room.
    """
    large = 66 << 20
    set_quota(it, large)
    fd = os.open(master / "file", os.O_WRONLY | os.O_CREAT)
    try:
        with pytest.raises(OSError, match="quota") as caught:
            for _ in range(70):
                os.write(fd, bytes(1 << 20))
            os.fsync(fd)
    finally:
        os.close(fd)

    assert errno.EDQUOT == caught.value.errno
    (master / "file").unlink()
    it.finish()


def test_a_quota_that_is_changed_holds_from_then_on(it: Mounted, master: Path) -> None:
    """
    A commit is open; its repo gets more, then less, then no limit.
    """
    (master / "file").write_bytes(bytes(LIMIT))
    set_quota(it, 2 * LIMIT)
    assert (LIMIT, errno.EDQUOT) == fill(master / "more")
    set_quota(it, 10)
    assert (0, errno.EDQUOT) == fill(master / "none")
    set_quota(it, None)
    (master / "none").write_bytes(bytes(100))

    it.finish()
    assert 2 * LIMIT + 100 == sum(map(len, it.files().values()))


def test_put_file_beyond_the_quota_fails_with_a_code_of_its_own(it: Mounted, master: Path) -> None:
    """
    Once as a commit of its own, once into the open commit.
    """
    pfs = PfsProcess(it.world.root)
    refused = [pfs("put", "file", "images@master:f", "-f", "-", input=bytes(LIMIT + 1))]
    (master / "open").write_bytes(b"1")
    refused.append(pfs("put", "file", "images@master:f", "-f", "-", input=bytes(LIMIT)))

    assert [6, 6] == [done.code for done in refused]
    assert all("quota" in done.err for done in refused)
    it.finish()
    assert {"open": b"1"} == it.files()


def test_df_of_a_repo_with_a_quota_is_true(it: Mounted, master: Path) -> None:
    """
    Where the transport hears which place is meant: pyfuse3 does not, and shows the disk.
    """
    (master / "file").write_bytes(bytes(LIMIT // 4))
    disk = os.statvfs(it.world.root)

    room = os.statvfs(master)

    if os.environ["PFS_TRANSPORT"] == "pyfuse3":
        assert disk.f_blocks == room.f_blocks
        return
    assert (LIMIT, LIMIT * 3 // 4) == (room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize)
    (master / "file").unlink()
    room = os.statvfs(master)
    assert LIMIT == room.f_bavail * room.f_frsize
    set_quota(it, None)
    assert disk.f_blocks == os.statvfs(master).f_blocks
