"""Merging trees: what is taken, what is a conflict, what it costs."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from pfsfuse.trees.entry import Entry, symlink
from pfsfuse.trees.merge import ConflictKind, Side, merge
from pfsfuse.trees.tree import Trees
from tests.support.objects import MemoryObjects
from tests.support.trees import a_file

Files = Mapping[str, str | Entry | None]


@pytest.fixture
def trees() -> Trees:
    return Trees(MemoryObjects())


def changed(trees: Trees, root: Entry, files: Files) -> Entry:
    """Return *root* with files set or, where there is None, removed."""
    return trees.apply(
        root,
        {
            tuple(part.encode() for part in path.split("/")): a_file(what) if isinstance(what, str) else what
            for path, what in files.items()
        },
    )


def tree(trees: Trees, files: Files) -> Entry:
    return changed(trees, trees.empty_directory(), files)


def contents(trees: Trees, root: Entry) -> dict[str, str]:
    return {
        b"/".join(path).decode(): "/" if entry.is_directory else entry.data.decode()
        for path, entry in trees.walk(root)
    }


BASE: Files = {"a": "1", "b": "1", "d/x": "1", "d/y": "1"}


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ({"a": "2"}, {"b": "2"}, {"a": "2", "b": "2"}),
        ({"a": "2"}, {"a": "2"}, {"a": "2"}),
        ({"a": None}, {"a": None}, {"a": None}),
        ({"new": "1"}, {"other": "1"}, {"new": "1", "other": "1"}),
        ({"d/x": "2"}, {"d/y": "2"}, {"d/x": "2", "d/y": "2"}),
        ({"d": None}, {"a": None}, {"d": None, "a": None}),
        ({"d": None}, {"d/new": "1"}, {"d/x": None, "d/y": None, "d/new": "1"}),
        ({"d": None, "d/x": None}, {"d/x": None}, {"d": None}),
        ({"a": None, "a/f": "1"}, {"b": "2"}, {"a": None, "a/f": "1", "b": "2"}),
        ({"a": None, "a/f": "1"}, {"a": None, "a/g": "1"}, {"a": None, "a/f": "1", "a/g": "1"}),
    ],
)
def test_changes_of_both_sides_are_put_together(
    trees: Trees, ours: Files, theirs: Files, expected: Files
) -> None:
    """
    Other files, the same change, other names of one directory, something new in a deleted directory.
    """
    base = tree(trees, BASE)

    merged = merge(trees, base, changed(trees, base, ours), changed(trees, base, theirs))

    assert [] == merged.conflicts
    assert contents(trees, changed(trees, base, expected)) == contents(trees, merged.root)


@pytest.mark.parametrize(
    ("ours", "theirs", "path", "kind"),
    [
        ({"a": "2"}, {"a": "3"}, "a", ConflictKind.CHANGED),
        ({"new": "2"}, {"new": "3"}, "new", ConflictKind.CHANGED),
        ({"a": None}, {"a": "3"}, "a", ConflictKind.DELETED_HERE),
        ({"a": "2"}, {"a": None}, "a", ConflictKind.DELETED_THERE),
        ({"d": None}, {"d/x": "2"}, "d/x", ConflictKind.DELETED_HERE),
        ({"d/x": "2"}, {"d": None}, "d/x", ConflictKind.DELETED_THERE),
        ({"new": "1"}, {"new/f": "1"}, "new", ConflictKind.DIRECTORY_THERE),
        ({"new/f": "1"}, {"new": "1"}, "new", ConflictKind.DIRECTORY_HERE),
        ({"d": "1"}, {"d/x": "2", "d/new": "2"}, "d", ConflictKind.DIRECTORY_THERE),
        ({"a": "2"}, {"a": None, "a/f": "1"}, "a", ConflictKind.DIRECTORY_THERE),
    ],
)
def test_changes_that_do_not_agree_are_a_conflict_that_one_side_can_win(
    trees: Trees, ours: Files, theirs: Files, path: str, kind: ConflictKind
) -> None:
    """
    Two contents, changed and deleted, a file and a directory; the rest is merged.
    """
    base = tree(trees, BASE)
    here = changed(trees, base, {**ours, "mine": "1"})
    there = changed(trees, base, {**theirs, "yours": "1"})
    at = tuple(part.encode() for part in path.split("/"))

    for favour, winner in ((Side.OURS, here), (Side.THEIRS, there)):
        merged = merge(trees, base, here, there, favour=favour)

        assert [(at, kind)] == [(each.path, each.kind) for each in merged.conflicts]
        assert trees.resolve(winner, at) == trees.resolve(merged.root, at)
        assert {"mine": "1", "yours": "1"}.items() <= contents(trees, merged.root).items()


def test_the_conflicts_are_listed_by_path(trees: Trees) -> None:
    """
    Each names the versions of it that there are.
    """
    base = tree(trees, BASE)
    here = changed(trees, base, {"b": "2", "a": "2", "d/y": "2"})
    there = changed(trees, base, {"b": "3", "a": "3", "d/y": "3"})

    found = merge(trees, base, here, there).conflicts

    assert [(b"a",), (b"b",), (b"d", b"y")] == [each.path for each in found]
    assert [a_file("1"), a_file("2"), a_file("3")] == [found[0].base, found[0].ours, found[0].theirs]


def test_a_touched_file_is_not_a_changed_one(trees: Trees) -> None:
    """
    One side changed times and modes only: what the other did counts, and where it did nothing, they do.
    """
    base = tree(trees, BASE)
    touched = {path: a_file("1", mtime_ns=9, mode=0o600) for path in ("a", "b", "d/x")}
    mine = {"a": "2", "b": None}

    for ours, theirs in ((touched, mine), (mine, touched)):
        merged = merge(trees, base, changed(trees, base, ours), changed(trees, base, theirs))

        assert [] == merged.conflicts
        assert "2" == contents(trees, merged.root)["a"]
        assert trees.resolve(merged.root, [b"b"]) is None
        assert touched["d/x"] == trees.resolve(merged.root, [b"d", b"x"])


def test_becoming_executable_or_a_link_is_a_change(trees: Trees) -> None:
    """
    The bytes are the same.
    """
    base = tree(trees, {"a": "1", "b": "1"})
    link = symlink(b"1", uid=0, gid=0, mtime_ns=0)
    here = changed(trees, base, {"a": a_file("1", mode=0o755), "b": link})
    there = changed(trees, base, {"a": "2", "b": "2"})

    merged = merge(trees, base, here, there)

    assert [ConflictKind.CHANGED] * 2 == [each.kind for each in merged.conflicts]


def test_a_directory_has_the_attributes_that_either_side_changed(trees: Trees) -> None:
    """
    One side changes the mode, the other the owner, and each puts a file.
    """
    base = tree(trees, BASE)
    directory = trees.resolve(base, [b"d"])
    assert directory is not None
    here = trees.apply(
        base, {(b"d",): msgspec.structs.replace(directory, mode=0o700), (b"d", b"1"): a_file()}
    )
    there = trees.apply(base, {(b"d",): msgspec.structs.replace(directory, uid=7), (b"d", b"2"): a_file()})

    merged = trees.resolve(merge(trees, base, here, there).root, [b"d"])

    assert merged is not None
    assert (0o700, 7, 4) == (merged.mode, merged.uid, merged.files)


def test_without_a_common_beginning_equal_files_are_no_conflict(trees: Trees) -> None:
    """
    Two imports of the same data, each with something of its own.
    """
    merged = merge(trees, None, tree(trees, {"a": "1", "b": "1"}), tree(trees, {"a": "1", "c": "1"}))

    assert ([], {"a": "1", "b": "1", "c": "1"}) == (merged.conflicts, contents(trees, merged.root))


def test_an_empty_directory_is_merged_like_a_file(trees: Trees) -> None:
    """
    Added on one side, deleted on the other.
    """
    base = changed(trees, tree(trees, BASE), {"old": trees.empty_directory()})

    merged = merge(
        trees,
        base,
        changed(trees, base, {"new": trees.empty_directory()}),
        changed(trees, base, {"old": None}),
    )

    assert {"new": "/"} == {
        p: what for p, what in contents(trees, merged.root).items() if p in ("new", "old")
    }


def test_a_merge_reads_as_much_as_the_other_side_has_changed() -> None:
    """
    Ten changes on each side, in two trees of different sizes.
    """
    reads = []
    for size in (1_000, 30_000):
        objects = MemoryObjects()
        trees = Trees(objects)
        base = tree(trees, {f"d{n % 10}/f{n:06}": "1" for n in range(size)})
        here = changed(trees, base, {f"d1/f{n * 10 + 1:06}": "2" for n in range(10)})
        there = changed(trees, base, {f"d2/f{n * 10 + 2:06}": "2" for n in range(10)})
        fresh = Trees(objects)
        objects.gets.clear()

        merged = merge(fresh, base, here, there)

        assert [] == merged.conflicts
        reads.append(objects.gets.total())

    assert reads[1] <= 2 * reads[0], reads


def test_trees_may_be_deep(trees: Trees) -> None:
    """
    A path with a thousand elements, more than calls may be nested.
    """
    path = "/".join(["d"] * 1500)
    base = tree(trees, {f"{path}/f": "1"})

    merged = merge(
        trees, base, changed(trees, base, {f"{path}/g": "1"}), changed(trees, base, {f"{path}/f": "2"})
    )

    assert [] == merged.conflicts
    assert {f"{path}/f": "2", f"{path}/g": "1"} == {
        path: what for path, what in contents(trees, merged.root).items() if what != "/"
    }
