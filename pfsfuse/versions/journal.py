"""
The journal of an open commit: what was done to it, in order, each record with its checksum.

    record = "PFSj" length:u32 checksum:u64 payload        (xxh3-64 over the payload, seeded with the length)
    mark   = "PFSm" length:u32 checksum:u64 boot:16 durable:u64

A killed process tears the last record at most.  A power cut may take any part of what was not synced,
also from the middle.  Replay stops at the first record that is not whole, and the next append goes there:
later records build on earlier ones.  A mark says in which life of the machine the records behind it were
written, and up to where the journal was durable by then; so a gap that a power cut explains is told
from damage, of which a copy is kept.

The journal can be written anew from the state that it led to (compaction.py): beside the old file, which
it replaces in one step.

`append` hands a record to the kernel, so it survives the death of this process; `sync` makes it
survive power loss.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import xxhash

from ..errors import OutOfSpaceError, StoreError
from ..store.boot import this_boot
from ..store.condemned import ids_in
from ..store.descriptor import Descriptor, pread
from ..store.packs import sync_folder
from ..trees.entry import Entry

log = logging.getLogger(__name__)

_HEAD = struct.Struct("<4sIQ")
_MAGIC = b"PFSj"
_MARK_MAGIC = b"PFSm"
_MARK = struct.Struct("<16sQ")
_ANY_MAGIC = re.compile(b"PFS[jm]")
_MAGIC_BYTES = 4
_MARK_EVERY = 64
"""Records; a mark has 40 bytes."""


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
        self._durable = 0
        """Where the last sync ended."""
        self._appended = 0
        """How many records by this process."""
        self._failed: Exception | None = None
        self.generation = 0
        """How often it was written anew: places of earlier generations mean nothing."""
        self.boot: bytes | None = None
        """The life of the machine in which the record that was replayed last was written, if it is known."""
        self._lock = threading.Lock()
        self._is_named = False
        """Whether the name of the file, and that of its folder, are known to survive power loss."""

    def replay(self) -> Iterator[tuple[int, bytes]]:
        """Yield (offset of the payload, payload) of every whole record, and cut off what is torn behind them."""
        fd = self._open().fd
        for offset, payload, is_mark in _records(fd, 0):
            self._end = offset + len(payload)
            if is_mark:
                self.boot = _MARK.unpack(payload)[0]
            else:
                yield offset, payload
        if _is_damaged(fd, self._end, self.boot) or (
            self.boot is None and _next_record(fd, self._end + 1) is not None
        ):
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
        with self._lock:
            # The second mark is there should the first be lost.
            if self._appended == 1 or self._appended % _MARK_EVERY == 0:
                self._append(self._mark())
            self._append(record)
            self._appended += 1
            return self._end - len(payload)

    def _mark(self) -> bytes:
        payload = _MARK.pack(this_boot(), self._durable)
        return _HEAD.pack(_MARK_MAGIC, len(payload), _checksum(payload)) + payload

    def _append(self, record: bytes) -> None:
        fd = self._open().fd
        try:
            done = os.pwrite(fd, record, self._end)
            while done < len(record):
                done += os.pwrite(fd, record[done:], self._end + done)
        except OSError as error:
            os.ftruncate(fd, self._end)
            raise as_pfs_error(error, self.path) from error
        self._end += len(record)

    def append_unless_rewritten(self, payload: bytes, generation: int) -> None:
        """Add a record that speaks of places in the journal, if these are still what they were."""
        with self._lock:
            if self.generation == generation:
                self._append(_HEAD.pack(_MAGIC, len(payload), _checksum(payload)) + payload)

    def rewrite(self, payloads: Iterator[bytes]) -> list[tuple[int, int]]:
        """
        Put other records in the place of all, durable at return; return (offset, length) of their payloads.

        All or, after an exception, nothing: the new file takes the name of the old one in one step.  No
        other thread may read from places in the journal meanwhile.
        """
        draft = self.path.with_name("journal.new")
        draft.unlink(missing_ok=True)
        fresh = Journal(draft)
        try:
            places = [(fresh.append(payload), len(payload)) for payload in payloads]
            fresh.sync()
            with self._lock:
                draft.rename(self.path)
                self._file, self._end = fresh._file, fresh._end
                self._durable, self._appended = fresh._durable, fresh._appended
                self.generation += 1
            sync_folder(self.path.parent)
        except OSError as error:
            raise as_pfs_error(error, self.path) from error
        finally:
            draft.unlink(missing_ok=True)
        return places

    @property
    def end(self) -> int:
        """Where the next record goes."""
        return self._end

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of a payload that `append` or `replay` placed."""
        return pread(self._open().fd, length, offset)

    def sync(self) -> None:
        """Make all records durable.  May run in any thread, also while the journal is closed."""
        file = self._file
        if file is None:
            return
        if self._failed is not None:
            raise self._failed
        with self._lock:
            if self._end > self._durable > 0:
                self._append(self._mark())
            upto = self._end
        try:
            os.fdatasync(file.fd)
            if not self._is_named:
                sync_folder(self.path.parent)
                sync_folder(self.path.parent.parent)
                self._is_named = True
        except OSError as error:
            # The kernel may have dropped the records and would call a second try a success (fsync(2)).
            self._failed = as_pfs_error(error, self.path)
            raise self._failed from error
        self._durable = max(self._durable, upto)

    def _open(self) -> Descriptor:
        if self._file is None:
            raise StoreError(f"{self.path} is closed")
        return self._file

    def close(self) -> None:
        self._file = None


