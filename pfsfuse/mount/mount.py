"""
The life of a mount: take the store, mount, serve until told to stop, unmount.

The process that runs this must never touch its own mount point, directly or through a child: the
kernel would wait for an answer that nobody can give, and nothing can end such a process.

When the process dies the mount point is left dead ("transport endpoint is not connected"), never
silently empty: a program that mirrors it must not take it for an empty folder.
"""

from __future__ import annotations

import itertools
import logging
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

from ..errors import OutOfSpaceError
from ..store.index import Table
from ..store.store import Store
from ..trees.tree import Trees
from ..versions.changes import LOOK_EVERY_S, Listener, poke_after_writes
from ..versions.owner import Owner
from .commits import AUTOCOMMIT_S, Commits
from .control import Control
from .guard import unexpected
from .mountpoint import find_mount, prepare_point
from .requests import Requests
from .transports import open_transport
from .vfs import Vfs

log = logging.getLogger(__name__)

FSNAME = "pfs"
SUBTYPE = "pfs"
_READ_AHEAD_KIB = 1024
"""Read requests of 1 MiB: the kernel's default of 128 KiB costs a third of the sequential rate."""

_FREE_READERS_EVERY_S = 60.0

MOST_INODES = 60_000
"""What the kernel may know at a time, more or less; each takes about a KiB here, and as much in the kernel."""

_LET_GO_EVERY_S = 0.25
_LET_GO_AT_ONCE = 1000
_SWITCH_S = 0.0005
"""A thread that stores files gives the interpreter back so soon: somebody waits for each request."""


