"""A dictionary in the place of the store.  It passes the conformance suite of `Objects`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pfsfuse.errors import StoreError
from pfsfuse.ids import ChunkId, chunk_id
from pfsfuse.store.objects import ObjectKind


class MemoryObjects:
    """Immutable objects in memory, with a count of what was asked of it."""

    def __init__(self) -> None:
        self.stored: dict[ChunkId, bytes] = {}
        self.kinds: dict[ChunkId, ObjectKind] = {}
        self.puts: Counter[ObjectKind] = Counter()
        """Number of puts by kind, those of known objects included."""
        self.gets: Counter[ChunkId] = Counter()

    def put(self, data: bytes | memoryview, kind: ObjectKind) -> ChunkId:
        """Keep *data* and return its name."""
        object_id = chunk_id(data)
        self.puts[kind] += 1
        if object_id not in self.stored:
            self.stored[object_id] = bytes(data)
            self.kinds[object_id] = kind
        return object_id

    def put_all(self, data: Sequence[bytes | memoryview], kind: ObjectKind) -> list[ChunkId]:
        """Keep each of *data* and return their names."""
        return [self.put(one, kind) for one in data]

    def get(self, object_id: ChunkId) -> bytes:
        """Return the bytes with this name."""
        self.gets[object_id] += 1
        try:
            return self.stored[object_id]
        except KeyError:
            raise StoreError(f"object {object_id.hex()} is missing") from None
