"""Directories."""

from __future__ import annotations

from itertools import islice

import pytest

from pfsfuse.errors import NotADirectoryPathError, StoreError
from pfsfuse.ids import ChunkId, chunk_id
from pfsfuse.store.objects import ObjectKind
from pfsfuse.trees.entry import Entry
from pfsfuse.trees.node import CorruptNodeError
from pfsfuse.trees.tree import Trees
from tests.support.objects import MemoryObjects
from tests.support.trees import SMALL_SHAPE, a_file


@pytest.fixture
def objects() -> MemoryObjects:
    """A store in memory."""
    return MemoryObjects()


@pytest.fixture
def trees(objects: MemoryObjects) -> Trees:
    """Trees with a few entries a node."""
    return Trees(objects, shape=SMALL_SHAPE)


def numbered(count: int, text: str = "") -> dict[bytes, Entry]:
    """Return *count* small files by name."""
    return {b"%05d" % number: a_file(text) for number in range(count)}


# Looking up and listing


def test_a_name_is_found_and_others_are_not(trees: Trees) -> None:
    """Names before, between and after those of a directory are asked for."""
    directory = trees.update(trees.empty_directory(), numbered(100, "x"))

    assert a_file("x") == trees.lookup(directory, b"00050")
    assert [None] * 4 == [trees.lookup(directory, name) for name in (b"", b"0", b"00050x", b"z")]


def test_an_empty_directory_has_no_names_and_stores_nothing(objects: MemoryObjects, trees: Trees) -> None:
    """A new directory is asked for names."""
    directory = trees.empty_directory(mode=0o700, uid=1, gid=2, mtime_ns=3)

    assert trees.lookup(directory, b"a") is None
    assert [] == list(trees.list(directory))
    assert (0o700, 1, 2, 3) == (directory.mode, directory.uid, directory.gid, directory.mtime_ns)
    assert {} == objects.stored


def test_names_are_listed_in_the_order_of_their_bytes(trees: Trees) -> None:
    """Names come with bytes above 127 and as beginnings of each other."""
    names = [b"b", b"a-b", b"a", b"\xff\xfe", b"a.b", b"ab", b"A"]
    directory = trees.update(trees.empty_directory(), {name: a_file() for name in names})

    assert sorted(names) == [name for name, _ in trees.list(directory)]


@pytest.mark.parametrize("after", [b"", b"00000", b"00041", b"00041x", b"00098", b"00099", b"z"])
def test_a_list_goes_on_after_a_name(trees: Trees, after: bytes) -> None:
    """A reader of a directory comes back with the last name it saw, which may be gone."""
    files = numbered(100)
    directory = trees.update(trees.empty_directory(), files)

    expected = [name for name in sorted(files) if name > after]
    assert expected == [name for name, _ in trees.list(directory, after=after)]


def test_a_list_reads_no_more_than_it_yields(objects: MemoryObjects) -> None:
    """The first names of a large directory are wanted."""
    directory = Trees(objects, shape=SMALL_SHAPE).update(Trees(objects).empty_directory(), numbered(1000))
    fresh = Trees(objects, shape=SMALL_SHAPE)

    names = [name for name, _ in islice(fresh.list(directory), 3)]

    assert [b"00000", b"00001", b"00002"] == names
    assert objects.gets.total() <= directory.depth + 2


def test_a_file_is_no_directory(trees: Trees) -> None:
    """A caller takes a file for a directory."""
    with pytest.raises(NotADirectoryPathError):
        trees.lookup(a_file(), b"name")


# Updating


def test_an_update_keeps_the_attributes_of_the_directory(trees: Trees) -> None:
    """A file is put into a directory with owner, mode and time."""
    directory = trees.empty_directory(mode=0o700, uid=1, gid=2, mtime_ns=3)

    updated = trees.update(directory, {b"a": a_file()})

    assert (0o700, 1, 2, 3) == (updated.mode, updated.uid, updated.gid, updated.mtime_ns)


def test_sizes_and_files_are_those_of_all_below(trees: Trees) -> None:
    """Files stand in a directory and in one below it."""
    inner = trees.update(trees.empty_directory(), numbered(50, "xyz"))
    outer = trees.update(trees.empty_directory(), {b"inner": inner, **numbered(20, "a")})

    assert (50 * 3 + 20, 50 + 20) == (outer.size, outer.files)


def test_removing_all_gives_an_empty_directory_again(trees: Trees) -> None:
    """Every name of a directory is removed."""
    directory = trees.update(trees.empty_directory(), numbered(100))

    assert trees.empty_directory() == trees.update(directory, dict.fromkeys(numbered(100)))


def test_removing_what_is_absent_changes_nothing(trees: Trees) -> None:
    """Names that are not there are removed, from an empty directory too."""
    directory = trees.update(trees.empty_directory(), numbered(100))

    assert directory == trees.update(directory, {b"absent": None, b"00050x": None})
    assert trees.empty_directory() == trees.update(trees.empty_directory(), {b"absent": None})


