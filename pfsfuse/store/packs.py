"""
Packs: append-only files that hold many objects and the journal of refs, and describe themselves.

    pack    = header record* [footer]
    header  = "PFSPACK1" number:u32 store:16 checksum:u64                     36 bytes
    record  = "PFSr" kind:u8 codec:u8 0:u16 stored:u32 raw:u32 id:32 checksum:u64 payload
    footer  = a record of kind FOOTER whose payload lists the others, then
              "PFSPEND1" offset of the footer record:u64

All numbers are little-endian.  A record's checksum (xxh3-64) covers its header up to the
checksum, and its payload; so a scan from the front finds every whole record and stops at a torn one.
The footer saves that scan for sealed packs.  docs/format.md has the tables.

Promises:

- P1  bytes of a pack below its last whole record never change;
- P2  a pack has at most one writer, which holds an flock on it;
- P3  after `sync` every appended record survives power loss;
- P4  a failed write (full disk) leaves the pack as it was before, and can be retried.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import xxhash

from ..errors import OutOfSpaceError, StoreError
from ..ids import ChunkId
from .objects import ObjectKind

PACK_BYTES = 256 << 20
"""A pack is sealed when it has about this many bytes."""

_BUFFER_BYTES = 1 << 20

HEADER = struct.Struct("<8sI16sQ")
RECORD = struct.Struct("<4sBBHII32sQ")
_RECORD_SUM_AT = RECORD.size - 8
_FOOTER_ENTRY = struct.Struct("<BBQII32s")
TRAILER = struct.Struct("<8sQ")
LOCATION = struct.Struct("<IQIIBB")

PACK_MAGIC = b"PFSPACK1"
RECORD_MAGIC = b"PFSr"
TRAILER_MAGIC = b"PFSPEND1"

JOURNAL = 16
"""Record kind: a batch of the index (index.py)."""
FOOTER = 32

KINDS = frozenset({*(int(kind) for kind in ObjectKind), JOURNAL, FOOTER})


@dataclass(frozen=True, slots=True)
class Location:
    """Where an object's stored bytes are: the value of the table OBJECTS."""

    pack: int
    offset: int
    """Of the payload, in bytes from the start of the pack."""
    stored: int
    raw: int
    codec: int
    kind: int

    def encode(self) -> bytes:
        return LOCATION.pack(self.pack, self.offset, self.stored, self.raw, self.codec, self.kind)

    @staticmethod
    def decode(data: bytes) -> Location:
        try:
            return Location(*LOCATION.unpack(data))
        except struct.error as error:
            raise StoreError(
                "an entry of the index has the wrong length; run `pfs fsck --rebuild-index`"
            ) from error


@dataclass(frozen=True, slots=True)
class Record:
    """One record found by a scan."""

    kind: int
    codec: int
    object_id: ChunkId
    raw: int
    offset: int
    """Of the payload."""
    stored: int


class PackState(enum.IntEnum):
    """The value of the table PACKS."""

    OPEN = 0
    SEALED = 1


class TornPackError(StoreError):
    """A pack has bytes that are no record, at *offset*."""

    def __init__(self, path: Path, offset: int, why: str) -> None:
        super().__init__(f"pack {path.name}: {why} at byte {offset}")
        self.path = path
        self.offset = offset


def pack_path(folder: Path, number: int) -> Path:
    """Return where pack *number* is kept."""
    return folder / f"{number:08x}.pack"


def checksum(head: bytes, payload: bytes | memoryview) -> int:
    """Return the checksum of a record: xxh3-64 over header and payload."""
    state = xxhash.xxh3_64(head)
    state.update(payload)
    return state.intdigest()


def record_header(kind: int, codec: int, raw: int, object_id: bytes, payload: bytes | memoryview) -> bytes:
    """Return the header of a record with this payload."""
    head = RECORD.pack(RECORD_MAGIC, kind, codec, 0, len(payload), raw, object_id, 0)[:_RECORD_SUM_AT]
    return head + checksum(head, payload).to_bytes(8, "little")


def pack_header(number: int, store_id: bytes) -> bytes:
    """Return the first bytes of pack *number* of a store."""
    head = HEADER.pack(PACK_MAGIC, number, store_id, 0)[:-8]
    return head + xxhash.xxh3_64_intdigest(head).to_bytes(8, "little")


