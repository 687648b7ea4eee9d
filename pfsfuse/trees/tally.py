"""
How many bytes in packs sets of trees take, and how many of these no other set has.

Every object is numbered by its place in a census; what is known of it are a few bytes in arrays: its
size, how many references of the trees at hand name it, and whose it is.  A tree is *entered* and
*left* by counting references, so to go from one tree to another costs what differs between them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable

from ..ids import ChunkId
from ..store.census import Census
from ..store.index import Table
from ..store.objects import ObjectKind
from ..store.packs import LOCATION, RECORD
from ..store.store import Store
from .node import named_ids

NOBODY = 0
SEVERAL = 0xFFFF_FFFF

_LOOKED_UP_TOGETHER = 4096

Found = tuple[int, ObjectKind, ChunkId]
"""(number, kind, id)."""


class Tally:
    """See the module.  For one thread; no gc may move objects meanwhile (store/layout.py)."""

    def __init__(self, store: Store, census: Census) -> None:
        self._store = store
        self._packs = {}
        total = 0
        for number, count in census.packs.items():
            self._packs[number] = (total, count.offsets)
            total += len(count.offsets)
        self._sizes = array("I", bytes(4 * total))
        self._references = array("I", bytes(4 * total))
        self._owners = array("I", bytes(4 * total))
        self.bytes = 0
        """Of what is entered, with the headers of records; each object once."""
        self.unique: dict[int, int] = {}
        """Owner → bytes that no other owner has."""

    def enter(self, ids: Iterable[bytes]) -> list[int]:
        """Count what *ids* name, and all below; return the objects that were not there before."""
        fresh: list[int] = []
        ahead = list(ids)
        while ahead:
            together, ahead = ahead[-_LOOKED_UP_TOGETHER:], ahead[:-_LOOKED_UP_TOGETHER]
            for number, kind, object_id in self._find(together):
                self._references[number] += 1
                if self._references[number] == 1:
                    self.bytes += self._sizes[number]
                    fresh.append(number)
                    ahead += self._below(kind, object_id)
        return fresh

    def leave(self, ids: Iterable[bytes]) -> None:
        """Undo `enter`."""
        ahead = list(ids)
        while ahead:
            together, ahead = ahead[-_LOOKED_UP_TOGETHER:], ahead[:-_LOOKED_UP_TOGETHER]
            for number, kind, object_id in self._find(together):
                self._references[number] -= 1
                if self._references[number] == 0:
                    self.bytes -= self._sizes[number]
                    ahead += self._below(kind, object_id)

    def is_entered(self, number: int) -> bool:
        return self._references[number] > 0

    def is_free(self, number: int) -> bool:
        """Say whether nobody has claimed an object."""
        return self._owners[number] == NOBODY

    def size(self, numbers: Iterable[int]) -> int:
        """Return the bytes of objects."""
        return sum(self._sizes[number] for number in numbers)

    def claim(self, numbers: Iterable[int], owner: int) -> None:
        """Note that *owner* has these objects; what another has too is nobody's alone."""
        for number in numbers:
            before = self._owners[number]
            if before == NOBODY:
                self._owners[number] = owner
                self.unique[owner] = self.unique.get(owner, 0) + self._sizes[number]
            elif before not in (owner, SEVERAL):
                self.share([number])

    def share(self, numbers: Iterable[int]) -> None:
        """Note that several have these objects."""
        for number in numbers:
            before = self._owners[number]
            if before not in (NOBODY, SEVERAL):
                self.unique[before] -= self._sizes[number]
            self._owners[number] = SEVERAL

    def _below(self, kind: ObjectKind, object_id: ChunkId) -> list[bytes]:
        if kind is ObjectKind.CHUNK:
            return []
        return named_ids(self._store.chunks.get(object_id), kind, object_id)

    def _find(self, ids: list[bytes]) -> list[Found]:
        """Return the objects that the census has, one for each of *ids* that names one."""
        with self._store.read() as txn:
            places = list(map(txn.getter(Table.OBJECTS), ids))
        found: list[Found] = []
        for object_id, place in zip(ids, places, strict=True):
            if place is None:
                continue
            pack, offset, stored, _, _, kind = LOCATION.unpack(place)
            first, offsets = self._packs.get(pack, (0, _NONE))
            at = bisect_left(offsets, offset)
            if at < len(offsets) and offsets[at] == offset:
                self._sizes[first + at] = RECORD.size + stored
                found.append((first + at, ObjectKind(kind), ChunkId(object_id)))
        return found


_NONE: array[int] = array("Q")
