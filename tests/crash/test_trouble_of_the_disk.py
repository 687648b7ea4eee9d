"""
Bad sectors, fsyncs that fail, disks that may not be written, clocks that are set back.

Disks of all kinds are a `faultfs` (tools/) or a tmpfs; full ones are in mount/test_faults.py.
"""

from __future__ import annotations

import errno
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfsfuse.errors import ReadOnlyDiskError
from pfsfuse.versions.commits import list_commits
from tests.support.builders import World, assert_sound, ref
from tests.support.commands import PfsProcess
from tests.support.disks import disk_of
from tests.support.ledger import another_life, history
from tests.support.mounting import mounted
from tools.faultfs.client import FaultFs
from tools.faultfs.faults import Fault, On

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

SIZE = 400_000


@pytest.fixture
def disk(scratch: Path) -> Iterator[FaultFs]:
    with FaultFs(scratch / "disk") as made:
        yield made
        made.fail()
    assert "" == made.said


def put(pfs: PfsProcess, name: str, data: bytes, folder: Path) -> None:
    (folder / name).write_bytes(data)
    pfs.ok("put", "file", f"images@master:/{name}", "-f", folder / name)


def test_a_bad_sector_under_a_pack_costs_one_file_and_fsck_names_it(disk: FaultFs, scratch: Path) -> None:
    """Three files are in a pack; a few bytes in the middle of the second cannot be read any more."""
    pfs = PfsProcess(disk.point / "store")
    pfs.ok("create", "repo", "images")
    draw = random.Random(1)
    pack = disk.below / "store" / "packs" / "00000001.pack"
    ends = []
    for name in ("one", "two", "three"):
        put(pfs, name, draw.randbytes(SIZE), scratch)
        ends.append(pack.stat().st_size)
    bad = (ends[0] + ends[1]) // 2
    disk.fail(Fault(On.READ, "EIO", "store/packs/*", bad, bad + 1))
    disk.forget_pages()

    done = pfs("get", "file", "images@master:/two", "-o", scratch / "got")
    assert 8 == done.code
    assert "cannot be read at byte" in done.err
    for name in ("one", "three"):
        pfs.ok("get", "file", f"images@master:/{name}", "-o", scratch / "got")
        assert (scratch / name).read_bytes() == (scratch / "got").read_bytes()
    put(pfs, "four", draw.randbytes(SIZE), scratch)
    done = pfs("fsck", "--verify-data")
    assert 8 == done.code
    assert "S1" in done.out
    assert "images@master" in done.out or "00000001" in done.out


def test_a_bad_sector_reaches_programs_on_the_mount_as_eio_and_the_mount_goes_on(
    disk: FaultFs, scratch: Path
) -> None:
    """One file has it; its neighbours are read, and the bad one again when the disk is better."""
    with mounted(autocommit_s=-1, store=disk.point / "store", folder=scratch / "mounted") as mount:
        mount.declared += ["cannot be read", "Traceback", "failed"]
        top = mount.repo()
        for name in ("one", "two"):
            (top / name).write_bytes(random.Random(name).randbytes(SIZE))
            mount.finish()
        data = {name: random.Random(name).randbytes(SIZE) for name in ("one", "two")}
        mount.restart()
        packs = (disk.below / "store" / "packs").iterdir()
        found = {each.name: each.read_bytes().find(data["two"][:64]) for each in packs}
        (pack,) = [name for name, at in found.items() if at >= 0]
        disk.fail(Fault(On.READ, "EIO", f"store/packs/{pack}", found[pack] + 1000, found[pack] + 1001))
        disk.forget_pages()

        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            (top / "two").read_bytes()
        assert data["one"] == (top / "one").read_bytes()
        disk.fail()
        assert data["two"] == (top / "two").read_bytes()


@pytest.mark.parametrize("where", ["store/packs/*", "store/index/data.mdb"])
def test_a_sync_that_fails_is_told_and_nothing_is_lost_or_half(
    where: str, disk: FaultFs, scratch: Path
) -> None:
    """A put comes to a disk that cannot sync, another to the same disk when it can again; then the power fails."""
    pfs = PfsProcess(disk.point / "store")
    pfs.ok("create", "repo", "images")
    draw = random.Random(2)
    put(pfs, "before", draw.randbytes(SIZE), scratch)
    disk.fail(Fault(On.SYNC, "EIO", where))
    (scratch / "bad").write_bytes(draw.randbytes(SIZE))
    done = pfs("put", "file", "images@master:/bad", "-f", scratch / "bad")
    assert 0 != done.code
    assert "disk" in done.err or "Input/output error" in done.err
    disk.fail()
    put(pfs, "after", draw.randbytes(SIZE), scratch)

    files = {name: (scratch / name).read_bytes() for name in ("before", "after")}
    for seed in range(20):
        ((_, left),) = disk.cuts(random.Random(seed), [disk.position()])
        left.survive(scratch / f"cut{seed}")
        with another_life(scratch / f"cut{seed}"):
            world = World(scratch / f"cut{seed}" / "store")
            assert_sound(world)
            assert files == history(world, "images")[-1]
            world.close()


