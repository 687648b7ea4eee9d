"""A file descriptor that threads share: closed when its last user lets go of it, and never before."""

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
