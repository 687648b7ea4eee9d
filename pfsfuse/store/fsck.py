"""
Looks for damage in what the store keeps: one function for each invariant of chunks.py and packs.py.

Cheap by default: headers of records, footers and the journal are read, the bytes of objects are
not; `verify_data` reads and hashes everything.  Processes may write meanwhile; what they add is
not looked at.

    S1  an indexed object is whole in its pack
    S2  a location names a pack that exists
    P1  a pack begins with its header, has a sound footer once it is sealed, and whole records only
    D1  what the packs and the outbox record is what the index says
    G1  a condemned pack is in the table of packs; a store without condemned packs has no graves
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import StoreError
from ..ids import ChunkId, chunk_id
from . import codec
from .condemned import GRAVE
from .index import ReadTxn, Table, decode_batch, split_outbox
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
    find_next_record,
    packs_in,
    parse_header,
    read_footer,
    scan,
    scan_headers,
)
from .store import Store

_SLICE = 100_000
"""Objects that are looked at in one go, in the order of the disk."""

REBUILT = frozenset(
    {Table.PROJECTS, Table.REPOS, Table.BRANCHES, Table.COMMITS, Table.COMMIT_SETS, Table.SUBVENANCE}
)
"""Tables of which every change is journaled; of DOCUMENTS passing states are not."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it must be."""

    invariant: str
    message: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.message}"


def check_store(store: Store, *, verify_data: bool = False) -> list[Problem]:
    """Return what is wrong with packs, objects and the journal; empty when all is well."""
    return [
        *check_packs(store, whole=verify_data),
        *check_objects(store, whole=verify_data),
        *check_journal(store),
        *check_condemned(store),
    ]


# Packs


def check_packs(store: Store, *, whole: bool) -> Iterator[Problem]:
    """P1; with *whole* every record against its checksum."""
    with store.read() as txn:
        sealed = {_number(key) for key, state in txn.scan(Table.PACKS) if state[0] == PackState.SEALED}
    for pack in packs_in(store.packs, store.id):
        if pack.path.stat().st_size < HEADER.size:
            # Begun by a process that died before anything in it was synced.
            continue
        try:
            check_pack_header(pack)
        except TornPackError as error:
            yield Problem("P1", str(error))
        has_footer = read_footer(pack) is not None
        if pack.number in sealed and not has_footer:
            yield Problem("P1", f"pack {pack.path.name} is sealed and has no sound footer")
        if whole or not has_footer:
            yield from _check_records(pack, whole=whole)


def _check_records(pack: PackFile, *, whole: bool) -> Iterator[Problem]:
    """Name every place of a pack that is no record; a torn tail is none, for nothing refers to it."""
    start: int | None = HEADER.size
    size = pack.path.stat().st_size
    while start is not None:
        try:
            for _ in scan(pack, start, size=size) if whole else scan_headers(pack, start, size=size):
                continue
            return
        except TornPackError as error:
            start = find_next_record(pack, error.offset + 1, size=size)
            if start is not None:
                yield Problem("P1", f"{error}; it goes on at byte {start}")


def _number(key: bytes) -> int:
    return int.from_bytes(key, "big")


# Objects


def check_objects(store: Store, *, whole: bool) -> Iterator[Problem]:
    """S1 and S2, for every object of the index."""
    missing: set[int] = set()
    for objects in _objects_in_slices(store):
        for number, found in _by_pack(objects).items():
            pack = PackFile(store.packs, number, store.id)
            if not pack.path.exists():
                if number not in missing:
                    yield Problem("S2", f"pack {pack.path.name} is missing")
                missing.add(number)
                continue
            with open(pack.path, "rb", buffering=0) as file:
                for object_id, location in found:
                    why = _what_is_wrong(file.fileno(), object_id, location, whole=whole)
                    if why:
                        where = f"pack {pack.path.name} at byte {location.offset}"
                        yield Problem("S1", f"object {object_id.hex()} in {where}: {why}")


def _objects_in_slices(store: Store) -> Iterator[list[tuple[ChunkId, bytes]]]:
    """Yield all objects of the index, each slice from a transaction of its own."""
    after = b""
    while True:
        found: list[tuple[ChunkId, bytes]] = []
        with store.read() as txn:
            for key, value in txn.scan(Table.OBJECTS, start=after):
                found.append((ChunkId(key), value))
                if len(found) == _SLICE:
                    break
        if not found:
            return
        yield found
        after = found[-1][0] + b"\0"


