"""
Writing to the store for many tasks at once.

Making a transaction durable costs a few milliseconds, however much is in it; so what several
tasks want to write in the same moment goes into one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from pfsfuse.errors import PfsError
from pfsfuse.store.index import WriteTxn
from pfsfuse.store.store import Store
from runner.errors import RunnerError

Write = Callable[[WriteTxn], None]
"""Writes to the store.  It may raise RunnerError, but only before it has written anything."""


@dataclass(slots=True)
class Order:
    """Something to be written."""

    write: Write
    done: trio.Event = field(default_factory=trio.Event)
    error: PfsError | RunnerError | None = None

    async def wait(self) -> None:
        """Return when it is durable; raise what the write raised, or why nothing could be written."""
        await self.done.wait()
        if self.error is not None:
            raise self.error


class Recorder:
    """See the module.  `serve` must run."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._orders: list[Order] = []
        self._wanted = trio.Event()

    def submit(self, write: Write) -> Order:
        """Have *write* done soon, behind what was submitted before."""
        order = Order(write)
        self._orders.append(order)
        self._wanted.set()
        return order

    async def write(self, write: Write) -> None:
        """Have *write* done, and wait for it."""
        await self.submit(write).wait()

    async def serve(self) -> None:
        """Write what is wanted, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            orders, self._orders = self._orders, []
            if orders:
                await trio.to_thread.run_sync(self._write_all, orders)
                for order in orders:
                    order.done.set()

    def _write_all(self, orders: list[Order]) -> None:
        try:
            with self._store.write() as txn:
                for order in orders:
                    self._write_one(txn, order)
        except PfsError as error:
            for order in orders:
                order.error = order.error or error

    @staticmethod
    def _write_one(txn: WriteTxn, order: Order) -> None:
        try:
            order.write(txn)
        except RunnerError as error:
            order.error = error
