"""
What the vfs tells the kernel of its own accord.

The calls may block until the kernel has sent and got answers to requests of its own (it writes
dirty pages back first), so they must not be waited for by anything a request handler needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Known(NamedTuple):
    """An inode that the kernel holds, and the name that it goes by."""

    ino: int
    parent: int
    name: bytes


class Kernel(Protocol):
    """The cache on the other side."""

    async def forget_names(self, names: Sequence[tuple[int, bytes]]) -> None:
        """Have (directory inode, name) pairs be looked up again."""
        ...

    async def forget_inodes(self, inodes: Sequence[int]) -> None:
        """Write back the dirty pages of *inodes*, then drop their pages and attributes."""
        ...

    async def let_go(self, known: Sequence[Known]) -> None:
        """Drop inodes that nobody uses, though all about them is true, so that they are forgotten here too."""
        ...


class NoKernel:
    """For a vfs that is not mounted: there is nobody to tell."""

    async def forget_names(self, names: Sequence[tuple[int, bytes]]) -> None:
        return

    async def forget_inodes(self, inodes: Sequence[int]) -> None:
        return

    async def let_go(self, known: Sequence[Known]) -> None:
        return
