"""
The journal of an open commit: what was done to it, in order, each record with its checksum.

    record = length:u32 checksum:u64 payload        (xxh3-64 over the payload)

A crash can tear the last record only; replay stops there, and the next append goes there.
`append` hands a record to the kernel, so it survives the death of this process; `sync` makes it
survive power loss.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import xxhash

from ..errors import OutOfSpaceError, StoreError

_HEAD = struct.Struct("<IQ")
_MAX_RECORD = 1 << 26


class Journal:
    """An append-only file of records, with one writer."""

    def __init__(self, path: Path) -> None:
        """Open the journal at *path*, making it if it is not there."""
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise as_pfs_error(error, path) from error
        self._end = 0

    def replay(self) -> Iterator[tuple[int, bytes]]:
        """Yield (offset of the payload, payload) of every whole record, and cut off what is torn behind them."""
        position = 0
        size = os.fstat(self._fd).st_size
        while position + _HEAD.size <= size:
            length, expected = _HEAD.unpack(os.pread(self._fd, _HEAD.size, position))
            if length > _MAX_RECORD:
                break
            payload = os.pread(self._fd, length, position + _HEAD.size)
            if len(payload) < length or xxhash.xxh3_64_intdigest(payload) != expected:
                break
            self._end = position + _HEAD.size + length
            yield position + _HEAD.size, payload
            position = self._end
        os.ftruncate(self._fd, self._end)

    def append(self, payload: bytes) -> int:
        """Add a record and return the offset of its payload.  OutOfSpaceError adds nothing."""
        record = _HEAD.pack(len(payload), xxhash.xxh3_64_intdigest(payload)) + payload
        try:
            done = os.pwrite(self._fd, record, self._end)
            while done < len(record):
                done += os.pwrite(self._fd, record[done:], self._end + done)
        except OSError as error:
            os.ftruncate(self._fd, self._end)
            raise as_pfs_error(error, self.path) from error
        at = self._end + _HEAD.size
        self._end += len(record)
        return at

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of a payload that `append` or `replay` placed."""
        return os.pread(self._fd, length, offset)

    def sync(self) -> None:
        """Make all records durable."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise as_pfs_error(error, self.path) from error

    def close(self) -> None:
        os.close(self._fd)


def as_pfs_error(error: OSError, path: Path) -> Exception:
    """Return what an I/O error of the staging area means for the one who writes."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpaceError(f"no space left for {path}; free space and retry")
    return StoreError(f"{path}: {error.strerror}; check the disk")
