"""
Compression of single objects.

An object is kept compressed only where that saves at least a sixteenth of its bytes; what
is compressed already (pictures, archives) is stored as it is and read back without cost.
"""

from __future__ import annotations

import enum
import os
import threading
from collections.abc import Iterable, Iterator, Sequence

import zstandard

from ..errors import StoreError

ZSTD_LEVEL = 1
"""Level 1 packs 425 MB a CPU second at a ratio of 2.43, level 3 300 MB at 2.56 (docs/performance.md)."""

MOST_LEVEL = 19
"""Higher ones need more memory to decompress than any reader should have to give."""

_TRY_FROM = 64
"""Objects below this many bytes are stored raw: a zstd frame alone costs 9 to 18."""


class Codec(enum.IntEnum):
    """How the stored bytes of an object relate to its raw bytes; written into every pack record."""

    RAW = 0
    ZSTD = 1


_local = threading.local()


class Compression:
    """
    How hard to compress what is stored from now on; what is stored already stays as it is.

    *level* is one of zstd's, 1 (fast) to 19 (small); 0 stores everything as it is.  Safe in any thread;
    the work releases the GIL.
    """

    def __init__(self, level: int = ZSTD_LEVEL) -> None:
        if not 0 <= level <= MOST_LEVEL:
            raise StoreError(f"compression level {level}: give 0 (none) to {MOST_LEVEL}")
        self.level = level

    @classmethod
    def chosen(cls) -> Compression:
        """Return what the environment asks for: PFS_COMPRESSION, `off` or a level; else the usual."""
        asked = os.environ.get("PFS_COMPRESSION", "")
        if not asked:
            return cls()
        if asked == "off":
            return cls(0)
        if not asked.isdecimal():
            raise StoreError(f"PFS_COMPRESSION is {asked!r}: give `off` or a level from 1 to {MOST_LEVEL}")
        return cls(int(asked))

    def encode(self, data: bytes | memoryview) -> tuple[Codec, bytes | memoryview]:
        """Return the smaller form of *data* and its codec."""
        if not self.level or len(data) < _TRY_FROM:
            return Codec.RAW, data
        return _smaller(data, self._compressor().compress(data))

    def encode_all(self, data: Sequence[bytes]) -> list[tuple[Codec, bytes | memoryview]]:
        """
        Return the smaller form of each of *data* and its codec.

        The GIL is released once for all of them: with another thread at work, taking it back
        costs more than compressing a small file.
        """
        if len(data) == 1 or not self.level or min(map(len, data), default=0) < _TRY_FROM:
            return [self.encode(one) for one in data]
        packed = self._compressor().multi_compress_to_buffer(list(data))
        return [_smaller(one, packed[at].tobytes()) for at, one in enumerate(data)]

    def _compressor(self) -> zstandard.ZstdCompressor:
        compressors: dict[int, zstandard.ZstdCompressor] = _local.__dict__.setdefault("compressors", {})
        compressor = compressors.get(self.level)
        if compressor is None:
            compressor = zstandard.ZstdCompressor(level=self.level, write_checksum=False)
            compressors[self.level] = compressor
        return compressor


def _smaller(data: bytes | memoryview, packed: bytes) -> tuple[Codec, bytes | memoryview]:
    if len(packed) <= len(data) - len(data) // 16:
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
