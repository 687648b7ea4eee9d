"""
The session with the kernel: takes requests, has them done, answers.

One task, `serve`, takes all requests.  Most are done on the spot, many for each time that the task is
woken, for a trip through the event loop costs more than most requests.  What has to wait for
something gets a task of its own.

- Nothing that a handler raises leaves `serve`, but cancellation.
- The other tasks of the process get their turn after `_SLICE_S` at the latest.
- When the kernel has no more requests the session waits a moment for the next one before it goes
  through the event loop: a program that walks a tree sends one request after the other.
"""

from __future__ import annotations

import errno
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import trio

from ..errnos import number_for
from ..guard import unexpected
from ..requests import Requests
from ..writers import is_being_killed
from . import protocol as p
from .device import Buffer, Device, EndedError, open_device
from .dispatch import Dispatch, Head, Later, Nothing, unknown
from .notify import DirectKernel
from .protocol import Init, Op

log = logging.getLogger(__name__)

_SLICE_S = 0.0005
_LINGER_MS = 1
_LOOK_AGAIN_S = 0.2

_MAX_BACKGROUND = 64
"""Requests that the kernel sends ahead: read-ahead, write-back, RELEASE."""

NAMES = {int(operation): operation.name.lower() for operation in Op}

_WANTED = (
    Init.ASYNC_READ
    | Init.ATOMIC_O_TRUNC
    | Init.BIG_WRITES
    | Init.AUTO_INVAL_DATA
    | Init.DO_READDIRPLUS
    | Init.READDIRPLUS_AUTO
    | Init.ASYNC_DIO
    | Init.WRITEBACK_CACHE
    | Init.PARALLEL_DIROPS
    | Init.MAX_PAGES
    | Init.CACHE_SYMLINKS
)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request that has a task of its own."""

    scope: trio.CancelScope
    pid: int
    """Of who asked; 0 if it is not to be given up."""


class DirectTransport:
    """The life of a connection to the kernel."""

    def __init__(self) -> None:
        self.kernel = DirectKernel()
        self._device: Device | None = None
        self._dispatch: Dispatch | None = None
        self._scope = trio.CancelScope()
        self._waiting: dict[int, _Waiting] = {}
        """Requests that have a task of their own, by their number."""

    def mount(self, point: Path, requests: Requests, *, source: str, subtype: str) -> None:
        """Mount at *point*; nothing is answered yet."""
        self._dispatch = Dispatch(requests, self.kernel.store)
        self._device = self.kernel.device = open_device(point, source=source, subtype=subtype)

    def stop(self) -> None:
        """Have `serve` return."""
        self._scope.cancel()

    def close(self, *, unmount: bool) -> None:
        """End the connection; without *unmount* the mount point is left dead."""
        if self._device is not None:
            self._device.close(unmount=unmount)

    async def serve(self) -> None:
        """Answer the kernel until `stop`, or until the file system is unmounted."""
        device = self._device
        assert device is not None
        with self._scope:
            async with trio.open_nursery() as nursery:
                try:
                    while True:
                        if self._answer_what_is_there(device, nursery):
                            await trio.lowlevel.wait_readable(device.fd)
                        else:
                            await trio.lowlevel.checkpoint()
                except EndedError:
                    nursery.cancel_scope.cancel()

    def _answer_what_is_there(self, device: Device, nursery: trio.Nursery) -> bool:
        """Return whether the kernel has no more requests for the moment; else the time was up."""
        until = time.monotonic() + _SLICE_S
        while True:
            length = device.receive()
            if length is None:
                # Who waits in a task of its own waits for the event loop.
                if self._waiting or not device.linger(_LINGER_MS):
                    return True
                continue
            self._do(device, nursery, length)
            if time.monotonic() > until:
                return False

    def _do(self, device: Device, nursery: trio.Nursery, length: int) -> None:
        """Do the request in the device's buffer."""
        head = Head._make(p.IN_HEADER.unpack_from(device.buffer))
        body = device.buffer[p.IN_HEADER.size : length]
        assert self._dispatch is not None
        try:
            if head.operation == Op.INIT:
                answer: Buffer | Later | Nothing = self._init(body)
            elif head.operation == Op.INTERRUPT:
                nursery.start_soon(self._interrupted, *p.INTERRUPT_IN.unpack_from(body))
                return
            else:
                answer = self._dispatch.handlers.get(head.operation, unknown)(head, body)
            if isinstance(answer, Later):
                nursery.start_soon(self._finish_later, device, head, answer)
            elif not isinstance(answer, Nothing):
                device.answer(head.unique, answer)
        except EndedError:
            raise
        except Exception as error:  # noqa: BLE001 - the one place where all that goes wrong becomes a number
            self._refuse(device, head, error)

    async def _finish_later(self, device: Device, head: Head, later: Later) -> None:
        with trio.CancelScope() as scope:
            self._waiting[head.unique] = _Waiting(scope, head.pid if later.is_change else 0)
            try:
                device.answer(head.unique, await later.work)
            except Exception as error:  # noqa: BLE001 - see `_do`
                self._refuse(device, head, error)
            finally:
                del self._waiting[head.unique]
        if scope.cancelled_caught:
            device.refuse(head.unique, errno.EINTR)

    @staticmethod
    def _refuse(device: Device, head: Head, error: Exception) -> None:
        name = NAMES.get(head.operation, str(head.operation))
        with unexpected(f"refusing {name}"):
            device.refuse(head.unique, number_for(error, name, (head.ino,)))

    def _init(self, body: memoryview) -> Buffer:
        major, minor, max_readahead, flags = p.INIT_IN.unpack_from(body)
        if major < p.MAJOR or (major == p.MAJOR and minor < p.OLDEST_MINOR):
            log.error(
                "the kernel speaks version %d.%d of FUSE; at least 7.31 (Linux 5.4) is needed", major, minor
            )
            raise EndedError
        self.kernel.minor = minor if major == p.MAJOR else p.MINOR
        congested = _MAX_BACKGROUND * 3 // 4
        return p.INIT_OUT.pack(
            p.MAJOR, p.MINOR, max_readahead, int(_WANTED) & flags, _MAX_BACKGROUND, congested,
            p.MAX_WRITE, 1, p.MAX_PAGES, 0, 0,
        )  # fmt: skip

    async def _interrupted(self, unique: int) -> None:
        """
        Let a program go that is killed while it waits for the answer to a request.

        Other signals wait: on a disk nobody gets EINTR from mkdir(2), and few programs know it.  The
        kernel tells of the first signal only, and that may not be the one that kills.
        """
        while (waiting := self._waiting.get(unique)) is not None and waiting.pid:
            if is_being_killed(waiting.pid):
                waiting.scope.cancel()
                return
            await trio.sleep(_LOOK_AGAIN_S)
