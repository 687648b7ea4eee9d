"""
How many workers share a job's containers.

A worker costs a container's start, a few tenths of a second of the machine, so more of them are
taken on only as long as the rest of the work is worth it: those that are warm at once, and then,
while one starts at most for each that works, as the pace of the work so far tells.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio

START_S = 0.3
"""What a start costs, about: as much time one more worker must save at the pace of the work so far."""

_LOOK_EVERY_S = 0.05

Item = TypeVar("Item")
Work = Callable[[Item, Callable[[], None]], Awaitable[bool]]
"""Does one item and says whether to go on; calls its second argument when its worker is ready."""


class Crew(Generic[Item]):
    """Tasks that take items from one queue, in order."""

    def __init__(self, items: Sequence[Item], work: Work[Item], *, warm: int, most: int) -> None:
        """*warm* workers are there already; *most* may be used."""
        self._waiting = list(reversed(items))
        self._work = work
        self._warm = warm
        self._most = most
        self._tasks = 0
        self._ready = 0
        self._done = 0
        self._ready_since = 0.0
        self._hiring = trio.CancelScope()
        self._error: Exception | None = None

    async def run(self) -> None:
        """Do all items; take no more of them when one says so.  The first error ends the others and is raised."""
        async with trio.open_nursery() as nursery:
            for _ in range(max(1, min(self._warm, self._most, len(self._waiting)))):
                self._hire(nursery)
            with self._hiring:
                while True:
                    await trio.sleep(_LOOK_EVERY_S)
                    if self._tasks < min(self._most, 2 * self._ready) and self._is_worth_it():
                        self._hire(nursery)
        if self._error is not None:
            raise self._error

    def _hire(self, nursery: trio.Nursery) -> None:
        self._tasks += 1
        nursery.start_soon(self._take, nursery)

    def _is_worth_it(self) -> bool:
        elapsed = trio.current_time() - self._ready_since
        if elapsed < _LOOK_EVERY_S:
            return False
        # What is half done counts half, so that long items need not end before their length is known.
        pace = (self._done + 0.5) / elapsed
        saved = len(self._waiting) / (self._tasks + 1)
        return saved > pace * START_S

    async def _take(self, nursery: trio.Nursery) -> None:
        is_ready = False

        def ready() -> None:
            nonlocal is_ready
            if not is_ready:
                is_ready = True
                self._ready += 1
                self._ready_since = self._ready_since or trio.current_time()

        try:
            while self._waiting:
                if not await self._work(self._waiting.pop(), ready):
                    self._waiting.clear()
                self._done += 1
            # Nobody needs to be hired any more.
            self._hiring.cancel()
        except Exception as error:  # noqa: BLE001 - `run` raises it
            self._error = self._error or error
            nursery.cancel_scope.cancel()
        finally:
            self._tasks -= 1
            self._ready -= is_ready
