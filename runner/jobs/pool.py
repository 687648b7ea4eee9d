"""
Warm workers: containers of one pipeline that wait for runs.

A worker belongs to one life of the mount.  Its /pfs is a bind of a directory of the mount, and a
bind stays dead when the mount dies, even after it is mounted again; so a worker ends with the life
that it was started in, whatever runs in it.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from pfsfuse.mount.async_client import AsyncMountClient
from runner.containers import Engine, Worker
from runner.spec.model import Network

log = logging.getLogger(__name__)

_serial = itertools.count(1)
_DROP_VIEW_S = 2.0


class Slot:
    """A worker of the pool."""

    def __init__(self, worker: Worker, life: int) -> None:
        self.worker = worker
        self.life = life
        """The life of the mount that its /pfs is bound to."""
        self.ended = trio.Event()

    @property
    def name(self) -> str:
        return self.worker.name

    @property
    def is_usable(self) -> bool:
        return self.worker.alive and not self.ended.is_set()


class WorkerPool:
    """The workers of one pipeline.  Made by `open_pool`."""

    def __init__(
        self,
        engine: Engine,
        mount: AsyncMountClient,
        nursery: trio.Nursery,
        *,
        name: str,
        image: str,
        network: Network,
    ) -> None:
        self._engine = engine
        self._mount = mount
        self._nursery = nursery
        self._name = re.sub(r"[^A-Za-z0-9_.-]", "-", name)
        self.image = image
        self.network = network
        self._idle: list[Slot] = []

    @property
    def warm(self) -> int:
        """How many workers wait for work."""
        return sum(slot.is_usable for slot in self._idle)

    async def acquire(self) -> Slot:
        """Return a worker that nobody uses, starting one if needed.  EngineError, UnavailableError."""
        while self._idle:
            slot = self._idle.pop()
            if slot.is_usable:
                return slot
            slot.ended.set()
        started: Slot = await self._nursery.start(self._keep, f"{self._name}-{next(_serial)}")
        return started

    def release(self, slot: Slot) -> None:
        """Give a worker back."""
        if slot.is_usable:
            self._idle.append(slot)
        else:
            slot.ended.set()

    def throw_away(self, slot: Slot) -> None:
        """Give a worker back that must not be used again."""
        slot.ended.set()

    async def _keep(
        self, name: str, *, task_status: trio.TaskStatus[Slot] = trio.TASK_STATUS_IGNORED
    ) -> None:
        # The directory must be there before the container is made: Podman looks at it.
        life = await self._mount.set_view(name, {}, writable=False)
        point = Path((await self._mount.status())["mount"])
        slot = None
        try:
            async with self._engine.worker(
                name=name,
                image=self.image,
                pfs=point / ".workers" / name,
                network=self.network.value,
                env={"PPS_POD_NAME": name},
            ) as worker:
                slot = Slot(worker, life)
                task_status.started(slot)
                with self._mount.bound_to(life):
                    await slot.ended.wait()
        except Exception:
            if slot is None:
                raise
            # Whoever used it knows already; what is left of it is removed at the next start.
            log.exception("worker %s could not be removed", name)
        finally:
            if slot is not None:
                slot.ended.set()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _DROP_VIEW_S):
                await self._mount.drop_view_quietly(name)

    async def check_image(self) -> str:
        """
        Return name and id of the image, pulling it when it is not here.

        Workers that were started from another image of this name are thrown away.
        ImageNotFoundError, EngineError.
        """
        image = await self._engine.ensure_image(self.image)
        for slot in self._idle:
            if slot.worker.image.id != image.id:
                slot.ended.set()
        return f"{image.name}@{image.id}"


@asynccontextmanager
async def open_pool(
    engine: Engine, mount: AsyncMountClient, *, name: str, image: str, network: Network
) -> AsyncIterator[WorkerPool]:
    """A pool; its containers are gone at the end."""
    async with trio.open_nursery() as nursery:
        pool = WorkerPool(engine, mount, nursery, name=name, image=image, network=network)
        try:
            yield pool
        finally:
            nursery.cancel_scope.cancel()
