"""
The life of a mount: take the store, mount, serve until told to stop, unmount.

The process that runs this must never touch its own mount point, directly or through a child: the
kernel would wait for an answer that nobody can give, and nothing can end such a process.

When the process dies the mount point is left dead ("transport endpoint is not connected"), never
silently empty: a program that mirrors it must not take it for an empty folder.
"""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pyfuse3
import trio

from ..errors import ConflictError, UnavailableError
from ..store.store import Store
from ..trees.tree import Trees
from ..versions.changes import LOOK_EVERY_S, Listener, poke_after_writes
from ..versions.owner import OwnedElsewhereError, Owner
from .adapter import Adapter, FuseKernel
from .commits import AUTOCOMMIT_S, Commits
from .control import Control
from .vfs import Vfs

log = logging.getLogger(__name__)

FSNAME = "pfs"
_READ_AHEAD_KIB = 1024
"""Read requests of 1 MiB: the kernel's default of 128 KiB costs a third of the sequential rate."""


class Mount:
    """A mounted store."""

    def __init__(self, store: Store, point: Path, *, autocommit_s: float = AUTOCOMMIT_S) -> None:
        self.store = store
        self.point = point
        self.trees = Trees(store.chunks)
        self.owner = Owner(store, self.trees, wait_s=5.0)
        self.vfs = Vfs(store, self.trees, self.owner)
        self.kernel = FuseKernel()
        self.commits = Commits(self.vfs, self.kernel, autocommit_s=autocommit_s)
        self.listener = Listener(store)
        self.started_at = time.time()
        self._refreshing = trio.Lock()

    async def run(self, *, ready: Callable[[], None] = lambda: None) -> None:
        """
        Mount and serve until `stop` is asked of the control socket or the file system is unmounted.

        Calls *ready* when the mount point can be used.
        """
        poke_after_writes(self.store)
        self.vfs.status = lambda: msgspec.json.format(msgspec.json.encode(self.status())) + b"\n"
        await trio.to_thread.run_sync(self.vfs.recover)
        prepare_point(self.point)
        options = {*pyfuse3.default_options, f"fsname={FSNAME}", "subtype=pfs", "allow_other"}
        pyfuse3.init(Adapter(self.vfs, self.commits), os.fspath(self.point), options)
        is_clean = False
        try:
            _set_read_ahead(self.point)
            async with trio.open_nursery() as nursery:
                control = Control(
                    self.commits, status=self.status, barrier=self.refresh, stop=pyfuse3.terminate
                )
                await nursery.start(control.serve)
                nursery.start_soon(self.commits.finish_by_themselves)
                nursery.start_soon(self._follow_changes)
                ready()
                await pyfuse3.main()
                nursery.cancel_scope.cancel()
            is_clean = True
        finally:
            # Unmounted on purpose only; after a fault the mount point must not look like an empty folder.
            pyfuse3.close(unmount=is_clean)
            self._close()

    def _close(self) -> None:
        self.vfs.views.close()
        self.listener.close()
        self.owner.close()

    async def _follow_changes(self) -> None:
        while True:
            with trio.move_on_after(LOOK_EVERY_S):
                await trio.lowlevel.wait_readable(self.listener.socket)
            await self.refresh()

    async def refresh(self) -> None:
        """Show everything that other processes have committed up to now."""
        async with self._refreshing:
            await self.commits.refresh_all(self.listener.news())

    def status(self) -> dict[str, object]:
        """Return what `pfs status` shows of the mount."""
        return {
            "mount": os.fspath(self.point),
            "pid": os.getpid(),
            "started": self.started_at,
            "inodes": len(self.vfs.inodes),
            "handles": len(self.vfs.handles),
            "read_bytes": self.store.chunks.read_bytes,
            "open_commits": [
                {
                    "repo": home.ref.repo,
                    "branch": home.ref.branch,
                    "commit": home.opened.record.id.hex(),
                    "explicit": home.opened.record.explicit,
                    "held": home.is_held,
                    "writers": len(home.writers),
                    "quiet_s": round(time.monotonic() - home.changed_at, 3),
                }
                for home in self.vfs.homes.values()
                if home.opened is not None
            ],
        }


def mount_kind(point: Path) -> str | None:
    """Return the type of the file system mounted at *point*, or None; looks in /proc only."""
    wanted = os.path.realpath(point.parent) + "/" + point.name
    found = None
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split(" ")
            if fields[4].replace("\\040", " ") == wanted:
                found = fields[fields.index("-") + 1]
    return found


def prepare_point(point: Path) -> None:
    """Make *point* a folder that can be mounted on; take away a dead mount; ConflictError for a live one."""
    kind = mount_kind(point)
    if kind is not None:
        if not _is_dead(point):
            raise ConflictError(f"{point} is a mount point already, of type {kind}; choose another folder")
        unmount(point, lazily=True)
    point.mkdir(parents=True, exist_ok=True)
    if any(point.iterdir()):
        raise ConflictError(f"{point} is not empty; mount on an empty folder")


def _is_dead(point: Path) -> bool:
    """Say whether the process behind a FUSE mount has died.  Never asked of a mount of this process."""
    try:
        os.stat(point)
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


def unmount(point: Path, *, lazily: bool = False) -> None:
    """Unmount *point*, at once if nobody uses it, else as soon as nobody does."""
    for flags in ([["-u"]] if not lazily else []) + [["-u", "-z"]]:
        done = subprocess.run(
            ["fusermount3", *flags, os.fspath(point)], capture_output=True, text=True, check=False
        )
        if done.returncode == 0 or mount_kind(point) is None:
            return
    raise UnavailableError(f"{point} cannot be unmounted: {done.stderr.strip()}")


def _set_read_ahead(point: Path) -> None:
    device = None
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split(" ")
            if fields[4].replace("\\040", " ") == os.path.realpath(point.parent) + "/" + point.name:
                device = fields[2]
    with suppress(OSError):
        # Without the right to set it, reading is slower; that is all.
        Path(f"/sys/class/bdi/{device}/read_ahead_kb").write_text(str(_READ_AHEAD_KIB))
