"""
One worker: a long-lived container whose PID 1 is the shim, and runs inside of it.

Promises:

- one run at a time; when `run` returns or raises, nothing that it started is alive;
- a slow `on_output` slows the command down, it does not fill memory;
- a cancelled run is ended in the container before Cancelled is passed on; a container that
  does not end it in time is killed;
- when the container goes away, `run` raises ContainerDiedError, then and ever after.
"""

from __future__ import annotations

import enum
import os
import secrets
import shutil
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import trio

from .binary import shim_path
from .errors import ContainerDiedError, EngineError
from .model import Bind, ContainerSpec, Image
from .protocol import (
    INPUT_PIECE,
    Command,
    Frame,
    FrameReader,
    FrameType,
    Outcome,
    ProtocolError,
    decode_done,
    decode_hello,
    encode,
    encode_cancel,
    encode_run,
)

if TYPE_CHECKING:
    from .engine import Engine

# What Podman gives a container whose image names no PATH.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SHIM_IN_CONTAINER = "/.pfs/shim"
SOCKETS_IN_CONTAINER = "/.pfs/run"
SOCKET_NAME = "s"

CONNECT_S = 30.0
CANCEL_GRACE_S = 1.0
CANCEL_WAIT_S = 5.0
SEND_S = 10.0
_RECEIVE = 256 * 1024


class Stream(enum.Enum):
    """Which of its two outputs a command wrote to."""

    OUT = "stdout"
    ERR = "stderr"


OnOutput = Callable[[Stream, bytes], Awaitable[None]]

_STREAMS = {FrameType.OUT: Stream.OUT, FrameType.ERR: Stream.ERR}


class Worker:
    """A running worker container.  Made by Engine.worker."""

    def __init__(
        self, engine: Engine, spec: ContainerSpec, image: Image, container_id: str, stream: trio.SocketStream
    ) -> None:
        self.name = spec.name
        self.image = image
        self.container_id = container_id
        self._engine = engine
        self._env = {"PATH": DEFAULT_PATH, **image.env, **spec.env}
        self._stream = stream
        self._reader = FrameReader()
        self._since = time.time() - 1
        self._busy = False
        self._death: ContainerDiedError | None = None

    @property
    def alive(self) -> bool:
        """Tell whether the container is there, as far as its connection shows."""
        return self._death is None and (self._busy or not self._is_closed())

    def _is_closed(self) -> bool:
        """Tell whether the shim, which says nothing between runs, has closed the connection."""
        try:
            return self._stream.socket.fileno() < 0 or not _peek(self._stream.socket)
        except BlockingIOError:
            return False
        except OSError:
            return True

    async def run(self, command: Command, on_output: OnOutput | None = None) -> Outcome:
        """
        Run *command* and return how it ended, once nothing of it lives and all its output is delivered.

        *on_output* is awaited with each piece of output, in the order of each stream.  Raises
        ContainerDiedError when the container goes away, ValueError for a command that no
        process can be given.
        """
        if self._busy:
            raise RuntimeError(f"worker {self.name} runs a command already")
        request = encode_run(
            command,
            env={**self._env, **(command.env or {})},
            cwd=self.image.cwd if command.cwd is None else command.cwd,
            user=self.image.user if command.user is None else command.user,
        )
        self._raise_if_dead()
        await trio.lowlevel.checkpoint_if_cancelled()
        self._busy = True
        try:
            await self._send(request)
            return await self._until_done(command.stdin, on_output)
        except ContainerDiedError:
            raise
        except BaseException:
            await self._end_early()
            raise
        finally:
            self._busy = False

    async def kill(self) -> None:
        """Kill and remove the container."""
        self._death = self._death or ContainerDiedError(self.name, None, "the runner killed it")
        with trio.CancelScope(shield=True):
            await self._engine.remove(self.container_id)
            await trio.aclose_forcefully(self._stream)

    async def greet(self) -> None:
        """Check that the shim speaks our protocol."""
        try:
            decode_hello(await self._receive())
        except ProtocolError as error:
            raise EngineError(
                f"worker {self.name}", str(error), advice="build the shim anew: python -m tools.build_shim"
            ) from error

    async def _until_done(self, stdin: bytes, on_output: OnOutput | None) -> Outcome:
        sent = INPUT_PIECE  # the request carried the first piece
        while True:
            frame = await self._receive()
            match frame.type:
                case FrameType.OUT | FrameType.ERR:
                    if on_output is not None:
                        await on_output(_STREAMS[frame.type], frame.payload)
                case FrameType.WANT:
                    await self._send(encode(FrameType.INPUT, stdin[sent : sent + INPUT_PIECE]))
                    sent += INPUT_PIECE
                case FrameType.DONE:
                    return decode_done(frame.payload)
                case _:
                    raise ProtocolError(
                        f"the shim sent a frame that only the runner sends: {frame.type.name}"
                    )

    async def _end_early(self) -> None:
        """End a run that is being left; afterwards the worker is ready for the next, or dead."""
        with trio.CancelScope(shield=True):
            with trio.move_on_after(CANCEL_WAIT_S):
                try:
                    await self._send(encode_cancel(CANCEL_GRACE_S))
                    while (await self._receive()).type is not FrameType.DONE:
                        pass
                except (ContainerDiedError, ProtocolError):
                    pass  # it ended all the same; the reason for leaving is what the caller must hear
                else:
                    return
            await self.kill()

    async def _receive(self) -> Frame:
        while (frame := self._reader.next()) is None:
            try:
                data = await self._stream.receive_some(_RECEIVE)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                await self._died()
            self._reader.feed(data)
        return frame

    async def _send(self, data: bytes) -> None:
        """
        Send whole frames.

        Shielded: half a frame would end the connection, and the shim always reads, so this
        takes long only when the container is frozen.
        """
        with trio.CancelScope(shield=True), trio.move_on_after(SEND_S):
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                await self._died()
            return
        await self.kill()
        self._raise_if_dead()

    async def _died(self) -> NoReturn:
        """Find out how the container ended and raise."""
        if self._death is None:
            status = await self._engine.exit_status(self.container_id, self._since)
            self._death = ContainerDiedError(self.name, status)
        raise self._death

    def _raise_if_dead(self) -> None:
        if self._death is not None:
            raise self._death


