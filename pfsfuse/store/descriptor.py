"""File descriptors that threads share, closed when the last user lets go and never before; reading from them."""

from __future__ import annotations

import os
from pathlib import Path


class Descriptor:
    """
    An open file.

    There is no `close`: whoever uses it holds a reference, so its number cannot come to mean
    another file under a read or write that is under way.
    """

    __slots__ = ("fd",)

    def __init__(self, path: Path, flags: int, mode: int = 0o600) -> None:
        self.fd = os.open(path, flags | os.O_CLOEXEC, mode)

    def __del__(self) -> None:
        # Absent when the open failed.
        if hasattr(self, "fd"):
            os.close(self.fd)


def pread(fd: int, length: int, offset: int) -> bytes:
    """
    Return bytes of a file; fewer than *length* only at its end.

    The kernel returns what came before a bad sector, and the error when it is asked for the rest.
    """
    data = os.pread(fd, length, offset)
    while data and len(data) < length:
        more = os.pread(fd, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data
