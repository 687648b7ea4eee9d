"""
The packs that gc is about to remove, and what was deleted since.

A condemned pack is read as ever.  Who puts an object that is in one stores it again elsewhere, and who
appends to one goes on in another.  The record is one key of META, small enough to be looked at with
every put: the epoch, which grows with every decision of gc, and the numbers of the packs.

While a pack is condemned, every transaction that deletes or replaces a record leaves the ids that
are gone with it as a *grave*: an operation may have taken something out of that tree just before,
and gc counts it as still needed.

A record names objects by their ids: msgpack *bin* of 32 bytes, at any depth.  gc finds them without
knowing what the record is, so what the floors above keep in any table holds what it names.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from ..ids import CHUNK_ID_BYTES

KEY = b"condemned"
GRAVE = b"grave\0"

_HEAD = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Condemned:
    """What gc has decided last."""

    epoch: int = 0
    packs: frozenset[int] = frozenset()

    def encode(self) -> bytes:
        return _HEAD.pack(self.epoch) + b"".join(pack.to_bytes(4, "big") for pack in sorted(self.packs))

    @staticmethod
    def decode(data: bytes | None) -> Condemned:
        """Return the record; None stands for a store that never saw a gc."""
        if data is None:
            return Condemned()
        numbers = range(_HEAD.size, len(data), 4)
        return Condemned(
            _HEAD.unpack_from(data)[0], frozenset(int.from_bytes(data[at : at + 4], "big") for at in numbers)
        )


def ids_in(record: bytes) -> set[bytes]:
    """Return all that may be ids of objects in a record; one that is no msgpack has none."""
    if len(record) < CHUNK_ID_BYTES:
        return set()
    try:
        decoded = msgspec.msgpack.decode(record)
    except msgspec.DecodeError:
        return set()
    return set(_ids(decoded))


def _ids(value: Any) -> Iterator[bytes]:
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, bytes):
            if len(value) == CHUNK_ID_BYTES:
                yield value
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, dict):
            pending += value
            pending += value.values()


def lost_ids(old: bytes | None, new: bytes | None) -> bytes:
    """Return the ids, joined, that a record named and that what replaces it does not."""
    gone = ids_in(old) if old is not None else set()
    return b"".join(sorted(gone - ids_in(new) if gone and new is not None else gone))


def split_ids(joined: bytes) -> list[bytes]:
    """Undo the joining."""
    return [joined[at : at + CHUNK_ID_BYTES] for at in range(0, len(joined), CHUNK_ID_BYTES)]
