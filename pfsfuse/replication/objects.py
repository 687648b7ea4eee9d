"""What a tree is made of, below before above, so that who has a node has all below it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..ids import ChunkId
from ..store.chunks import Chunks
from ..store.condemned import ids_in
from ..store.id_set import IdSet
from ..store.index import Table
from ..store.objects import ObjectKind
from ..store.packs import Location
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