def read_pack_header(data: bytes, path: Path) -> tuple[int, bytes]:
    """Return (number, store id) of a pack's first bytes; TornPackError if they are none."""
    if len(data) < HEADER.size or data[:8] != PACK_MAGIC:
        raise TornPackError(path, 0, "no pack header")
    _, number, store_id, found = HEADER.unpack_from(data)
    if found != xxhash.xxh3_64_intdigest(data[: HEADER.size - 8]):
        raise TornPackError(path, 0, "a damaged pack header")
    return number, store_id


def scan(path: Path, start: int = HEADER.size) -> Iterator[tuple[Record, bytes]]:
    """
    Yield every whole record from *start* on, with its payload, each checked against its checksum.

    Ends at the end of the file or at the footer.  TornPackError names the first byte that is no
    whole record; everything yielded before is sound.
    """
    with open(path, "rb") as file:
        file.seek(start)
        offset = start
        while True:
            head = file.read(RECORD.size)
            if not head or head[:8] == TRAILER_MAGIC:
                return
            if len(head) < RECORD.size or head[:4] != RECORD_MAGIC:
                raise TornPackError(path, offset, "no record")
            _, kind, codec, _, stored, raw, object_id, expected = RECORD.unpack(head)
            payload = file.read(stored)
            if len(payload) < stored or checksum(head[:_RECORD_SUM_AT], payload) != expected:
                raise TornPackError(path, offset, "a damaged record")
            if kind == FOOTER:
                return
            yield Record(kind, codec, ChunkId(object_id), raw, offset + RECORD.size, stored), payload
            offset += RECORD.size + stored


def find_next_record(path: Path, start: int) -> int | None:
    """Return where the next thing that looks like a record begins, from *start* on; for rebuilding past damage."""
    step = 1 << 20
    with open(path, "rb") as file:
        offset = start
        while True:
            file.seek(offset)
            window = file.read(step + len(RECORD_MAGIC))
            at = window.find(RECORD_MAGIC)
            if at >= 0:
                return offset + at
            if len(window) <= len(RECORD_MAGIC):
                return None
            offset += max(1, len(window) - len(RECORD_MAGIC) + 1)


class PackWriter:
    """
    The unsealed pack that this process appends to.

    `append` and `write_out` may be called from any thread.  Offsets are given out at once; the
    bytes go to the file in writes of about 1 MiB, and when somebody reads or syncs.
    """

    def __init__(self, folder: Path, number: int, store_id: bytes) -> None:
        self.number = number
        self.path = pack_path(folder, number)
        self._lock = threading.RLock()
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._buffer: list[bytes | memoryview] = []
        self._entries: list[Record] = []
        self._sealing = False
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(self.fd).st_size < HEADER.size:
                # New, or its first writer died before the header was out: nothing refers to it.
                os.ftruncate(self.fd, 0)
                self._written = 0
                self._buffer.append(pack_header(number, store_id))
                self._end = HEADER.size
                _sync_folder(folder)
            else:
                self._written = self._end = self._recover()
        except BaseException:
            os.close(self.fd)
            raise
        self._synced = 0

    def _recover(self) -> int:
        """Find the end of the last whole record and cut off what a crash tore; return the end."""
        end = HEADER.size
        try:
            for record, _ in scan(self.path):
                self._entries.append(record)
                end = record.offset + record.stored
        except TornPackError:
            # Only the tail that no sync covered can be torn: nothing refers to it.
            pass
        os.ftruncate(self.fd, end)
        return end

    @property
    def size(self) -> int:
        return self._end

    def append(
        self, kind: int, codec: int, payload: bytes | memoryview, *, raw: int, object_id: bytes
    ) -> Location:
        """Add a record; return where its payload will be.  OutOfSpaceError adds nothing."""
        with self._lock:
            if self._end - self._written >= _BUFFER_BYTES:
                self.write_out()
            self._buffer.append(record_header(kind, codec, raw, object_id, payload))
            self._buffer.append(payload)
            offset = self._end + RECORD.size
            self._end = offset + len(payload)
            self._entries.append(Record(kind, codec, ChunkId(object_id), raw, offset, len(payload)))
            return Location(self.number, offset, len(payload), raw, codec, kind)

    def write_out(self) -> None:
        """Hand everything appended to the kernel, so that any process can read it."""
        with self._lock:
            if not self._buffer:
                return
            data = b"".join(self._buffer)
            try:
                done = 0
                while done < len(data):
                    done += os.pwrite(self.fd, memoryview(data)[done:], self._written + done)
            except OSError as error:
                self._take_back()
                raise _as_store_error(error, self.path) from error
            self._written += len(data)
            self._buffer = []

    def _take_back(self) -> None:
        """Drop what a failed write left, so that a scan never meets half a record (P4)."""
        os.ftruncate(self.fd, self._written)

    def covers(self, location: Location) -> bool:
        """Say whether the payload at *location* is still in the buffer."""
        return location.pack == self.number and location.offset + location.stored > self._written

    def sync(self) -> None:
        """Make everything appended durable."""
        with self._lock:
            self.write_out()
            if self._synced == self._written:
                return
            try:
                os.fdatasync(self.fd)
            except OSError as error:
                raise _as_store_error(error, self.path) from error
            self._synced = self._written

    def seal(self) -> None:
        """Write the footer and make the pack durable; nothing can be appended afterwards."""
        with self._lock:
            if not self._sealing:
                self.write_out()
                self._append_footer()
                self._sealing = True
            self.sync()

    def _append_footer(self) -> None:
        listing = b"".join(
            _FOOTER_ENTRY.pack(e.kind, e.codec, e.offset, e.stored, e.raw, e.object_id) for e in self._entries
        )
        at = self._end
        self._buffer += [record_header(FOOTER, 0, len(listing), bytes(32), listing), listing]
        self._buffer.append(TRAILER.pack(TRAILER_MAGIC, at))
        self._end += RECORD.size + len(listing) + TRAILER.size

    def close(self) -> None:
        """Write out what is buffered and let another process have the pack."""
        try:
            self.write_out()
        finally:
            os.close(self.fd)


