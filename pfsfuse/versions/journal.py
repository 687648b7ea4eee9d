"""
The journal of an open commit: what was done to it, in order, each record with its checksum.

    record = "PFSj" length:u32 checksum:u64 payload        (xxh3-64 over the payload, seeded with the length)

A crash tears the last record at most; replay stops there, and the next append goes there.  Damage
before the end stops it, too, for later records build on earlier ones; a copy is kept then.
`append` hands a record to the kernel, so it survives the death of this process; `sync` makes it
survive power loss.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import xxhash

from ..errors import OutOfSpaceError, StoreError
from ..store.condemned import ids_in
from ..store.descriptor import Descriptor
from ..store.packs import sync_folder
from ..trees.entry import Entry

log = logging.getLogger(__name__)

_HEAD = struct.Struct("<4sIQ")
_MAGIC = b"PFSj"


class Journal:
    """An append-only file of records, with one writer."""

    def __init__(self, path: Path) -> None:
        """Open the journal at *path*, making it if it is not there."""
        self.path = path
        try:
            self._file: Descriptor | None = Descriptor(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise as_pfs_error(error, path) from error
        self._end = 0
        self._lock = threading.Lock()
        self._is_named = False
        """Whether the name of the file, and that of its folder, are known to survive power loss."""

    def replay(self) -> Iterator[tuple[int, bytes]]:
        """Yield (offset of the payload, payload) of every whole record, and cut off what is torn behind them."""
        fd = self._open().fd
        for offset, payload in _records(fd, 0):
            self._end = offset + len(payload)
            yield offset, payload
        if _next_record(fd, self._end + 1) is not None:
            self._keep_copy()
        os.ftruncate(fd, self._end)

    def _keep_copy(self) -> None:
        copy = self.path.parent.parent / f"damaged-{self.path.parent.name}"
        log.error(
            "%s is damaged at byte %d: what was done later to this open commit is lost; a copy is in %s",
            self.path,
            self._end,
            copy,
        )
        shutil.copyfile(self.path, copy)

    def append(self, payload: bytes) -> int:
        """Add a record and return the offset of its payload.  OutOfSpaceError adds nothing."""
        record = _HEAD.pack(_MAGIC, len(payload), _checksum(payload)) + payload
        fd = self._open().fd
        with self._lock:
            try:
                done = os.pwrite(fd, record, self._end)
                while done < len(record):
                    done += os.pwrite(fd, record[done:], self._end + done)
            except OSError as error:
                os.ftruncate(fd, self._end)
                raise as_pfs_error(error, self.path) from error
            at = self._end + _HEAD.size
            self._end += len(record)
            return at

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of a payload that `append` or `replay` placed."""
        return os.pread(self._open().fd, length, offset)

    def sync(self) -> None:
        """Make all records durable.  May run in any thread, also while the journal is closed."""
        file = self._file
        if file is None:
            return
        try:
            os.fdatasync(file.fd)
            if not self._is_named:
                sync_folder(self.path.parent)
                sync_folder(self.path.parent.parent)
                self._is_named = True
        except OSError as error:
            raise as_pfs_error(error, self.path) from error

    def _open(self) -> Descriptor:
        if self._file is None:
            raise StoreError(f"{self.path} is closed")
        return self._file

    def close(self) -> None:
        self._file = None


def _checksum(payload: bytes) -> int:
    return xxhash.xxh3_64_intdigest(payload, len(payload))


def _records(fd: int, position: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, payload) of whole records from *position* on, up to the first that is not."""
    size = os.fstat(fd).st_size
    while True:
        payload = _record_at(fd, position, size)
        if payload is None:
            return
        yield position + _HEAD.size, payload
        position += _HEAD.size + len(payload)


def _record_at(fd: int, position: int, size: int) -> bytes | None:
    head = os.pread(fd, _HEAD.size, position)
    if len(head) < _HEAD.size or head[:4] != _MAGIC:
        return None
    _, length, expected = _HEAD.unpack(head)
    if position + _HEAD.size + length > size:
        return None
    payload = os.pread(fd, length, position + _HEAD.size)
    return payload if len(payload) == length and _checksum(payload) == expected else None


def _next_record(fd: int, position: int) -> int | None:
    """Return where the next whole record begins, from *position* on."""
    size = os.fstat(fd).st_size
    step = 1 << 20
    while position < size:
        window = os.pread(fd, step + len(_MAGIC) - 1, position)
        at = window.find(_MAGIC)
        while at >= 0:
            if _record_at(fd, position + at, size) is not None:
                return position + at
            at = window.find(_MAGIC, at + 1)
        position += step
    return None


def damage_in(path: Path) -> int | None:
    """Return where a journal has damage, or None: a torn end is none.  Changes nothing."""
    file = Descriptor(path, os.O_RDONLY)
    end = 0
    for offset, payload in _records(file.fd, 0):
        end = offset + len(payload)
    return end if _next_record(file.fd, end + 1) is not None else None


def entries_in(path: Path) -> Iterator[Entry]:
    """Yield the entries that change sets put into an open commit, in the order of its journal."""
    file = Descriptor(path, os.O_RDONLY)
    for _, payload in _records(file.fd, 0):
        record = msgspec.msgpack.decode(payload)
        if record[0] == "e":
            yield msgspec.convert(record[3], Entry)


def ids_in_journal(path: Path) -> Iterator[bytes]:
    """Yield all that may be ids of objects in a journal, also in one that is being written."""
    file = Descriptor(path, os.O_RDONLY)
    for _, payload in _records(file.fd, 0):
        yield from ids_in(payload)


def as_pfs_error(error: OSError, path: Path) -> Exception:
    """Return what an I/O error of the staging area means for the one who writes."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpaceError(f"no space left for {path}; free space and retry")
    return StoreError(f"{path}: {error.strerror}; check the disk")
