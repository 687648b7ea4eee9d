"""
Mends packs.

What is determined by what is left is written in its place again: the header of a pack, the header of
a record whose payload is whole, a footer.  Everything whole in a pack that stays damaged is copied to
another, and the pack is set aside, in `damaged/`: nobody looks there, and a person may.

Whoever uses this has the store alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from ..ids import ChunkId
from .fsck import objects_in_slices
from .index import Table
from .packs import (
    HEADER,
    JOURNAL,
    RECORD,
    Location,
    PackFile,
    PackState,
    Record,
    TornPackError,
    check_pack_header,
    footer_of,
    packs_in,
    read_footer,
    record_header,
    sync_folder,
)
from .problems import Mending
from .scanning import Gap, read_past_damage
from .store import Store
from .verify import location_of, why_not_whole

_SEALED = bytes([PackState.SEALED])


class PackRepair:
    """One repair of all packs."""

    def __init__(self, store: Store, *, dry_run: bool) -> None:
        self._store = store
        self._dry_run = dry_run
        self.mendings: list[Mending] = []
        self.may_lack_records = False
        """Whether there were places of which nobody knows what stood there."""

    def run(self) -> None:
        """Mend every pack that can be mended."""
        self._store.chunks.leave_pack()
        with self._store.read() as txn:
            states = {int.from_bytes(key, "big"): value for key, value in txn.scan(Table.PACKS)}
        hurt: dict[int, list[Gap]] = {}
        packs = packs_in(self._store.packs, self._store.id)
        for pack in packs:
            if pack.path.stat().st_size >= HEADER.size:
                self._mend_header(pack)
                gaps = [spot for spot in read_past_damage(pack) if isinstance(spot, Gap)]
                lacks_footer = states.get(pack.number) == _SEALED and read_footer(pack) is None
                if gaps or lacks_footer:
                    hurt[pack.number] = gaps
        self.may_lack_records = bool(states.keys() - {pack.number for pack in packs})
        located = self._located(hurt)
        for pack in packs:
            if pack.number in hurt:
                before = len(self.mendings)
                self._mend_records(pack, hurt[pack.number], located.get(pack.number, []))
                is_sealed = states.get(pack.number) == _SEALED
                if not self._dry_run or len(self.mendings) == before:
                    self._finish(pack, is_sealed=is_sealed)

    def _mended(self, message: str) -> None:
        self.mendings.append(Mending("P1", message))

    def _located(self, packs: Iterable[int]) -> dict[int, list[tuple[ChunkId, Location]]]:
        """Return what the index has in these packs, in the order of the disk."""
        wanted = set(packs)
        found: dict[int, list[tuple[ChunkId, Location]]] = {}
        for objects in objects_in_slices(self._store) if wanted else ():
            for object_id, value in objects:
                if len(value) == len(Location(0, 0, 0, 0, 0, 0).encode()):
                    location = Location.decode(value)
                    if location.pack in wanted:
                        found.setdefault(location.pack, []).append((object_id, location))
        for places in found.values():
            places.sort(key=lambda pair: pair[1].offset)
        return found

    def _mend_header(self, pack: PackFile) -> None:
        """Write the header anew if the records say that they belong here."""
        try:
            check_pack_header(pack)
        except TornPackError:
            if any(not isinstance(spot, Gap) for spot in read_past_damage(pack)):
                self._mended(f"pack {pack.path.name}: its header was written anew")
                self._write(pack, 0, pack.header())

    def _mend_records(self, pack: PackFile, gaps: list[Gap], located: list[tuple[ChunkId, Location]]) -> None:
        """Write the headers of records anew whose payloads are whole."""
        with open(pack.path, "rb", buffering=0) as file:
            size = pack.path.stat().st_size
            for record in _candidates(pack, located):
                at = record.offset - RECORD.size
                if not any(at in gap for gap in gaps) or record.offset + record.stored > size:
                    continue
                payload = os.pread(file.fileno(), record.stored, record.offset)
                if not why_not_whole(record, payload):
                    self._mended(f"pack {pack.path.name}: a record's header at byte {at} was written anew")
                    header = record_header(
                        pack.seed, record.kind, record.codec, record.raw, record.object_id, payload
                    )
                    self._write(pack, at, header)

    def _write(self, pack: PackFile, at: int, data: bytes) -> None:
        if not self._dry_run:
            with open(pack.path, "r+b", buffering=0) as file:
                os.pwrite(file.fileno(), data, at)
                os.fdatasync(file.fileno())

    def _finish(self, pack: PackFile, *, is_sealed: bool) -> None:
        """Give a sealed pack its footer again, or set a pack aside that stays damaged."""
        gaps = [spot for spot in read_past_damage(pack) if isinstance(spot, Gap)]
        self.may_lack_records |= bool(gaps)
        if any(not gap.is_tail for gap in gaps):
            self._set_aside(pack)
        elif is_sealed and read_footer(pack) is None:
            self._mended(f"pack {pack.path.name}: its footer was written anew")
            if not self._dry_run:
                _write_footer(pack)

    def _set_aside(self, pack: PackFile) -> None:
        """Copy what is whole and needed to another pack."""
        folder = self._store.root / "damaged"
        self._mended(f"pack {pack.path.name}: what is whole was copied to another; the rest is in {folder}")
        if self._dry_run:
            return
        key = pack.number.to_bytes(4, "big")
        with self._store.write() as txn:
            # Nobody takes it to append to.
            txn.put(Table.PACKS, key, _SEALED)
        moved: dict[ChunkId, Location] = {}
        for spot in read_past_damage(pack):
            if isinstance(spot, Gap):
                continue
            record, payload = spot
            if record.kind == JOURNAL:
                self._store.chunks.move(record, payload)
            elif self._is_indexed(pack, record) and not why_not_whole(record, payload):
                moved[record.object_id] = self._store.chunks.move(record, payload)
        self._store.chunks.leave_pack()
        with self._store.write() as txn:
            for object_id, location in moved.items():
                txn.put(Table.OBJECTS, object_id, location.encode())
            txn.delete(Table.PACKS, key)
        folder.mkdir(mode=0o700, exist_ok=True)
        pack.path.rename(folder / pack.path.name)
        sync_folder(folder)
        sync_folder(self._store.packs)

    def _is_indexed(self, pack: PackFile, record: Record) -> bool:
        with self._store.read() as txn:
            return txn.get(Table.OBJECTS, record.object_id) == location_of(pack.number, record).encode()


def _candidates(pack: PackFile, located: list[tuple[ChunkId, Location]]) -> Iterator[Record]:
    """Yield what ought to be in the pack: as the index has it, and as the footer lists it."""
    for object_id, place in located:
        yield Record(place.kind, place.codec, object_id, place.raw, place.offset, place.stored)
    for record in read_footer(pack) or ():
        if record.kind == JOURNAL:
            yield record


def _write_footer(pack: PackFile) -> None:
    """Put a footer behind the last whole record; what stood there was a damaged one."""
    records = [spot[0] for spot in read_past_damage(pack) if not isinstance(spot, Gap)]
    end = records[-1].offset + records[-1].stored if records else HEADER.size
    with open(pack.path, "r+b", buffering=0) as file:
        os.ftruncate(file.fileno(), end)
        data = footer_of(pack.seed, records, at=end)
        done = 0
        while done < len(data):
            done += os.pwrite(file.fileno(), data[done:], end + done)
        os.fdatasync(file.fileno())
