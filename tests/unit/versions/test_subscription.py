"""Following a branch: which commits come, in which order, and each once."""

from __future__ import annotations

import threading

import pytest

from pfsfuse.ids import BranchName
from pfsfuse.versions.branches import branch, create_branch
from pfsfuse.versions.changes import poke_after_writes
from pfsfuse.versions.commits import drop_open_commit, finish_commit, start_commit
from pfsfuse.versions.model import Commit, CommitState, Trigger
from pfsfuse.versions.repos import RepoNotFoundError, delete_repo
from pfsfuse.versions.subscription import Subscription, subscribe
from pfsfuse.versions.triggers import set_trigger
from pfsfuse.versions.wiring import set_head
from tests.support.builders import World, ref


class Reader:
    """A subscriber that looks when it is told."""

    def __init__(
        self, world: World, name: str = "master", *, after: Commit | None = None, is_early: bool = False
    ) -> None:
        self.world = world
        state = CommitState.OPEN if is_early else CommitState.FINISHED
        self.subscription = Subscription(ref(branch=name), after=after, state=state)

    def news(self) -> list[str]:
        with self.world.store.read() as txn:
            return [each.id.hex() for each in self.subscription.news(txn)]


def ids(*commits: Commit) -> list[str]:
    return [each.id.hex() for each in commits]


def test_what_is_there_comes_first_and_then_what_comes(world: World) -> None:
    """
    Oldest first, each once.
    """
    made = [world.commit({"a": b"%d" % number}) for number in range(3)]
    reader = Reader(world)

    assert ids(*made) == reader.news()
    assert [] == reader.news()
    more = [world.commit({"a": b"%d" % number}) for number in range(2)]
    assert ids(*more) == reader.news()


def test_commits_of_a_branch_with_a_longer_name_do_not_come(world: World) -> None:
    """
    master, and master-v1.
    """
    reader = Reader(world)
    world.commit({"a": b"1"}, branch="master-v1")
    assert [] == reader.news()

    made = world.commit({"a": b"1"})

    assert ids(made) == reader.news()


def test_only_commits_behind_the_one_that_is_named_come(world: World) -> None:
    """
    The subscriber knows the second of three.
    """
    made = [world.commit({"a": b"%d" % number}) for number in range(3)]

    assert ids(made[2]) == Reader(world, after=made[1]).news()


def test_an_open_commit_comes_when_it_is_started_or_when_it_is_finished(world: World) -> None:
    """
    Two subscribers, of whom one is early.
    """
    first = world.commit({"a": b"1"})
    early, late = Reader(world, is_early=True), Reader(world)
    with world.store.write() as txn:
        opened = start_commit(txn, ref().repo, "master")

    assert ids(first, opened) == early.news()
    assert ids(first) == late.news()
    with world.store.write() as txn:
        finish_commit(txn, opened.ref, first.root)
    assert [] == early.news()
    assert ids(opened) == late.news()


def test_a_dropped_commit_is_no_obstacle(world: World) -> None:
    """
    The early subscriber was told of it, and hears of the next one.
    """
    world.repo("images")
    early = Reader(world, is_early=True)
    with world.store.write() as txn:
        opened = start_commit(txn, ref().repo, "master")
    assert ids(opened) == early.news()
    with world.store.write() as txn:
        drop_open_commit(txn, opened.ref)

    made = world.commit({"a": b"1"})

    assert ids(made) == early.news()


def test_a_head_that_moves_brings_what_is_new_on_it(world: World) -> None:
    """
    Back, which brings nothing, and to a commit of another branch.
    """
    made = [world.commit({"a": b"%d" % number}) for number in range(3)]
    other = world.commit({"b": b"1"}, branch="dev")
    reader = Reader(world)
    reader.news()

    with world.store.write() as txn:
        set_head(txn, ref(), made[0].id)
    assert [] == reader.news()
    with world.store.write() as txn:
        set_head(txn, ref(), other.id)
    assert ids(other) == reader.news()


def test_what_a_trigger_moves_comes(world: World) -> None:
    """
    The branch follows every second commit of another.
    """
    world.repo("images")
    with world.store.write() as txn:
        create_branch(txn, ref().repo, "master")
        set_trigger(txn, ref(), Trigger(BranchName("staging"), commits=2), now_ns=1)
    reader = Reader(world)

    first = world.commit({"a": b"1"}, branch="staging")
    assert [] == reader.news()
    second = world.commit({"a": b"2"}, branch="staging")

    assert ids(first, second) == reader.news()


def test_a_branch_may_come_later_and_a_repo_may_go(world: World) -> None:
    """
    The subscription begins before there is anything, and ends with the repo.
    """
    world.repo("images")
    reader = Reader(world)
    assert [] == reader.news()
    made = world.commit({"a": b"1"})
    assert ids(made) == reader.news()

    with world.store.write() as txn:
        delete_repo(txn, "images")

    with pytest.raises(RepoNotFoundError):
        reader.news()


def test_a_stream_wakes_up_for_what_comes(world: World) -> None:
    """
    A thread reads, another commits.
    """
    poke_after_writes(world.store)
    first = world.commit({"a": b"1"})
    stream = subscribe(world.store, Subscription(ref(), state=CommitState.FINISHED))
    assert first == next(stream)
    made: list[Commit] = []
    writer = threading.Thread(target=lambda: made.append(world.commit({"a": b"2"})))
    writer.start()

    second = next(stream)

    writer.join()
    assert made == [second]
    with world.store.read() as txn:
        assert second.id == branch(txn, ref().repo, "master").head
    stream.close()  # type: ignore[attr-defined]
