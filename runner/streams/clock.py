"""
The clock of the runner: moves branches whose triggers go by the time (pfsfuse/versions/clock.py).

It sleeps until the next time there is, or until a branch changes; a second clock would do no harm, for
whoever moves a branch first notes the time in the same transaction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import trio

from pfsfuse.errors import PfsError
from pfsfuse.store.index import Table
from pfsfuse.store.store import Store
from pfsfuse.versions.changes import Listener
from pfsfuse.versions.clock import Clock

log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 60.0
"""The time of day may be set: nobody tells."""

_RETRY_S = 5.0
_SECOND_NS = 1_000_000_000


async def run_clock(store: Store, *, now_ns: Callable[[], int] = time.time_ns) -> None:
    """Move branches when their time has come, until cancelled."""
    clock = Clock()
    with Listener(store) as listener:
        while True:
            with store.read() as txn:
                due = clock.next_due_ns(txn)
            await _wait(listener, due, now_ns)
            if due is not None and due <= now_ns():
                clock = await _tick(store, clock, now_ns())


async def _wait(listener: Listener, due: int | None, now_ns: Callable[[], int]) -> None:
    """Return when it is time, when a branch changed, or after a while."""
    left = (due - now_ns()) / _SECOND_NS if due is not None else _LONGEST_WAIT_S
    with trio.move_on_after(max(0.0, min(left, _LONGEST_WAIT_S))):
        while not any(table is Table.BRANCHES for table, _ in listener.news()):
            await trio.lowlevel.wait_readable(listener.socket)


async def _tick(store: Store, clock: Clock, now_ns: int) -> Clock:
    """Return the clock that goes on."""
    try:
        moved = await trio.to_thread.run_sync(_tick_in_store, store, clock, now_ns)
    except PfsError as error:
        log.warning("branches cannot be moved by the clock for now: %s", error)
        await trio.sleep(_RETRY_S)
        # What was heard is not done: it is heard once more.
        return Clock()
    for name in moved:
        log.info("branch %s was moved by the clock", name)
    return clock


def _tick_in_store(store: Store, clock: Clock, now_ns: int) -> list[str]:
    with store.write() as txn:
        return [str(ref) for ref in clock.tick(txn, now_ns)]
