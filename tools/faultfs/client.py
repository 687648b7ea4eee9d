"""
Starting a `faultfs` and talking to it.

    with FaultFs(scratch) as fs:
        …                                   # a program uses fs.point
        fs.mark("the program says that it is safe")
    for position, disk in fs.cuts(draw, positions): disk.survive(folder)
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from .disk import Disk
from .faults import Fault, Hold
from .log import AnyRecord, Synced, read_log

_SOURCES = Path(__file__).parents[2]
_PATIENCE_S = 60.0
_END_S = 5.0


class FaultFs:
    """A mounted faultfs; the folder below and the log stay when it is unmounted."""

    def __init__(self, scratch: Path) -> None:
        """*scratch* is a folder for all that belongs to it; what is in `below` there counts as durable."""
        self.point = scratch / "point"
        self.below = scratch / "below"
        self.log_path = scratch / "log"
        self._socket_path = scratch / "s"
        self._said_path = scratch / "said"
        self._process: subprocess.Popen[bytes] | None = None
        for folder in (self.point, self.below):
            folder.mkdir(parents=True, exist_ok=True)

    # Life

    def __enter__(self) -> FaultFs:
        self._socket_path.unlink(missing_ok=True)
        words = [self.below, self.point, self.log_path, self._socket_path]
        with open(self._said_path, "ab") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tools.faultfs.server", *map(os.fspath, words)],
                cwd=_SOURCES,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
            )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            self._process.wait()
            raise RuntimeError(f"faultfs did not start:\n{self.said}")
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def said(self) -> str:
        """What the process printed: tracebacks, if any."""
        return self._said_path.read_text(errors="replace")

    def close(self) -> None:
        """Unmount, at once if nobody uses it; the process ends."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            for flags in (["-u"], ["-uz"]):
                done = subprocess.run(
                    ["fusermount3", *flags, self.point], capture_output=True, text=True, check=False
                )
                if done.returncode == 0:
                    break
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            # Somebody has a file open still; to them the disk is gone now.
            process.kill()
        finally:
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    # Talking

    def _ask(self, do: str, **arguments: object) -> Any:
        with self._connected() as asking:
            return _answer(asking, do, arguments)

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
            made.settimeout(_PATIENCE_S)
            made.connect(os.fspath(self._socket_path))
            yield made

    def position(self) -> int:
        """Return how many records the log has."""
        return int(self._ask("position")["records"])

    def syncs(self) -> int:
        """Return how many fsyncs went well so far."""
        return int(self._ask("position")["syncs"])

    def mark(self, text: str) -> int:
        """Note in the log that something happened; return the position behind it."""
        return int(self._ask("mark", text=text))

    def fail(self, *faults: Fault) -> None:
        """Have these requests fail from now on, and no others."""
        self._ask("fail", faults=msgspec.to_builtins(list(faults)))

    def forget_pages(self) -> None:
        """Have the kernel forget what it has read, so that reads come to the disk again."""
        self._ask("forget_pages")

    def hold(self, number: int, *, after: bool = False, path: str = "*") -> None:
        """Hold the *number*-th fsync from now."""
        self._ask("hold", hold=msgspec.to_builtins(Hold(number, after, path)))

    @contextmanager
    def waiting(self) -> Iterator[socket.socket]:
        """Yield a socket that becomes readable when an fsync is held."""
        with self._connected() as asking:
            asking.sendall(json.dumps({"do": "wait_held"}).encode() + b"\n")
            yield asking

    def let_go(self) -> None:
        """Answer the fsync that is held, with EIO."""
        self._ask("let_go")

    # After the power cut

    def records(self) -> list[AnyRecord]:
        """Return the log."""
        return list(read_log(self.log_path))

    def cuts(self, draw: Random, positions: Iterable[int]) -> Iterator[tuple[int, Disk]]:
        """Yield (position, what the disk is then) for each of the sorted *positions*."""
        return cuts(self.records(), draw, positions)


def cuts(log: list[AnyRecord], draw: Random, positions: Iterable[int]) -> Iterator[tuple[int, Disk]]:
    """Yield (position, what the disk is then) for each of the sorted *positions*."""
    disk, done = Disk(draw), 0
    for position in positions:
        for record in log[done:position]:
            disk.apply(record)
        done = position
        yield position, disk


def sync_positions(log: list[AnyRecord]) -> list[int]:
    """Return the positions before and after each fsync: where what is durable changes."""
    at = [number for number, record in enumerate(log) if isinstance(record, Synced)]
    return sorted({*at, *(number + 1 for number in at)})


def _answer(asking: socket.socket, do: str, arguments: dict[str, object]) -> Any:
    asking.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
    received = b""
    while not received.endswith(b"\n"):
        part = asking.recv(1 << 16)
        if not part:
            raise ConnectionResetError("faultfs has gone")
        received += part
    answer = json.loads(received)
    if "error" in answer:
        raise RuntimeError(f"faultfs: {do}: {answer['error']}")
    return answer["ok"]
