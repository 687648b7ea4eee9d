"""
Reads every byte of every pack, as fast as the disk and the processors allow.

One thread reads packs from front to back and checks the checksums of records; the others decompress
objects and hash them.  Memory is bounded: a few slices of records are on their way at a time.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from ..errors import StoreError
from ..ids import chunk_id
from . import codec
from .index import Table
from .objects import ObjectKind
from .packs import HEADER, Location, PackFile, Record, packs_in
from .problems import Problem
from .scanning import Gap, read_past_damage
from .store import Store

_SLICE_BYTES = 4 << 20
_OBJECT_KINDS = frozenset(int(kind) for kind in ObjectKind)

_Slice = list[tuple[Record, bytes]]


@dataclass
class Verified:
    """What reading everything came to."""

    problems: list[Problem] = field(default_factory=list)
    gaps: dict[int, list[Gap]] = field(default_factory=dict)
    """By pack: where there is no whole record."""
    read_bytes: int = 0
    seconds: float = 0.0

    @property
    def bytes_per_second(self) -> float:
        return self.read_bytes / self.seconds if self.seconds else 0.0


def verify_packs(store: Store, *, threads: int | None = None) -> Verified:
    """P1 and S1 for all that can be scanned; what the index says of the gaps is the caller's to check."""
    found = Verified()
    started = time.monotonic()
    workers = threads or max(1, min(8, os.cpu_count() or 1))
    on_the_way: deque[Future[list[Problem]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="pfs-verify") as pool:
        for pack in packs_in(store.packs, store.id):
            for part in _slices(pack, found):
                on_the_way.append(pool.submit(_check_slice, store, pack, part))
                while len(on_the_way) > 2 * workers:
                    found.problems += on_the_way.popleft().result()
        for future in on_the_way:
            found.problems += future.result()
    found.seconds = time.monotonic() - started
    return found


def _slices(pack: PackFile, found: Verified) -> Iterator[_Slice]:
    part: _Slice = []
    waiting = 0
    try:
        size = pack.path.stat().st_size
        if size < HEADER.size:
            return
        for spot in read_past_damage(pack, size=size):
            if isinstance(spot, Gap):
                _note_gap(pack, spot, found)
                continue
            found.read_bytes += spot[0].stored
            waiting += spot[0].raw
            part.append(spot)
            if waiting >= _SLICE_BYTES:
                yield part
                part, waiting = [], 0
    except FileNotFoundError:
        # Removed since the folder was listed; an index that still needs it is named by S2.
        return
    yield part


def _note_gap(pack: PackFile, gap: Gap, found: Verified) -> None:
    found.gaps.setdefault(pack.number, []).append(gap)
    if not gap.is_tail:
        found.problems.append(gap_problem(pack, gap))


def gap_problem(pack: PackFile, gap: Gap) -> Problem:
    """P1: say where a pack is damaged."""
    why = f"pack {pack.path.name}: no whole record at byte {gap.start}; it goes on at byte {gap.end}"
    return Problem("P1", why)


def _check_slice(store: Store, pack: PackFile, part: _Slice) -> list[Problem]:
    """Check the objects that the index has in just these places."""
    with store.read() as txn:
        indexed = [
            (record, payload)
            for record, payload in part
            if record.kind in _OBJECT_KINDS
            and txn.get(Table.OBJECTS, record.object_id) == location_of(pack.number, record).encode()
        ]
    problems = []
    for record, payload in indexed:
        why = why_not_whole(record, payload)
        if why:
            where = f"pack {pack.path.name} at byte {record.offset}"
            text = f"object {record.object_id.hex()} in {where}: {why}"
            problems.append(Problem("S1", text, record.object_id))
    return problems


def location_of(pack: int, record: Record) -> Location:
    """Return the index's form of where a record is."""
    return Location(pack, record.offset, record.stored, record.raw, record.codec, record.kind)


def why_not_whole(record: Record, payload: bytes) -> str:
    """Say why the payload of a record is not the object that it says; "" if it is."""
    try:
        raw = codec.decode(record.codec, payload, record.raw)
    except StoreError as error:
        return str(error)
    return "" if chunk_id(raw) == record.object_id else "the bytes do not have this name"
