"""
What a tree is made of, below before above, so that who has a node has all below it.

That is not so where gc was: a node that nothing needs may stay in its pack while what it names goes
with another.  So the side to which trees come looks below such nodes (`Whole`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..ids import ChunkId
from ..store.chunks import Chunks
from ..store.condemned import ids_in
from ..store.id_set import IdSet
from ..store.index import Table
from ..store.objects import ObjectKind
from ..store.packs import Location
from ..store.repair import LOST
from ..store.store import Store
from ..trees.node import references

Named = tuple[ChunkId, ObjectKind]


def reachable(chunks: Chunks, roots: Iterable[Named], seen: IdSet) -> Iterator[Named]:
    """Yield all that is below *roots*, and these, children first; nothing that is in *seen*, which grows."""
    above: list[Named] = []
    pending: list[Iterator[Named]] = [iter(roots)]
    while pending:
        found = next((named for named in pending[-1] if seen.add(named[0])), None)
        if found is None:
            pending.pop()
            if above:
                yield above.pop()
        elif found[1] is ObjectKind.CHUNK:
            yield found
        else:
            above.append(found)
            pending.append(references(chunks.get(found[0]), found[1], found[0]))


def named_in(store: Store, record: bytes) -> list[Named]:
    """
    Return the objects that a record of any kind names: msgpack *bin* of 32 bytes, at any depth.

    That is how the floors above may keep trees and files in documents of which nothing is known here.
    """
    found: list[Named] = []
    with store.read() as txn:
        for object_id in sorted(ids_in(record)):
            place = txn.get(Table.OBJECTS, object_id)
            if place is not None:
                found.append((ChunkId(object_id), ObjectKind(Location.decode(place).kind)))
    return found


class Whole:
    """
    Tells which of the objects that a store has are there with all that is below them.

    A store that never saw a gc, nor a repair that dropped objects, is believed.
    For one thread, while it holds (store/holds.py).
    """

    def __init__(self, store: Store, whole: IdSet) -> None:
        """*whole* is filled with what is found to be whole."""
        self._store = store
        self._whole = whole
        self._partial: set[bytes] = set()
        with store.read() as txn:
            self._is_believed = txn.condemned().epoch == 0 and txn.get(Table.META, LOST) is None

    def lacks(self, object_ids: Sequence[ChunkId]) -> list[bool]:
        """Say of each object whether it, or anything below it, is missing."""
        absent = self._store.chunks.lacks(object_ids)
        if self._is_believed:
            return absent
        return [
            is_absent or not self._is_whole(object_id)
            for object_id, is_absent in zip(object_ids, absent, strict=True)
        ]

    def has(self, object_id: ChunkId) -> bool:
        """Say whether an object is here by now, with all that is below it."""
        # More has come since it was asked for.
        self._partial.clear()
        return not self.lacks([object_id])[0]

    def _is_whole(self, start: ChunkId) -> bool:
        ahead: list[tuple[ChunkId, list[ChunkId] | None]] = [(start, None)]
        while ahead:
            object_id, below = ahead.pop()
            if below is not None:
                self._note(object_id, is_whole=all(each in self._whole for each in below))
            elif object_id not in self._whole and object_id not in self._partial:
                below = self._nodes_below(object_id)
                if below is None:
                    self._note(object_id, is_whole=False)
                else:
                    ahead.append((object_id, below))
                    ahead += [(each, None) for each in below]
        return start in self._whole

    def _note(self, object_id: ChunkId, *, is_whole: bool) -> None:
        if is_whole:
            self._whole.add(object_id)
        else:
            self._partial.add(object_id)

    def _nodes_below(self, object_id: ChunkId) -> list[ChunkId] | None:
        """Return the nodes that an object names; None if anything that it names is missing."""
        with self._store.read() as txn:
            place = txn.get(Table.OBJECTS, object_id)
        if place is None:
            # It has just come, behind all that is below it.
            return []
        kind = ObjectKind(Location.decode(place).kind)
        if kind is ObjectKind.CHUNK:
            return []
        named = list(references(self._store.chunks.get(object_id), kind, object_id))
        if any(self._store.chunks.lacks([each for each, _ in named])):
            return None
        return [each for each, of_kind in named if of_kind is not ObjectKind.CHUNK]
