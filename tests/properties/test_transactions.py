"""
Transactions as a model: a list of requests is done whole, or nothing of it is to be seen.

Some of the processes that finish one are killed on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfsfuse.errors import PfsError
from pfsfuse.ids import BranchName, RepoName
from pfsfuse.versions import transactions
from pfsfuse.versions.model import BranchRef, Trigger
from pfsfuse.versions.requests import (
    CreateBranch,
    CreateRepo,
    DeleteBranch,
    DeleteRepo,
    FinishCommit,
    Request,
    StartCommit,
)
from pfsfuse.versions.transactions import TransactionFailedError, transaction
from tests.support.builders import World, checked_world
from tests.support.transactions import dump, finish_and_die

repos = st.sampled_from([RepoName(name) for name in ("a", "b")])
lines = st.builds(BranchRef, repos, st.sampled_from([BranchName(name) for name in ("master", "dev", "x")]))
triggers = st.none() | st.builds(
    Trigger, st.sampled_from([BranchName("master"), BranchName("dev")]), commits=st.just(1)
)
requests = st.one_of(
    st.builds(CreateRepo, repos),
    st.builds(DeleteRepo, repos, force=st.booleans()),
    st.builds(CreateBranch, lines, head=st.sampled_from(["", "master"]), trigger=triggers),
    st.builds(DeleteBranch, lines, force=st.booleans()),
    st.builds(StartCommit, lines),
    st.builds(FinishCommit, lines, error=st.sampled_from(["", "bad"])),
)


def begin(world: World) -> None:
    """Make what requests can be about."""
    world.commit({"f": b"1"}, repo="a")
    world.commit({"f": b"2"}, repo="a", branch="dev")


def fill(world: World, wanted: Sequence[Request]) -> tuple[transactions.Transaction, dict[object, object]]:
    """Add those that can be done to a new transaction; return it, and what the store was without it."""
    with world.store.read() as txn:
        before = dump(txn)
    begun = transactions.start(world.store)
    for request in wanted:
        with suppress(PfsError):
            transactions.append(world.store, world.trees, begun.id, request)
    with world.store.read() as txn:
        record = transaction(txn, begun.id)
        after = dump(txn)
    del after[("documents", transactions.transaction_key(begun.id))]
    assert before == after, "a request was done before its time"
    return record, before


@settings(max_examples=15)
@given(wanted=st.lists(requests, max_size=8))
def test_what_could_be_rehearsed_is_done_with_the_same_answers(wanted: list[Request]) -> None:
    """
    Nobody else changes anything between the last request and the end.
    """
    with TemporaryDirectory() as folder, checked_world(Path(folder) / "store") as world:
        begin(world)
        record, _ = fill(world, wanted)

        done = transactions.finish(world.store, world.trees, record.id)

        assert record.responses == done.responses


@settings(max_examples=15)
@given(wanted=st.lists(requests, max_size=6), meanwhile=st.lists(requests, min_size=1, max_size=3))
def test_a_transaction_that_others_overtook_is_done_whole_or_not(
    wanted: list[Request], meanwhile: list[Request]
) -> None:
    """
    Others change the same repos and branches before the end.
    """
    with TemporaryDirectory() as folder, checked_world(Path(folder) / "store") as world:
        begin(world)
        record, _ = fill(world, wanted)
        for request in meanwhile:
            with suppress(PfsError):
                transactions.batch(world.store, world.trees, [request])
        with world.store.read() as txn:
            before = dump(txn)
        try:
            done = transactions.finish(world.store, world.trees, record.id)
        except TransactionFailedError:
            with world.store.read() as txn:
                assert before == dump(txn)
        else:
            assert len(record.requests) == len(done.responses)


@pytest.mark.slow(reason="each example is a process that is killed: 3 s")
@settings(max_examples=6)
@given(wanted=st.lists(requests, min_size=1, max_size=6), after=st.integers(0, 6))
def test_a_killed_finish_leaves_all_or_nothing(wanted: list[Request], after: int) -> None:
    """
    A process is killed while it finishes; who opens the store next sees a state that was meant.
    """
    with TemporaryDirectory() as folder, checked_world(Path(folder) / "store") as world:
        begin(world)
        record, before = fill(world, wanted)

        finish_and_die(world.root, record.id, after)

        world.reopen()
        with world.store.read() as txn:
            left = dump(txn)
            if after < len(record.requests):
                assert record == transaction(txn, record.id)
                del left[("documents", transactions.transaction_key(record.id))]
                assert before == left
            else:
                assert [] == transactions.transactions(txn)
