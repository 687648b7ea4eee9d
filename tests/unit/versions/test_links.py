"""Hard links in overlays and trees."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Iterator

import pytest

from pfsfuse.trees.entry import Kind
from pfsfuse.trees.links import Links, group_of, linked_names, without_links
from pfsfuse.trees.tree import Path
from pfsfuse.versions.overlay import Overlay
from pfsfuse.versions.owner import OpenCommit, Owner
from pfsfuse.versions.staged import Node, StagedDirectory, StagedFile
from tests.support.builders import World, ref


@pytest.fixture
def opened(world: World) -> Iterator[OpenCommit]:
    """An open commit whose base has a file with the names `one`, `d/two` and `d/e/three`, and others."""
    world.commit({"d/e/other": b"other", "d/alone": b"alone"})
    owner = Owner(world.store, world.trees)
    first = owner.start(ref())
    node = first.overlay.create(first.overlay.root, b"one", Kind.FILE, mode=0o644, uid=1, gid=2)
    assert isinstance(node, StagedFile)
    first.overlay.write(node, 0, b"linked")
    first.overlay.link(node, at(first.overlay, b"d"), b"two")
    first.overlay.link(node, at(first.overlay, b"d", b"e"), b"three")
    owner.finish(first)
    yield owner.start(ref())
    owner.close()


def at(overlay: Overlay, *path: bytes) -> StagedDirectory:
    """Return the staged node of a directory."""
    node: Node = overlay.root
    for name in path:
        assert isinstance(node, StagedDirectory)
        node = overlay.promote(node, name)
    assert isinstance(node, StagedDirectory)
    return node


def names(overlay: Overlay) -> set[Path]:
    """Return the names that would have a group if the overlay were sealed now."""
    return {path for path, _ in linked_names(overlay.trees, overlay.seal())}


def test_all_names_of_a_file_are_staged_with_the_first(opened: OpenCommit) -> None:
    """Its directories were renamed before; others in them stay as they are."""
    overlay = opened.overlay
    overlay.rename(overlay.root, b"d", overlay.root, b"moved")
    overlay.rename(at(overlay, b"moved"), b"e", overlay.root, b"f")
    node = overlay.promote(overlay.root, b"one")

    assert node is overlay.resolve((b"moved", b"two")) is overlay.resolve((b"f", b"three"))
    assert not isinstance(overlay.resolve((b"f", b"other")), Node)
    assert {(b"one",), (b"moved", b"two"), (b"f", b"three")} == names(overlay)
    overlay.remove(overlay.root, b"one", is_directory=False)
    assert {(b"moved", b"two"), (b"f", b"three")} == names(overlay)


def test_links_are_found_after_the_journal_was_written_anew(
    world: World, opened: OpenCommit, tmp_path: pathlib.Path
) -> None:
    """A directory was renamed, the journal compacted and replayed; then one name is staged."""
    overlay = opened.overlay
    overlay.rename(overlay.root, b"d", overlay.root, b"moved")
    overlay.compact()

    copy = shutil.copytree(overlay.scratch, tmp_path / "copy" / "scratch")
    again = Overlay(world.trees, overlay.base, copy, objects=world.store.chunks)
    node = again.promote(again.root, b"one")
    assert node is again.resolve((b"moved", b"two")) is again.resolve((b"moved", b"e", b"three"))


def test_what_a_directory_takes_along_is_no_name_any_more(opened: OpenCommit) -> None:
    """A change set deletes a directory with one of three names, then one with the second."""
    overlay = opened.overlay
    overlay.remove_tree(at(overlay, b"d"), b"e")
    assert {(b"one",), (b"d", b"two")} == names(overlay)
    overlay.remove_tree(overlay.root, b"d")
    assert set() == names(overlay)
    assert 0 == group_of(overlay.seal())


def test_a_group_with_more_or_fewer_names_is_void(opened: OpenCommit) -> None:
    """The tree is changed by path, without an overlay."""
    trees, root = opened.overlay.trees, opened.overlay.base
    assert root is not None
    entry = trees.resolve(root, (b"one",))
    assert entry is not None
    assert 3 == len(Links(trees, root).paths(entry))

    assert [] == Links(trees, trees.apply(root, {(b"one",): None})).paths(entry)
    assert [] == Links(trees, trees.apply(root, {(b"more",): entry})).paths(entry)


def test_a_copy_has_no_links_and_the_same_content(opened: OpenCommit) -> None:
    """Of a directory, of a file, and of a tree that has none."""
    trees, root = opened.overlay.trees, opened.overlay.base
    assert root is not None
    copy = without_links(trees, root)

    assert [] == list(linked_names(trees, copy))
    assert root.content == copy.content
    assert copy == without_links(trees, copy)
