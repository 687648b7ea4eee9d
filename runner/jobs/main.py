"""
The runner process: Podman's service, the connection to the mount, and the scheduler.

One runner of a store at a time; the flock on run/runner.lock says that it lives.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable

import trio

from pfsfuse.errors import ConflictError, UnavailableError
from pfsfuse.mount.async_client import AsyncMountClient
from pfsfuse.store.store import Store
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.changes import Listener, poke_after_writes
from runner.containers import open_engine
from runner.streams.clock import run_clock

from .execution import Context
from .recorder import Recorder
from .records import LOCK_NAME, cursor
from .scheduler import Scheduler

log = logging.getLogger(__name__)

_LOCK_S = 0.5
"""Who asks whether a runner lives (`is_runner_up`) holds the lock for an instant."""

SLOTS_PER_CPU = 4
"""Containers that may run at a time, a CPU: most of them wait for data most of the time."""


async def run(store: Store, *, ready: Callable[[], None] = lambda: None) -> None:
    """
    Run jobs until cancelled.  Calls *ready* when jobs can be run.

    ConflictError if another runner of this store lives; waits for the mount.
    """
    lock = _take_lock(store)
    try:
        poke_after_writes(store)
        mount = AsyncMountClient(store.run)
        await _wait_for_mount(mount)
        async with open_engine(store.run, store.id.hex()) as engine:
            await engine.remove_leftovers()
            await mount.clear_views()
            with store.read() as txn:
                start = cursor(txn)
            slots = trio.CapacityLimiter(SLOTS_PER_CPU * (os.cpu_count() or 1))
            recorder = Recorder(store)
            context = Context(store, Trees(store.chunks), mount, recorder, slots)
            with Listener(store, after=start) as listener:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(mount.watch)
                    nursery.start_soon(recorder.serve)
                    nursery.start_soon(run_clock, store)
                    ready()
                    await Scheduler(context, engine).run(listener)
    finally:
        os.close(lock)


async def _wait_for_mount(mount: AsyncMountClient) -> None:
    said = False
    while True:
        try:
            await mount.status()
        except UnavailableError as error:
            if not said:
                log.info("waiting for the mount: %s", error)
                said = True
            await trio.sleep(0.1)
        else:
            return


def _take_lock(store: Store) -> int:
    fd = os.open(store.run / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(fd)
                raise ConflictError("another runner of this store is running; see `pfs status`") from None
            time.sleep(0.01)
        else:
            return fd
