"""What fsck finds and what a repair does, one record for each."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..ids import ChunkId


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it must be."""

    invariant: str
    """As docs/invariants.md numbers them."""
    message: str
    object_id: ChunkId | None = field(default=None, compare=False)
    """The object that cannot be read as it should, where the problem is one of an object."""

    def __str__(self) -> str:
        return f"{self.invariant}: {self.message}"


@dataclass(frozen=True, slots=True)
class Mending:
    """One thing that a repair did, or would do."""

    invariant: str
    message: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.message}"
