"""
Talking to the mount of a store: from a script (`MountClient`) or from trio (`AsyncMountClient`).

Both raise the mount's own errors, and UnavailableError when no mount runs.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import trio

from ..errors import UnavailableError
from ..ids import CommitId
from ..trees.entry import Entry
from ..versions.changes import short_address
from ..versions.changesets import ChangeSet, encode_changes
from ..versions.model import BranchRef
from . import wire
from .views import Sealed, Shown

_LOOK_AGAIN_S = 0.05


class MountClient:
    """A connection for threads; one request at a time."""

    def __init__(self, run: Path, *, timeout_s: float | None = None) -> None:
        """Connect to the mount whose store has the run folder *run*; UnavailableError."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(short_address(run / wire.SOCKET_NAME))
        except OSError as error:
            self._socket.close()
            raise wire.unavailable() from error

    def call(self, operation: str, **arguments: object) -> Any:
        """Send a request and return its result, or raise its error."""
        try:
            self._socket.sendall(wire.request(operation, arguments))
            (length,) = wire.HEAD.unpack(self._receive(wire.HEAD.size))
            body = self._receive(length)
        except OSError as error:
            raise UnavailableError(f"the mount went away during {operation}: {error}") from error
        return wire.result_of(body)

    def _receive(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self._socket.recv(min(count - len(data), 1 << 20))
            if not part:
                raise ConnectionResetError("connection closed")
            data += part
        return bytes(data)

    def status(self) -> dict[str, Any]:
        """Return what the mount says of itself."""
        found: dict[str, Any] = self.call("status")
        return found

    def start(self, ref: BranchRef, *, description: str = "") -> CommitId:
        return CommitId(self.call("start", repo=ref.repo, branch=ref.branch, description=description))

    def finish(
        self, ref: BranchRef, *, description: str | None = None, error: str = "", force: bool = False
    ) -> CommitId:
        """Finish a branch's open commit; NoOpenCommitError, ConflictError."""
        found = self.call(
            "finish", repo=ref.repo, branch=ref.branch, description=description, error=error, force=force
        )
        return CommitId(found)

    def drop(self, ref: BranchRef) -> None:
        """Throw a branch's open commit away."""
        self.call("drop", repo=ref.repo, branch=ref.branch)

    def apply(self, ref: BranchRef, changes: ChangeSet, *, description: str = "") -> tuple[CommitId, bool]:
        """Hand over a change set; return the commit that has it and whether that is finished."""
        commit_id, finished = self.call(
            "apply",
            repo=ref.repo,
            branch=ref.branch,
            changes=encode_changes(changes),
            description=description,
        )
        return CommitId(commit_id), finished

    def snapshot(self, ref: BranchRef) -> Entry:
        """Return the tree that a branch's open commit has now; NoOpenCommitError."""
        return msgspec.convert(self.call("snapshot", repo=ref.repo, branch=ref.branch), Entry)

    def barrier(self) -> None:
        """Return when the mount shows everything that was committed before this call."""
        self.call("barrier")

    def stop(self) -> None:
        """Have the mount unmount and end."""
        self.call("stop")

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> MountClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


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
