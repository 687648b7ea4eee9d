"""Triggers by the clock: what happens at which time."""

from __future__ import annotations

import pytest

from pfsfuse.ids import BranchName
from pfsfuse.versions.branches import branch, create_branch
from pfsfuse.versions.clock import Clock
from pfsfuse.versions.commits import start_commit
from pfsfuse.versions.model import BranchRef, Trigger
from pfsfuse.versions.moves import moves_of
from pfsfuse.versions.triggers import set_trigger
from tests.support.builders import World, ref

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


class HandClock:
    """A clock that is heard when a test says so, in seconds from the start."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = Clock()

    def tick(self, second: int) -> list[BranchRef]:
        with self.world.store.write() as txn:
            return self.clock.tick(txn, START + second * SECOND)

    @property
    def due(self) -> int | None:
        with self.world.store.read() as txn:
            found = self.clock.next_due_ns(txn)
        return None if found is None else (found - START) // SECOND


@pytest.fixture
def line(world: World) -> BranchRef:
    """A branch that looks every ten seconds at `staging`, which has a commit."""
    world.commit({"a": b"1"}, branch="staging")
    with world.store.write() as txn:
        made = create_branch(txn, ref().repo, "master").ref
        set_trigger(txn, made, Trigger(BranchName("staging"), cron_spec="@every 10s"), now_ns=START)
    return made


@pytest.fixture
def clock(world: World) -> HandClock:
    return HandClock(world)


def test_a_branch_moves_at_its_time(world: World, clock: HandClock, line: BranchRef) -> None:
    """
    Not before; the move is a change with an id of its own.
    """
    assert 10 == clock.due
    assert [] == clock.tick(9)
    assert [line] == clock.tick(10)

    assert 20 == clock.due
    with world.store.read() as txn:
        moved = branch(txn, line.repo, line.branch)
        assert moved.moved is not None
        assert [line] == [move.ref for move in moves_of(txn, moved.moved)]
        assert branch(txn, line.repo, "staging").head == moved.head


def test_a_finished_commit_does_not_move_it(world: World, clock: HandClock, line: BranchRef) -> None:
    """
    Only the clock does.
    """
    world.commit({"a": b"2"}, branch="staging")

    with world.store.read() as txn:
        assert branch(txn, line.repo, line.branch).head is None


def test_nothing_moves_where_nothing_is_new(world: World, clock: HandClock, line: BranchRef) -> None:
    """
    The time goes on all the same.
    """
    assert [line] == clock.tick(10)
    assert [] == clock.tick(20)
    assert 30 == clock.due


def test_a_look_at_nothing_new_writes_nothing(world: World, clock: HandClock, line: BranchRef) -> None:
    """
    Another clock, after a restart of the runner, hears the time again and does nothing either.
    """
    clock.tick(10)
    with world.store.read() as txn:
        before = txn.sequence()

    assert [[], []] == [clock.tick(20), HandClock(world).tick(25)]

    with world.store.read() as txn:
        assert before == txn.sequence()


def test_times_that_nobody_heard_are_made_up_for_once(
    world: World, clock: HandClock, line: BranchRef
) -> None:
    """
    No clock ran for an hour.
    """
    assert [line] == clock.tick(3600)
    assert 3610 == clock.due


def test_an_open_commit_keeps_the_branch_until_the_next_time(
    world: World, clock: HandClock, line: BranchRef
) -> None:
    """
    Somebody writes the branch.
    """
    with world.store.write() as txn:
        start_commit(txn, line.repo, line.branch)

    assert [] == clock.tick(10)
    assert 20 == clock.due


def test_a_clock_that_goes_backwards_moves_nothing(world: World, clock: HandClock, line: BranchRef) -> None:
    """
    Somebody sets the time back by a minute.
    """
    assert [line] == clock.tick(10)
    world.commit({"a": b"2"}, branch="staging")

    assert [] == clock.tick(-50)
    assert [line] == clock.tick(20)


def test_without_triggers_by_the_clock_no_clock_is_needed(world: World, clock: HandClock) -> None:
    """
    Another kind of trigger is there.
    """
    world.commit({"a": b"1"})
    with world.store.write() as txn:
        made = create_branch(txn, ref().repo, "dev").ref
        set_trigger(txn, made, Trigger(BranchName("master"), commits=1), now_ns=START)

    assert clock.due is None
