"""
Talking to the mount of a store from trio; client.py does it from threads and scripts.

A module of its own: commands that only put or get files start faster without trio.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import trio

from ..errors import UnavailableError
from ..trees.entry import Entry
from ..versions.changes import short_address
from . import wire
from .wire import Sealed, Shown

_LOOK_AGAIN_S = 0.05


class AsyncMountClient:
    """
    Connections for trio tasks, as many as are in use at a time.

    With `watch` running it knows the *life* of the mount, which ends when the mount is restarted:
    what was bound to a directory of the mount, or set in it, ends with it.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._idle: list[trio.SocketStream] = []
        self._bound: dict[int, set[trio.CancelScope]] = {}
        """By life: what has to stop when it ends."""

    async def call(self, operation: str, **arguments: object) -> Any:
        """Send a request and return its result, or raise its error; UnavailableError."""
        stream = self._idle.pop() if self._idle else await self._connect()
        try:
            body = await _ask(stream, operation, arguments)
        except BaseException as error:
            # An answer that was not read would be taken for the next one.
            await trio.aclose_forcefully(stream)
            if isinstance(error, UnavailableError):
                await self.aclose()
            raise
        self._idle.append(stream)
        return wire.result_of(body)

    async def _connect(self) -> trio.SocketStream:
        made = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        try:
            await made.connect(short_address(self._run / wire.SOCKET_NAME))
        except OSError as error:
            made.close()
            raise wire.unavailable() from error
        return trio.SocketStream(made)

    # Lives

    async def watch(self) -> None:
        """Follow the lives of the mount, for ever."""
        while True:
            with suppress(UnavailableError):
                await self._follow_one_life()
            self._end_lives()
            await trio.sleep(_LOOK_AGAIN_S)

    async def _follow_one_life(self) -> None:
        async with await self._connect() as stream:
            life = wire.result_of(await _ask(stream, "status", {}))["pid"]
            self._end_lives(but=life)
            with suppress(trio.BrokenResourceError):
                # The mount says nothing unasked, so this waits for its end.
                await stream.receive_some(1)

    def _end_lives(self, but: int | None = None) -> None:
        for life, scopes in self._bound.items():
            if life != but:
                for scope in scopes:
                    scope.cancel()

    @contextmanager
    def bound_to(self, life: int) -> Iterator[None]:
        """Leave the block when this life of the mount ends.  Needs `watch`."""
        scope = trio.CancelScope()
        scopes = self._bound.setdefault(life, set())
        scopes.add(scope)
        try:
            with scope:
                yield
        finally:
            scopes.discard(scope)
            if not scopes:
                self._bound.pop(life, None)

    async def is_alive(self, life: int | None = None) -> bool:
        """Say whether a mount is there, or whether this life of it goes on."""
        try:
            found = (await self.status())["pid"]
        except UnavailableError:
            return False
        return bool(life is None or found == life)

    async def set_view(
        self, worker: str, inputs: dict[bytes, Shown], out: Entry | None = None, *, writable: bool = True
    ) -> int:
        """
        Have a worker see *inputs*, and an `out` that starts as *out*; see views.py.

        Returns the life of the mount that shows it.
        """
        life: int = await self.call("view.set", worker=worker, inputs=inputs, out=out, writable=writable)
        return life

    async def seal_view(self, worker: str) -> Sealed:
        """Return what is in a worker's `out`; nothing can be written there afterwards."""
        return msgspec.convert(await self.call("view.seal", worker=worker), Sealed)

    async def drop_view(self, worker: str) -> None:
        await self.call("view.drop", worker=worker)

    async def clear_views(self) -> None:
        """Forget the views of all workers: those of a runner that was killed, say."""
        await self.call("view.clear")

    async def drop_view_quietly(self, worker: str) -> None:
        """Drop a view if the mount is there."""
        with suppress(UnavailableError):
            await self.drop_view(worker)

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.call("status")
        return found

    async def barrier(self) -> None:
        await self.call("barrier")

    async def aclose(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            await trio.aclose_forcefully(self._idle.pop())


async def _ask(stream: trio.SocketStream, operation: str, arguments: dict[str, object]) -> bytes:
    """Send a request and return the answer; UnavailableError."""
    try:
        await stream.send_all(wire.request(operation, arguments))
        (length,) = wire.HEAD.unpack(await _receive(stream, wire.HEAD.size))
        return await _receive(stream, length)
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise UnavailableError(f"the mount went away during {operation}: {error}") from error


async def _receive(stream: trio.SocketStream, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = await stream.receive_some(count - len(data))
        if not part:
            raise ConnectionResetError("connection closed")
        data += part
    return bytes(data)
