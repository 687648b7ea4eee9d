"""Looking for the commits that changed a path: which are found, and what it costs."""

from __future__ import annotations

import pytest

from pfsfuse.errors import ConflictError
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.changesets import Delete
from pfsfuse.versions.commits import finish_commit, start_commit
from pfsfuse.versions.model import Commit
from pfsfuse.versions.owner import commit_changes
from pfsfuse.versions.search import search
from tests.support.builders import World, path_of, ref
from tests.support.objects import CountingObjects


def found(world: World, start: Commit, path: str) -> list[Commit]:
    steps = search(world.store, world.trees, start, path_of(path) if path else ())
    return [step.commit for step in steps if step.changed]


def deleted(world: World, path: str) -> Commit:
    return commit_changes(world.store, world.trees, ref(), [Delete(path_of(path))])


def test_commits_that_added_changed_and_deleted_a_path_are_found(world: World) -> None:
    """
    Newest first; those that changed other paths, or wrote the same again, are not.
    """
    added = world.commit({"d/a": b"1"})
    world.commit({"d/b": b"1"})
    changed = world.commit({"d/a": b"2"})
    world.commit({"d/a": b"2", "c": b"1"})
    gone = deleted(world, "d/a")
    back = world.commit({"d/a": b"1"})
    last = world.commit({"other": b"1"})

    assert [back, gone, changed, added] == found(world, last, "d/a")
    assert [changed, added] == found(world, changed, "d/a")
    assert [] == found(world, last, "never")


def test_a_folder_changes_with_what_is_below_it(world: World) -> None:
    """
    The root changes with every commit that changes anything.
    """
    first = world.commit({"d/a": b"1", "e": b"1"})
    second = world.commit({"d/deep/b": b"1"})
    same = world.commit({"e": b"1"})
    third = world.commit({"e": b"2"})

    assert [second, first] == found(world, third, "d")
    assert [third, second, first] == found(world, third, "")
    assert same not in found(world, third, "")


def test_commits_that_do_not_count_are_passed_over(world: World) -> None:
    """
    One has an error; the next one is compared with what was before it.
    """
    first = world.commit({"a": b"1"})
    with world.store.write() as txn:
        started = start_commit(txn, ref().repo, "master")
        bad = finish_commit(txn, started.ref, world.tree({"a": b"9"}), error="bad")
    last = world.commit({"b": b"1"})

    steps = list(search(world.store, world.trees, last, (b"a",)))

    assert [(last, False), (bad, False), (first, True)] == [(step.commit, step.changed) for step in steps]


def test_an_open_commit_is_refused(world: World) -> None:
    """
    It may still change anything.
    """
    world.repo("images")
    with world.store.write() as txn:
        opened = start_commit(txn, ref().repo, "master")

    with pytest.raises(ConflictError, match="is open"):
        found(world, opened, "a")


def test_every_commit_is_counted_in_order(world: World) -> None:
    """
    More of them than are read at a time.
    """
    made = [world.commit({f"f{number % 3}": b"%d" % number}) for number in range(20)]

    steps = list(search(world.store, world.trees, made[-1], (b"f1",)))

    assert made[::-1] == [step.commit for step in steps]
    assert made[19::-3] == [step.commit for step in steps if step.changed]


def test_a_commit_costs_a_look_up_however_much_it_changed(world: World) -> None:
    """
    Each of ten commits changed hundreds of other files.
    """
    world.commit({"wanted": b"1", **{f"d{n % 20}/f{n}": b"0" for n in range(2000)}})
    for number in range(1, 10):
        world.commit({f"d{n % 20}/f{n}": b"%d" % number for n in range(0, 2000, 4)})
    last = world.commit({"d1/f1": b"last"})
    counting = CountingObjects(world.store.chunks)

    steps = list(search(world.store, Trees(counting), last, (b"wanted",)))

    assert 1 == sum(step.changed for step in steps)
    assert counting.gets <= 2 * len(steps)
