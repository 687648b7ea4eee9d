"""
The frames of a dump, and of the talk between two stores.

    stream  = frame*
    frame   = "PFSf" kind:u8 codec:u8 0:u16 stored:u32 raw:u32 id:32 checksum:u64 payload      56 bytes + payload

Numbers are little-endian.  An object travels as its pack has it: compressed once, never again.  The
checksum (xxh3-64) covers header and payload and is seeded with the number of the frame in its stream,
so that a frame that is missing, repeated or out of its place is damage too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import xxhash

from ..errors import StoreError
from ..ids import CHUNK_ID_BYTES, ChunkId
from ..store.objects import ObjectKind
from ..store.packs import Record

_FRAME = struct.Struct("<4sBBHII32sQ")
_MAGIC = b"PFSf"
_SUM_AT = _FRAME.size - 8
_MOST = 64 << 20
"""Bytes of a payload: an object has at most 16 MiB, a list of ids far less."""

_NOBODY = ChunkId(bytes(CHUNK_ID_BYTES))

OBJECT_KINDS = frozenset(int(kind) for kind in ObjectKind)

Message = TypeVar("Message")


class BadStreamError(StoreError):
    """A stream is damaged, ends too early, or is none of ours."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; of kinds that are no object only the payload counts."""

    kind: int
    payload: bytes
    codec: int = 0
    raw: int = 0
    object_id: ChunkId = _NOBODY

    @property
    def is_object(self) -> bool:
        return self.kind in OBJECT_KINDS

    @property
    def record(self) -> Record:
        """An object as a record of a pack, whose place does not matter."""
        return Record(self.kind, self.codec, self.object_id, self.raw, 0, len(self.payload))

    def message(self, kind: type[Message]) -> Message:
        """Return what the payload says; BadStreamError if it is no *kind*."""
        try:
            return msgspec.msgpack.decode(self.payload, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadStreamError(f"a frame of kind {self.kind} does not decode: {error}") from error


class FrameWriter:
    """Writes frames; counts the bytes."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._number = 0
        self.bytes = 0

    def put_object(self, record: Record, payload: bytes) -> None:
        self._put(record.kind, record.codec, record.raw, record.object_id, payload)

    def message(self, kind: int, value: object) -> None:
        """Write anything that msgspec knows how to write."""
        self._put(kind, 0, 0, _NOBODY, msgspec.msgpack.encode(value))

    def _put(self, kind: int, codec: int, raw: int, object_id: bytes, payload: bytes) -> None:
        head = _FRAME.pack(_MAGIC, kind, codec, 0, len(payload), raw, object_id, 0)[:_SUM_AT]
        total = _checksum(self._number, head, payload)
        self._write(head + total.to_bytes(8, "little"))
        self._write(payload)
        self._number += 1
        self.bytes += _FRAME.size + len(payload)


class FrameReader:
    """Reads frames; counts the bytes."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """*read* returns at most so many bytes, fewer only when there are no more."""
        self._read = read
        self._number = 0
        self.bytes = 0

    def next(self) -> Frame:
        """Return the next frame; BadStreamError if there is none."""
        head = self._exactly(_FRAME.size)
        magic, kind, codec, _, stored, raw, object_id, expected = _FRAME.unpack(head)
        if magic != _MAGIC or stored > _MOST:
            raise BadStreamError(f"no frame at byte {self.bytes} of the stream: it is damaged, or not of pfs")
        payload = self._exactly(stored)
        if _checksum(self._number, head[:_SUM_AT], payload) != expected:
            raise BadStreamError(f"the stream is damaged at byte {self.bytes}")
        self._number += 1
        self.bytes += len(head) + stored
        return Frame(kind, payload, codec, raw, ChunkId(object_id))

    def _exactly(self, length: int) -> bytes:
        data = self._read(length)
        if len(data) < length:
            raise BadStreamError(f"the stream ends too early, after {self.bytes + len(data)} bytes")
        return data

    def until(self, kind: int) -> Iterator[Frame]:
        """Yield frames up to one of *kind*, which is the last."""
        while True:
            frame = self.next()
            yield frame
            if frame.kind == kind:
                return


def _checksum(number: int, head: bytes, payload: bytes) -> int:
    state = xxhash.xxh3_64(head, number)
    state.update(payload)
    return state.intdigest()
