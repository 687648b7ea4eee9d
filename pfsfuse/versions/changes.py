"""
The change log, and how processes hear of news.

Every transaction that touches a journaled table gets the next sequence number and an entry
that names the keys it touched.  After it, the writer sends one byte to the datagram socket of every
listener.  That poke is a hint: it may be lost, so listeners also look at the number every 2 s.
"""

from __future__ import annotations

import itertools
import os
import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..store.index import Table
from ..store.store import Store

LOOK_EVERY_S = 2.0

_serial = itertools.count()


def poke_after_writes(store: Store) -> None:
    """Have every change that this process makes wake the listeners of all processes."""
    folder = store.run / "wake"
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    store.after_write(lambda: _poke(sender, folder))


def _poke(sender: socket.socket, folder: Path) -> None:
    for path in folder.iterdir():
        try:
            sender.sendto(b"!", short_address(path))
        except ConnectionRefusedError:
            # Its listener is dead.
            path.unlink(missing_ok=True)
        except OSError:
            # A full queue means that the listener has a wake-up waiting; anything else, it looks by itself.
            continue


def short_address(path: Path) -> str:
    """
    Return a name of at most 107 bytes for the socket *path*, however deep the store is.

    A socket address has no room for more (unix(7)); through /proc/self/fd only the folder's
    descriptor is named.
    """
    text = os.fspath(path)
    if len(os.fsencode(text)) <= 107:
        return text
    return f"/proc/self/fd/{_folder_fd(path.parent)}/{path.name}"


_folders: dict[Path, int] = {}


def _folder_fd(folder: Path) -> int:
    if folder not in _folders:
        _folders[folder] = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return _folders[folder]


class Listener:
    """
    Hears of changes from the moment it is made.

    `news` returns what changed since the last call and never waits; `wait` blocks the thread
    until a poke or for a while; under trio wait for `socket` to become readable instead.
    """

    def __init__(self, store: Store, *, after: int | None = None) -> None:
        """*after* is the sequence number to begin behind; None begins now."""
        self._store = store
        self._path = store.run / "wake" / f"{os.getpid()}-{next(_serial)}"
        self.socket = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        self._path.unlink(missing_ok=True)
        self.socket.bind(short_address(self._path))
        if after is None:
            with store.read() as txn:
                after = txn.sequence()
        self.seen = after

    def news(self) -> list[tuple[Table, bytes]]:
        """Return the (table, key) pairs touched since the last call, oldest first, each once."""
        self._drain()
        with self._store.read() as txn:
            latest = txn.sequence()
            if latest == self.seen:
                return []
            touched = [
                (Table[label.upper()], key) for _, pairs in txn.changes(self.seen) for label, key in pairs
            ]
        self.seen = latest
        return list(dict.fromkeys(touched))

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self.socket.recv(16)

    def wait(self, timeout_s: float = LOOK_EVERY_S) -> None:
        """Block this thread until a poke, or for *timeout_s*."""
        select.select([self.socket], [], [], timeout_s)

    def close(self) -> None:
        self.socket.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def watch(listener: Listener) -> Iterator[None]:
    """Yield now, and again after every change or every 2 s; for loops that look at a condition."""
    while True:
        listener.news()
        yield
        listener.wait()
