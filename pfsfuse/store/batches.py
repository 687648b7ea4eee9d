"""
The journal of refs, as the packs have it: batch by batch, and what they come to.

A batch is what one transaction changed in journaled tables (index.py).  Replayed in the order of
their numbers, those of all packs and of the outbox give the tables (D1 in store.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..errors import StoreError
from ..ids import chunk_id
from . import codec
from .descriptor import pread
from .index import Table, decode_batch
from .packs import JOURNAL, PackFile, Record, packs_in
from .scanning import listed_records
from .store import Store


@dataclass
class Replayed:
    """What the batches come to."""

    tables: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    """By label of the table."""
    newest: int = 0
    """Number of the newest batch that was found, whether it was replayed or not."""
    damage: list[str] = field(default_factory=list)
    """Journal records that could not be read."""

    def table(self, table: Table) -> dict[bytes, bytes]:
        return self.tables.setdefault(table.label, {})


def journal_records(pack: PackFile) -> Iterator[Record]:
    """Yield the journal records of a pack, past damage."""
    return (record for record in listed_records(pack) if record.kind == JOURNAL)


def read_journal_record(pack: PackFile, record: Record) -> bytes:
    """Return the batch in a journal record; StoreError if it is damaged."""
    try:
        with open(pack.path, "rb", buffering=0) as file:
            stored = pread(file.fileno(), record.stored, record.offset)
    except OSError as error:
        raise StoreError(f"it cannot be read: {error.strerror}") from error
    raw = codec.decode(record.codec, stored, record.raw)
    if chunk_id(raw) != record.object_id:
        raise StoreError("the bytes do not have this name")
    return raw


def replay_packs(
    store: Store, waiting: Mapping[int, bytes] | None = None, *, up_to: int | None = None
) -> Replayed:
    """Replay the batches of all packs and *waiting* ones, of which the number is at most *up_to*."""
    found = Replayed()
    while True:
        try:
            batches = _batches(store, found)
            break
        except FileNotFoundError:
            # A pack was removed since the folder was listed; its batches were written to another.
            found.damage.clear()
    batches.update(waiting or {})
    found.newest = max(batches, default=0)
    for number in sorted(batches):
        if up_to is None or number <= up_to:
            for label, key, value in decode_batch(batches[number])[1]:
                _apply(found.tables.setdefault(label, {}), key, value)
    return found


def _batches(store: Store, found: Replayed) -> dict[int, bytes]:
    """Return all batches in packs by their numbers; what cannot be read is noted."""
    batches: dict[int, bytes] = {}
    for pack in packs_in(store.packs, store.id):
        for record in journal_records(pack):
            try:
                data = read_journal_record(pack, record)
                batches[decode_batch(data)[0]] = data
            except StoreError as error:
                found.damage.append(f"a journal record of pack {pack.path.name} at {record.offset}: {error}")
    return batches


def _apply(table: dict[bytes, bytes], key: bytes, value: bytes | None) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