def test_an_fsync_in_the_mount_that_fails_is_told_each_time(disk: FaultFs, scratch: Path) -> None:
    """The disk forgets what it could not sync, so a second fsync that is a success would be a lie."""
    with mounted(autocommit_s=-1, store=disk.point / "store", folder=scratch / "mounted") as mount:
        mount.declared += ["Input/output error", "Traceback", "failed", "check the disk"]
        top = mount.repo()
        disk.fail(Fault(On.SYNC, "EIO", "store/staging/*/*"))
        for name, size in (("small", 1000), ("large", SIZE)):
            with open(top / name, "wb", buffering=0) as file:
                file.write(bytes(size))
                for _ in range(2):
                    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                        os.fsync(file.fileno())
        disk.fail()
        with open(top / "small", "rb") as file, pytest.raises(OSError, match=os.strerror(errno.EIO)):
            os.fsync(file.fileno())
        mount.finish()

        assert {"small": bytes(1000), "large": bytes(SIZE)} == mount.files()


def test_a_store_on_a_read_only_disk_can_be_read_and_says_why_not_written(tmp_path: Path) -> None:
    """The disk is mounted read-only, as after an error of its file system."""
    with disk_of("64m", tmp_path / "disk") as point:
        pfs = PfsProcess(point / "store")
        pfs.ok("create", "repo", "images")
        put(pfs, "f", b"data" * 1000, tmp_path)
        subprocess.run(["mount", "-o", "remount,ro", point], check=True)

        assert b"data" * 1000 == pfs.ok("get", "file", "images@master:/f").out.encode()
        assert "images" in pfs.ok("list", "repo").out
        assert "no problems" in pfs.ok("fsck", "--verify-data").out + pfs.ok("fsck").err
        for words in (["create", "repo", "more"], ["put", "file", "images@master:/g", "-f", tmp_path / "f"]):
            done = pfs(*words)
            assert 10 == done.code, done.err
            assert "the disk under the store is read-only" in done.err
        done = pfs("mount", tmp_path / "pfs")
        assert 10 == done.code, done.err
        assert "the disk under the store is read-only" in done.err
        world = World(point / "store")
        with pytest.raises(ReadOnlyDiskError), world.store.write():
            pass
        world.close()
        subprocess.run(["mount", "-o", "remount,rw", point], check=True)
        pfs.ok("create", "repo", "more")


def test_a_disk_that_becomes_read_only_under_a_mount_costs_writes_only(disk: FaultFs, scratch: Path) -> None:
    """Linux does that to a disk with errors: everything that changes it is EROFS from then on."""
    with mounted(autocommit_s=-1, store=disk.point / "store", folder=scratch / "mounted") as mount:
        mount.declared += ["Read-only file system", "Traceback", "failed", "refused a write", "Disk"]
        top = mount.repo()
        (top / "f").write_bytes(b"data")
        mount.finish()
        disk.fail(Fault(On.CHANGE, "EROFS"))

        with pytest.raises(OSError) as caught:
            (top / "g").write_bytes(b"more")
        assert errno.errorcode[caught.value.errno or 0] in ("EIO", "EROFS")
        assert b"data" == (top / "f").read_bytes()
        assert ["f"] == os.listdir(top)
        disk.fail()
        (top / "g").write_bytes(b"more")
        mount.finish()

        assert {"f": b"data", "g": b"more"} == mount.files()


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that says how much the clock of processes that are started is off."""
    libraries = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        pytest.skip("libfaketime is not installed (Debian: faketime)")
    made = tmp_path / "clock"
    made.write_text("+0")
    for name, value in {
        "LD_PRELOAD": os.fspath(libraries[0]),
        "FAKETIME_TIMESTAMP_FILE": os.fspath(made),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    return made


def test_commits_stay_in_order_and_finish_by_themselves_when_the_clock_goes_back(
    clock: Path, tmp_path: Path
) -> None:
    """The clock is set back by a day before each commit, once while one is open."""
    with mounted(autocommit_s=0.3, folder=tmp_path / "mounted") as mount:
        top = mount.repo()
        for number, offset in enumerate(["+0", "-1d", "-2d"]):
            (top / f"f{number}").write_bytes(b"%d" % number)
            clock.write_text(offset)
            mount.wait_for_commits(number + 1)
        with mount.world.store.read() as txn:
            found = list_commits(txn, ref().repo)

        names = [sorted(mount.world.files(each.root)) for each in found]
        assert [["f0", "f1", "f2"], ["f0", "f1"], ["f0"]] == names
        finished = [each.finished_ns or 0 for each in found]
        assert sorted(finished, reverse=True) == finished
        assert all(each.started_ns < (each.finished_ns or 0) for each in found)
