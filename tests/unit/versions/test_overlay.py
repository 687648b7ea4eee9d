"""The writable tree of an open commit, without a mount."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfsfuse.errors import (
    ExistsError,
    InvalidNameError,
    IsADirectoryPathError,
    NotADirectoryPathError,
    NotEmptyError,
    OutOfSpaceError,
    PathNotFoundError,
)
from pfsfuse.trees.contents import Contents
from pfsfuse.trees.entry import Entry, Kind
from pfsfuse.versions.overlay import Overlay
from pfsfuse.versions.staged import SMALL, Node, StagedDirectory, StagedFile
from tests.support.builders import World, path_of, shown

LARGE = b"".join(b"%07d\n" % n for n in range(SMALL // 4))
"""Twice as long as a file that is staged whole."""


class Edit:
    """An overlay with operations by path."""

    def __init__(self, world: World, base: Entry | None, scratch: Path) -> None:
        self.world = world
        self.base = base
        self.overlay = Overlay(world.trees, base, scratch, objects=world.store.chunks)

    def directory(self, path: str) -> StagedDirectory:
        """Return the staged directory above *path*."""
        node: Node = self.overlay.root
        for name in path_of(path)[:-1]:
            assert isinstance(node, StagedDirectory)
            node = self.overlay.promote(node, name)
        assert isinstance(node, StagedDirectory)
        return node

    def make(self, path: str, data: bytes = b"", *, save: bool = True) -> StagedFile:
        """Create a file, write it and close it."""
        made = self.overlay.create(
            self.directory(path), path_of(path)[-1], Kind.FILE, mode=0o644, uid=0, gid=0
        )
        assert isinstance(made, StagedFile)
        if data:
            self.overlay.write(made, 0, data)
        if save:
            self.overlay.save(made)
        return made

    def mkdir(self, path: str) -> None:
        self.overlay.create(self.directory(path), path_of(path)[-1], Kind.DIRECTORY, mode=0o755, uid=0, gid=0)

    def file(self, path: str) -> StagedFile:
        """Return a file, staged."""
        found = self.overlay.promote(self.directory(path), path_of(path)[-1])
        assert isinstance(found, StagedFile)
        return found

    def write(self, path: str, offset: int, data: bytes) -> None:
        """Write to a file and close it."""
        self.overlay.write(self.file(path), offset, data)
        self.overlay.save(self.file(path))

    def truncate(self, path: str, size: int) -> None:
        self.overlay.truncate(self.file(path), size)

    def rename(self, old: str, new: str) -> None:
        self.overlay.rename(self.directory(old), path_of(old)[-1], self.directory(new), path_of(new)[-1])

    def remove(self, path: str, *, is_directory: bool = False) -> None:
        self.overlay.remove(self.directory(path), path_of(path)[-1], is_directory=is_directory)

    def files(self) -> dict[str, bytes]:
        """Return all files with their bytes, as they are now, by path."""
        found: dict[str, bytes] = {}
        pending: list[tuple[tuple[bytes, ...], StagedDirectory | Entry]] = [((), self.overlay.root)]
        while pending:
            path, directory = pending.pop()
            listed = (
                self.overlay.entries(directory)
                if isinstance(directory, StagedDirectory)
                else self.world.trees.list(directory)
            )
            for name, entry in listed:
                if isinstance(entry, StagedDirectory) or (isinstance(entry, Entry) and entry.is_directory):
                    pending.append(((*path, name), entry))
                elif isinstance(entry, StagedFile):
                    found[shown((*path, name))] = self.overlay.read(entry, 0, entry.size)
                else:
                    assert isinstance(entry, Entry)
                    found[shown((*path, name))] = self.world.read(entry)
        return found

    def crash(self) -> Edit:
        """Forget all that is in memory and recover, as after a kill -9."""
        return Edit(self.world, self.base, self.overlay.scratch)

    def sealed(self) -> dict[str, bytes]:
        """Seal and return what the tree has."""
        root = self.overlay.seal()
        self.world.store.flush()
        return self.world.files(root)


@pytest.fixture
def edit(world: World, tmp_path: Path) -> Iterator[Edit]:
    """An overlay over a small and a large file."""
    base = world.tree({"small": b"small file", "dir/large": LARGE})
    yield Edit(world, base, tmp_path / "staging" / "commit")


# Names


def test_what_is_not_touched_is_what_the_base_has(edit: Edit) -> None:
    """One file is added."""
    edit.make("dir/new", b"new")

    assert {"small": b"small file", "dir/large": LARGE, "dir/new": b"new"} == edit.files() == edit.sealed()


def test_errors_are_those_of_posix(edit: Edit) -> None:
    """Names that are taken, that are absent, of the wrong kind, or no names."""
    edit.mkdir("empty")
    with pytest.raises(ExistsError):
        edit.make("small")
    with pytest.raises(ExistsError):
        edit.mkdir("dir")
    with pytest.raises(PathNotFoundError):
        edit.remove("none")
    with pytest.raises(IsADirectoryPathError):
        edit.remove("empty")
    with pytest.raises(NotADirectoryPathError):
        edit.remove("small", is_directory=True)
    with pytest.raises(NotEmptyError):
        edit.remove("dir", is_directory=True)
    with pytest.raises(PathNotFoundError):
        edit.rename("none", "new")
    with pytest.raises(NotEmptyError):
        edit.rename("empty", "dir")
    with pytest.raises(IsADirectoryPathError):
        edit.rename("small", "empty")
    with pytest.raises(NotADirectoryPathError):
        edit.rename("dir", "small")
    with pytest.raises(InvalidNameError):
        edit.overlay.create(edit.overlay.root, b"..", Kind.FILE, mode=0, uid=0, gid=0)
    with pytest.raises(InvalidNameError):
        edit.overlay.rename(edit.overlay.root, b"small", edit.overlay.root, b"a/b")

    assert {"small": b"small file", "dir/large": LARGE} == edit.files()


def test_a_renamed_directory_keeps_what_is_in_it(edit: Edit) -> None:
    """A directory of the base is renamed, written below, and renamed over an empty one."""
    edit.mkdir("empty")
    edit.rename("dir", "moved")
    edit.make("moved/more", b"more")
    edit.rename("moved", "empty")

    assert (
        {"small": b"small file", "empty/large": LARGE, "empty/more": b"more"} == edit.files() == edit.sealed()
    )


def test_two_names_are_exchanged(edit: Edit) -> None:
    """A file and a directory of the base swap their names (RENAME_EXCHANGE)."""
    root = edit.overlay.root
    edit.overlay.exchange(root, b"small", root, b"dir")

    expected = {"dir": b"small file", "small/large": LARGE}
    assert expected == edit.files()
    assert expected == edit.crash().sealed()


def test_deep_directories_can_be_sealed_and_recovered(edit: Edit) -> None:
    """Directories are nested more deeply than Python may recurse."""
    node: Node = edit.overlay.root
    for _ in range(3000):
        assert isinstance(node, StagedDirectory)
        node = edit.overlay.create(node, b"d", Kind.DIRECTORY, mode=0o755, uid=0, gid=0)

    again = edit.crash()
    root = again.overlay.seal()
    edit.world.store.flush()

    assert 3002 == sum(entry.is_directory for _, entry in edit.world.trees.walk(root)) + 1


# Bytes


@pytest.mark.parametrize("path", ["small", "dir/large"])
def test_bytes_are_written_inside_and_behind_a_file(edit: Edit, path: str) -> None:
    """A few bytes inside, and a few behind a hole."""
    model = bytearray(b"small file" if path == "small" else LARGE)
    edit.write(path, 3, b"###")
    model[3:6] = b"###"
    edit.write(path, len(model) + 10, b"end")
    model += bytes(10) + b"end"

    assert bytes(model) == edit.files()[path] == edit.crash().files()[path] == edit.sealed()[path]


@pytest.mark.parametrize("path", ["small", "dir/large"])
@pytest.mark.parametrize("sizes", [(0,), (5,), (300_000,), (5, 300_000), (300_000, 7), (0, 300_000, 200_000)])
def test_truncating_cuts_and_adds_zeros(edit: Edit, path: str, sizes: tuple[int, ...]) -> None:
    """A file gets shorter and longer, in several steps."""
    model = b"small file" if path == "small" else LARGE
    for size in sizes:
        edit.truncate(path, size)
        model = model[:size].ljust(size, b"\0")

    assert model == edit.files()[path] == edit.crash().files()[path] == edit.sealed()[path]


def test_a_large_file_that_was_replaced_survives_a_crash(edit: Edit) -> None:
    """A large file is written, closed, emptied, written again and closed; then the process dies."""
    edit.make("file", LARGE)
    edit.truncate("file", 0)
    edit.write("file", 0, LARGE[::-1])

    assert LARGE[::-1] == edit.crash().files()["file"]
    assert LARGE[::-1] == edit.crash().sealed()["file"]


def test_a_large_file_that_became_small_survives_a_crash(edit: Edit) -> None:
    """A large file is written and closed, then emptied and written with a few bytes."""
    edit.make("file", LARGE)
    edit.truncate("file", 0)
    edit.write("file", 0, b"tiny")

    assert b"tiny" == edit.crash().sealed()["file"]


def test_what_was_not_closed_is_lost_by_a_crash_and_nothing_else(edit: Edit) -> None:
    """One file is closed, the other one is being written when the process dies."""
    edit.make("closed", b"closed")
    edit.make("open", b"lost", save=False)

    assert {"closed": b"closed", "open": b""} == {
        path: data for path, data in edit.crash().files().items() if path in ("closed", "open")
    }


def test_closed_large_files_hold_no_descriptors(edit: Edit) -> None:
    """`cp -r` of more large files than a process may have descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 20, hard))
    try:
        for number in range(40):
            edit.overlay.bytes.rest(edit.make(f"file{number}", b"%d" % number + LARGE))
        found = edit.files()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert [b"%d" % number + LARGE for number in range(40)] == [
        found[f"file{number}"] for number in range(40)
    ]
    assert found == edit.sealed()


