"""
The written ranges of a large staged file, in a sparse file of the staging area.

Offsets are those of the file itself, so a 1-byte change in 10 GiB takes one page of disk.  What
is not in `dirty` comes from the committed contents below.  A spill that rests holds no descriptor:
an open commit may have more large files than a process may have open ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..store.descriptor import Descriptor, pread
from ..store.packs import sync_folder
from .journal import as_pfs_error

Ranges = list[tuple[int, int]]
"""Sorted, disjoint, non-adjacent [start, end)."""


def add_range(ranges: Ranges, start: int, end: int) -> None:
    """Add [start, end) to *ranges*, in place."""
    if start >= end:
        return
    if ranges and ranges[-1][0] <= start <= ranges[-1][1]:
        # The usual case: the file grows.
        ranges[-1] = (ranges[-1][0], max(ranges[-1][1], end))
        return
    keep_before = [r for r in ranges if r[1] < start]
    keep_after = [r for r in ranges if r[0] > end]
    touched = ranges[len(keep_before) : len(ranges) - len(keep_after)]
    if touched:
        start, end = min(start, touched[0][0]), max(end, touched[-1][1])
    ranges[:] = [*keep_before, (start, end), *keep_after]


def cut_ranges(ranges: Ranges, size: int) -> None:
    """Forget what lies at or beyond *size*, in place."""
    ranges[:] = [(start, min(end, size)) for start, end in ranges if start < size]


class Spill:
    """
    A sparse file and the ranges written into it.

    For one thread; others use what `reader` and `sync_step` returned to it.
    """

    def __init__(self, path: Path, dirty: Ranges | None = None) -> None:
        self.path = path
        self.dirty: Ranges = dirty or []
        self._file: Descriptor | None = self._opened(os.O_CREAT)
        self._is_named = False
        """Whether the name of the file is known to survive power loss."""
        self._failed: Exception | None = None

    def keep_open(self) -> Descriptor:
        """Hold the file from now on, also if its name goes, and return it."""
        if self._file is None:
            self._file = self._opened()
        return self._file

    def _opened(self, more_flags: int = 0) -> Descriptor:
        try:
            return Descriptor(self.path, os.O_RDWR | more_flags)
        except OSError as error:
            raise as_pfs_error(error, self.path) from error

    def rest(self) -> None:
        """Let go of the descriptor until the next write."""
        self._file = None

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of *data*; OutOfSpaceError leaves `dirty` as it was."""
        file = self.keep_open()
        try:
            done = os.pwrite(file.fd, data, offset)
            while done < len(data):
                done += os.pwrite(file.fd, memoryview(data)[done:], offset + done)
        except OSError as error:
            raise as_pfs_error(error, self.path) from error
        add_range(self.dirty, offset, offset + len(data))

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of a dirty range; holes and what is behind the end of the file are zeros."""
        return self.reader()(offset, length)

    def reader(self) -> Callable[[int, int], bytes]:
        """Return a function that does what `read` does, in any thread, also when the file is removed."""
        file = self._file or self._opened()

        def read(offset: int, length: int) -> bytes:
            data = pread(file.fd, length, offset)
            return data if len(data) == length else data + bytes(length - len(data))

        return read

    def truncate(self, size: int) -> None:
        file = self._file or self._opened()
        cut_ranges(self.dirty, size)
        os.ftruncate(file.fd, min(size, os.fstat(file.fd).st_size))

    def sync_step(self) -> Callable[[], None]:
        """Return a function that makes what was written durable, in any thread, also when it is removed."""
        file = self._file or self._opened()

        def sync() -> None:
            if self._failed is not None:
                raise self._failed
            try:
                os.fdatasync(file.fd)
                if not self._is_named:
                    sync_folder(self.path.parent)
                    self._is_named = True
            except OSError as error:
                # The kernel may have dropped the bytes and would call a second try a success (fsync(2)).
                self._failed = as_pfs_error(error, self.path)
                raise self._failed from error

        return sync

    def remove(self) -> None:
        """Remove the file; the bytes are gone when nobody reads them any more."""
        self._file = None
        self.path.unlink(missing_ok=True)
