"""Log files that do not grow for ever."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 8 << 20
OLD_FILES = 2
_TAIL_BYTES = 4096


class RotatingLog:
    """
    Appends to a file; one that has become too large gets the suffix .1, the one before it .2.

    For one writer.
    """

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self.path = path
        self._most = most_bytes
        self._file: BinaryIO | None = None
        self._tail = b""

    def write(self, data: bytes) -> None:
        """Append *data*, which is not cut in two."""
        if self._file is None:
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - kept open
        if self._file.tell() and self._file.tell() + len(data) > self._most:
            self._file.close()
            rotate(self.path)
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
        self._file.write(data)
        self._tail = (self._tail + data)[-_TAIL_BYTES:]

    def tail(self) -> str:
        """Return the end of what was written through this object."""
        return self._tail.decode("utf-8", "replace")


def rotate(path: Path) -> None:
    """Move a log and its predecessors one number on; the oldest goes."""
    names = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, OLD_FILES + 1))]
    for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
        if newer.exists():
            newer.replace(older)
