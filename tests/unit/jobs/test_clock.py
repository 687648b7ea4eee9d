"""The clock of the runner, with a time that the test makes."""

from __future__ import annotations

import trio
import trio.testing

from pfsfuse.ids import BranchName, CommitId
from pfsfuse.versions.branches import branch, create_branch
from pfsfuse.versions.changes import Listener, poke_after_writes
from pfsfuse.versions.model import BranchRef, Trigger
from pfsfuse.versions.triggers import set_trigger
from runner.streams.clock import run_clock
from tests.support.builders import World, ref


def now_ns() -> int:
    return 1_700_000_000_000_000_000 + int(trio.current_time() * 1e9)


def listen(world: World, name: str, schedule: str) -> BranchRef:
    """Create a branch that goes by the clock."""
    with world.store.write() as txn:
        made = create_branch(txn, ref().repo, name).ref
        trigger = Trigger(BranchName("staging"), cron_spec=schedule)
        set_trigger(txn, made, trigger, now_ns=now_ns())
    return made


def head(world: World, line: BranchRef) -> CommitId | None:
    with world.store.read() as txn:
        return branch(txn, line.repo, line.branch).head


async def test_branches_move_when_their_time_has_come(
    world: World, nursery: trio.Nursery, mock_clock: trio.testing.MockClock
) -> None:
    """
    One trigger is there from the start, a nearer one comes while the clock sleeps.
    """
    poke_after_writes(world.store)
    first = world.commit({"a": b"1"}, branch="staging")
    slow = listen(world, "slow", "@every 1h")
    with Listener(world.store) as news:

        async def is_at(line: BranchRef, commit_id: CommitId) -> None:
            while head(world, line) != commit_id:
                await trio.lowlevel.wait_readable(news.socket)
                news.news()

        nursery.start_soon(lambda: run_clock(world.store, now_ns=now_ns))
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(1000)
        await trio.testing.wait_all_tasks_blocked()
        assert head(world, slow) is None

        quick = listen(world, "quick", "@every 10s")
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(10)
        await is_at(quick, first.id)
        assert head(world, slow) is None

        second = world.commit({"a": b"2"}, branch="staging")
        mock_clock.jump(2590)
        await is_at(slow, second.id)
        await is_at(quick, second.id)
