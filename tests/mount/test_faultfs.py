"""The fault-injecting file system of tools/: that it forgets what a disk may forget, and nothing else."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import lmdb
import pytest

from tools.faultfs.client import FaultFs, sync_positions
from tools.faultfs.faults import Fault, On
from tools.faultfs.log import Synced

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

TRIES = 60


@pytest.fixture
def fs(tmp_path: Path) -> Iterator[FaultFs]:
    """A mounted faultfs, over a folder of a disk; nothing goes wrong in it that nobody asked for."""
    with FaultFs(tmp_path / "fs") as made:
        yield made
    assert "" == made.said


def left(fs: FaultFs, position: int, tmp_path: Path, see: Callable[[Path], object]) -> list[object]:
    """Return what *see* sees after each of many power cuts at one position, each different thing once."""
    found: list[object] = []
    for seed in range(TRIES):
        ((_, disk),) = fs.cuts(Random(seed), [position])
        folder = Path(tempfile.mkdtemp(dir=tmp_path)) / "left"
        disk.survive(folder)
        seen = see(folder)
        if seen not in found:
            found.append(seen)
    return found


def write(path: Path, data: bytes, *, offset: int = 0, sync: bool = False) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(fd, data, offset)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def content(name: str) -> Callable[[Path], bytes | None]:
    def see(folder: Path) -> bytes | None:
        return (folder / name).read_bytes() if (folder / name).exists() else None

    return see


def names(folder: Path) -> list[str]:
    return sorted(os.path.relpath(path, folder) for path in folder.rglob("*"))


def test_it_is_an_ordinary_folder_while_nothing_fails(fs: FaultFs) -> None:
    """What programs do with a disk: write, map, rename, link, remove; below is the same."""
    top = fs.point
    (top / "d").mkdir()
    (top / "d" / "f").write_bytes(b"abc" * 100_000)
    with open(top / "d" / "f", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[1:2] = b"X"
        mapped.flush()
    os.link(top / "d" / "f", top / "g")
    os.symlink("d/f", top / "s")
    os.rename(top / "d" / "f", top / "h")
    with open(top / "h", "ab") as file:
        file.write(b"end")
    os.truncate(top / "g", 300_002)
    (top / "gone").touch()
    (top / "gone").unlink()
    os.chmod(top / "h", 0o600)

    for folder in (top, fs.below):
        assert ["d", "g", "h", "s"] == sorted(os.listdir(folder))
        assert b"aXc" + b"abc" * 99_999 + b"en" == (folder / "h").read_bytes()
        assert 2 == os.stat(folder / "g").st_nlink
        assert 0o600 == os.stat(folder / "g").st_mode & 0o777
        assert "d/f" == os.readlink(folder / "s")


def test_what_was_not_synced_may_be_gone_and_what_was_is_there(fs: FaultFs, tmp_path: Path) -> None:
    """A file is synced with its folder, and then written again."""
    write(fs.point / "f", b"first", sync=True)
    nameless = fs.position()
    sync_folder(fs.point)
    named = fs.position()
    write(fs.point / "f", b"other")
    written = fs.position()

    assert {None, b"first"} == set(left(fs, nameless, tmp_path, content("f")))
    assert [b"first"] == left(fs, named, tmp_path, content("f"))
    assert {b"first", b"other"} == set(left(fs, written, tmp_path, content("f")))


def test_blocks_that_were_not_synced_come_in_any_order(fs: FaultFs, tmp_path: Path) -> None:
    """Sixteen blocks are written over zeros; some are there and not always the first ones."""
    write(fs.point / "f", bytes(16 * 4096), sync=True)
    sync_folder(fs.point)
    write(fs.point / "f", b"\1" * (16 * 4096))

    def see(folder: Path) -> tuple[int, ...]:
        data = (folder / "f").read_bytes()
        assert 16 * 4096 == len(data)
        blocks = [data[at : at + 4096] for at in range(0, len(data), 4096)]
        assert all(block in (bytes(4096), b"\1" * 4096) for block in blocks)
        return tuple(block[0] for block in blocks)

    found = left(fs, fs.position(), tmp_path, see)
    assert (0,) * 16 in found
    assert (1,) * 16 in found
    assert any(seen.index(1) > seen.index(0) for seen in found if 0 < sum(seen) < 16)  # type: ignore[attr-defined,arg-type]


def test_a_sync_covers_what_was_written_through_another_descriptor_or_a_mapping(
    fs: FaultFs, tmp_path: Path
) -> None:
    """One program writes and maps, another syncs; O_DSYNC syncs by itself, as LMDB uses it."""
    write(fs.point / "f", bytes(8192), sync=True)
    sync_folder(fs.point)
    with open(fs.point / "f", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0:3] = b"map"
        write(fs.point / "f", b"write", offset=4096)
        with open(fs.point / "f", "rb") as other:
            os.fdatasync(other.fileno())
        assert [b"map"] == left(fs, fs.position(), tmp_path, lambda top: content("f")(top)[:3])  # type: ignore[index]
        assert [b"write"] == left(fs, fs.position(), tmp_path, lambda top: content("f")(top)[4096:4101])  # type: ignore[index]
    fd = os.open(fs.point / "f", os.O_WRONLY | os.O_DSYNC)
    os.pwrite(fd, b"dsync", 0)
    assert [b"dsync"] == left(fs, fs.position(), tmp_path, lambda top: content("f")(top)[:5])  # type: ignore[index]
    os.close(fd)


def test_a_rename_without_a_sync_of_the_folder_is_there_or_not_and_loses_nothing(
    fs: FaultFs, tmp_path: Path
) -> None:
    """The usual way to replace a file: a draft, synced, and renamed."""
    write(fs.point / "f", b"old", sync=True)
    sync_folder(fs.point)
    write(fs.point / "draft", b"new", sync=True)
    os.rename(fs.point / "draft", fs.point / "f")
    renamed = fs.position()
    sync_folder(fs.point)
    synced = fs.position()

    assert {b"old", b"new"} == set(left(fs, renamed, tmp_path, content("f")))
    assert [b"new"] == left(fs, synced, tmp_path, content("f"))
    assert [["f"]] == left(fs, synced, tmp_path, names)


def test_names_of_every_kind_are_lost_with_their_folder(fs: FaultFs, tmp_path: Path) -> None:
    """A folder in a folder: each has to be synced for what is in it."""
    (fs.point / "a" / "b").mkdir(parents=True)
    write(fs.point / "a" / "b" / "f", b"f", sync=True)
    sync_folder(fs.point / "a" / "b")
    below = fs.position()
    sync_folder(fs.point / "a")
    sync_folder(fs.point)
    all_of_it = fs.position()
    os.unlink(fs.point / "a" / "b" / "f")
    unlinked = fs.position()

    assert [] in left(fs, below, tmp_path, names)
    assert [["a", "a/b", "a/b/f"]] == left(fs, all_of_it, tmp_path, names)
    assert (
        [["a", "a/b"], ["a", "a/b/f"]]
        == sorted(  # type: ignore[type-var]
            [each[:1] + each[-1:] if len(each) == 3 else each for each in left(fs, unlinked, tmp_path, names)]  # type: ignore[index,arg-type]
        )
    )


def test_what_was_there_before_is_durable(tmp_path: Path) -> None:
    """A faultfs begins over a folder with files."""
    below = tmp_path / "fs" / "below"
    (below / "d").mkdir(parents=True)
    (below / "d" / "f").write_bytes(b"before")
    os.link(below / "d" / "f", below / "g")
    with FaultFs(tmp_path / "fs") as fs:
        assert b"before" == (fs.point / "d" / "f").read_bytes()
        assert [["d", "d/f", "g"]] == left(fs, fs.position(), tmp_path, names)
        assert [b"before"] == left(fs, fs.position(), tmp_path, content("g"))


def test_a_sync_that_fails_drops_what_it_was_to_save(fs: FaultFs, tmp_path: Path) -> None:
    """The next sync is a success and does not help: that is what Linux does."""
    write(fs.point / "f", b"old", sync=True)
    sync_folder(fs.point)
    fd = os.open(fs.point / "f", os.O_WRONLY)
    os.pwrite(fd, b"new", 0)
    fs.fail(Fault(On.SYNC, "EIO", "f"))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        os.fsync(fd)
    fs.fail()
    os.fsync(fd)
    os.close(fd)

    assert {b"old", b"new"} == set(left(fs, fs.position(), tmp_path, content("f")))


def test_reads_of_a_range_of_one_file_fail_and_all_others_do_not(fs: FaultFs) -> None:
    """A bad sector; what the kernel has read already is forgotten first."""
    (fs.point / "d").mkdir()
    for name in ("d/bad", "d/good"):
        write(fs.point / name, b"x" * 100_000)
        assert b"x" * 100_000 == (fs.point / name).read_bytes()
    fs.fail(Fault(On.READ, "EIO", "d/bad", 40_000, 40_001))
    fs.forget_pages()

    with open(fs.point / "d" / "bad", "rb", buffering=0) as file:
        assert b"x" * 4096 == os.pread(file.fileno(), 4096, 0)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            os.pread(file.fileno(), 4096, 40_000)
    assert b"x" * 100_000 == (fs.point / "d" / "good").read_bytes()


@pytest.mark.parametrize(("error", "on"), [("ENOSPC", On.WRITE), ("EROFS", On.CHANGE), ("EIO", On.CHANGE)])
def test_writes_fail_as_told_and_what_is_there_can_be_read(fs: FaultFs, error: str, on: On) -> None:
    """A full, a read-only and a broken disk."""
    write(fs.point / "f", b"there")
    fs.fail(Fault(on, error))

    with pytest.raises(OSError) as caught:
        write(fs.point / "f", b"more")
    assert error == errno.errorcode[caught.value.errno or 0]
    if on is On.CHANGE:
        with pytest.raises(OSError) as caught:
            os.mkdir(fs.point / "d")
        assert error == errno.errorcode[caught.value.errno or 0]
    assert b"there" == (fs.point / "f").read_bytes()


SYNCS = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
for number in range(5):
    os.pwrite(fd, b"%d" % number, number)
    os.fsync(fd)
    print(number, flush=True)
"""


