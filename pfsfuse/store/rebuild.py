"""
Makes the index anew from the packs alone.

Objects come from the footers of sealed packs and from a scan of the others, which goes on behind
damage; journaled tables come from the batches in the packs, in the order of their sequence.  What
only the lost index knew is lost: batches that were in its outbox, and passing states that were
never journaled.

The new index is built beside the old one, and the two are exchanged at the end; a crash on the way
leaves the one or the other.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import StoreError
from .batches import read_journal_record
from .exchange import exchange
from .index import Index, Table, WriteTxn, decode_batch
from .packs import (
    HEADER,
    JOURNAL,
    Location,
    PackFile,
    PackState,
    Record,
    TornPackError,
    check_pack_header,
    find_next_record,
    packs_in,
    read_footer,
    scan,
    sync_folder,
)
from .store import INDEX, PACKS, lock_store, read_or_make_format

_AT_ONCE = 20_000
"""Keys a transaction."""


@dataclass
class Report:
    """What a rebuild found."""

    packs: int = 0
    objects: int = 0
    batches: int = 0
    sequence: int = 0
    """Number of the newest batch."""
    damage: list[str] = field(default_factory=list)
    """What could not be read, in words for a person."""
    set_aside: Path | None = None
    """Where the old index is now."""


def rebuild_store_index(root: Path) -> Report:
    """
    Give the store at *root* a new index.  StoreInUseError if any process has the store open.

    StoreError if *root* is no store of a known format.
    """
    if not (root / "format.json").exists():
        raise StoreError(f"{root} is no store: format.json is missing")
    store_id = bytes.fromhex(read_or_make_format(root).store)
    lock = lock_store(root, exclusive=True)
    try:
        fresh = root / f"{INDEX}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        report = Report()
        index = Index(fresh)
        try:
            _fill(index, packs_in(root / PACKS, store_id), report)
        finally:
            index.close()
        report.set_aside = _exchange(root, fresh)
        return report
    finally:
        os.close(lock)


def _exchange(root: Path, fresh: Path) -> Path | None:
    """Put the new index in its place and return where the old one went; there is one or the other at any time."""
    current, aside = root / INDEX, root / f"{INDEX}.old"
    moved = None
    if current.exists():
        shutil.rmtree(aside, ignore_errors=True)
        exchange(fresh, current)
        fresh.rename(aside)
        moved = aside
    else:
        fresh.rename(current)
    sync_folder(root)
    return moved


def _fill(index: Index, packs: list[PackFile], report: Report) -> None:
    journal: dict[int, tuple[PackFile, Record]] = {}
    for pack in packs:
        report.packs += 1
        damaged = len(report.damage)
        found = _Slices(index)
        for record in _records(pack, report):
            if record.kind == JOURNAL:
                _note_batch(journal, pack, record, report)
            else:
                found.add(record, pack.number)
                report.objects += 1
        found.flush()
        is_writable = read_footer(pack) is None and len(report.damage) == damaged
        with index.write() as txn:
            state = PackState.OPEN if is_writable else PackState.SEALED
            txn.put(Table.PACKS, pack.number.to_bytes(4, "big"), bytes([state]))
            txn.put(Table.META, b"next_pack", (pack.number + 1).to_bytes(4, "big"))
    _replay(index, journal, report)


class _Slices:
    """Enters objects, many a transaction."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._waiting: list[tuple[bytes, bytes]] = []

    def add(self, record: Record, pack: int) -> None:
        location = Location(pack, record.offset, record.stored, record.raw, record.codec, record.kind)
        self._waiting.append((record.object_id, location.encode()))
        if len(self._waiting) >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        with self._index.write() as txn:
            for key, value in self._waiting:
                txn.put_new(Table.OBJECTS, key, value)
        self._waiting.clear()


def _records(pack: PackFile, report: Report) -> Iterator[Record]:
    """Yield the records of a pack; of one without a sound footer, every record that is whole."""
    if pack.path.stat().st_size < HEADER.size:
        return
    try:
        check_pack_header(pack)
    except TornPackError as error:
        # The name of the file tells as much; the records say by their checksums that they belong here.
        report.damage.append(str(error))
    listed = read_footer(pack)
    if listed is not None:
        yield from listed
        return
    start: int | None = HEADER.size
    while start is not None:
        try:
            for record, _ in scan(pack, start):
                yield record
            return
        except TornPackError as error:
            start = find_next_record(pack, error.offset + 1)
            if start is not None:
                report.damage.append(f"{error}; it goes on at byte {start}")


def _note_batch(
    journal: dict[int, tuple[PackFile, Record]], pack: PackFile, record: Record, report: Report
) -> None:
    try:
        sequence, _ = decode_batch(read_journal_record(pack, record))
    except StoreError as error:
        report.damage.append(f"pack {pack.path.name}: the journal record at byte {record.offset}: {error}")
    else:
        journal[sequence] = (pack, record)


def _replay(index: Index, journal: dict[int, tuple[PackFile, Record]], report: Report) -> None:
    """Apply all batches, oldest first."""
    numbers = sorted(journal)
    for start in range(0, len(numbers), 1000):
        with index.write() as txn:
            for number in numbers[start : start + 1000]:
                _apply(txn, *journal[number])
                report.batches += 1
                report.sequence = number
            txn.set_sequence(report.sequence)


def _apply(txn: WriteTxn, pack: PackFile, record: Record) -> None:
    txn.apply_batch(decode_batch(read_journal_record(pack, record))[1])
