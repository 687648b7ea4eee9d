"""
Mends what the store keeps, as far as what is left tells how it was.

    P1  packs                                         (pack_repair.py)
    P6  what the index says of packs
    S3  what gc left for its next run
    S1 S2  an object is looked for in all packs; one that is nowhere whole leaves the index, so that
        whoever puts the same bytes again heals it
    D1  tables and journal are made to agree: the journal is believed where all of it is there, for
        its records have checksums; else the record of the index, if it makes sense

Every change goes through a write transaction, so it is durable, and journaled where its table is.
Whoever uses this has the store alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator

from ..ids import ChunkId
from .batches import Replayed, replay_packs
from .condemned import GRAVE
from .fsck import REBUILT, check_objects, outbox
from .index import Table, WriteTxn, decode_changes
from .objects import ObjectKind
from .pack_repair import PackRepair
from .packs import Location, PackFile, PackState, packs_in, read_footer
from .problems import Mending
from .scanning import listed_records
from .store import Store
from .verify import location_of, verify_packs, why_not_whole

IsSound = Callable[[Table, bytes, bytes], bool]
"""Says of (table, key, value) whether it is a record that makes sense; the floors above know."""

LOST = b"lost"
"""In META: a repair has dropped objects, so a node that is there may lack what it names."""

_AT_ONCE = 10_000
"""Keys a transaction."""


class StoreRepair:
    """One repair of packs, objects and tables; `mendings` says what it did."""

    def __init__(self, store: Store, *, is_sound: IsSound, dry_run: bool = False) -> None:
        self._store = store
        self._is_sound = is_sound
        self._dry_run = dry_run
        self._believe_journal = False
        self.mendings: list[Mending] = []

    def run(self) -> None:
        """Mend all that can be mended below the trees."""
        packs = PackRepair(self._store, dry_run=self._dry_run)
        packs.run()
        self.mendings += packs.mendings
        self._believe_journal = not packs.may_lack_records
        self._mend_numbers()
        self._mend_condemned()
        self.restore_objects(self._unreadable())
        self._mend_logs()
        self._mend_tables()

    def _mended(self, invariant: str, message: str) -> None:
        self.mendings.append(Mending(invariant, message))

    def _write(self, change: Callable[[WriteTxn], None]) -> None:
        if not self._dry_run:
            with self._store.write() as txn:
                change(txn)

    # What the index says of packs

    def _mend_numbers(self) -> None:
        packs = {pack.number: pack for pack in packs_in(self._store.packs, self._store.id)}
        with self._store.read() as txn:
            known = {int.from_bytes(key, "big"): state for key, state in txn.scan(Table.PACKS)}
            following = txn.get(Table.META, b"next_pack") or b"\0\0\0\1"
        valid = {bytes([state]) for state in PackState}
        states = {
            number: _state_of(packs.get(number))
            for number in sorted(known.keys() | packs.keys())
            if known.get(number, b"")[:1] not in valid
        }
        newest = max(packs, default=0)
        is_behind = len(following) != 4 or int.from_bytes(following, "big") <= newest
        for number in states:
            self._mended("P6", f"the index knows pack {number:08x} again")
        if is_behind:
            self._mended("P6", f"the next pack gets the number {newest + 1:08x}")

        def write(txn: WriteTxn) -> None:
            for number, state in states.items():
                txn.put(Table.PACKS, number.to_bytes(4, "big"), bytes([state]))
            if is_behind:
                txn.put(Table.META, b"next_pack", (newest + 1).to_bytes(4, "big"))

        if states or is_behind:
            self._write(write)

    def _mend_condemned(self) -> None:
        with self._store.read() as txn:
            condemned = txn.condemned()
            known = {int.from_bytes(key, "big") for key, _ in txn.scan(Table.PACKS)}
            has_graves = next(txn.scan(Table.META, GRAVE), None) is not None
        left = condemned.packs & known
        if left != condemned.packs or (has_graves and not left):
            self._mended("S3", f"{len(left)} packs are condemned")
            self._write(lambda txn: txn.set_condemned(left, epoch=condemned.epoch))

    # Objects

    def _unreadable(self) -> set[ChunkId]:
        verified = verify_packs(self._store)
        problems = [*verified.problems, *check_objects(self._store, gaps=verified.gaps)]
        return {each.object_id for each in problems if each.object_id is not None}

    def restore_objects(self, wanted: Collection[ChunkId]) -> set[ChunkId]:
        """
        Have the index know whole copies of objects that it knows wrongly, or not; return which.

        Those of which no pack has a whole copy leave the index.
        """
        copies = find_copies(self._store, wanted)
        with self._store.read() as txn:
            known = {each for each in wanted if txn.get(Table.OBJECTS, each) is not None}
        gone = sorted(known - copies.keys())
        for object_id, location in copies.items():
            where = f"pack {location.pack:08x} at byte {location.offset}"
            self._mended("S1", f"object {object_id.hex()} was found whole in {where}")
        for object_id in gone:
            self._mended("S1", f"object {object_id.hex()} is lost and left the index; put its bytes again")

        def write(txn: WriteTxn) -> None:
            for object_id, location in copies.items():
                txn.put(Table.OBJECTS, object_id, location.encode())
            for object_id in gone:
                txn.delete(Table.OBJECTS, object_id)
            if gone:
                txn.put(Table.META, LOST, b"1")

        if copies or gone:
            self._write(write)
        return set(copies)

    # The change log and the outbox

    def _mend_logs(self) -> None:
        with self._store.read() as txn:
            last = max((k for k, v in txn.scan(Table.CHANGES) if decode_changes(v) is None), default=None)
            batches, problems = outbox(txn)
            bad = [key for key, _ in txn.scan(Table.OUTBOX) if int.from_bytes(key, "big") not in batches]
        for problem in problems:
            self._mended("D1", f"{problem.message}; it was removed, its changes are journaled anew")
        if last is not None:
            number = int.from_bytes(last, "big")
            self._mended("F1", f"the change log forgot its entries up to {number}, one of which was damaged")

        def write(txn: WriteTxn) -> None:
            for key in bad:
                txn.delete(Table.OUTBOX, key)
            for key in [key for key, _ in txn.scan(Table.CHANGES) if last is not None and key <= last]:
                txn.delete(Table.CHANGES, key)

        if bad or last is not None:
            self._write(write)

    # Tables and journal

    def _mend_tables(self) -> None:
        with self._store.read() as txn:
            waiting, _ = outbox(txn)
            newest = txn.sequence()
        replayed = replay_packs(self._store, waiting)
        if replayed.newest > newest:
            self._mended("D1", f"the newest batch has the number {replayed.newest}, as the packs have it")
            self._write(lambda txn: txn.set_sequence(replayed.newest))
        self._believe_journal &= not replayed.damage
        for text in replayed.damage:
            self._mended("D1", f"{text}; what it said is journaled anew from the tables")
        changes = list(self._differences(replayed))
        for start in range(0, len(changes), _AT_ONCE):
            part = changes[start : start + _AT_ONCE]
            self._write(lambda txn, part=part: _put_all(txn, part))  # type: ignore[misc]

    def _differences(self, replayed: Replayed) -> Iterator[tuple[Table, bytes, bytes | None]]:
        """Yield what to write where table and journal differ; None for a record that is to go."""
        for table in sorted((t for t in Table if t.journaled), key=lambda t: t.label):
            with self._store.read() as txn:
                found = dict(txn.scan(table))
            journaled = replayed.table(table)
            for key in sorted(found.keys() | journaled.keys()):
                here, there = found.get(key), journaled.get(key)
                is_sound = here is None or self._is_sound(table, key, here)
                if is_sound and (here == there or table not in REBUILT):
                    # Of documents not all states are journaled: what makes sense may be as it is.
                    continue
                right = self._right(table, key, here, there, is_here_sound=is_sound)
                if right == here:
                    what = "was journaled anew"
                else:
                    what = "was taken from the journal" if right is not None else "was removed"
                self._mended("D1", f"the record {key!r} of {table.label} {what}")
                yield table, key, right

    def _right(
        self, table: Table, key: bytes, here: bytes | None, there: bytes | None, *, is_here_sound: bool
    ) -> bytes | None:
        """Return the record to believe in; one that makes sense and is nowhere else is never removed."""
        is_wanted = self._believe_journal or not is_here_sound
        if is_wanted and there is not None and self._is_sound(table, key, there):
            return there
        return here if is_here_sound else None


def _put_all(txn: WriteTxn, changes: Iterable[tuple[Table, bytes, bytes | None]]) -> None:
    for table, key, value in changes:
        # A deletion is journaled only of what is there.
        txn.put(table, key, value or b"")
        if value is None:
            txn.delete(table, key)


def _state_of(pack: PackFile | None) -> PackState:
    """Return what a pack is, by its looks; one without a file is never to be written."""
    is_open = pack is not None and pack.path.exists() and read_footer(pack) is None
    return PackState.OPEN if is_open else PackState.SEALED


def find_copies(store: Store, wanted: Collection[ChunkId]) -> dict[ChunkId, Location]:
    """Return where packs have whole copies of objects."""
    found: dict[ChunkId, Location] = {}
    objects = {int(kind) for kind in ObjectKind}
    for pack in packs_in(store.packs, store.id) if wanted else ():
        listed = [
            r
            for r in listed_records(pack)
            if r.kind in objects and r.object_id in wanted and r.object_id not in found
        ]
        with open(pack.path, "rb", buffering=0) as file:
            for record in listed:
                try:
                    payload = os.pread(file.fileno(), record.stored, record.offset)
                except OSError:
                    # A bad sector: this is no copy.
                    continue
                if not why_not_whole(record, payload):
                    found[record.object_id] = location_of(pack.number, record)
    return found
