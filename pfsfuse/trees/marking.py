"""
Marks all objects that can be reached from some ids.

Nodes are read once each, many at a time in the order of the packs; chunks are not read.  Memory: the
census, and the ids below the few thousand nodes that are read together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import StoreError
from ..ids import ChunkId
from ..store.census import Census
from ..store.index import Table
from ..store.objects import ObjectKind
from ..store.packs import LOCATION
from ..store.store import Store
from .node import references

_READ_TOGETHER = 2048
_LOOKED_UP_TOGETHER = 4096
"""Ids in one transaction of the index: about 5 ms."""


class Marker:
    """See the module."""

    def __init__(self, store: Store, census: Census) -> None:
        self._store = store
        self._census = census
        self._young: set[bytes] = set()
        """Nodes that the census does not know: they were stored since."""
        self._ahead: list[tuple[int, int, ChunkId, ObjectKind]] = []
        """Nodes that are marked and not read yet: (pack, offset, id, kind)."""

    def mark(self, ids: Iterable[bytes]) -> None:
        """Mark what *ids* name, and all below; an id that names nothing is left out."""
        self._note(sorted(set(ids)))
        self._walk()

    def mark_needed(self, ids: Iterable[tuple[ChunkId, ObjectKind]]) -> None:
        """Mark what *ids* name, and all below; StoreError if a node is missing."""
        self._note_references(list(dict(ids).items()))
        self._walk()

    def _walk(self) -> None:
        while self._ahead:
            together = sorted(self._ahead[-_READ_TOGETHER:])
            del self._ahead[-_READ_TOGETHER:]
            found: list[tuple[ChunkId, ObjectKind]] = []
            for _, _, object_id, kind in together:
                found += references(self._store.chunks.get(object_id), kind, object_id)
            self._note_references(found)

    def _note_references(self, found: Sequence[tuple[ChunkId, ObjectKind]]) -> None:
        missing = set(self._note([object_id for object_id, _ in found]))
        if missing:
            lost = next((i for i, kind in found if i in missing and kind is not ObjectKind.CHUNK), None)
            if lost is not None:
                raise StoreError(
                    f"the tree node {lost.hex()} is missing, so what is below it cannot be told from garbage; "
                    "run `pfs fsck`"
                )

    def _note(self, ids: Sequence[bytes]) -> list[bytes]:
        """Mark objects and plan to read those that are nodes; return the ids that name nothing."""
        missing: list[bytes] = []
        mark = self._census.mark
        for start in range(0, len(ids), _LOOKED_UP_TOGETHER):
            with self._store.read() as txn:
                get = txn.getter(Table.OBJECTS)
                for object_id in ids[start : start + _LOOKED_UP_TOGETHER]:
                    raw = get(object_id)
                    if raw is None:
                        missing.append(object_id)
                        continue
                    pack, offset, stored, _, _, kind = LOCATION.unpack(raw)
                    is_new = mark(pack, offset, stored)
                    if kind != _CHUNK and (is_new or (is_new is None and object_id not in self._young)):
                        if is_new is None:
                            self._young.add(object_id)
                        self._ahead.append((pack, offset, ChunkId(object_id), ObjectKind(kind)))
        return missing


_CHUNK = int(ObjectKind.CHUNK)
