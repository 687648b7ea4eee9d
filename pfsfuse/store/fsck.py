"""
Looks for damage in what the store keeps: one function for each invariant of chunks.py and packs.py.

Cheap by default: headers of records, footers and the journal are read, the bytes of objects are
not; `verify_data` reads and hashes everything.  Processes may write meanwhile; what they add is
not looked at.

    S1  an indexed object is whole in its pack
    S2  a location names a pack that exists
    P1  a pack begins with its header, has a sound footer once it is sealed, and whole records only
    P6  the index knows every pack, and the next pack gets a number that no pack has
    D1  what the packs and the outbox record is what the index says
    S3  a condemned pack is in the table of packs; a store without condemned packs has no graves
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..errors import StoreError
from ..ids import ChunkId
from .batches import replay_packs
from .condemned import GRAVE
from .descriptor import Descriptor, pread
from .index import ReadTxn, Table, decode_batch, split_outbox
from .packs import (
    HEADER,
    RECORD,
    Location,
    PackFile,
    PackState,
    Record,
    TornPackError,
    check_pack_header,
    packs_in,
    parse_header,
    read_footer,
)
from .problems import Problem
from .scanning import Gap, headers_past_damage
from .store import Store
from .verify import gap_problem, verify_packs, why_not_whole

_SLICE = 100_000
"""Objects that are looked at in one go, in the order of the disk."""

REBUILT = frozenset(
    {Table.PROJECTS, Table.REPOS, Table.BRANCHES, Table.COMMITS, Table.COMMIT_SETS, Table.SUBVENANCE}
    | {Table.MOVES}
)
"""Tables of which every change is journaled; of DOCUMENTS passing states are not."""


@dataclass
class StoreReport:
    """What is wrong with packs, objects and the journal."""

    problems: list[Problem] = field(default_factory=list)
    """Each once."""
    unreadable: set[ChunkId] = field(default_factory=set)
    """Objects that the index has and that cannot be read."""
    read_bytes: int = 0
    """Stored bytes that --verify-data read, and how long that took."""
    seconds: float = 0.0


def examine_store(store: Store, *, verify_data: bool = False) -> StoreReport:
    """Look for all that can be wrong; with *verify_data* every byte is read."""
    report = StoreReport()
    gaps: Mapping[int, list[Gap]] = {}
    report.problems += check_packs(store)
    if verify_data:
        verified = verify_packs(store)
        gaps = verified.gaps
        report.problems += verified.problems
        report.read_bytes, report.seconds = verified.read_bytes, verified.seconds
    report.problems += check_numbers(store)
    report.problems += check_objects(store, gaps=gaps)
    report.problems += check_journal(store)
    report.problems += check_condemned(store)
    suspects = {each.object_id for each in report.problems if each.object_id is not None}
    report.unreadable = {each for each in suspects if not _is_readable(store, each)}
    report.problems = list(dict.fromkeys(report.problems))
    return report


def _is_readable(store: Store, object_id: ChunkId) -> bool:
    """Say whether an object can be read although something about it is wrong."""
    try:
        store.chunks.get(object_id)
    except StoreError:
        return False
    return True


def check_store(store: Store, *, verify_data: bool = False) -> list[Problem]:
    """Return what is wrong with packs, objects and the journal; empty when all is well."""
    return examine_store(store, verify_data=verify_data).problems


# Packs


def check_packs(store: Store) -> Iterator[Problem]:
    """P1: every pack begins with its header, and has a sound footer once it is sealed."""
    with store.read() as txn:
        sealed = {_number(key) for key, state in txn.scan(Table.PACKS) if state[:1] == _SEALED}
    for pack in packs_in(store.packs, store.id):
        try:
            yield from _check_pack(pack, is_sealed=pack.number in sealed)
        except FileNotFoundError:
            # Removed since the folder was listed; an index that still needs it is named by S2.
            continue


def _check_pack(pack: PackFile, *, is_sealed: bool) -> Iterator[Problem]:
    if pack.path.stat().st_size < HEADER.size:
        # Begun by a process that died before anything in it was synced.
        return
    try:
        check_pack_header(pack)
    except TornPackError as error:
        yield Problem("P1", str(error))
    has_footer = read_footer(pack) is not None
    if is_sealed and not has_footer:
        yield Problem("P1", f"pack {pack.path.name} is sealed and has no sound footer")
    if not has_footer:
        for spot in headers_past_damage(pack):
            if isinstance(spot, Gap) and not spot.is_tail:
                yield gap_problem(pack, spot)


def check_numbers(store: Store) -> Iterator[Problem]:
    """P6: the index knows every pack, and the next pack gets a number that no pack has."""
    packs = packs_in(store.packs, store.id)
    with store.read() as txn:
        known = {_number(key): state for key, state in txn.scan(Table.PACKS)}
        following = txn.get(Table.META, b"next_pack") or b"\0\0\0\1"
    newest = max((pack.number for pack in packs if pack.number in known), default=0)
    if len(following) != 4 or _number(following) <= newest:
        yield Problem("P6", f"the next pack would get a number that pack {newest:08x} has or is beyond")
    for number, state in known.items():
        if state[:1] not in _STATES:
            yield Problem("P6", f"the index says of pack {number:08x} what means nothing: {state.hex()}")
    for pack in packs:
        if pack.number not in known and pack.path.exists():
            yield Problem("P6", f"the index does not know of pack {pack.path.name}")


_SEALED = bytes([PackState.SEALED])
_STATES = frozenset(bytes([state]) for state in PackState)


def _number(key: bytes) -> int:
    return int.from_bytes(key, "big")


# Objects


def check_objects(store: Store, *, gaps: Mapping[int, list[Gap]]) -> Iterator[Problem]:
    """
    S1 and S2, for every object of the index; the bytes of those that lie in *gaps* are read, too.

    A missing pack is named again for each of its objects.
    """
    for objects in objects_in_slices(store):
        located, problems = _decoded(objects)
        yield from problems
        for number, found in _by_pack(located).items():
            pack = PackFile(store.packs, number, store.id)
            try:
                file = Descriptor(pack.path, os.O_RDONLY)
            except OSError as error:
                for object_id, _ in found:
                    yield Problem("S2", f"pack {pack.path.name} is missing: {error.strerror}", object_id)
                continue
            for object_id, location in found:
                is_suspect = any(location.offset in gap for gap in gaps.get(number, ()))
                why = what_is_wrong(file.fd, object_id, location, whole=is_suspect)
                if why:
                    where = f"pack {pack.path.name} at byte {location.offset}"
                    yield Problem("S1", f"object {object_id.hex()} in {where}: {why}", object_id)


def objects_in_slices(store: Store) -> Iterator[list[tuple[ChunkId, bytes]]]:
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


def _decoded(
    objects: list[tuple[ChunkId, bytes]],
) -> tuple[list[tuple[ChunkId, Location]], list[Problem]]:
    located, problems = [], []
    for object_id, value in objects:
        try:
            located.append((object_id, Location.decode(value)))
        except StoreError as error:
            problems.append(Problem("S1", f"object {object_id.hex()}: {error}", object_id))
    return located, problems


def _by_pack(located: list[tuple[ChunkId, Location]]) -> dict[int, list[tuple[ChunkId, Location]]]:
    located.sort(key=lambda pair: (pair[1].pack, pair[1].offset))
    result: dict[int, list[tuple[ChunkId, Location]]] = {}
    for object_id, location in located:
        result.setdefault(location.pack, []).append((object_id, location))
    return result


def what_is_wrong(fd: int, object_id: ChunkId, location: Location, *, whole: bool) -> str:
    """Say what is wrong with an object in its pack; "" for nothing."""
    at = location.offset - RECORD.size
    expected = Record(
        location.kind, location.codec, object_id, location.raw, location.offset, location.stored
    )
    try:
        record = parse_header(os.pread(fd, RECORD.size, at), at) if at >= 0 else None
        if record != expected:
            return "its record has another header"
        if os.fstat(fd).st_size < location.offset + location.stored:
            return "the pack ends too early"
        return why_not_whole(expected, pread(fd, location.stored, location.offset)) if whole else ""
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


# The journal


def check_journal(store: Store) -> Iterator[Problem]:
    """D1: replaying the journal gives the tables, so the index could be built anew."""
    with store.read() as txn:
        newest = txn.sequence()
        tables = {table: dict(txn.scan(table)) for table in REBUILT}
        waiting, problems = outbox(txn)
    yield from problems
    replayed = replay_packs(store, waiting, up_to=newest)
    with store.read() as txn:
        reached = txn.sequence()
    for text in replayed.damage:
        yield Problem("D1", text)
    if replayed.newest > reached:
        yield Problem(
            "D1", f"the packs have batch {replayed.newest}, the index says that {reached} is the newest"
        )
    for table in sorted(tables, key=lambda t: t.label):
        yield from _compare(table, tables[table], replayed.table(table))


def outbox(txn: ReadTxn) -> tuple[dict[int, bytes], list[Problem]]:
    """Return the batches that wait in the outbox, by number, and what is wrong with others."""
    found: dict[int, bytes] = {}
    problems = []
    for key, value in txn.scan(Table.OUTBOX):
        try:
            _, batch = split_outbox(value)
            if decode_batch(batch)[0] != _number(key):
                raise StoreError("it has the number of another")
        except StoreError as error:
            problems.append(Problem("D1", f"batch {_number(key)} in the outbox is damaged: {error}"))
        else:
            found[_number(key)] = batch
    return found, problems


def _compare(table: Table, found: dict[bytes, bytes], replayed: dict[bytes, bytes]) -> Iterator[Problem]:
    for key in sorted(found.keys() | replayed.keys()):
        if found.get(key) != replayed.get(key):
            why = "is not in the packs" if key not in replayed else "is another one in the packs"
            yield Problem("D1", f"the record {key!r} of {table.label} {why}")


# gc


def check_condemned(store: Store) -> Iterator[Problem]:
    """S3: what gc left for its next run makes sense."""
    with store.read() as txn:
        packs = {_number(key) for key, _ in txn.scan(Table.PACKS)}
        condemned = txn.condemned().packs
        graves = sum(1 for _ in txn.scan(Table.META, GRAVE))
    for number in sorted(condemned - packs):
        yield Problem("S3", f"pack {number:08x} is condemned and not in the table of packs")
    if graves and not condemned:
        yield Problem("S3", f"nothing is condemned, and {graves} graves are left")
