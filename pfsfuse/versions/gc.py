"""
Garbage collection: what is needed, and giving the disk back the rest.

Needed is what can be reached from

- every record of every table but the store's own: heads and commits, but also jobs, outputs of containers, views
  and whatever else the floors above keep; ids are found wherever they stand (store/condemned.py);
- every journal under staging/: open commits, and outputs of running containers;
- what was deleted while a pack is condemned.

Writers and readers go on meanwhile.  The order is: journals, tables, graves.  What moves between
them while they are read moves forwards, from a journal to a table or from a table to a grave, and
so is met; what is made anew is made under a hold that knows what is condemned.

Time is a look at every object's place and a read of every tree node; memory is nine bytes an object
(store/census.py) and a few dozen MiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from ..store.census import Census
from ..store.condemned import GRAVE, ids_in, split_ids
from ..store.gc import Sweep, Swept, choose, condemn, wait_for_others
from ..store.holds import Holder
from ..store.index import Table
from ..store.layout import alone_with_packs
from ..store.store import Store
from ..trees.marking import Marker
from ..trees.node import entry_references
from .journal import ids_in_journal
from .model import Commit, decode

THRESHOLD = 0.2
"""Part of a pack that is garbage from which on it is worth copying the rest."""

WAIT_S = 10.0

_RECORDS_TOGETHER = 1000
_ROOTS_TOGETHER = 20_000


@dataclass
class Report:
    """What a gc found and did; sizes are bytes in packs."""

    objects: int = 0
    bytes: int = 0
    """Of all packs, before."""
    garbage_objects: int = 0
    garbage_bytes: int = 0
    """Of objects that nothing needs."""
    chosen_packs: int = 0
    chosen_bytes: int = 0
    """What goes when the chosen packs go: the rest of the garbage is too thinly spread."""
    removed_objects: int = 0
    removed_packs: int = 0
    freed_bytes: int = 0
    waits_for: list[Holder] = field(default_factory=list)
    waiting_packs: int = 0
    """Condemned packs that could not go yet."""
    damage: list[str] = field(default_factory=list)
    is_disk_full: bool = False


def collect_garbage(
    store: Store, *, dry_run: bool = False, threshold: float = THRESHOLD, wait_s: float = WAIT_S
) -> Report:
    """
    Remove what nothing needs; with *dry_run* only say what that would be.

    GcAtWorkError if another one runs; StoreError if a tree cannot be read: then nothing is removed.
    This process rests: what its other threads do stands in `Store.hold` blocks.
    """
    with alone_with_packs(store):
        store.rest()
        report = Report()
        with store.read() as txn:
            left = txn.condemned().packs
        census, marker = _marked(store)
        if left and not dry_run:
            # First what an earlier gc began: were more condemned, it would have to wait for newer holds too.
            _sweep(store, census, marker, wait_s, report)
            if report.waiting_packs:
                _count(report, store, census, {})
                return report
            census, marker = _marked(store)
        chosen = choose(store, census, threshold=threshold)
        _count(report, store, census, chosen)
        if chosen and not dry_run:
            condemn(store, set(chosen))
            _sweep(store, census, marker, wait_s, report)
        return report


def _marked(store: Store) -> tuple[Census, Marker]:
    census = Census(store)
    marker = Marker(store, census)
    mark_needed(store, marker)
    return census, marker


def _count(report: Report, store: Store, census: Census, chosen: dict[int, int]) -> None:
    report.objects, report.bytes = census.objects, packed_bytes(store)
    report.garbage_objects = census.objects - census.needed
    report.garbage_bytes = census.bytes - census.needed_bytes
    report.chosen_packs, report.chosen_bytes = len(chosen), sum(chosen.values())


def packed_bytes(store: Store) -> int:
    """Return what all packs take on the disk."""
    total = 0
    for path in store.packs.glob("*.pack"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _sweep(store: Store, census: Census, marker: Marker, wait_s: float, report: Report) -> None:
    """Remove what is condemned, once nobody holds it."""
    report.waits_for = wait_for_others(store, wait_s)
    with store.read() as txn:
        condemned = txn.condemned().packs
    if report.waits_for:
        report.waiting_packs = len(condemned)
        return
    # What was made since the first look: nodes that are marked already are not read again.
    mark_needed(store, marker)
    swept = Swept()
    Sweep(store, census, swept).run(set(condemned))
    report.removed_objects += swept.objects
    report.removed_packs += swept.packs
    report.freed_bytes += swept.bytes - swept.copied_bytes
    report.waiting_packs = swept.waiting_packs
    report.damage += swept.damage
    report.is_disk_full |= swept.is_disk_full


def mark_needed(store: Store, marker: Marker) -> None:
    """Mark all that is needed now."""
    for ids in _in_slices(_staged_ids(store)):
        marker.mark(ids)
    for table in Table:
        if table.has_records:
            for records in _records(store, table):
                if table is Table.COMMITS:
                    marker.mark_needed(
                        reference
                        for record in records
                        if (root := decode(record, Commit).root) is not None
                        for reference in entry_references(root)
                    )
                marker.mark({object_id for record in records for object_id in ids_in(record)})
    with store.read() as txn:
        graves = [grave for _, grave in txn.scan(Table.META, GRAVE)]
    for grave in graves:
        marker.mark(split_ids(grave))


def _records(store: Store, table: Table) -> Iterator[list[bytes]]:
    """Yield all records of a table, some at a time, each time from a transaction of its own."""
    after = b""
    while True:
        with store.read() as txn:
            found = list(islice(txn.scan(table, start=after), _RECORDS_TOGETHER))
        if not found:
            return
        yield [record for _, record in found if record]
        after = found[-1][0] + b"\0"


def _staged_ids(store: Store) -> Iterator[bytes]:
    """Yield the ids that journals under staging/ name, of open commits and of running containers."""
    for pattern in ("*/journal", "*/*/journal", "damaged-*"):
        for path in sorted(store.staging.glob(pattern)):
            if path.is_file():
                # Finished or thrown away since it was listed: then the tables are read later.
                with suppress(FileNotFoundError):
                    yield from ids_in_journal(path)


def _in_slices(ids: Iterator[bytes]) -> Iterator[set[bytes]]:
    while some := set(islice(ids, _ROOTS_TOGETHER)):
        yield some
