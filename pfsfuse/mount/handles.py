"""Open files and directories, as the kernel numbers them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypeVar

from ..errors import NotFoundError, StoreError
from ..trees.contents import Reader
from ..trees.entry import Entry
from .places import LivePlace, Place


class CutOffError(StoreError):
    """A forced finish took the right to write from a handle."""


class Handle:
    """Anything open."""

    def __init__(self, place: Place) -> None:
        self.place = place


class FileHandle(Handle):
    """An open file."""

    def __init__(self, place: Place, *, writable: bool, pid: int = 0) -> None:
        super().__init__(place)
        self.writable = writable
        self.pid = pid
        """Of the process that opened it."""
        self.used_at = time.monotonic()
        self.is_cut = False
        """Whether a forced finish took its right to write."""
        self.is_saved = False
        """Whether a descriptor was closed and nothing written since."""
        self.reader: Reader | None = None
        """Keeps its place in committed bytes."""


Named = tuple[bytes, Entry | None]
"""A name, and what it stands for as long as its directory is the committed one that was listed."""


class DirectoryHandle(Handle):
    """
    An open directory and how far it was read.

    The kernel names positions by the numbers that it was given with each name: 1 for what
    follows the first name, and so on.
    """

    def __init__(self, place: Place, names: Iterator[Named]) -> None:
        super().__init__(place)
        self.restart(names)

    def restart(self, names: Iterator[Named]) -> None:
        """Begin at the first name again."""
        self.names = names
        self.listed = self.place.entry if isinstance(self.place, LivePlace) else None
        """The entry that a live directory had when its names were asked for; None if it was staged."""
        self.position = 0
        self._last: Named | None = None
        self._pushed_back: Named | None = None

    def next_name(self) -> Named | None:
        """Return the name at the position and go on; None at the end."""
        found = self._pushed_back
        if found is not None:
            self._pushed_back = None
        else:
            found = next(self.names, None)
            if found is None:
                return None
        self._last = found
        self.position += 1
        return found

    def push_back(self) -> None:
        """Undo the last `next_name`."""
        self._pushed_back = self._last
        self.position -= 1


AnyHandle = TypeVar("AnyHandle", bound=Handle)


class Handles:
    """The table of handles."""

    def __init__(self) -> None:
        self._handles: dict[int, Handle] = {}
        self._next = 1

    def add(self, handle: Handle) -> int:
        number = self._next
        self._next += 1
        self._handles[number] = handle
        return number

    def get(self, number: int, kind: type[AnyHandle]) -> AnyHandle:
        found = self._handles.get(number)
        if not isinstance(found, kind):
            raise NotFoundError(f"file handle {number} is not known")
        return found

    def pop(self, number: int) -> Handle | None:
        return self._handles.pop(number, None)

    def __len__(self) -> int:
        return len(self._handles)