def _peek(connection: trio.socket.SocketType) -> bytes:
    """Return what can be received at once; BlockingIOError if nothing, nothing if the other end is gone."""
    with socket.socket(fileno=os.dup(connection.fileno())) as own:
        return own.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)


@asynccontextmanager
async def open_worker(engine: Engine, spec: ContainerSpec) -> AsyncIterator[Worker]:
    """Start a worker container and connect to its shim; see Engine.worker."""
    image = await engine.image(spec.image)
    folder = engine.sockets / f"w-{secrets.token_hex(8)}"
    folder.mkdir(mode=0o700)
    try:
        spec = _with_shim(spec, folder)
        with trio.socket.socket(trio.socket.AF_UNIX) as listener:
            await listener.bind(str(folder / SOCKET_NAME))
            listener.listen(1)
            container_id = await engine.create(spec)
            try:
                await engine.start(container_id)
                stream = await _accept(engine, spec, container_id, listener)
                # One connection is all: nobody in the container can pose as the shim of another.
                listener.close()
                (folder / SOCKET_NAME).unlink()
                async with stream:
                    worker = Worker(engine, spec, image, container_id, stream)
                    await worker.greet()
                    yield worker
            finally:
                with trio.CancelScope(shield=True):
                    await engine.remove(container_id)
    finally:
        shutil.rmtree(folder)


def _with_shim(spec: ContainerSpec, folder: Path) -> ContainerSpec:
    shim = [Bind(shim_path(), SHIM_IN_CONTAINER), Bind(folder, SOCKETS_IN_CONTAINER)]
    command = (SHIM_IN_CONTAINER, f"{SOCKETS_IN_CONTAINER}/{SOCKET_NAME}")
    return replace(spec, binds=[*spec.binds, *shim], command=command)


async def _accept(
    engine: Engine, spec: ContainerSpec, container_id: str, listener: trio.socket.SocketType
) -> trio.SocketStream:
    """Wait for the shim to connect, for as long as its container runs."""
    since = time.time() - 1
    with trio.move_on_after(CONNECT_S):
        while True:
            with trio.move_on_after(0.5):
                connection, _ = await listener.accept()
                return trio.SocketStream(connection)
            if not await engine.is_running(container_id):
                raise ContainerDiedError(
                    spec.name, await engine.exit_status(container_id, since), "before the shim connected"
                )
    raise EngineError(f"worker {spec.name}", f"the shim did not connect within {CONNECT_S:.0f} s")
