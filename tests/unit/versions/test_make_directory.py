"""Directories in change sets: the same in an open commit and in one made at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from pfsfuse.errors import NotADirectoryPathError
from pfsfuse.trees.entry import Entry
from pfsfuse.versions.changesets import (
    Change,
    Delete,
    MakeDirectory,
    Put,
    apply_to_overlay,
    apply_to_tree,
    decode_changes,
    encode_changes,
)
from pfsfuse.versions.overlay import Overlay
from tests.support.builders import World

Apply = Callable[[Entry, Sequence[Change]], Entry]


@pytest.fixture(params=["tree", "overlay"])
def apply(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Apply:
    """Both ways to apply a change set."""

    def to_tree(base: Entry, changes: Sequence[Change]) -> Entry:
        return apply_to_tree(world.trees, world.store.chunks, base, changes, mtime_ns=0)

    def to_overlay(base: Entry, changes: Sequence[Change]) -> Entry:
        overlay = Overlay(world.trees, base, tmp_path / "scratch", objects=world.store.chunks)
        apply_to_overlay(overlay, changes)
        sealed = overlay.seal()
        overlay.discard()
        return sealed

    return to_tree if request.param == "tree" else to_overlay


def directory(world: World, *, mode: int = 0o750, mtime_ns: int = 42) -> Entry:
    return world.trees.empty_directory(mode=mode, uid=3, gid=4, mtime_ns=mtime_ns)


def test_a_new_directory_has_what_it_is_given(world: World, apply: Apply) -> None:
    """
    A file is put into it before; its parent is made on the way.
    """
    changes = [Put((b"a", b"b", b"f"), world.entry(b"x")), MakeDirectory((b"a", b"b"), directory(world))]

    made = world.trees.resolve(apply(world.tree({}), changes), (b"a", b"b"))

    assert made is not None
    assert (0o750, 3, 4, 42, 1) == (made.mode, made.uid, made.gid, made.mtime_ns, made.files)


def test_what_is_in_a_directory_stays(world: World, apply: Apply) -> None:
    """
    The directory exists, with files that the change set does not name.
    """
    changes = [Put((b"d", b"new"), world.entry(b"n")), MakeDirectory((b"d",), directory(world))]

    root = apply(world.tree({"d/old": b"o"}), changes)

    assert {"d/old": b"o", "d/new": b"n"} == world.files(root)
    made = world.trees.resolve(root, (b"d",))
    assert made is not None
    assert (0o750, 42) == (made.mode, made.mtime_ns)


def test_a_directory_after_a_deletion_is_empty(world: World, apply: Apply) -> None:
    """
    The change set deletes a directory and makes it again.
    """
    root = apply(world.tree({"d/old": b"o"}), [Delete((b"d",)), MakeDirectory((b"d",), directory(world))])

    assert {} == world.files(root)
    assert world.trees.resolve(root, (b"d",)) is not None


@pytest.mark.parametrize("path", [(b"f",), (b"f", b"d")])
def test_a_file_is_never_replaced_by_a_directory(world: World, apply: Apply, path: tuple[bytes, ...]) -> None:
    """
    A file stands where the directory, or its parent, is to be.
    """
    with pytest.raises(NotADirectoryPathError):
        apply(world.tree({"f": b"x"}), [MakeDirectory(path, directory(world))])


def test_a_directory_travels_over_the_socket(world: World) -> None:
    """
    Change sets go to the mount as bytes.
    """
    changes: list[Change] = [MakeDirectory((b"d",), directory(world)), Delete((b"x",))]

    assert changes == decode_changes(encode_changes(changes))
    with pytest.raises(msgspec.ValidationError):
        decode_changes(msgspec.msgpack.encode([["unknown", []]]))
