"""
Compression of single objects.

An object is kept compressed only where that saves at least a sixteenth of its bytes; what
is compressed already (pictures, archives) is stored as it is and read back without cost.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Iterable, Iterator

import zstandard

from ..errors import StoreError

ZSTD_LEVEL = 1
"""Level 1 packs 425 MB a CPU second at a ratio of 2.43, level 3 300 MB at 2.56 (docs/performance.md)."""

_TRY_FROM = 64
"""Objects below this many bytes are stored raw: a zstd frame alone costs 9 to 18."""


class Codec(enum.IntEnum):
    """How the stored bytes of an object relate to its raw bytes; written into every pack record."""

    RAW = 0
    ZSTD = 1


_local = threading.local()


def encode(data: bytes | memoryview) -> tuple[Codec, bytes | memoryview]:
    """Return the smaller form of *data* and its codec.  Safe in any thread; releases the GIL."""
    size = len(data)
    if size < _TRY_FROM:
        return Codec.RAW, data
    compressor = getattr(_local, "compressor", None)
    if compressor is None:
        compressor = _local.compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=False)
    packed: bytes = compressor.compress(data)
    if len(packed) <= size - size // 16:
        return Codec.ZSTD, packed
    return Codec.RAW, data


def decode(codec: int, stored: bytes, raw_length: int) -> bytes:
    """Return the raw bytes; StoreError if *stored* is not what `encode` made of *raw_length* bytes."""
    if codec == Codec.RAW:
        if len(stored) != raw_length:
            raise StoreError(f"{len(stored)} bytes are stored where {raw_length} are expected")
        return stored
    if codec != Codec.ZSTD:
        raise StoreError(f"codec {codec} is not known to this version of pfs")
    decompressor = getattr(_local, "decompressor", None)
    if decompressor is None:
        decompressor = _local.decompressor = zstandard.ZstdDecompressor()
    try:
        # Looked at first: the decompressor would allocate whatever a damaged frame claims.
        claimed = zstandard.frame_content_size(stored)
        if claimed != raw_length:
            raise StoreError(f"stored bytes say that they are {claimed} where {raw_length} are expected")
        raw: bytes = decompressor.decompress(stored, max_output_size=raw_length)
    except zstandard.ZstdError as error:
        raise StoreError(f"stored bytes do not decompress: {error}") from error
    return raw


def decompressed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what is in a zstd file, frame by frame; StoreError if it is damaged or ends early."""
    frame = None
    for part in parts:
        while part:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            try:
                yield frame.decompress(part)
            except zstandard.ZstdError as error:
                raise StoreError(f"this is no sound zstd file: {error}") from error
            part = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise StoreError("this zstd file ends in the middle")
