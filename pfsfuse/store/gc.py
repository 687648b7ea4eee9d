"""
Gives the disk back what nothing needs: the half of gc that knows packs (versions/gc.py knows roots).

A pack goes in these steps, each of which may be the last before a crash:

1. it is condemned: who puts an object that is in it stores it elsewhere from then on, and who
   appends to it goes on in another pack (condemned.py);
2. every hold that began before has ended (holds.py), and nobody has the pack locked;
3. what is needed *then* is marked, with what was deleted since the first step;
4. what is needed, and every batch of the journal of refs, is copied to another pack and synced;
5. the index learns the new places and forgets what nothing needs;
6. the file is removed, and the pack leaves the table.

Until 6 the pack is whole, and the next gc goes on with it.

Invariants (fsck.py):

- S3  a condemned pack is in the table of packs; a store without condemned packs has no graves.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..errors import OutOfSpaceError, StoreError
from ..ids import ChunkId, chunk_id
from . import codec
from .census import Census, PackCount, slices_of_objects
from .holds import Holder, holders_before
from .index import Table
from .packs import (
    HEADER,
    JOURNAL,
    RECORD,
    Location,
    PackFile,
    Record,
    TornPackError,
    find_next_record,
    packs_in,
    read_footer,
    read_record,
    scan_headers,
    sync_folder,
)
from .store import Store

_LOOK_EVERY_S = 0.02
_MOVED_TOGETHER = 4096
_COPIED_TOGETHER = 32 << 20
_COPIED_A_ROUND = 4 << 30
"""So much more disk is needed at most before the first packs go."""
_FORGOTTEN_TOGETHER = 8192


@dataclass
class Swept:
    """What was done to packs."""

    packs: int = 0
    objects: int = 0
    """Index entries that went."""
    bytes: int = 0
    """By which the packs became smaller, all together."""
    copied_bytes: int = 0
    waits_for: list[Holder] = field(default_factory=list)
    """Who keeps condemned packs from going."""
    waiting_packs: int = 0
    damage: list[str] = field(default_factory=list)
    """Packs that were left as they are, and why."""
    is_disk_full: bool = False


def garbage_of(pack: PackFile, census: Census, *, at_least: float) -> int:
    """Return how many bytes of a pack would go, were it swept; 0 if that is less than a part *at_least* of it."""
    size = pack.path.stat().st_size
    count = census.packs.get(pack.number) or PackCount()
    garbage = count.indexed_bytes - count.needed_bytes
    unknown = size - HEADER.size - count.indexed_bytes
    if (garbage < at_least * size and garbage + unknown >= at_least * size > 0) or (
        not at_least and unknown > 0
    ):
        # What the index does not know may be the journal of refs, which stays, or objects stored twice.
        listed = records_of(pack)
        if listed is None:
            return 0
        records, overhead = listed
        journal = sum(RECORD.size + record.stored for record in records if record.kind == JOURNAL)
        garbage = max(garbage, size - overhead - journal - count.needed_bytes)
    return garbage if garbage >= at_least * size else 0


def choose(store: Store, census: Census, *, threshold: float) -> dict[int, int]:
    """Return the packs that are worth sweeping, with the bytes that would go: *threshold* is a part of a pack."""
    chosen = {}
    for pack in packs_in(store.packs, store.id):
        garbage = garbage_of(pack, census, at_least=threshold)
        if garbage:
            chosen[pack.number] = garbage
    return chosen


def condemn(store: Store, packs: set[int]) -> int:
    """Condemn *packs* beside those that are; return the epoch whose holds know it."""
    with store.write() as txn:
        known = {int.from_bytes(key, "big") for key, _ in txn.scan(Table.PACKS)}
        before = txn.condemned()
        txn.set_condemned((before.packs | packs) & known, epoch=before.epoch + 1)
        return before.epoch + 1


def wait_for_others(store: Store, wait_s: float) -> list[Holder]:
    """
    Wait until nobody holds what is older than what is condemned, nor appends to a condemned pack.

    Returns those that still hold after *wait_s*.
    """
    deadline = time.monotonic() + wait_s
    with store.read() as txn:
        condemned = txn.condemned()
    packs = [PackFile(store.packs, number, store.id) for number in condemned.packs]
    while True:
        store.rest()
        holders = holders_before(store.run / "holds", condemned.epoch)
        if time.monotonic() >= deadline or not (holders or any(_is_locked(pack) for pack in packs)):
            return holders
        store.poke()
        time.sleep(_LOOK_EVERY_S)


def _is_locked(pack: PackFile) -> bool:
    try:
        lock = lock_pack(pack)
    except FileNotFoundError:
        return False
    if lock is None:
        return True
    os.close(lock)
    return False


class Sweep:
    """Steps 4 to 6, for packs that are condemned and that nobody may add to any more."""

    def __init__(
        self,
        store: Store,
        census: Census,
        swept: Swept,
        *,
        thin: Callable[[bytes], bytes] = lambda batch: batch,
    ) -> None:
        """*thin* is given every batch of the journal of refs, and returns what is kept of it."""
        self._thin = thin
        self._store = store
        self._census = census
        self._swept = swept
        self._moved: list[tuple[ChunkId, bytes, Location]] = []
        """(id, the place that the index knows, the place where it is now)."""
        self._copied = 0

    def run(self, numbers: set[int]) -> None:
        """Sweep the packs *numbers*, the cheapest first; what is in the way of one does not stop the others."""
        ahead = self._in_order(numbers)
        try:
            for number in numbers - {pack.number for pack in ahead} - self._census.packs.keys():
                # A gc was killed when it had removed the file.
                self._remove(PackFile(self._store.packs, number, self._store.id))
            while ahead:
                # What is pure garbage goes first: on a full disk that makes the room for the copies.
                ahead = self._sweep_some(ahead)
        except OutOfSpaceError:
            self._swept.is_disk_full = True

    def _sweep_some(self, packs: list[PackFile]) -> list[PackFile]:
        """Sweep packs until some GiB were copied, and return the others."""
        locks: list[int] = []
        emptied: set[int] = set()
        before = self._swept.copied_bytes
        try:
            while packs and self._swept.copied_bytes - before < _COPIED_A_ROUND:
                pack, *packs = packs
                lock = lock_pack(pack)
                if lock is None:
                    self._swept.waiting_packs += 1
                    continue
                locks.append(lock)
                if self._empty(pack):
                    emptied.add(pack.number)
                if not packs or (self._swept.copied_bytes == before and self._needs_copies(packs[0])):
                    break
        except OutOfSpaceError:
            self._swept.is_disk_full, packs = True, []
        try:
            self._forget(emptied)
            for number in sorted(emptied):
                self._remove(PackFile(self._store.packs, number, self._store.id))
        finally:
            for lock in locks:
                os.close(lock)
        return packs

    def _needs_copies(self, pack: PackFile) -> bool:
        count = self._census.packs.get(pack.number)
        return count is not None and count.needed > 0

    def _in_order(self, numbers: set[int]) -> list[PackFile]:
        packs = [PackFile(self._store.packs, number, self._store.id) for number in numbers]

        def needed(pack: PackFile) -> int:
            count = self._census.packs.get(pack.number)
            return count.needed_bytes if count is not None else 0

        return sorted((pack for pack in packs if pack.path.exists()), key=needed)

    # Step 4

    def _empty(self, pack: PackFile) -> bool:
        """Copy what is needed of a pack; False if that cannot be done."""
        listed = records_of(pack)
        if listed is None or not self._is_complete(pack, listed[0]):
            self._swept.damage.append(f"pack {pack.path.name} is damaged and left as it is; run `pfs fsck`")
            return False
        try:
            with open(pack.path, "rb") as file:
                for records in _slices(listed[0]):
                    for record, place in self._needed(pack, records):
                        payload = read_record(file, pack, record)
                        if record.kind == JOURNAL:
                            record, payload = self._thinned(record, payload)
                        self._move(record, payload, place)
        except StoreError as error:
            self._swept.damage.append(f"{error}; the pack is left as it is; run `pfs fsck`")
            return False
        finally:
            self._index_moved()
        return True

    def _is_complete(self, pack: PackFile, records: list[Record]) -> bool:
        """Say whether a pack's records are all that the index knows in it."""
        count = self._census.packs.get(pack.number)
        return count is None or {record.offset for record in records}.issuperset(count.offsets)

    def _needed(self, pack: PackFile, records: list[Record]) -> list[tuple[Record, bytes | None]]:
        """Return the records to be copied, objects with the place that the index knows."""
        found: list[tuple[Record, bytes | None]] = []
        with self._store.read() as txn:
            for record in records:
                if record.kind == JOURNAL:
                    found.append((record, None))
                    continue
                place = txn.get(Table.OBJECTS, record.object_id)
                here = Location(
                    pack.number, record.offset, record.stored, record.raw, record.codec, record.kind
                ).encode()
                if place == here and self._census.is_needed(pack.number, record.offset):
                    found.append((record, place))
        return found

    def _thinned(self, record: Record, payload: bytes) -> tuple[Record, bytes]:
        batch = codec.decode(record.codec, payload, record.raw)
        kept = self._thin(batch)
        if kept == batch:
            return record, payload
        return Record(JOURNAL, codec.Codec.RAW, chunk_id(kept), len(kept), 0, len(kept)), kept

    def _move(self, record: Record, payload: bytes, place: bytes | None) -> None:
        location = self._store.chunks.move(record, payload)
        self._copied += RECORD.size + len(payload)
        self._swept.copied_bytes += RECORD.size + len(payload)
        if place is not None:
            self._moved.append((record.object_id, place, location))
        if len(self._moved) >= _MOVED_TOGETHER or self._copied >= _COPIED_TOGETHER:
            self._index_moved()

    # Step 5

    def _index_moved(self) -> None:
        """Have the index know the new places; `Store.write` syncs the copies first."""
        with self._store.write() as txn:
            for object_id, place, location in sorted(self._moved, key=lambda each: each[0]):
                if txn.get(Table.OBJECTS, object_id) == place:
                    txn.put(Table.OBJECTS, object_id, location.encode())
        self._moved.clear()
        self._copied = 0

    def _forget(self, emptied: set[int]) -> None:
        """Remove what the index still has in *emptied* packs; in the order of keys, so that pages are written once."""
        if not emptied:
            return
        waiting: list[tuple[bytes, bytes]] = []
        for places in slices_of_objects(self._store):
            waiting += [pair for pair in places if int.from_bytes(pair[1][:4], "little") in emptied]
            while len(waiting) >= _FORGOTTEN_TOGETHER:
                self._forget_slice(waiting[:_FORGOTTEN_TOGETHER])
                del waiting[:_FORGOTTEN_TOGETHER]
        self._forget_slice(waiting)

    def _forget_slice(self, pairs: list[tuple[bytes, bytes]]) -> None:
        with self._store.write() as txn:
            for key, place in pairs:
                # It may have been stored again meanwhile.
                if txn.get(Table.OBJECTS, key) == place:
                    txn.delete(Table.OBJECTS, key)
                    self._swept.objects += 1

    # Step 6

    def _remove(self, pack: PackFile) -> None:
        if pack.path.exists():
            self._swept.bytes += pack.path.stat().st_size
            self._swept.packs += 1
            pack.path.unlink()
            sync_folder(self._store.packs)
        with self._store.write() as txn:
            before = txn.condemned()
            txn.set_condemned(before.packs - {pack.number}, epoch=before.epoch)
            txn.delete(Table.PACKS, pack.number.to_bytes(4, "big"))


def lock_pack(pack: PackFile) -> int | None:
    """Lock a pack as its writer would; None if somebody has it."""
    fd = os.open(pack.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def records_of(pack: PackFile) -> tuple[list[Record], int] | None:
    """Return the records of a pack and the bytes of its header and footer; None if it is damaged."""
    size = pack.path.stat().st_size
    if size < HEADER.size:
        return [], size
    listed = read_footer(pack)
    if listed is not None:
        end = listed[-1].offset + listed[-1].stored if listed else HEADER.size
        return listed, HEADER.size + size - end
    found: list[Record] = []
    try:
        found.extend(scan_headers(pack, size=size))
    except TornPackError as error:
        if find_next_record(pack, error.offset + 1, size=size) is not None:
            return None
    return found, HEADER.size


def _slices(records: list[Record]) -> Iterator[list[Record]]:
    for start in range(0, len(records), _MOVED_TOGETHER):
        yield records[start : start + _MOVED_TOGETHER]