def test_a_directory_can_lose_its_first_names_whatever_the_shape_of_its_tree(trees: Trees) -> None:
    """All names up to each one are removed; what remains of the tree must not keep its height."""
    for count in range(1, 70):
        files = numbered(count)
        directory = trees.update(trees.empty_directory(), files)
        for name in files:
            rebuilt = trees.update(trees.empty_directory(), {key: files[key] for key in files if key >= name})

            assert rebuilt == trees.update(directory, {key: None for key in files if key < name})


def test_one_change_in_a_large_directory_makes_few_nodes() -> None:
    """One of 20,000 names changes."""
    objects = MemoryObjects()
    trees = Trees(objects)
    directory = trees.update(trees.empty_directory(), numbered(20_000))
    known = len(objects.stored)

    trees.update(directory, {b"10000": a_file("changed")})

    assert directory.depth == len(objects.stored) - known


def test_nodes_have_32_to_64_entries() -> None:
    """A large directory is stored."""
    objects = MemoryObjects()
    trees = Trees(objects)
    directory = trees.update(trees.empty_directory(), numbered(20_000))

    root = trees.node(directory.data)
    sizes = [len(trees.node(child.id).keys) for child in root.items if not isinstance(child, Entry)]

    assert directory.depth == 3
    assert all(32 <= size <= 64 for size in sizes[:-1])


def test_the_format_of_directories_is_that_of_stores_that_exist(trees: Trees) -> None:
    """A known directory is made; with another root, new commits would share nothing with older ones."""
    directory = Trees(MemoryObjects()).update(trees.empty_directory(), numbered(1000, "x"))

    assert "80c1b2e4e1d48b0b8a5b7a1876ac477d6d1353ffad5f88ab024b84a214ced39d" == directory.data.hex()
    assert "72fbfa7bf08a316e32af961adccaf4eac62821cf6deac1eb99fbe62e93b649f3" == directory.content.hex()


# Content


def test_the_content_of_a_directory_ignores_times_owners_and_modes(trees: Trees) -> None:
    """Every file of a directory is touched and made private."""
    touched = {name: a_file("x", mode=0o600, mtime_ns=5) for name in numbered(100)}
    before = trees.update(trees.empty_directory(), numbered(100, "x"))
    after = trees.update(before, touched)

    assert before.content == after.content
    assert before.data != after.data


def test_the_content_of_a_directory_sees_the_executable_bit(trees: Trees) -> None:
    """One file of many becomes executable."""
    before = trees.update(trees.empty_directory(), numbered(100, "x"))
    after = trees.update(before, {b"00050": a_file("x", mode=0o755)})

    assert before.content != after.content


def test_the_content_of_a_directory_sees_what_is_far_below(trees: Trees) -> None:
    """A file four directories down changes."""
    path = (b"a", b"b", b"c", b"d")
    before = trees.apply(trees.empty_directory(), {path: a_file("1")})
    after = trees.apply(before, {path: a_file("2")})

    assert before.content != after.content


def test_an_empty_directory_is_content(trees: Trees) -> None:
    """A directory has an empty directory in it, or nothing."""
    with_empty = trees.update(trees.empty_directory(), {b"empty": trees.empty_directory()})

    assert trees.empty_directory().content != with_empty.content


# Paths


def test_a_path_resolves_to_its_entry(trees: Trees) -> None:
    """A file stands two directories down."""
    root = trees.apply(trees.empty_directory(), {(b"a", b"b", b"c"): a_file("x")})

    assert a_file("x") == trees.resolve(root, (b"a", b"b", b"c"))
    assert root == trees.resolve(root, ())


@pytest.mark.parametrize("path", [(b"x",), (b"a", b"x"), (b"x", b"y"), (b"file", b"below")])
def test_a_path_that_leads_nowhere_resolves_to_none(trees: Trees, path: tuple[bytes, ...]) -> None:
    """Names are absent, or a file stands where a directory would have to be."""
    root = trees.apply(trees.empty_directory(), {(b"a", b"b"): a_file(), (b"file",): a_file()})

    assert trees.resolve(root, path) is None


def test_walking_names_directories_before_what_is_in_them(trees: Trees) -> None:
    """A tree is walked whose names sort otherwise as strings with slashes: `a-b` before `a/b`."""
    root = trees.apply(
        trees.empty_directory(),
        {(b"a", b"b"): a_file(), (b"a-b",): a_file(), (b"a", b"c", b"d"): a_file(), (b"z",): a_file()},
    )

    paths = [path for path, _ in trees.walk(root)]

    expected = [(b"a",), (b"a", b"b"), (b"a", b"c"), (b"a", b"c", b"d"), (b"a-b",), (b"z",)]
    assert expected == paths


def test_missing_parents_are_made_with_the_owner_of_the_directory_above(trees: Trees) -> None:
    """A file comes two directories below one that belongs to someone."""
    root = trees.empty_directory(mode=0o700, uid=7, gid=8, mtime_ns=9)

    root = trees.apply(root, {(b"a", b"b", b"c"): a_file()}, mtime_ns=5)

    made = [trees.resolve(root, path) for path in [(b"a",), (b"a", b"b")]]
    assert [(0o755, 7, 8, 5)] * 2 == [(d.mode, d.uid, d.gid, d.mtime_ns) for d in made if d is not None]
    assert (0o700, 7, 8, 9) == (root.mode, root.uid, root.gid, root.mtime_ns)