@pytest.mark.parametrize("after", [False, True])
def test_a_program_can_be_killed_at_the_fsync_of_ones_choice(fs: FaultFs, *, after: bool) -> None:
    """It syncs five times and is killed in the third one."""
    before = fs.syncs()
    fs.hold(3, after=after)
    with fs.waiting() as held:
        program = subprocess.Popen(
            [sys.executable, "-c", SYNCS, fs.point / "f"], stdout=subprocess.PIPE, text=True
        )
        held.recv(100)
    program.kill()
    fs.let_go()
    said, _ = program.communicate()

    assert ["0", "1"] == said.split()
    assert b"012" == (fs.point / "f").read_bytes()
    assert before + 2 + after == fs.syncs()


def test_lmdb_works_on_it_and_survives_every_cut(fs: FaultFs, tmp_path: Path) -> None:
    """The index of a store: read through a map, written by pwrite; a transaction that has returned is there."""
    with lmdb.open(os.fspath(fs.point / "db"), map_size=1 << 30) as env:
        sync_folder(fs.point / "db")
        sync_folder(fs.point)
        fs.mark("0")
        for number in range(1, 20):
            with env.begin(write=True) as txn:
                txn.put(b"number", b"%d" % number)
                txn.put(b"fill%d" % number, os.urandom(3000))
            fs.mark(str(number))
            with env.begin() as txn:
                assert b"%d" % number == txn.get(b"number")
    log = fs.records()
    assert sum(isinstance(record, Synced) for record in log) >= 2 * 19

    for position, disk in fs.cuts(Random(1), sync_positions(log)):
        if not disk.marks:
            continue
        promised = int(disk.marks[-1])
        folder = tmp_path / f"cut-{position}"
        disk.survive(folder)
        with lmdb.open(os.fspath(folder / "db"), map_size=1 << 30) as env, env.begin() as txn:
            found = int(txn.get(b"number") or b"0")
            assert promised <= found <= promised + 1
            assert all(len(txn.get(b"fill%d" % number)) == 3000 for number in range(1, found + 1))