def _sync_folder(folder: Path) -> None:
    """Make a new name in *folder* survive power loss."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _as_store_error(error: OSError, path: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpaceError(f"no space left for {path}; free space and retry")
    return StoreError(f"{path} cannot be written: {error.strerror}; check the disk")


def read_footer(path: Path) -> list[Record] | None:
    """Return the records that a sealed pack lists, or None if it has no sound footer."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < HEADER.size + TRAILER.size:
            return None
        file.seek(size - TRAILER.size)
        magic, at = TRAILER.unpack(file.read(TRAILER.size))
        if magic != TRAILER_MAGIC or at + RECORD.size > size:
            return None
        file.seek(at)
        head = file.read(RECORD.size)
        _, kind, _, _, stored, _, _, expected = RECORD.unpack(head)
        payload = file.read(stored)
    if kind != FOOTER or len(payload) != stored or checksum(head[:_RECORD_SUM_AT], payload) != expected:
        return None
    return [
        Record(kind, codec, ChunkId(object_id), raw, offset, length)
        for kind, codec, offset, length, raw, object_id in _FOOTER_ENTRY.iter_unpack(payload)
    ]


class PackReader:
    """Reads payloads; keeps the descriptors of the packs it met.  Safe in any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fds: dict[int, int] = {}
        self._lock = threading.Lock()

    def read(self, location: Location) -> bytes:
        """Return the stored bytes; StoreError when the pack is missing, short or unreadable."""
        fd = self._fds.get(location.pack)
        if fd is None:
            fd = self._open(location.pack)
        try:
            data = os.pread(fd, location.stored, location.offset)
        except OSError as error:
            raise StoreError(
                f"pack {location.pack:08x} cannot be read at byte {location.offset}: {error.strerror}"
            ) from error
        if len(data) != location.stored:
            raise TornPackError(
                pack_path(self._folder, location.pack), location.offset, "the file ends too early"
            )
        return data

    def _open(self, number: int) -> int:
        with self._lock:
            if number not in self._fds:
                path = pack_path(self._folder, number)
                try:
                    self._fds[number] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                except OSError as error:
                    raise StoreError(
                        f"pack {path} cannot be opened: {error.strerror}; run `pfs fsck`"
                    ) from error
            return self._fds[number]

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
