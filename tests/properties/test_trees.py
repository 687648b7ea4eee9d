"""Trees against dictionaries."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pfsfuse.trees.diff import diff
from pfsfuse.trees.entry import Entry
from pfsfuse.trees.levels import Shape
from pfsfuse.trees.tree import Path, Trees
from tests.support.objects import MemoryObjects
from tests.support.trees import SMALL_SHAPE, a_file

NAMES = st.one_of(
    st.integers(0, 300).map(lambda number: b"%03d" % number),
    st.binary(min_size=1, max_size=3).filter(lambda name: b"/" not in name and b"\0" not in name),
)
FILES = st.builds(
    a_file,
    st.sampled_from(["", "x", "y"]),
    mode=st.sampled_from([0o644, 0o755, 0o600]),
    mtime_ns=st.sampled_from([0, 1]),
)
CHANGES = st.dictionaries(NAMES, st.none() | FILES, max_size=120)
SHAPES = st.sampled_from([SMALL_SHAPE, Shape(2, 3, 2), Shape(3, 9, 4), Shape(32, 64, 16)])

# Few names, so that files and directories take each other's places.
PATHS = st.lists(st.sampled_from([b"a", b"a-b", b"b", b"c"]), min_size=1, max_size=4).map(tuple)


@given(st.lists(CHANGES, max_size=6), SHAPES)
def test_any_sequence_of_updates_gives_the_root_of_a_rebuild(
    steps: list[dict[bytes, Entry | None]], shape: Shape
) -> None:
    """Names are set and removed in several steps; someone else makes the same directory at once."""
    trees = Trees(MemoryObjects(), shape=shape)
    directory = trees.empty_directory()
    model: dict[bytes, Entry] = {}
    for changes in steps:
        directory = trees.update(directory, changes)
        model = {name: entry for name, entry in {**model, **changes}.items() if entry is not None}

        assert Trees(MemoryObjects(), shape=shape).update(trees.empty_directory(), model) == directory

    assert sorted(model.items()) == list(trees.list(directory))
    assert (sum(entry.size for entry in model.values()), len(model)) == (directory.size, directory.files)


@given(st.integers(0, 400), st.data())
def test_any_range_of_names_can_go_and_come_back(count: int, data: st.DataObject) -> None:
    """A run of names, which may be whole nodes on any level, is removed and set again."""
    trees = Trees(MemoryObjects(), shape=SMALL_SHAPE)
    files = {b"%05d" % number: a_file() for number in range(count)}
    directory = trees.update(trees.empty_directory(), files)
    start = data.draw(st.integers(0, count))
    names = sorted(files)[start : data.draw(st.integers(start, count))]

    without = trees.update(directory, dict.fromkeys(names))
    again = trees.update(without, {name: files[name] for name in names})

    rest = {name: entry for name, entry in files.items() if name not in names}
    assert trees.update(trees.empty_directory(), rest) == without
    assert directory == again


@given(CHANGES, CHANGES, SHAPES, st.booleans())
def test_diff_finds_exactly_the_changes(
    first: dict[bytes, Entry | None], second: dict[bytes, Entry | None], shape: Shape, by_content: bool
) -> None:
    """A directory changes, and both states are compared, by all or by content only."""
    trees = Trees(MemoryObjects(), shape=shape)
    old = trees.update(trees.empty_directory(), first)
    new = trees.update(old, second)
    was, is_now = dict(trees.list(old)), dict(trees.list(new))

    found = [(change.path, change.old, change.new) for change in diff(trees, old, new, by_content=by_content)]

    expected = [
        ((name,), was.get(name), is_now.get(name))
        for name in sorted(was | is_now)
        if _seen(was.get(name), by_content) != _seen(is_now.get(name), by_content)
    ]
    assert expected == found


@given(st.lists(st.dictionaries(PATHS, st.none() | FILES, max_size=12), max_size=5))
def test_changes_by_path_are_those_of_a_dictionary_of_paths(steps: list[dict[Path, Entry | None]]) -> None:
    """Files are put and removed by path, a removal standing in for whatever is in the way of a new file."""
    trees = Trees(MemoryObjects(), shape=SMALL_SHAPE)
    root = trees.empty_directory()
    model: dict[Path, Entry] = {}
    for step in steps:
        changes = _without_files_in_the_way(step, model)
        root = trees.apply(root, changes)
        model = _applied(model, changes)

        files = {path: entry for path, entry in trees.walk(root) if not entry.is_directory}
        assert model == files
        for path, entry in files.items():
            assert entry == trees.resolve(root, path)


@given(st.dictionaries(PATHS, FILES, max_size=12), st.dictionaries(PATHS, FILES, max_size=12), st.booleans())
def test_diff_of_trees_turns_one_into_the_other(
    first: dict[Path, Entry], second: dict[Path, Entry], by_content: bool
) -> None:
    """Two trees that share little are compared; what is named is applied to the first."""
    trees = Trees(MemoryObjects(), shape=SMALL_SHAPE)
    old = trees.apply(trees.empty_directory(), _without_files_in_the_way(first, {}))
    new = trees.apply(trees.empty_directory(), _without_files_in_the_way(second, {}))

    found = list(diff(trees, old, new, by_content=by_content))
    turned = trees.apply(old, {change.path: _alone(trees, change.new) for change in found})

    assert [change.path for change in found] == sorted(change.path for change in found)
    assert new.content == turned.content
    if not by_content:
        assert new == turned


@given(CHANGES, CHANGES)
@settings(max_examples=50)
def test_content_is_equal_exactly_where_diff_by_content_is_empty(
    first: dict[bytes, Entry | None], second: dict[bytes, Entry | None]
) -> None:
    """Two directories are made whose files may differ in time and mode only."""
    trees = Trees(MemoryObjects(), shape=SMALL_SHAPE)
    old = trees.update(trees.empty_directory(), first)
    new = trees.update(old, {name: entry for name, entry in second.items() if name in first})

    assert (old.content == new.content) == (not list(diff(trees, old, new, by_content=True)))


def _seen(entry: Entry | None, by_content: bool) -> object:
    if entry is None or not by_content:
        return entry
    return entry.kind, bool(entry.mode & 0o100), entry.content


def _without_files_in_the_way(
    step: dict[Path, Entry] | dict[Path, Entry | None], model: dict[Path, Entry]
) -> dict[Path, Entry | None]:
    """Return *step* without files below its own files, and with removals of old files above new ones."""
    changes: dict[Path, Entry | None] = {}
    for path, entry in sorted(step.items()):
        above = [path[:length] for length in range(1, len(path))]
        if any(changes.get(parent) is not None for parent in above):
            continue
        changes[path] = entry
        if entry is not None:
            changes |= {parent: None for parent in above if parent in model}
    return changes


def _applied(model: dict[Path, Entry], changes: dict[Path, Entry | None]) -> dict[Path, Entry]:
    kept = {
        path: entry
        for path, entry in model.items()
        if not any(path[:length] in changes for length in range(1, len(path) + 1))
    }
    return kept | {path: entry for path, entry in changes.items() if entry is not None}


def _alone(trees: Trees, entry: Entry | None) -> Entry | None:
    """Return *entry*; of a directory only its attributes, since what is below is named as well."""
    if entry is None or not entry.is_directory:
        return entry
    empty = trees.empty_directory()
    return msgspec.structs.replace(entry, size=0, files=0, depth=0, data=b"", content=empty.content)
