"""Transactions that several tasks share, on a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from pfsfuse.errors import NotFoundError
from pfsfuse.store.index import Table, WriteTxn
from runner.errors import RunnerError
from runner.jobs.recorder import Recorder, Write
from tests.support.versions import Versions


@pytest.fixture
async def recorder(versions: Versions, nursery: trio.Nursery) -> AsyncIterator[Recorder]:
    made = Recorder(versions.store)
    nursery.start_soon(made.serve)
    yield made
    nursery.cancel_scope.cancel()


def puts(key: bytes) -> Write:
    return lambda txn: txn.put(Table.DOCUMENTS, key, b"value")


def keys(versions: Versions) -> list[bytes]:
    with versions.store.read() as txn:
        return [key for key, _ in txn.scan(Table.DOCUMENTS)]


async def test_what_was_submitted_together_is_one_transaction(recorder: Recorder, versions: Versions) -> None:
    """
    Twenty writes come before the first is begun.
    """
    with versions.store.read() as txn:
        before = txn.sequence()

    orders = [recorder.submit(puts(b"%02d" % number)) for number in range(20)]
    for order in orders:
        await order.wait()

    assert [b"%02d" % number for number in range(20)] == keys(versions)
    with versions.store.read() as txn:
        assert before + 1 == txn.sequence()


async def test_one_that_is_refused_does_not_hinder_the_others(recorder: Recorder, versions: Versions) -> None:
    """
    The job of one container was deleted meanwhile.
    """

    def refuse(txn: WriteTxn) -> None:
        raise RunnerError("gone")

    first, refused, last = (recorder.submit(write) for write in (puts(b"a"), refuse, puts(b"b")))

    await first.wait()
    await last.wait()
    with pytest.raises(RunnerError, match="gone"):
        await refused.wait()
    assert [b"a", b"b"] == keys(versions)


async def test_what_breaks_the_transaction_is_told_to_all_who_shared_it(
    recorder: Recorder, versions: Versions
) -> None:
    """
    Nothing is written then, and what is submitted later is.
    """

    def breaks(txn: WriteTxn) -> None:
        raise NotFoundError("no such thing")

    shared = [recorder.submit(puts(b"a")), recorder.submit(breaks)]
    for order in shared:
        with pytest.raises(NotFoundError):
            await order.wait()
    assert [] == keys(versions)

    await recorder.write(puts(b"b"))
    assert [b"b"] == keys(versions)