def _by_pack(objects: list[tuple[ChunkId, bytes]]) -> dict[int, list[tuple[ChunkId, Location]]]:
    located = [(object_id, Location.decode(value)) for object_id, value in objects]
    located.sort(key=lambda pair: (pair[1].pack, pair[1].offset))
    result: dict[int, list[tuple[ChunkId, Location]]] = {}
    for object_id, location in located:
        result.setdefault(location.pack, []).append((object_id, location))
    return result


def _what_is_wrong(fd: int, object_id: ChunkId, location: Location, *, whole: bool) -> str:
    """Say what is wrong with an object in its pack; "" for nothing."""
    at = location.offset - RECORD.size
    record = parse_header(os.pread(fd, RECORD.size, at), at)
    expected = Record(
        location.kind, location.codec, object_id, location.raw, location.offset, location.stored
    )
    if record != expected:
        return "its record has another header"
    if os.fstat(fd).st_size < location.offset + location.stored:
        return "the pack ends too early"
    if not whole:
        return ""
    try:
        raw = codec.decode(location.codec, os.pread(fd, location.stored, location.offset), location.raw)
    except StoreError as error:
        return str(error)
    return "" if chunk_id(raw) == object_id else "the bytes do not have this name"


# The journal


def check_journal(store: Store) -> Iterator[Problem]:
    """D1: replaying the journal gives the tables, so the index could be built anew."""
    with store.read() as txn:
        newest = txn.sequence()
        tables = {table: dict(txn.scan(table)) for table in REBUILT}
        waiting = _outbox(txn)
    batches: dict[int, bytes] = {}
    for pack in packs_in(store.packs, store.id):
        for record in journal_records(pack):
            try:
                data = read_journal_record(pack, record)
                sequence, _ = decode_batch(data)
            except StoreError as error:
                yield Problem("D1", f"a journal record of pack {pack.path.name} at {record.offset}: {error}")
            else:
                batches[sequence] = data
    batches.update(waiting)
    replayed: dict[str, dict[bytes, bytes]] = {table.label: {} for table in Table}
    for sequence in sorted(number for number in batches if number <= newest):
        for label, key, value in decode_batch(batches[sequence])[1]:
            _apply(replayed.setdefault(label, {}), key, value)
    for table in sorted(tables, key=lambda t: t.label):
        yield from _compare(table, tables[table], replayed[table.label])


def _outbox(txn: ReadTxn) -> dict[int, bytes]:
    return {_number(key): split_outbox(value)[1] for key, value in txn.scan(Table.OUTBOX)}


def _apply(table: dict[bytes, bytes], key: bytes, value: bytes | None) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


def _compare(table: Table, found: dict[bytes, bytes], replayed: dict[bytes, bytes]) -> Iterator[Problem]:
    for key in sorted(found.keys() | replayed.keys()):
        if found.get(key) != replayed.get(key):
            why = "is not in the packs" if key not in replayed else "is another one in the packs"
            yield Problem("D1", f"the record {key!r} of {table.label} {why}")


# gc


def check_condemned(store: Store) -> Iterator[Problem]:
    """G1: what gc left for its next run makes sense."""
    with store.read() as txn:
        packs = {_number(key) for key, _ in txn.scan(Table.PACKS)}
        condemned = txn.condemned().packs
        graves = sum(1 for _ in txn.scan(Table.META, GRAVE))
    for number in sorted(condemned - packs):
        yield Problem("G1", f"pack {number:08x} is condemned and not in the table of packs")
    if graves and not condemned:
        yield Problem("G1", f"nothing is condemned, and {graves} graves are left")


def journal_records(pack: PackFile) -> Iterator[Record]:
    """Yield the journal records of a pack, past damage: from its footer, or from a scan of headers."""
    size = pack.path.stat().st_size
    if size < HEADER.size:
        return
    listed = read_footer(pack)
    if listed is not None:
        yield from (record for record in listed if record.kind == JOURNAL)
        return
    start: int | None = HEADER.size
    while start is not None:
        try:
            yield from (r for r in scan_headers(pack, start, size=size) if r.kind == JOURNAL)
            return
        except TornPackError as error:
            start = find_next_record(pack, error.offset + 1, size=size)


def read_journal_record(pack: PackFile, record: Record) -> bytes:
    """Return the batch in a journal record; StoreError if it is damaged."""
    with open(pack.path, "rb", buffering=0) as file:
        raw = codec.decode(record.codec, os.pread(file.fileno(), record.stored, record.offset), record.raw)
    if chunk_id(raw) != record.object_id:
        raise StoreError("the bytes do not have this name")
    return raw