def test_removing_below_what_is_absent_makes_no_directory(trees: Trees) -> None:
    """A path is removed whose parents are not there, or are a file."""
    root = trees.apply(trees.empty_directory(), {(b"file",): a_file()})

    assert root == trees.apply(root, {(b"a", b"b"): None, (b"file", b"x"): None})


def test_a_removed_directory_takes_all_below_with_it(trees: Trees) -> None:
    """A directory with files goes, another stays."""
    root = trees.apply(trees.empty_directory(), {(b"a", b"b"): a_file(), (b"c",): a_file()})

    assert [(b"c",)] == [path for path, _ in trees.walk(trees.apply(root, {(b"a",): None}))]


def test_a_directory_is_replaced_by_a_file_and_back(trees: Trees) -> None:
    """`a` is a directory, then a file, then a directory."""
    root = trees.apply(trees.empty_directory(), {(b"a", b"b"): a_file()})
    as_file = trees.apply(root, {(b"a",): a_file("file")})
    as_directory = trees.apply(as_file, {(b"a",): None, (b"a", b"b"): a_file()})

    assert a_file("file") == trees.resolve(as_file, (b"a",))
    assert root == as_directory


def test_changes_below_a_changed_path_are_made_on_top_of_it(trees: Trees) -> None:
    """A directory is replaced by another one, and in that one files are set and removed."""
    old = trees.update(trees.empty_directory(), {b"old": a_file()})
    other = trees.update(trees.empty_directory(mode=0o700), {b"kept": a_file(), b"gone": a_file()})
    root = trees.update(trees.empty_directory(), {b"d": old})

    root = trees.apply(root, {(b"d",): other, (b"d", b"gone"): None, (b"d", b"new"): a_file()})

    assert [(b"d",), (b"d", b"kept"), (b"d", b"new")] == [path for path, _ in trees.walk(root)]
    directory = trees.resolve(root, (b"d",))
    assert directory is not None
    assert 0o700 == directory.mode


def test_nothing_can_be_put_below_a_file(trees: Trees) -> None:
    """A path goes through a file that nobody removed."""
    root = trees.apply(trees.empty_directory(), {(b"a", b"file"): a_file()})

    with pytest.raises(NotADirectoryPathError, match="/a/file"):
        trees.apply(root, {(b"a", b"file", b"x"): a_file()})


def test_the_empty_path_sets_the_root_itself(trees: Trees) -> None:
    """The mode of the root changes while a file comes."""
    root = trees.update(trees.empty_directory(), {b"a": a_file()})
    private = trees.update(trees.empty_directory(mode=0o700), {b"a": a_file()})

    changed = trees.apply(root, {(): private, (b"b",): a_file()})

    assert (0o700, [b"a", b"b"]) == (changed.mode, [name for name, _ in trees.list(changed)])
    assert trees.empty_directory() == trees.apply(root, {(): None})


def test_paths_may_be_deeper_than_the_stack_of_the_interpreter(trees: Trees) -> None:
    """A program makes directories in directories, two thousand deep."""
    path = (b"d",) * 2000
    root = trees.apply(trees.empty_directory(), {(*path, b"f"): a_file("x")})

    assert 1 == root.size
    assert 2001 == sum(1 for _ in trees.walk(root))
    assert trees.empty_directory() == trees.apply(root, {(b"d",): None})


# Faults


def test_a_missing_node_is_a_store_error(objects: MemoryObjects) -> None:
    """A node of a directory is lost."""
    directory = Trees(objects).update(Trees(objects).empty_directory(), numbered(10))
    del objects.stored[ChunkId(directory.data)]

    with pytest.raises(StoreError):
        Trees(objects).lookup(directory, b"00001")


def test_a_directory_whose_id_names_something_else_is_corrupt(objects: MemoryObjects) -> None:
    """An entry names a chunk where a node should be."""
    trees = Trees(objects)
    directory = trees.update(trees.empty_directory(), numbered(10))
    chunk = objects.put(b"bytes of a file", ObjectKind.CHUNK)
    objects.stored[ChunkId(directory.data)] = objects.stored[chunk]

    with pytest.raises(CorruptNodeError, match=directory.data.hex()):
        Trees(objects).lookup(directory, b"00001")


def test_trees_without_room_for_nodes_still_work(objects: MemoryObjects) -> None:
    """The cache keeps a single node."""
    trees = Trees(objects, cached_nodes=1, shape=SMALL_SHAPE)
    directory = trees.update(trees.empty_directory(), numbered(300))
    directory = trees.update(directory, {b"00100": None})

    assert 299 == len(list(trees.list(directory)))
    assert chunk_id(objects.get(ChunkId(directory.data))) == directory.data
