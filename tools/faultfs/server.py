"""
The process: mounts, answers the kernel, and does what it is told on its control socket.

    python -m tools.faultfs.server BELOW POINT LOG SOCKET

A request is a line of JSON, {"do": …, …}; so is the answer, {"ok": …} or {"error": …}.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pyfuse3
import trio

from .adapter import Adapter
from .faults import Fault, Hold
from .log import LogWriter, Marked

FSNAME = "faultfs"


class Control:
    """Answers requests on the control socket, each connection in a task of its own."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._requests: dict[str, Callable[..., Awaitable[object]]] = {
            "position": self._position,
            "mark": self._mark,
            "fail": self._fail,
            "hold": self._hold,
            "wait_held": self._wait_held,
            "let_go": self._let_go,
            "forget_pages": self._forget_pages,
        }

    async def serve(
        self, path: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        await listening.bind(os.fspath(path))
        listening.listen(16)
        task_status.started()
        await trio.serve_listeners(self._serve_one, [trio.SocketListener(listening)])

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        received = b""
        async for part in stream:
            received += part
            while b"\n" in received:
                line, _, received = received.partition(b"\n")
                await stream.send_all(json.dumps(await self._answer(line)).encode() + b"\n")

    async def _answer(self, line: bytes) -> dict[str, object]:
        try:
            request: dict[str, Any] = json.loads(line)
            return {"ok": await self._requests[request.pop("do")](**request)}
        except (KeyError, TypeError, ValueError, OSError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    async def _position(self) -> dict[str, int]:
        self._adapter.log.flush()
        return {"records": self._adapter.log.position, "syncs": self._adapter.log.syncs}

    async def _mark(self, text: str) -> int:
        self._adapter.log.add(Marked(text))
        self._adapter.log.flush()
        return self._adapter.log.position

    async def _fail(self, faults: list[dict[str, Any]]) -> None:
        self._adapter.faults.all = msgspec.convert(faults, list[Fault])

    async def _hold(self, hold: dict[str, Any] | None) -> None:
        self._adapter.set_hold(msgspec.convert(hold, Hold | None))

    async def _wait_held(self) -> None:
        await self._adapter.is_holding.wait()

    async def _let_go(self) -> None:
        self._adapter.let_go()

    async def _forget_pages(self) -> None:
        await trio.to_thread.run_sync(self._adapter.forget_pages)


async def serve(below: Path, point: Path, log_path: Path, socket: Path) -> None:
    """Serve until the file system is unmounted."""
    writer = LogWriter(log_path)
    adapter = Adapter(os.fspath(below), writer)
    adapter.add_existing()
    options = {*pyfuse3.default_options, f"fsname={FSNAME}", f"subtype={FSNAME}", "allow_other"}
    pyfuse3.init(adapter, os.fspath(point), options)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(Control(adapter).serve, socket)
            print("ready", flush=True)
            await pyfuse3.main()
            nursery.cancel_scope.cancel()
    finally:
        pyfuse3.close(unmount=False)
        writer.close()


def _is_news(record: logging.LogRecord) -> bool:
    """Say whether a line of pyfuse3 is worth a look: that a killed process takes no answer any more is not."""
    return not record.getMessage().endswith("fuse_reply_* failed with No such file or directory")


def main() -> None:
    below, point, log_path, socket = map(Path, sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("pyfuse3").addFilter(_is_news)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.umask(0)
    trio.run(serve, below, point, log_path, socket)


if __name__ == "__main__":
    main()
