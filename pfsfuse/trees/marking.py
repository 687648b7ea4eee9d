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
from .node import named_ids, references

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
        named = dict(ids)
        self._refuse_missing(set(self._note(list(named))), named.items())
        self._walk()

    def _walk(self) -> None:
        while self._ahead:
            together = sorted(self._ahead[-_READ_TOGETHER:])
            del self._ahead[-_READ_TOGETHER:]
            found: list[bytes] = []
            for _, _, object_id, kind in together:
                found += named_ids(self._store.chunks.get(object_id), kind, object_id)
            missing = self._note(found)
            if missing:
                self._refuse_missing_nodes(
                    set(missing), [(kind, object_id) for _, _, object_id, kind in together]
                )

    def _refuse_missing_nodes(self, missing: set[bytes], nodes: list[tuple[ObjectKind, ChunkId]]) -> None:
        """StoreError if one of the *missing* ids is that of a node; a chunk has nothing below it."""
        for kind, object_id in nodes:
            self._refuse_missing(missing, references(self._store.chunks.get(object_id), kind, object_id))

    @staticmethod
    def _refuse_missing(missing: set[bytes], named: Iterable[tuple[ChunkId, ObjectKind]]) -> None:
        for object_id, kind in named:
            if object_id in missing and kind is not ObjectKind.CHUNK:
                raise StoreError(
                    f"the tree node {object_id.hex()} is missing, so what is below it cannot be told from "
                    "garbage; run `pfs fsck`"
                )

    def _note(self, ids: Sequence[bytes]) -> list[bytes]:
        """Mark objects and plan to read those that are nodes; return the ids that name nothing."""
        missing: list[bytes] = []
        for start in range(0, len(ids), _LOOKED_UP_TOGETHER):
            wanted = ids[start : start + _LOOKED_UP_TOGETHER]
            with self._store.read() as txn:
                places = list(map(txn.getter(Table.OBJECTS), wanted))
            if None in places:
                missing += [
                    object_id for object_id, place in zip(wanted, places, strict=True) if place is None
                ]
                wanted = [
                    object_id for object_id, place in zip(wanted, places, strict=True) if place is not None
                ]
            self._mark(wanted, b"".join([place for place in places if place is not None]))
        return missing

    def _mark(self, ids: Sequence[bytes], places: bytes) -> None:
        mark = self._census.mark
        for object_id, (pack, offset, stored, _, _, kind) in zip(
            ids, LOCATION.iter_unpack(places), strict=True
        ):
            is_new = mark(pack, offset, stored)
            if kind == _CHUNK or is_new is False:
                continue
            if is_new is None:
                if object_id in self._young:
                    continue
                self._young.add(object_id)
            self._ahead.append((pack, offset, ChunkId(object_id), ObjectKind(kind)))


_CHUNK = int(ObjectKind.CHUNK)
