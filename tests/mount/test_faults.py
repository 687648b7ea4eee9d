"""A full disk and kill -9: who is told, and what is there afterwards."""

from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfsfuse.errors import OutOfSpaceError
from tests.support.builders import ref
from tests.support.disks import disk_of
from tests.support.mounting import mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(90)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own with 12 MiB."""
    with disk_of("12m", tmp_path / "small") as point:
        yield point


def write_until_full(path: Path) -> None:
    """Write random bytes until somebody says that there is no room."""
    with open(path, "wb", buffering=0) as file:
        for _ in range(64):
            file.write(os.urandom(1 << 20))
            os.fsync(file.fileno())


def test_a_full_disk_reaches_the_writer_and_the_store_goes_on(small_disk: Path) -> None:
    """A file is larger than the disk; small files fail, too; one is removed, and work goes on."""
    with mounted(autocommit_s=-1, store=small_disk / "store") as mount:
        mount.declared += ["no space left", "disk under the store is full", "Traceback", "failed"]
        master = mount.repo()
        (master / "before").write_bytes(b"before")
        mount.finish()

        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            write_until_full(master / "big")
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            for number in range(1000):
                (master / f"small{number}").write_bytes(os.urandom(100_000))
        assert b"before" == (master / "before").read_bytes()
        os.unlink(master / "big")
        for name in os.listdir(master):
            if name.startswith("small"):
                os.unlink(master / name)
        (master / "after").write_bytes(b"after")
        with mount.client() as client:
            client.drop(ref())
        (master / "after").write_bytes(b"after")
        mount.finish()

        assert {"before": b"before", "after": b"after"} == mount.files()


def test_a_copy_that_ran_into_a_full_disk_is_not_published(small_disk: Path) -> None:
    """The commit would finish by itself; what is there is half of a file."""
    with mounted(autocommit_s=0.2, store=small_disk / "store") as mount:
        mount.declared += ["no space left", "disk under the store is full", "Traceback", "failed"]
        master = mount.repo()

        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            write_until_full(master / "big")

        with mount.client() as client:
            (opened,) = client.status()["open_commits"]
            assert opened["held"]
            os.unlink(master / "big")
            (opened,) = client.status()["open_commits"]
            assert not opened["held"]


def test_a_commit_that_cannot_be_finished_stays_open_and_is_finished_when_there_is_room(
    small_disk: Path,
) -> None:
    """The disk has room for what is staged and not for the same in packs; then somebody makes room."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(5 << 20))
    with mounted(autocommit_s=-1, store=small_disk / "store") as mount:
        mount.declared += ["disk", "space", "Traceback", "failed", "stays open"]
        master = mount.repo()
        data = {f"f{number}": os.urandom(400_000) for number in range(10)}
        for name, each in data.items():
            (master / name).write_bytes(each)

        with pytest.raises(OutOfSpaceError):
            mount.finish()
        with pytest.raises(OutOfSpaceError):
            mount.finish()
        assert data == {name: (master / name).read_bytes() for name in data}
        ballast.unlink()
        mount.finish()

        assert data == mount.files()


def test_an_automatic_finish_is_tried_again_when_there_is_room(
    small_disk: Path,
) -> None:
    """Nobody asks for the finish, so the log says why the commit stays open."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(5 << 20))
    with mounted(autocommit_s=0.1, store=small_disk / "store") as mount:
        mount.declared += ["disk", "space", "Traceback", "failed", "stays open"]
        master = mount.repo()
        data = {f"f{number}": os.urandom(400_000) for number in range(10)}
        for name, each in data.items():
            (master / name).write_bytes(each)
        while "stays open" not in mount.log:
            time.sleep(0.05)
        ballast.unlink()
        mount.wait_for_commits(1)

        assert data == mount.files()


def test_what_was_closed_or_fsynced_survives_kill_9_and_the_commit_waits(tmp_path: Path) -> None:
    """The mount is killed while one file is written; then it is mounted again."""
    with mounted(autocommit_s=0.3) as mount:
        master = mount.repo()
        (master / "finished").write_bytes(b"finished")
        mount.wait_for_commits(1)
        before = mount.head()
        (master / "d").mkdir()
        large = os.urandom(3_000_000)
        (master / "d/closed").write_bytes(b"closed")
        (master / "d/large").write_bytes(large)
        os.rename(master / "finished", master / "renamed")
        synced = os.open(master / "synced", os.O_CREAT | os.O_WRONLY)
        os.write(synced, b"synced")
        os.fsync(synced)
        os.write(synced, b" and lost, perhaps")

        mount.kill()
        with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
            os.listdir(mount.point)
        with pytest.raises(OSError):
            os.close(synced)
        mount.start()

        assert [True] == [each["held"] for each in mount.status()["open_commits"]]
        assert (b"closed", large) == ((master / "d/closed").read_bytes(), (master / "d/large").read_bytes())
        assert (master / "synced").read_bytes().startswith(b"synced")
        assert ["d", "renamed", "synced"] == sorted(os.listdir(master))
        assert before == mount.head()
        # A held commit waits for a change, however long: three times as long as others do.
        time.sleep(1.0)
        assert 1 == mount.count()
        (master / "again").write_bytes(b"again")
        mount.wait_for_commits(2)
        assert {"d/closed", "d/large", "renamed", "synced", "again"} == mount.files().keys()


def test_a_mount_that_ended_in_good_order_goes_on_where_it_was(tmp_path: Path) -> None:
    """It is stopped before the commit finishes by itself, and mounted again."""
    with mounted(autocommit_s=1.0) as mount:
        (mount.repo() / "f").write_bytes(b"1")
        mount.restart()
        assert [False] == [each["held"] for each in mount.status()["open_commits"]]
        mount.wait_for_commits(1)

        assert {"f": b"1"} == mount.files()


def test_many_large_files_in_one_commit_need_few_descriptors(tmp_path: Path) -> None:
    """`cp -r` of more large files than the mount process may have open."""
    with mounted(autocommit_s=-1) as mount:
        assert mount.process is not None
        resource.prlimit(mount.process.pid, resource.RLIMIT_NOFILE, (128, 128))
        master = mount.repo()
        for number in range(200):
            (master / f"f{number}").write_bytes(b"%d" % number * 100_000)
        mount.finish()

        assert {f"f{number}": b"%d" % number * 100_000 for number in range(200)} == mount.files()
