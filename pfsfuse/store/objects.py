"""
What the floors above need of the store: immutable objects, named by their content.

`Chunks` (chunks.py) is the real one.  Tests of trees use a dictionary that passes the same
conformance suite (tests/conformance/test_objects.py).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

from ..ids import ChunkId


class ObjectKind(enum.IntEnum):
    """What an object is; kept beside it in its pack so that fsck can walk without guessing."""

    CHUNK = 1
    """A run of file bytes."""
    DIRECTORY_NODE = 2
    """A node of a directory's tree."""
    CHUNK_LIST = 3
    """A node of a file's list of chunks."""


class Objects(Protocol):
    """A set of immutable objects."""

    def put(self, data: bytes | memoryview, kind: ObjectKind) -> ChunkId:
        """
        Store *data* and return its name; the second put of equal bytes stores nothing.

        The object can be read back at once by this process, by others after the next
        flush.  It survives power loss after the next durable flush.  *data* may be reused
        by the caller when the call returns.
        """
        ...

    def put_all(self, data: Sequence[bytes | memoryview], kind: ObjectKind) -> list[ChunkId]:
        """Do what `put` does for each of *data*, cheaper for many small ones; the names, in their order."""
        ...

    def get(self, object_id: ChunkId) -> bytes:
        """Return the bytes; MissingChunkError or CorruptChunkError if that cannot be done."""
        ...
