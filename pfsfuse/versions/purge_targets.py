"""
What a purge is after: the objects that hold a path's content, and who else has them.

Targets are the chunks and lists of the files at or below the path in any commit, the nodes of
directories below it, and the nodes in which its name stands.  A file of at most 512 bytes has no
object of its own: its bytes stand in such a node.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..ids import ChunkId
from ..store.census import Census, slices_of_objects
from ..store.condemned import ids_in
from ..store.index import Table
from ..store.objects import ObjectKind
from ..store.packs import LOCATION
from ..store.store import Store
from ..trees.entry import Entry, Kind
from ..trees.node import Leaf, decode_directory, entry_references, named_ids, references
from ..trees.tree import Path, Trees
from .model import Commit, decode


@dataclass
class Targets:
    """See the module."""

    objects: set[bytes] = field(default_factory=set)
    inline: set[bytes] = field(default_factory=set)
    """Contents that stand in directories; the empty one is none."""
    files: int = 0
    """How many files there are in all commits, each as often as commits have it."""

    def add(self, trees: Trees, root: Entry, path: Path) -> bool:
        """Add what is at *path* in the tree *root*; say whether there is anything."""
        above = [root]
        for name in path:
            found = trees.lookup(above[-1], name) if above[-1].is_directory else None
            if found is None:
                return False
            above.append(found)
        for directory, name in zip(above[:-1], path, strict=True):
            self.objects.update(_way_to(trees, directory, name))
        self._add_below(trees, above[-1])
        self.files += above[-1].files
        return True

    def _add_below(self, trees: Trees, entry: Entry) -> None:
        entries = [entry]
        if entry.is_directory:
            entries += [below for _, below in trees.walk(entry)]
        for each in entries:
            if each.depth == 0 and each.data and not each.is_directory:
                self.inline.add(each.data)
            ahead = list(entry_references(each))
            while ahead:
                object_id, kind = ahead.pop()
                if object_id not in self.objects:
                    self.objects.add(object_id)
                    # Directories below are walked anyway; here only their own nodes are of interest.
                    if kind is not ObjectKind.CHUNK:
                        ahead += [
                            (ChunkId(i), k)
                            for i, k in references(trees.objects.get(object_id), kind, object_id)
                            if kind is ObjectKind.CHUNK_LIST or k is ObjectKind.DIRECTORY_NODE
                        ]


def _way_to(trees: Trees, directory: Entry, name: bytes) -> Iterator[bytes]:
    """Yield the nodes of a directory that are read to find *name*."""
    node_id = directory.data
    while True:
        yield node_id
        node = trees.node(node_id)
        at = bisect_left(node.keys, name)
        if isinstance(node, Leaf) or at == len(node.keys):
            return
        node_id = node.items[at].id


def add_garbage(store: Store, census: Census, targets: Targets) -> None:
    """Add the directory nodes that nothing needs and that name a target: trees of commits that are gone."""
    nodes: list[tuple[bytes, set[bytes]]] = []
    for places in slices_of_objects(store):
        for object_id, place in places:
            pack, offset, _, _, _, kind = LOCATION.unpack(place)
            if kind == ObjectKind.DIRECTORY_NODE and not census.is_needed(pack, offset):
                data = store.chunks.get(ChunkId(object_id))
                named = set(named_ids(data, ObjectKind.DIRECTORY_NODE, ChunkId(object_id)))
                if targets.inline and _inline_of(data, object_id) & targets.inline:
                    targets.objects.add(object_id)
                nodes.append((object_id, named))
    grows = True
    while grows:
        fresh = {node for node, named in nodes if named & targets.objects} - targets.objects
        targets.objects |= fresh
        grows = bool(fresh)


def _inline_of(data: bytes, object_id: bytes) -> set[bytes]:
    node = decode_directory(data, ChunkId(object_id))
    if not isinstance(node, Leaf):
        return set()
    return {entry.data for entry in node.items if entry.depth == 0 and entry.kind != Kind.DIRECTORY}


class Reach:
    """Tells whether targets can be reached from something; each node of the store is read once at most."""

    def __init__(self, store: Store, targets: Iterable[bytes]) -> None:
        self._store = store
        self._known: dict[bytes, bool] = dict.fromkeys(targets, True)

    def holds(self, ids: Iterable[bytes]) -> bool:
        return any(map(self._reaches, ids))

    def _reaches(self, start: bytes) -> bool:
        ahead: list[tuple[bytes, list[bytes] | None]] = [(start, None)]
        while ahead:
            object_id, below = ahead.pop()
            if below is not None:
                self._known[object_id] = any(self._known[each] for each in below)
            elif object_id not in self._known:
                below = self._below(object_id)
                ahead.append((object_id, below))
                ahead += [(each, None) for each in below if each not in self._known]
        return self._known[start]

    def _below(self, object_id: bytes) -> list[bytes]:
        with self._store.read() as txn:
            place = txn.get(Table.OBJECTS, object_id)
        kind = LOCATION.unpack(place)[5] if place is not None else ObjectKind.CHUNK
        if kind == ObjectKind.CHUNK:
            return []
        return named_ids(self._store.chunks.get(ChunkId(object_id)), ObjectKind(kind), ChunkId(object_id))


def holders(store: Store, targets: Iterable[bytes]) -> dict[tuple[Table, bytes], str]:
    """Return the records from which *targets* can be reached, by table and key, with names for people."""
    reach = Reach(store, targets)
    with store.read() as txn:
        records = [
            (table, key, record)
            for table in Table
            if table.has_records
            for key, record in txn.scan(table)
            if record
        ]
    return {
        (table, key): _name_of(table, key, record)
        for table, key, record in records
        if (found := ids_in(record)) and reach.holds(found)
    }


def _name_of(table: Table, key: bytes, record: bytes) -> str:
    if table is Table.COMMITS:
        return f"commit {decode(record, Commit).ref}"
    return f"{table.label} {' '.join(map(_shown, key.split(bytes(1))))}"


def _shown(part: bytes) -> str:
    return part.decode() if part.isascii() and part.decode().isprintable() else part.hex()
