"""What became of a base in an overlay: the rules of the 1.0-era /pfs/out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pfsfuse.trees.entry import Kind
from pfsfuse.versions.forks import How, fork_changes
from pfsfuse.versions.overlay import Overlay
from pfsfuse.versions.staged import SMALL, StagedDirectory, StagedFile
from tests.support.builders import World, path_of, shown

LARGE = b"".join(b"%07d\n" % n for n in range(SMALL // 4))


@pytest.fixture
def fork(world: World, tmp_path: Path) -> Overlay:
    """An overlay over a small file, a large one, and one in a directory."""
    base = world.tree({"small": b"small", "large": LARGE, "dir/file": b"file"})
    return Overlay(world.trees, base, tmp_path / "fork", objects=world.store.chunks)


def file(fork: Overlay, name: str) -> StagedFile:
    node = fork.root
    for element in path_of(name)[:-1]:
        below = fork.promote(node, element)
        assert isinstance(below, StagedDirectory)
        node = below
    found = fork.promote(node, path_of(name)[-1])
    assert isinstance(found, StagedFile)
    return found


def changes(world: World, fork: Overlay) -> dict[str, tuple[How, bytes | None]]:
    """Seal and return what was done, by path: how, and the bytes that go with it."""
    root = fork.seal()
    found = fork_changes(fork, root, world.store.chunks)
    world.store.flush()
    return {
        shown(change.path): (
            change.how,
            world.read(change.entry) if change.entry and change.entry.kind == Kind.FILE else None,
        )
        for change in found
    }


@pytest.mark.parametrize("name", ["small", "large", "dir/file"])
def test_appending_gives_the_new_bytes_only(world: World, fork: Overlay, name: str) -> None:
    """`>>` on a file of the base, twice; the kernel writes the page with the old tail again."""
    target = file(fork, name)
    old = fork.read(target, 0, target.size)
    fork.write(target, target.size, b"one")
    start = len(old) // 4096 * 4096
    fork.write(target, start, old[start:] + b"onetwo")

    assert (How.APPENDED, b"onetwo") == changes(world, fork)[name]


@pytest.mark.parametrize("name", ["small", "large"])
def test_emptying_and_writing_replaces_even_with_the_same_bytes(
    world: World, fork: Overlay, name: str
) -> None:
    """`>` on a file of the base with what it had and more."""
    target = file(fork, name)
    old = fork.read(target, 0, target.size)
    fork.truncate(target, 0)
    fork.write(target, 0, old + b"more")

    assert (How.REPLACED, old + b"more") == changes(world, fork)[name]


def test_a_new_file_is_replaced_and_a_removed_one_deleted(world: World, fork: Overlay) -> None:
    """A file is made, one is removed, another one is renamed."""
    made = fork.create(fork.root, b"new", Kind.FILE, mode=0o644, uid=0, gid=0)
    assert isinstance(made, StagedFile)
    fork.write(made, 0, b"new")
    fork.remove(fork.root, b"large", is_directory=False)
    fork.rename(fork.root, b"small", fork.root, b"moved")

    assert {
        "large": (How.DELETED, None),
        "moved": (How.REPLACED, b"small"),
        "new": (How.REPLACED, b"new"),
        "small": (How.DELETED, None),
    } == changes(world, fork)


def test_removing_and_making_again_replaces(world: World, fork: Overlay) -> None:
    """`rm` and then `>>`: nothing of the base is kept, though the bytes begin with it."""
    fork.remove(fork.root, b"small", is_directory=False)
    made = fork.create(fork.root, b"small", Kind.FILE, mode=0o644, uid=0, gid=0)
    assert isinstance(made, StagedFile)
    fork.write(made, 0, b"small and more")

    assert {"small": (How.REPLACED, b"small and more")} == changes(world, fork)


def test_what_is_only_touched_keeps_its_bytes(world: World, fork: Overlay) -> None:
    """A file gets another mode; it is appended with nothing."""
    fork.set_attributes(file(fork, "small"), mode=0o755)

    assert {"small": (How.APPENDED, b"")} == changes(world, fork)


def test_what_is_not_touched_is_not_named(world: World, fork: Overlay) -> None:
    """A file is opened for writing and written with what it has."""
    fork.write(file(fork, "dir/file"), 0, b"file")
    target = file(fork, "dir/file")
    assert target.path_base is not None
    fork.set_attributes(target, mtime_ns=target.path_base.mtime_ns)

    assert {} == changes(world, fork)