def test_a_file_that_is_saved_again_and_again_does_not_fill_the_journal(edit: Edit) -> None:
    """A program opens a log, appends a line and closes it, a thousand times."""
    line = b"x" * 99 + b"\n"
    edit.make("log", line * 500)
    for number in range(500, 1500):
        edit.write("log", number * 100, line)

    assert line * 1500 == edit.crash().sealed()["log"]
    assert (edit.overlay.scratch / "journal").stat().st_size < 10 * SMALL


def test_appended_contents_are_one_step(edit: Edit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process appends 3 MiB, and the disk is full behind the first."""
    more = Contents.of(edit.world.entry(LARGE * 12))
    file = edit.file("dir/large")
    writes = 0
    write = edit.overlay.bytes.write

    def limited(*arguments: object) -> None:
        nonlocal writes
        writes += 1
        if writes == 2:
            raise OutOfSpaceError("no space left")
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(edit.overlay.bytes, "write", limited)
    with pytest.raises(OutOfSpaceError):
        edit.overlay.append_contents(file, more)

    assert LARGE == edit.files()["dir/large"]
    assert len(LARGE) == file.kept_prefix


def test_a_full_disk_leaves_a_file_as_it_was(world: World, small_disk: Path) -> None:
    """The staging area is on a disk of 1 MiB."""
    edit = Edit(world, None, small_disk / "staging" / "commit")
    edit.make("small", b"kept")
    edit.make("large", LARGE)
    with pytest.raises(OutOfSpaceError):
        for number in range(20):
            edit.make(f"more{number}", LARGE)
    with pytest.raises(OutOfSpaceError):
        for number in range(10_000):
            edit.make(f"name{number}", b"x" * 500)

    found = edit.crash().files()

    assert (b"kept", LARGE) == (found["small"], found["large"])
    assert {b"", LARGE, b"x" * 500, b"kept"} >= set(found.values())


# Appending and replacing


APPENDS = [
    ("appended", [(10, b" more")]),
    ("appended twice", [(10, b" more"), (15, b" and more")]),
    ("appended by whole pages, the old tail in front", [(0, b"small file and more")]),
    ("appended behind a hole", [(20, b"more")]),
    ("nothing but a touch", []),
]


@pytest.mark.parametrize(("how", "writes"), APPENDS, ids=[how for how, _ in APPENDS])
def test_appending_keeps_the_prefix(edit: Edit, how: str, writes: list[tuple[int, bytes]]) -> None:
    """What `>>` does to a file of the base, also through a cache that writes whole pages."""
    for offset, data in writes:
        edit.write("small", offset, data)

    assert len(b"small file") == edit.file("small").kept_prefix
    assert len(b"small file") == edit.crash().file("small").kept_prefix


def test_replacing_with_the_same_bytes_keeps_nothing(edit: Edit) -> None:
    """What `>` does: the file is emptied, then written, with what it had and more."""
    edit.truncate("small", 0)
    edit.write("small", 0, b"small file and more")

    assert 0 == edit.file("small").kept_prefix
    assert 0 == edit.crash().file("small").kept_prefix


def test_a_change_inside_keeps_what_is_before_it(edit: Edit) -> None:
    """Bytes in the middle of a large file are overwritten; page-aligned, with what was around them."""
    block = bytearray(LARGE[4096:8192])
    block[100:103] = b"###"
    edit.write("dir/large", 4096, bytes(block))

    assert 4096 == edit.file("dir/large").kept_prefix


def test_a_shorter_file_keeps_what_is_left(edit: Edit) -> None:
    """A file is cut, and made longer again with the same bytes."""
    edit.truncate("small", 5)
    edit.write("small", 5, b" file")

    assert 5 == edit.file("small").kept_prefix


# After the seal


def test_an_unlinked_file_goes_on_after_the_seal(edit: Edit) -> None:
    """A small and a large file are open when they are unlinked, and one more with its whole directory."""
    edit.mkdir("gone")
    kept = {
        edit.make("small2", b"small"): b"small",
        edit.make("large2", LARGE): LARGE,
        edit.make("gone/inside", b"inside"): b"inside",
        edit.make("gone/large", LARGE): LARGE,
    }
    for file in kept:
        file.tag = "somebody's"
    edit.remove("small2")
    edit.remove("large2")
    edit.overlay.remove_tree(edit.overlay.root, b"gone")
    edit.sealed()
    edit.overlay.discard()

    for file, data in kept.items():
        assert data == edit.overlay.read(file, 0, file.size)
        edit.overlay.write(file, file.size, b"!")
        edit.overlay.save(file)
        edit.overlay.set_attributes(file, mode=0o600)
        edit.overlay.truncate(file, file.size + 1)
        edit.overlay.sync(file)
        assert data + b"!\0" == edit.overlay.read(file, 0, file.size)
    assert [] == os.listdir(edit.overlay.scratch.parent)


def test_unlinked_files_that_nobody_has_cost_nothing(edit: Edit) -> None:
    """Temporary files come and go while a commit is open; some have names that nobody looked up."""
    for number in range(20):
        file = edit.make(f"temporary{number}", LARGE if number % 2 else b"small")
        edit.remove(f"temporary{number}")
        if number % 3:
            edit.overlay.forget(file)
    edit.sealed()
    edit.overlay.discard()

    folder = os.fspath(edit.overlay.scratch)
    links = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert [] == [link for link in links if link.startswith(folder)]
    assert len(edit.overlay.nodes) < 10


def test_a_discarded_overlay_leaves_no_descriptor_and_no_file(edit: Edit) -> None:
    """An open commit is finished."""
    before = len(os.listdir("/proc/self/fd"))
    again = Edit(edit.world, edit.base, edit.overlay.scratch.parent / "other")
    again.make("large", LARGE)
    again.make("small2", b"x")
    again.overlay.seal()
    again.overlay.discard()

    assert before == len(os.listdir("/proc/self/fd"))
    assert ["commit"] == os.listdir(edit.overlay.scratch.parent)


@pytest.mark.parametrize("data", [b"small", LARGE])
def test_a_sync_that_a_finish_overtakes_succeeds(edit: Edit, data: bytes) -> None:
    """fsync waits for its thread while the commit is finished: then everything is durable."""
    file = edit.make("file", data)
    edit.overlay.bytes.rest(file)
    sync = edit.overlay.sync_step(file)
    edit.sealed()
    edit.overlay.discard()

    # Neither the step that was under way nor a new one has anything to say against it.
    assert sync() is None  # type: ignore[func-returns-value]
    edit.overlay.sync(file)
    assert edit.overlay.is_sealed


def test_a_clean_close_is_told_from_a_crash(edit: Edit) -> None:
    """The process ends in good order; the next one goes on, and dies."""
    edit.make("file", b"1")
    edit.overlay.close()
    again = edit.crash()
    assert not again.overlay.recovered
    assert b"1" == again.files()["file"]
    again.write("file", 1, b"2")

    assert again.crash().overlay.recovered
    assert b"12" == again.crash().files()["file"]


def test_an_ingest_of_what_changed_meanwhile_does_not_count(edit: Edit) -> None:
    """Bytes go into the store in another thread while the file is written and emptied."""
    file = edit.make("file", LARGE)
    version, store = edit.overlay.ingest_step(file)
    edit.truncate("file", 0)
    edit.write("file", 0, b"new")

    stored = store()

    assert not edit.overlay.ingested(file, version, stored)
    assert b"new" == edit.sealed()["file"]
