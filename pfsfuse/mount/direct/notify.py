"""
Telling the kernel what is no longer true.

The calls block until requests of the kernel's own are answered (it writes dirty pages back first, and
waits for whoever holds a directory), so they run in threads.
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Sequence
from contextlib import suppress

import trio

from ..kernel import Known
from .device import Device
from .protocol import INVAL_ENTRY, INVAL_INODE, PRUNE, PRUNE_MINOR, STORE, Notify

_THREADS = 4


class DirectKernel:
    """The cache on the other side; `device` is set when there is one."""

    def __init__(self) -> None:
        self.device: Device | None = None
        self.minor = 0
        """Of the kernel's version of the protocol."""
        self._limiter = trio.CapacityLimiter(_THREADS)

    async def forget_names(self, names: Sequence[tuple[int, bytes]]) -> None:
        if names:
            await trio.to_thread.run_sync(self._forget_names, list(names), limiter=self._limiter)

    async def forget_inodes(self, inodes: Sequence[int]) -> None:
        if inodes:
            await trio.to_thread.run_sync(self._forget_inodes, list(inodes), limiter=self._limiter)

    async def let_go(self, known: Sequence[Known]) -> None:
        if known:
            await trio.to_thread.run_sync(self._let_go, list(known), limiter=self._limiter)

    def _let_go(self, known: list[Known]) -> None:
        if self.minor >= PRUNE_MINOR:
            nodes = array("Q", [each.ino for each in known])
            self._tell(Notify.PRUNE, PRUNE.pack(len(nodes), 0, 0), nodes.tobytes())
            return
        for _, parent, name in known:
            self._tell(Notify.INVAL_ENTRY, INVAL_ENTRY.pack(parent, len(name), 0), name, b"\0")

    def _forget_names(self, names: list[tuple[int, bytes]]) -> None:
        for ino, name in names:
            self._tell(Notify.INVAL_ENTRY, INVAL_ENTRY.pack(ino, len(name), 0), name, b"\0")
        # A name that the kernel has never looked up may be missing in a listing that it keeps.
        self._forget_inodes(list(dict.fromkeys(ino for ino, _ in names)))

    def _forget_inodes(self, inodes: list[int]) -> None:
        for ino in inodes:
            self._tell(Notify.INVAL_INODE, INVAL_INODE.pack(ino, 0, 0))

    def store(self, ino: int, data: bytes) -> None:
        """
        Put *data* into the cache as the bytes of *ino*, from the first one on.

        Does not block, so long as nobody has the inode open: only then may the kernel hold one of the
        pages until a request is answered.
        """
        # What the kernel has no memory for, it asks for.
        with suppress(OSError):
            self._tell(Notify.STORE, STORE.pack(ino, 0, len(data), 0), data)

    def _tell(self, what: Notify, *parts: bytes) -> None:
        device = self.device
        if device is None or device.fd < 0:
            return
        try:
            device.tell(what, *parts)
        except OSError as error:
            # ENOENT: the kernel does not have it.  ENOTEMPTY: something is mounted there.  The others:
            # it has been unmounted, so nobody can be misled.
            if error.errno not in (
                errno.ENOENT, errno.ENOTEMPTY, errno.ENOTCONN, errno.ENODEV, errno.ECONNABORTED,
            ):  # fmt: skip
                raise