def _checksum(payload: bytes) -> int:
    return xxhash.xxh3_64_intdigest(payload, len(payload))


def _records(fd: int, position: int) -> Iterator[tuple[int, bytes, bool]]:
    """Yield (offset, payload, is it a mark) of whole records from *position* on, up to the first that is not."""
    size = os.fstat(fd).st_size
    while True:
        found = _record_at(fd, position, size)
        if found is None:
            return
        payload, is_mark = found
        yield position + _HEAD.size, payload, is_mark
        position += _HEAD.size + len(payload)


def _record_at(fd: int, position: int, size: int) -> tuple[bytes, bool] | None:
    head = os.pread(fd, _HEAD.size, position)
    if len(head) < _HEAD.size or head[:4] not in (_MAGIC, _MARK_MAGIC):
        return None
    magic, length, expected = _HEAD.unpack(head)
    if position + _HEAD.size + length > size:
        return None
    payload = pread(fd, length, position + _HEAD.size)
    if len(payload) != length or _checksum(payload) != expected:
        return None
    return payload, magic == _MARK_MAGIC


def _is_damaged(fd: int, end: int, boot: bytes | None) -> bool:
    """
    Say whether what is behind *end*, where the whole records stop, is more than a crash explains.

    *boot* is that of the last mark before.  A killed process leaves no whole record behind a gap; a power
    cut may, where nothing was synced: then the marks there are of an earlier life and do not call the gap
    durable.  Where the first mark is gone nobody knows the life; nothing was synced if no mark says so.
    """
    durable = 0
    behind = _next_record(fd, end + 1)
    position = behind
    while position is not None:
        at = position
        for offset, payload, is_mark in _records(fd, position):
            at = offset + len(payload)
            if is_mark:
                boot, upto = _MARK.unpack(payload)
                durable = max(durable, upto)
        position = _next_record(fd, at + 1)
    return behind is not None and (boot == this_boot() or durable > end)


def _next_record(fd: int, position: int) -> int | None:
    """Return where the next whole record begins, from *position* on."""
    size = os.fstat(fd).st_size
    step = 1 << 20
    while position < size:
        window = os.pread(fd, step + _MAGIC_BYTES - 1, position)
        for match in _ANY_MAGIC.finditer(window):
            if _record_at(fd, position + match.start(), size) is not None:
                return position + match.start()
        position += step
    return None


def damage_in(path: Path) -> int | None:
    """Return where a journal has damage, or None: what a crash took is none.  Changes nothing."""
    file = Descriptor(path, os.O_RDONLY)
    end, boot = 0, None
    for offset, payload, is_mark in _records(file.fd, 0):
        end = offset + len(payload)
        boot = _MARK.unpack(payload)[0] if is_mark else boot
    return end if _is_damaged(file.fd, end, boot) else None


def entries_in(path: Path) -> Iterator[Entry]:
    """Yield the entries that change sets put into an open commit, in the order of its journal."""
    file = Descriptor(path, os.O_RDONLY)
    for _, payload, is_mark in _records(file.fd, 0):
        if is_mark:
            continue
        record = msgspec.msgpack.decode(payload)
        if record[0] == "e" or (record[0] == "ch" and isinstance(record[3], list)):
            yield msgspec.convert(record[3], Entry)


def ids_in_journal(path: Path) -> Iterator[bytes]:
    """Yield all that may be ids of objects in a journal, also in one that is being written."""
    file = Descriptor(path, os.O_RDONLY)
    for _, payload, is_mark in _records(file.fd, 0):
        if not is_mark:
            yield from ids_in(payload)


def as_pfs_error(error: OSError, path: Path) -> Exception:
    """Return what an I/O error of the staging area means for the one who writes."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpaceError(f"no space left for {path}; free space and retry")
    return StoreError(f"{path}: {error.strerror}; check the disk")
