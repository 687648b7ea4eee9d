"""
What a process has in its hands that no record names yet, as far as gc must know.

Between the first `put` of an operation and the record that names what it made, gc could take the
objects for garbage.  So an operation is a *hold*: gc condemns packs under a growing number, the
epoch, and removes nothing of them before every hold that began under an earlier epoch has ended.
A hold that begins later knows what is condemned, and stores it again.

Each process shows its oldest hold by the size of a file in `run/holds/`: epoch + 1, or 0 if it
holds nothing.  A size needs no block, so this works on a full disk too.  The file is locked by flock
while its process lives; gc removes those that are not.

Promise: whatever a process puts while it holds, or reaches from a record that is there while it holds,
is in the store when the hold ends (docs/concurrency.md).
"""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_BY_PUT = 0
"""The hold that a put takes where nobody took one: it lasts until `rest`."""


class Holds:
    """The holds of this process.  Methods may be called from any thread."""

    def __init__(self, folder: Path | None, epoch: Callable[[], int]) -> None:
        """
        *epoch* looks up the epoch of now, and has this process know what is condemned in it.

        Without a folder, on a read-only disk, nothing is shown: there is no gc that would look.
        """
        self._epoch = epoch
        self._lock = threading.Lock()
        self._began: dict[int, int] = {}
        """Hold → its epoch."""
        self._turned: list[int] = []
        """What holds of puts became at turns that were not settled yet."""
        self._serial = itertools.count(_BY_PUT + 1)
        self._shown = _register(folder) if folder is not None else None

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold what the block puts, or takes out of trees, until its end."""
        number = next(self._serial)
        self._begin(number)
        try:
            yield
        finally:
            self._end(number)

    def hold_by_put(self) -> None:
        """Hold from now on, until a turn: nobody may have said that he holds."""
        if _BY_PUT not in self._began:
            self._begin(_BY_PUT)

    def turn(self) -> Callable[[], None]:
        """
        Have what is put from now on be a hold of its own; return what ends that of earlier puts.

        To be called where nothing that was put is needed any more but what records, or journals of
        open commits, name already; and the function when the index knows all that was put.
        """
        with self._lock:
            if _BY_PUT in self._began:
                self._turned.append(next(self._serial))
                self._began[self._turned[-1]] = self._began.pop(_BY_PUT)
            # Those that could not be settled at an earlier turn can be now.
            earlier = list(self._turned)

        def end() -> None:
            for number in earlier:
                self._end(number)
            with self._lock:
                self._turned = [number for number in self._turned if number not in earlier]

        return end

    def _begin(self, number: int) -> None:
        with self._lock:
            while True:
                # Shown first and looked up again then: gc either sees the hold, or the hold its epoch.
                epoch = self._began[number] = self._epoch()
                self._show()
                if self._epoch() == epoch:
                    return

    def _end(self, number: int) -> None:
        with self._lock:
            if self._began.pop(number, None) is not None:
                self._show()

    def _show(self) -> None:
        if self._shown is not None:
            os.ftruncate(self._shown[1], min(self._began.values()) + 1 if self._began else 0)

    def close(self) -> None:
        """End everything: nothing of this process counts any more."""
        with self._lock:
            self._began.clear()
            if self._shown is not None:
                path, fd = self._shown
                path.unlink(missing_ok=True)
                os.close(fd)


def _register(folder: Path) -> tuple[Path, int]:
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        path = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return path, fd
        # gc met the file before it was locked, and took it for that of a dead process.
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that gc waits for."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})" if self.command else f"process {self.pid}"


def holders_before(folder: Path, epoch: int) -> list[Holder]:
    """Return the processes with a hold that began before *epoch*; forget those that are dead."""
    found = []
    for path in sorted(folder.iterdir()):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if _is_dead(fd):
                path.unlink(missing_ok=True)
            elif 0 < os.fstat(fd).st_size <= epoch:
                pid = int(path.name.partition("-")[0])
                found.append(Holder(pid, _command_of(pid)))
        finally:
            os.close(fd)
    return found


def _is_dead(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _command_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode("utf-8", "replace").strip()[:80]