class Mount:
    """A mounted store."""

    def __init__(
        self,
        store: Store,
        point: Path,
        *,
        autocommit_s: float = AUTOCOMMIT_S,
        transport: str | None = None,
        xattrs: bool = False,
        most_inodes: int = MOST_INODES,
    ) -> None:
        """
        *transport*: how to talk to the kernel, by its name in transports.py; None is the default.
        *xattrs*: keep extended attributes of users, which costs every write a request.
        *most_inodes*: how many the kernel may know at a time, more or less.
        """
        self._xattrs = xattrs
        self._most_inodes = most_inodes
        self.store = store
        self.point = point
        self.trees = Trees(store.chunks)
        self.owner = Owner(store, self.trees, wait_s=5.0)
        self.vfs = Vfs(store, self.trees, self.owner)
        self.transport = open_transport(transport)
        self.commits = Commits(self.vfs, self.transport.kernel, autocommit_s=autocommit_s)
        self.listener = Listener(store)
        self.started_at = time.time()
        self._refreshing = trio.Lock()
        self._news: list[tuple[Table, bytes]] = []
        """What others changed and is not shown yet."""

    async def run(self, *, ready: Callable[[], None] = lambda: None) -> None:
        """
        Mount and serve until `stop` is asked of the control socket or the file system is unmounted.

        Calls *ready* when the mount point can be used.
        """
        poke_after_writes(self.store)
        _take_all_descriptors()
        sys.setswitchinterval(_SWITCH_S)
        self.vfs.upper.status = lambda: msgspec.json.format(msgspec.json.encode(self.status())) + b"\n"
        await trio.to_thread.run_sync(self.vfs.upper.recover)
        prepare_point(self.point)
        requests = Requests(self.vfs, self.commits, xattrs=self._xattrs)
        self.transport.mount(self.point, requests, source=FSNAME, subtype=SUBTYPE)
        is_clean = False
        try:
            async with trio.open_nursery() as nursery:
                control = Control(self.commits, status=self.status, barrier=self.refresh, stop=self.stop)
                await nursery.start(control.serve)
                nursery.start_soon(self.commits.finish_by_themselves)
                nursery.start_soon(self._follow_changes)
                nursery.start_soon(self.commits.forget_stale)
                nursery.start_soon(self._raise_read_ahead)
                nursery.start_soon(self._free_readers)
                nursery.start_soon(self._let_go_of_inodes)
                ready()
                await self.transport.serve()
                nursery.cancel_scope.cancel()
            is_clean = True
        finally:
            # Unmounted on purpose only; after a fault the mount point must not look like an empty folder.
            self.transport.close(unmount=is_clean)
            self._close(is_clean=is_clean)

    def stop(self) -> None:
        """Have `run` unmount and return.  Of the thread that runs it."""
        self.transport.stop()

    def _close(self, *, is_clean: bool) -> None:
        self.vfs.upper.views.clear()
        self.listener.close()
        half = [
            h.ref
            for h in self.vfs.upper.homes.values()
            if h.is_held or h.has_half_files() or h.is_being_written() or not is_clean
        ]
        self.owner.close(half=half)

    async def _follow_changes(self) -> None:
        while True:
            with trio.move_on_after(LOOK_EVERY_S):
                await trio.lowlevel.wait_readable(self.listener.socket)
            with unexpected("showing what others changed"):
                await self.refresh()
            with unexpected("letting gc go on"):
                await self._rest()

    async def _rest(self) -> None:
        with self.store.read() as txn:
            if txn.condemned().packs:
                self.commits.release_stored()
        # Here in the loop no handler is half done; what threads do holds by itself.
        settle = self.store.resting()
        try:
            await trio.to_thread.run_sync(settle)
        except OutOfSpaceError as error:
            log.warning("gc has to wait for this mount: %s", error)

    async def _raise_read_ahead(self) -> None:
        # The kernel sets its own value when it has the answer to its first request, INIT.
        for delay_s in (0.05, 0.2, 1.0):
            await trio.sleep(delay_s)
            with unexpected("raising the read-ahead"):
                _set_read_ahead(self.point)

    async def _let_go_of_inodes(self) -> None:
        """Keep the number of inodes bounded: the kernel holds on to all that anybody has ever looked at."""
        inodes = self.vfs.inodes
        while True:
            await trio.sleep(_LET_GO_EVERY_S)
            if len(inodes) <= self._most_inodes:
                continue
            with unexpected("letting go of inodes"):
                idle = list(itertools.islice(inodes.idle_files(), len(inodes) - self._most_inodes * 3 // 4))
                for start in range(0, len(idle), _LET_GO_AT_ONCE):
                    await self.transport.kernel.let_go(idle[start : start + _LET_GO_AT_ONCE])

    async def _free_readers(self) -> None:
        while True:
            await trio.sleep(_FREE_READERS_EVERY_S)
            with unexpected("freeing what dead processes hold in the index"):
                await trio.to_thread.run_sync(self.store.check_readers)

    async def refresh(self) -> None:
        """Show everything that other processes have committed up to now."""
        async with self._refreshing:
            # Kept until they are shown, should that fail.
            self._news += self.listener.news()
            await self.commits.refresh_all(self._news)
            self._news = []

    def status(self) -> dict[str, object]:
        """Return what `pfs status` shows of the mount."""
        return {
            "mount": os.fspath(self.point),
            "pid": os.getpid(),
            "started": self.started_at,
            "inodes": len(self.vfs.inodes),
            "handles": len(self.vfs.handles),
            "listings": self.vfs.listings,
            "read_bytes": self.store.chunks.read_bytes,
            "open_commits": [
                {
                    "repo": home.ref.repo,
                    "branch": home.ref.branch,
                    "commit": home.opened.record.id.hex(),
                    "explicit": home.opened.record.explicit,
                    "held": home.is_held or home.has_half_files(),
                    "writers": len(home.writers),
                    "quiet_s": round(time.monotonic() - home.changed_at, 3),
                }
                for home in self.vfs.upper.homes.values()
                if home.opened is not None
            ],
        }


def _take_all_descriptors() -> None:
    """Have as many open files as the system allows: users decide how many there are."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _set_read_ahead(point: Path) -> None:
    mounted = find_mount(point)
    with suppress(OSError):
        # Without the right to set it, reading is slower; that is all.
        if mounted is not None:
            Path(f"/sys/class/bdi/{mounted.device}/read_ahead_kb").write_text(str(_READ_AHEAD_KIB))
