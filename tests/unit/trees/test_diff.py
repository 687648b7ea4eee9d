"""What differs between two trees."""

from __future__ import annotations

import pytest

from pfsfuse.trees.diff import Change, diff
from pfsfuse.trees.entry import Entry, symlink
from pfsfuse.trees.tree import Path, Trees
from tests.support.objects import MemoryObjects
from tests.support.trees import SMALL_SHAPE, a_file


@pytest.fixture
def trees() -> Trees:
    """Trees with a few entries a node."""
    return Trees(MemoryObjects(), shape=SMALL_SHAPE)


def made(trees: Trees, changes: dict[Path, Entry | None]) -> Entry:
    """Return a tree of these entries."""
    return trees.apply(trees.empty_directory(), changes)


def paths(changes: list[Change]) -> list[tuple[Path, str]]:
    """Return the paths of *changes* with a sign: + added, - removed, ! other."""
    signs = {(True, False): "+", (False, True): "-", (False, False): "!"}
    return [(change.path, signs[change.old is None, change.new is None]) for change in changes]


def test_equal_trees_do_not_differ(trees: Trees) -> None:
    """A tree is compared with itself."""
    root = made(trees, {(b"a", b"b"): a_file()})

    assert [] == list(diff(trees, root, root))


def test_added_removed_and_changed_files_are_named_in_order_of_path(trees: Trees) -> None:
    """Files come, go and change in two directories."""
    old = made(trees, {(b"a", b"1"): a_file(), (b"a", b"2"): a_file(), (b"b",): a_file()})
    new = trees.apply(old, {(b"a", b"1"): a_file("x"), (b"a", b"2"): None, (b"a-b",): a_file()})

    found = list(diff(trees, old, new))

    assert [((b"a", b"1"), "!"), ((b"a", b"2"), "-"), ((b"a-b",), "+")] == paths(found)
    assert Change((b"a", b"1"), a_file(), a_file("x")) == found[0]


def test_a_directory_is_named_only_if_its_own_attributes_differ(trees: Trees) -> None:
    """Below two directories a file changes; the mode of one changes, too."""
    old = made(trees, {(b"a", b"f"): a_file(), (b"b", b"f"): a_file()})
    private = trees.empty_directory(mode=0o700)
    new = trees.apply(old, {(b"a",): private, (b"a", b"f"): a_file("x"), (b"b", b"f"): a_file("x")})

    assert [((b"a",), "!"), ((b"a", b"f"), "!"), ((b"b", b"f"), "!")] == paths(list(diff(trees, old, new)))


def test_the_root_is_named_like_any_directory(trees: Trees) -> None:
    """The time of the root changes, or only something in it."""
    old = made(trees, {(b"a",): a_file()})
    touched = trees.update(trees.empty_directory(mtime_ns=7), {b"a": a_file()})

    assert [((), "!")] == paths(list(diff(trees, old, touched)))
    assert [] == list(diff(trees, old, touched, by_content=True))


def test_all_below_an_added_or_removed_directory_is_named_after_it(trees: Trees) -> None:
    """A directory with a directory comes, another one goes."""
    old = made(trees, {(b"gone", b"x"): a_file()})
    new = made(trees, {(b"new", b"d", b"f"): a_file()})

    expected = [
        ((b"gone",), "-"),
        ((b"gone", b"x"), "-"),
        ((b"new",), "+"),
        ((b"new", b"d"), "+"),
        ((b"new", b"d", b"f"), "+"),
    ]
    assert expected == paths(list(diff(trees, old, new)))


def test_without_descending_an_added_or_removed_directory_is_named_alone(trees: Trees) -> None:
    """The same, for someone who looks below only where he must; a changed directory is looked into."""
    old = made(trees, {(b"gone", b"x"): a_file(), (b"kept", b"f"): a_file()})
    new = made(trees, {(b"new", b"d", b"f"): a_file(), (b"kept", b"f"): a_file("x")})

    expected = [((b"gone",), "-"), ((b"kept", b"f"), "!"), ((b"new",), "+")]
    assert expected == paths(list(diff(trees, old, new, descend=False)))


def test_a_directory_that_becomes_a_file_names_what_was_below(trees: Trees) -> None:
    """`a` is a directory on one side and a file on the other."""
    as_directory = made(trees, {(b"a", b"b", b"c"): a_file()})
    as_file = made(trees, {(b"a",): a_file()})

    removed = [((b"a",), "!"), ((b"a", b"b"), "-"), ((b"a", b"b", b"c"), "-")]
    added = [((b"a",), "!"), ((b"a", b"b"), "+"), ((b"a", b"b", b"c"), "+")]
    assert removed == paths(list(diff(trees, as_directory, as_file)))
    assert added == paths(list(diff(trees, as_file, as_directory)))
    assert [((b"a",), "!")] == paths(list(diff(trees, as_file, as_directory, descend=False)))


def test_against_nothing_all_is_added_or_removed(trees: Trees) -> None:
    """The first commit has no parent."""
    root = made(trees, {(b"a", b"b"): a_file()})

    assert [((b"a",), "+"), ((b"a", b"b"), "+")] == paths(list(diff(trees, None, root)))
    assert [((b"a",), "-"), ((b"a", b"b"), "-")] == paths(list(diff(trees, root, None)))
    assert [] == list(diff(trees, None, None))


def test_by_content_touching_and_chmod_are_no_change(trees: Trees) -> None:
    """A file is touched, another gets another owner's bits, a third becomes executable."""
    old = made(trees, {(b"d", b"1"): a_file("x"), (b"d", b"2"): a_file("x"), (b"d", b"3"): a_file("x")})
    new = trees.apply(
        old,
        {
            (b"d", b"1"): a_file("x", mtime_ns=1),
            (b"d", b"2"): a_file("x", mode=0o600),
            (b"d", b"3"): a_file("x", mode=0o755),
        },
    )

    assert [((b"d", b"3"), "!")] == paths(list(diff(trees, old, new, by_content=True)))
    assert 3 == len(list(diff(trees, old, new)))


def test_by_content_a_link_is_not_the_file_with_its_target_as_bytes(trees: Trees) -> None:
    """A file is replaced by a symbolic link."""
    old = made(trees, {(b"a",): a_file("x")})
    new = made(trees, {(b"a",): symlink(b"x", uid=0, gid=0, mtime_ns=0)})

    assert [((b"a",), "!")] == paths(list(diff(trees, old, new, by_content=True)))


def test_a_small_change_of_a_large_directory_is_found_with_few_reads() -> None:
    """One of 20,000 names changes; trees with an empty cache compare."""
    objects = MemoryObjects()
    trees = Trees(objects)
    old = trees.update(trees.empty_directory(), {b"%05d" % n: a_file() for n in range(20_000)})
    new = trees.update(old, {b"10000": a_file("x")})

    found = list(diff(Trees(objects), old, new))

    assert [((b"10000",), "!")] == paths(found)
    assert 2 * old.depth == objects.gets.total()


def test_trees_of_different_height_are_compared(trees: Trees) -> None:
    """A directory of three names grows to a thousand."""
    names: dict[bytes, Entry | None] = {b"%05d" % n: a_file() for n in range(1000)}
    small = trees.update(trees.empty_directory(), {b"00000": a_file(), b"00500": a_file("x"), b"x": a_file()})
    large = trees.update(trees.empty_directory(), names)

    found = list(diff(trees, small, large))

    assert 1000 == len(found)
    assert {(b"00500",): "!", (b"x",): "-"} == {path: sign for path, sign in paths(found) if sign != "+"}
