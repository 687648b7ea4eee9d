"""The merge of trees against a naive model, which knows nothing but dictionaries of paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from pfsfuse.trees.diff import diff
from pfsfuse.trees.entry import Entry
from pfsfuse.trees.merge import Merged, Side, merge
from pfsfuse.trees.tree import Trees
from tests.support.objects import MemoryObjects
from tests.support.trees import SMALL_SHAPE, a_file

Files = Mapping[str, str]
"""Contents by path; a path that ends with a slash is a directory, and needed only for one without files."""

# Paths that are files on one side and directories on another, and some that have nothing to do with these.
_PATHS = ["a", "a/", "a/b", "a/b/", "a/b/c", "a/b/d/", "a/b/d/e", "a/x", "e", "f/g", "f/g/h", "f/i", "j"]
_MANY = [f"n{number:02}" for number in range(60)]
"""Files that make the directory several nodes high."""


def above(path: str) -> list[str]:
    """Return the directories that a path stands in, but for the root."""
    parts = path.rstrip("/").split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts))]


def directories(files: Files) -> set[str]:
    return {p.rstrip("/") for p in files if p.endswith("/")} | {a for p in files for a in above(p)}


def _possible(files: dict[str, str]) -> dict[str, str]:
    """Leave out directories where files stand, and what would be below these."""
    names = {path for path in files if not path.endswith("/")}
    return {
        path: data
        for path, data in files.items()
        if not names.intersection(above(path)) and not (path.endswith("/") and path.rstrip("/") in names)
    }


texts = st.sampled_from(["1", "2", "3"])
small = st.dictionaries(st.sampled_from(_PATHS), texts).map(_possible)
changes = st.dictionaries(st.sampled_from(_MANY), texts, max_size=6)


@dataclass
class Model:
    """What should come of a merge."""

    files: dict[str, str]
    directories: set[str]
    conflicts: set[str]


def naive_merge(base: Files, ours: Files, theirs: Files, favour: Side) -> Model:
    """Merge path by path: first all files, then all directories, then look where both remain."""
    sides = (base, ours, theirs)
    winner = ours if favour is Side.OURS else theirs
    files: dict[str, str] = {}
    conflicts: set[str] = set()
    for path in {p for side in sides for p in side if not p.endswith("/")}:
        was, here, there = (side.get(path) for side in sides)
        if here not in (there, was) and there != was:
            conflicts.add(path)
            kept = winner.get(path)
        else:
            kept = there if here == was else here
        if kept is not None:
            files[path] = kept
    clashes = {p for p in {*files, *conflicts} if p in _alive(sides, {*files, *conflicts})}
    clashes = {p for p in clashes if not clashes.intersection(above(p))}
    inside = {p for p in {*files, *conflicts, *winner} if clashes.intersection([*above(p), p.rstrip("/")])}
    files = {path: data for path, data in files.items() if path not in inside}
    files |= {path: data for path, data in winner.items() if path in inside and not path.endswith("/")}
    left = _alive(sides, files)
    left = {p for p in left if not clashes.intersection([*above(p), p])}
    left |= {p for p in directories(winner) if clashes.intersection([*above(p), p])}
    left |= {a for path in {*files, *left} for a in above(path)}
    return Model(files, left, (conflicts - inside) | clashes)


def _alive(sides: tuple[Files, Files, Files], files: Iterable[str]) -> set[str]:
    """Return the directories that both sides have, that one has made, or that something remains below."""
    was, here, there = map(directories, sides)
    found = (here & there) | ((here | there) - was)
    return found | {a for path in [*files, *found] for a in above(path)}


def tree_of(trees: Trees, files: Files) -> Entry:
    wanted: dict[tuple[bytes, ...], Entry | None] = {}
    for path in sorted(files):
        elements = tuple(part.encode() for part in path.rstrip("/").split("/"))
        if not path.endswith("/"):
            wanted[elements] = a_file(files[path])
        elif not any(other.startswith(path) for other in files if other != path):
            wanted[elements] = trees.empty_directory()
    return trees.apply(trees.empty_directory(), wanted)


def shape_of(trees: Trees, root: Entry) -> tuple[dict[str, str], set[str]]:
    found = [(b"/".join(path).decode(), entry) for path, entry in trees.walk(root)]
    return (
        {path: entry.data.decode() for path, entry in found if not entry.is_directory},
        {path for path, entry in found if entry.is_directory},
    )


def conflicts_of(merged: Merged) -> list[str]:
    return [b"/".join(each.path).decode() for each in merged.conflicts]


@settings(max_examples=120)
@given(base=small, ours=small, theirs=small, more=st.tuples(changes, changes), favour=st.sampled_from(Side))
def test_a_merge_is_that_of_the_paths_and_symmetric(
    base: dict[str, str],
    ours: dict[str, str],
    theirs: dict[str, str],
    more: tuple[dict[str, str], dict[str, str]],
    favour: Side,
) -> None:
    """
    Three trees of few names, where files and directories take each other's places, and of many.
    """
    trees = Trees(MemoryObjects(), shape=SMALL_SHAPE)
    same = dict.fromkeys(_MANY, "0")
    sides = ({**base, **same}, {**ours, **same, **more[0]}, {**theirs, **same, **more[1]})
    expected = naive_merge(*sides, favour)
    roots = [tree_of(trees, side) for side in sides]

    merged = merge(trees, *roots, favour=favour)

    assert (expected.files, expected.directories) == shape_of(trees, merged.root)
    assert sorted(expected.conflicts) == sorted(conflicts_of(merged))
    other = Side.THEIRS if favour is Side.OURS else Side.OURS
    mirrored = merge(trees, roots[0], roots[2], roots[1], favour=other)
    assert merged.root.content == mirrored.root.content
    assert [(c.path, c.base, c.ours, c.theirs) for c in merged.conflicts] == [
        (c.path, c.base, c.theirs, c.ours) for c in mirrored.conflicts
    ]


@given(base=small, ours=small)
def test_a_merge_with_what_nobody_changed_changes_nothing(base: dict[str, str], ours: dict[str, str]) -> None:
    """
    One side is as it was at the beginning, or both are alike.
    """
    trees = Trees(MemoryObjects(), shape=SMALL_SHAPE)
    start, changed = tree_of(trees, base), tree_of(trees, ours)

    assert Merged(changed, []) == merge(trees, start, changed, start)
    assert Merged(changed, []) == merge(trees, start, start, changed)
    assert Merged(changed, []) == merge(trees, start, changed, changed)


@given(base=small, ours=small, theirs=small)
def test_without_a_common_beginning_the_two_are_put_together(
    base: dict[str, str], ours: dict[str, str], theirs: dict[str, str]
) -> None:
    """
    No tree and an empty one are the same beginning.
    """
    trees = Trees(MemoryObjects(), shape=SMALL_SHAPE)
    here, there = tree_of(trees, ours), tree_of(trees, theirs)

    merged = merge(trees, None, here, there)

    assert merge(trees, trees.empty_directory(), here, there) == merged
    taken = {change.path for change in diff(trees, here, merged.root) if change.old is not None}
    assert taken <= {()}, "something that was there is not as it was"
