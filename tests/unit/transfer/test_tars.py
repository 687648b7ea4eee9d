"""Tar archives into the store and out of it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import zstandard

from pfsfuse.errors import InvalidNameError
from pfsfuse.transfer.tars import ArchiveError, Untarred, untar, write_tar
from pfsfuse.trees.entry import Entry
from pfsfuse.trees.order import walk_in_order
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.changesets import apply_to_tree
from tests.support.objects import MemoryObjects


class Store:
    """Where archives go."""

    def __init__(self) -> None:
        self.objects = MemoryObjects()
        self.trees = Trees(self.objects)

    def untar(self, data: bytes, *, step: int = 1000, target: tuple[bytes, ...] = ()) -> Untarred:
        parts = (data[start : start + step] for start in range(0, len(data), step))
        return untar(self.objects, parts, "the.tar", target)

    def tree(self, data: bytes) -> Entry:
        made = self.untar(data)
        assert [] == made.left_out
        return apply_to_tree(self.trees, self.objects, self.trees.empty_directory(), made.changes, mtime_ns=1)

    def tar(self, root: Entry) -> bytes:
        stream = io.BytesIO()
        write_tar(self.trees, walk_in_order(self.trees, root), stream, threads=2)
        return stream.getvalue()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with everything that an archive can hold of it."""
    made = tmp_path / "folder"
    (made / "sub" / "deep").mkdir(parents=True)
    (made / "empty").mkdir(mode=0o750)
    (made / "run.sh").write_text("#!/bin/sh\n")
    (made / "run.sh").chmod(0o755)
    (made / "sub" / "deep" / "data").write_bytes(os.urandom(700_000))
    (made / "sub" / "link").symlink_to("deep/data")
    (made / ("long" * 50)).write_text("a name that needs a header of its own")
    with open(os.fsencode(made) + b"/\xff\xe4", "wb") as file:
        file.write(b"no UTF-8")
    for path in [*made.rglob("*"), made]:
        os.utime(path, ns=(1, 1_234_567_890_123_456_789), follow_symlinks=False)
    return made


def facts(top: Path) -> dict[bytes, object]:
    """Return what must survive, by path."""
    found: dict[bytes, object] = {}
    for where, folders, files in os.walk(os.fsencode(top)):
        for name in [*folders, *files]:
            path = os.path.join(where, name)
            there = os.lstat(path)
            content: object = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                content = Path(os.fsdecode(path)).read_bytes()
            found[os.path.relpath(path, os.fsencode(top))] = (there.st_mode, there.st_mtime_ns, content)
    return found


def test_what_gnu_tar_packs_comes_out_for_gnu_tar_as_it_was(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    """
    Bytes, modes, times to the nanosecond, links, empty folders, long names and names of any bytes.
    """
    packed = subprocess.run(
        ["tar", "-C", folder, "--format=pax", "-cf", "-", "."], capture_output=True, check=True
    ).stdout
    back = tmp_path / "back"
    back.mkdir()

    subprocess.run(["tar", "-C", back, "-xpf", "-"], input=store.tar(store.tree(packed)), check=True)

    assert facts(folder) == facts(back)


@pytest.mark.parametrize(
    "pack",
    [
        bytes,
        gzip.compress,
        bz2.compress,
        lzma.compress,
        zstandard.compress,
        lambda data: gzip.compress(data[:5000]) + gzip.compress(data[5000:]),
        lambda data: zstandard.compress(data[:5000]) + zstandard.compress(data[5000:]),
        lambda data: gzip.compress(data) + bytes(512),
    ],
)
def test_compression_is_told_by_the_first_bytes(store: Store, pack: Callable[[bytes], bytes]) -> None:
    """
    Also where several compressed files follow each other, as parallel compressors make them.
    """
    packed = archive([("a", b"x" * 30_000), ("b", b"y")])

    for step in (1, 511, 1 << 20):
        made = store.untar(pack(packed), step=step)
        assert [(b"a",), (b"b",)] == [change.path for change in made.changes]


def archive(members: Iterable[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def test_an_archive_that_was_cut_off_is_an_error_wherever_it_was_cut(store: Store) -> None:
    """
    Between two members as well: what is missing could be anything.
    """
    whole = archive([("a", b"x" * 2000), ("b", b"y" * 100), ("c", b"z")])
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512

    for length in [0, 100, *range(512, end + 1, 512)]:
        with pytest.raises(ArchiveError, match="no whole tar archive"):
            store.untar(whole[:length])
    assert 3 == len(store.untar(whole).changes)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_a_compressed_archive_that_was_cut_off_is_an_error(
    store: Store, pack: Callable[[bytes], bytes]
) -> None:
    """
    Also if only the end of the compressor is missing.
    """
    packed = pack(archive([("a", os.urandom(20_000))]))

    for length in (len(packed) // 2, len(packed) - 1):
        with pytest.raises(ArchiveError):
            store.untar(packed[:length])


def test_damage_between_members_is_an_error(store: Store) -> None:
    """
    tarfile takes a header that makes no sense for the end.
    """
    whole = bytearray(archive([("a", b"x"), ("b", b"y")]))
    whole[1024 + 10] ^= 1

    with pytest.raises(ArchiveError, match="damaged or cut off"):
        store.untar(bytes(whole))
    with pytest.raises(ArchiveError):
        store.untar(b"this is no archive at all" * 100)


def test_no_member_leaves_the_target(store: Store) -> None:
    """
    A leading slash and dots alone do not matter; two dots are refused.
    """
    made = store.untar(archive([("/etc/x", b""), ("./y", b"")]), target=(b"in",))

    assert [(b"in", b"etc", b"x"), (b"in", b"y")] == [change.path for change in made.changes]
    for name in ("../x", "a/../../x", "a/.."):
        with pytest.raises(InvalidNameError):
            store.untar(archive([(name, b"")]))


def test_a_hard_link_is_an_equal_file_and_devices_are_left_out(store: Store) -> None:
    """
    The first name has the bytes; a link to something that is not in the archive has none.
    """
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        info = tarfile.TarInfo("one")
        info.size = 3
        made.addfile(info, io.BytesIO(b"abc"))
        for name, kind, target in [
            ("two", tarfile.LNKTYPE, "./one"),
            ("lost", tarfile.LNKTYPE, "elsewhere"),
            ("null", tarfile.CHRTYPE, ""),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            made.addfile(info)

    found = store.untar(stream.getvalue())

    assert [(b"one",), (b"two",)] == [change.path for change in found.changes]
    assert 1 == len({change.entry.content for change in found.changes})  # type: ignore[union-attr]
    assert ["lost", "null"] == found.left_out
