"""The mount's control socket: what other processes ask of the owner of open commits (wire.py)."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import msgspec
import trio

from ..errors import InvalidNameError, PfsError
from ..ids import BranchName, RepoName
from ..trees.entry import Entry
from ..versions.changes import short_address
from ..versions.changesets import decode_changes
from ..versions.model import BranchRef
from . import wire
from .commits import Commits
from .holding import holding
from .wire import Shown

log = logging.getLogger(__name__)


class Control:
    """Answers requests, each connection in a task of its own."""

    def __init__(
        self,
        commits: Commits,
        *,
        status: Callable[[], dict[str, object]],
        barrier: Callable[[], Awaitable[None]],
        stop: Callable[[], None],
    ) -> None:
        self._commits = commits
        self._status = status
        self._barrier = barrier
        self._stop = stop

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled."""
        path = self._commits.store.run / wire.SOCKET_NAME
        path.unlink(missing_ok=True)
        listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        await listening.bind(short_address(path))
        path.chmod(0o600)
        listening.listen(128)
        try:
            await trio.serve_listeners(
                self._serve_one, [trio.SocketListener(listening)], task_status=_started(task_status)
            )
        finally:
            path.unlink(missing_ok=True)

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        try:
            # What a connection holds it holds for as long as it is there.
            async with AsyncExitStack() as held:
                while True:
                    head = await _receive(stream, wire.HEAD.size)
                    if head is None:
                        return
                    (length,) = wire.HEAD.unpack(head)
                    body = await _receive(stream, length) if length <= wire.MAX_MESSAGE else None
                    if body is None:
                        return
                    await stream.send_all(await self._answer(body, held))
        except (trio.BrokenResourceError, ConnectionResetError):
            return

    async def _answer(self, body: bytes, held: AsyncExitStack) -> bytes:
        try:
            operation, arguments = wire.decode_request(body)
            handler = self._handlers(held).get(operation)
            if handler is None:
                raise InvalidNameError(
                    f"the mount knows no operation {operation!r}; is it of another version?"
                )
            return wire.success(await handler(**arguments))
        except PfsError as error:
            return wire.failure(error)
        except (msgspec.MsgspecError, TypeError, ValueError) as error:
            return wire.failure(InvalidNameError(f"the request makes no sense: {error}"))
        except Exception as error:
            log.exception("a request on the control socket failed")
            return wire.failure(error)

    def _handlers(self, held: AsyncExitStack) -> dict[str, Callable[..., Awaitable[object]]]:
        return {
            "hold": partial(self._hold, held),
            "release": held.aclose,
            "status": self._do_status,
            "barrier": self._barrier,
            "stop": self._do_stop,
            "start": self._start,
            "finish": self._finish,
            "drop": self._drop,
            "apply": self._apply,
            "snapshot": self._snapshot,
            "view.set": self._set_view,
            "view.seal": self._seal_view,
            "view.drop": self._drop_view,
            "view.clear": self._clear_views,
        }

    async def _do_status(self) -> dict[str, object]:
        return self._status()

    async def _do_stop(self) -> None:
        self._stop()

    async def _start(self, repo: str, branch: str, description: str) -> bytes:
        return (await self._commits.start(_ref(repo, branch), description=description)).id

    async def _finish(
        self, repo: str, branch: str, description: str | None, error: str, force: bool
    ) -> bytes:
        done = await self._commits.finish(
            _ref(repo, branch), description=description, error=error, force=force
        )
        return done.id

    async def _drop(self, repo: str, branch: str) -> None:
        await self._commits.drop(_ref(repo, branch))

    async def _apply(self, repo: str, branch: str, changes: bytes, description: str) -> tuple[bytes, bool]:
        decoded = decode_changes(changes)
        made = await self._commits.apply(_ref(repo, branch), decoded, description=description)
        return made.id, made.is_finished

    async def _snapshot(self, repo: str, branch: str) -> Entry:
        return await self._commits.snapshot(_ref(repo, branch))

    async def _hold(self, held: AsyncExitStack, branches: list[tuple[str, str]]) -> list[object]:
        refs = [_ref(*each) for each in branches]
        roots = await held.enter_async_context(holding(self._commits, refs))
        return [(ref.repo, ref.commit, root) for ref, root in roots.items()]

    async def _set_view(self, worker: str, inputs: dict[bytes, Any], out: Any, writable: bool) -> int:
        shown = msgspec.convert(inputs, dict[bytes, Shown])
        base = msgspec.convert(out, Entry) if out is not None else None
        self._commits.vfs.upper.views.set(worker, shown, base, writable=writable)
        return os.getpid()

    async def _seal_view(self, worker: str) -> object:
        return await self._commits.vfs.upper.views.seal(worker)

    async def _drop_view(self, worker: str) -> None:
        self._commits.vfs.upper.views.drop(worker)

    async def _clear_views(self) -> None:
        self._commits.vfs.upper.views.clear()


def _ref(repo: str, branch: str) -> BranchRef:
    return BranchRef(RepoName(repo), BranchName(branch))


def _started(task_status: trio.TaskStatus[None]) -> Any:
    """Translate: `serve_listeners` reports its listeners, the caller wants nothing."""
    return _Started(task_status)


class _Started:
    def __init__(self, outer: trio.TaskStatus[None]) -> None:
        self.started = partial(self._started, outer)

    @staticmethod
    def _started(outer: trio.TaskStatus[None], _listeners: object = None) -> None:
        outer.started()


async def _receive(stream: trio.SocketStream, count: int) -> bytes | None:
    """Return exactly *count* bytes; None if the connection ended."""
    data = bytearray()
    while len(data) < count:
        part = await stream.receive_some(min(count - len(data), 1 << 20))
        if not part:
            return None
        data += part
    return bytes(data)
