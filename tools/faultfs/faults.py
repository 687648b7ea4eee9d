"""What is to fail, and which fsync is held."""

from __future__ import annotations

import enum
import errno
from fnmatch import fnmatchcase

import msgspec


class On(enum.StrEnum):
    """What the kernel asks for."""

    READ = "read"
    WRITE = "write"
    """Bytes of a file, also by truncation."""
    SYNC = "sync"
    CHANGE = "change"
    """Anything that changes the disk, bytes included; opening for writing, too."""


def matches(path: str, pattern: str) -> bool:
    """Say whether *pattern* is of this path: `*` alone of all, within a longer one of no slash."""
    return pattern == "*" or (fnmatchcase(path, pattern) and path.count("/") == pattern.count("/"))


class Fault(msgspec.Struct, frozen=True):
    """Requests that fail, and how."""

    on: On
    error: str
    """Name of an errno."""
    path: str = "*"
    """Of the file, from the top (`matches`)."""
    start: int = 0
    end: int | None = None
    """Reads and writes fail that touch [start, end)."""

    @property
    def errno(self) -> int:
        number: int = getattr(errno, self.error)
        return number

    def hits(self, on: On, path: str, offset: int, length: int) -> bool:
        """Say whether a request fails."""
        return (
            self.on == on
            and matches(path, self.path)
            and offset + length > self.start
            and (self.end is None or offset < self.end)
        )


class Hold(msgspec.Struct, frozen=True):
    """The fsync that is held, and whether that is before or after it has done its work."""

    number: int
    """Counted from when it was asked for: 1 is the next."""
    after: bool = False
    path: str = "*"
    """Only fsyncs of these files are counted."""


class Faults:
    """What is to fail now."""

    def __init__(self) -> None:
        self.all: list[Fault] = []

    def error(self, on: On, path: str, offset: int = 0, length: int = 1) -> int | None:
        """Return the errno with which a request fails, or None."""
        for fault in self.all:
            if fault.hits(on, path, offset, length):
                return fault.errno
        return None
