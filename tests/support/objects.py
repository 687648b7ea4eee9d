"""A dictionary in the place of the store.  It passes the conformance suite of `Objects`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pfsfuse.errors import StoreError
from pfsfuse.ids import ChunkId, chunk_id
from pfsfuse.store.objects import ObjectKind, Objects


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


class CountingObjects:
    """Other objects, with a count of those that were read."""

    def __init__(self, inner: Objects) -> None:
        self._inner = inner
        self.gets = 0

    def put(self, data: bytes | memoryview, kind: ObjectKind) -> ChunkId:
        return self._inner.put(data, kind)

    def put_all(self, data: Sequence[bytes | memoryview], kind: ObjectKind) -> list[ChunkId]:
        return self._inner.put_all(data, kind)

    def get(self, object_id: ChunkId) -> bytes:
        self.gets += 1
        return self._inner.get(object_id)
