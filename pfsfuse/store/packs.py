"""
Packs: append-only files that hold many objects and the journal of refs, and describe themselves.

    pack    = header record* [footer]
    header  = "PFSPACK1" number:u32 store:16 checksum:u64                     36 bytes
    record  = "PFSr" kind:u8 codec:u8 0:u16 stored:u32 raw:u32 id:32 checksum:u64 payload
    footer  = a record of kind FOOTER whose payload lists the others, then
              "PFSPEND1" offset of the footer record:u64

All numbers are little-endian.  A record's checksum (xxh3-64) covers its header up to the
checksum, and its payload; so a scan from the front finds every whole record and stops at a torn one.
It is seeded with the pack's number and store: a pack that somebody keeps as a file in the store
does not look like records of the store, not even where damage is searched for the next record.
The footer saves that scan for sealed packs.  docs/format.md has the tables.

Promises:

- P1  bytes of a pack below its last whole record never change;
- P2  a pack has at most one writer, which holds an flock on it;
- P3  after `sync` every appended record survives power loss;
- P4  a failed write (full disk) leaves the pack as it was before, and can be retried;
- P5  what was durable in a pack is never cut off, also where there is damage in front of it;
- P6  the index knows every pack, and the next pack gets a number that no pack has.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import xxhash

from ..errors import OutOfSpaceError, StoreError
from ..ids import ChunkId
from .descriptor import Descriptor, pread
from .objects import ObjectKind

PACK_BYTES = 256 << 20
"""A pack is sealed when it has about this many bytes."""

_BUFFER_BYTES = 1 << 20

_SECTOR = 4096
"""What is given up at a time where the disk cannot read."""

_OPEN_PACKS = 256
"""Descriptors that a reader keeps; a process may have 1,024 by default."""

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

STORE_ID_BYTES = 16

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


class PackGoneError(StoreError):
    """The file of a pack is not there: it is lost, or gc has moved what was in it."""


class PackState(enum.IntEnum):
    """The value of the table PACKS."""

    OPEN = 0
    SEALED = 1


def open_state(checkpoint: int) -> bytes:
    """Return the value of PACKS of an unsealed pack that is durable up to *checkpoint*."""
    return bytes([PackState.OPEN]) + checkpoint.to_bytes(8, "big")


def checkpoint_in(state: bytes) -> int | None:
    """Return up to where an unsealed pack is durable, if PACKS says so."""
    return int.from_bytes(state[1:], "big") if len(state) == 9 and state[0] == PackState.OPEN else None


class TornPackError(StoreError):
    """A pack has bytes that are no record, at *offset*."""

    def __init__(self, path: Path, offset: int, why: str) -> None:
        super().__init__(f"pack {path.name}: {why} at byte {offset}")
        self.path = path
        self.offset = offset


class DamagedPackError(StoreError):
    """A pack has whole records behind damage: it must not be written, for a repair can read on there."""

    def __init__(self, path: Path, offset: int) -> None:
        super().__init__(f"pack {path.name}: damaged at byte {offset}; run `pfs fsck`")
        self.path = path
        self.offset = offset


def pack_path(folder: Path, number: int) -> Path:
    """Return where pack *number* is kept."""
    return folder / f"{number:08x}.pack"


@dataclass(frozen=True, slots=True)
class PackFile:
    """One pack of one store."""

    folder: Path
    number: int
    store_id: bytes

    @property
    def path(self) -> Path:
        return pack_path(self.folder, self.number)

    @property
    def seed(self) -> int:
        """What the checksums of its records begin with."""
        return xxhash.xxh3_64_intdigest(self.header()[: HEADER.size - 8])

    def header(self) -> bytes:
        """Return the first bytes of the pack."""
        head = HEADER.pack(PACK_MAGIC, self.number, self.store_id, 0)[:-8]
        return head + xxhash.xxh3_64_intdigest(head).to_bytes(8, "little")


def packs_in(folder: Path, store_id: bytes) -> list[PackFile]:
    """Return the packs in *folder*, by number; files with other names are none."""
    names = [path.name for path in folder.iterdir() if path.suffix == ".pack"]
    numbers = sorted(int(name[:-5], 16) for name in names if _is_number(name[:-5]))
    return [PackFile(folder, number, store_id) for number in numbers]


def _is_number(text: str) -> bool:
    return len(text) == 8 and all(c in "0123456789abcdef" for c in text)


def id_in_packs(folder: Path) -> bytes | None:
    """Return the id of the store as the first pack with a whole header has it; None if there is none."""
    if not folder.is_dir():
        return None
    for entry in os.scandir(folder):
        if entry.name.endswith(".pack"):
            with open(entry.path, "rb", buffering=0) as file:
                found = file.read(HEADER.size)
            if len(found) == HEADER.size:
                _, number, store, _ = HEADER.unpack(found)
                if found == PackFile(folder, number, store).header():
                    return bytes(store)
    return None


def checksum(seed: int, head: bytes, payload: bytes | memoryview) -> int:
    """Return the checksum of a record: xxh3-64 over header and payload."""
    state = xxhash.xxh3_64(head, seed)
    state.update(payload)
    return state.intdigest()


def record_header(
    seed: int, kind: int, codec: int, raw: int, object_id: bytes, payload: bytes | memoryview
) -> bytes:
    """Return the header of a record with this payload."""
    head = RECORD.pack(RECORD_MAGIC, kind, codec, 0, len(payload), raw, object_id, 0)[:_RECORD_SUM_AT]
    return head + checksum(seed, head, payload).to_bytes(8, "little")


def check_pack_header(pack: PackFile) -> None:
    """TornPackError if the file does not begin as this pack does."""
    with open(pack.path, "rb") as file:
        if file.read(HEADER.size) != pack.header():
            raise TornPackError(pack.path, 0, "not the header of this pack of this store")


def scan(
    pack: PackFile, start: int = HEADER.size, *, size: int | None = None
) -> Iterator[tuple[Record, bytes]]:
    """
    Yield every whole record from *start* on, with its payload, each checked against its checksum.

    Ends at the footer or at the end of the file; *size* is where that was, for who looks several
    times at a pack that grows.  TornPackError names the first byte that is no whole record;
    everything yielded before is sound.
    """
    seed = pack.seed
    with open(pack.path, "rb") as file:
        size = pack.path.stat().st_size if size is None else size
        offset = start
        while offset < size:
            found = _read_record(file, offset, size, seed)
            if found is None:
                raise TornPackError(pack.path, offset, "no whole record")
            if found[0].kind == FOOTER:
                return
            yield found
            offset = found[0].offset + found[0].stored


def scan_headers(pack: PackFile, start: int = HEADER.size, *, size: int | None = None) -> Iterator[Record]:
    """
    Yield every record from *start* on without reading, or checking, its payload.

    Ends and fails like `scan`; a damaged payload goes unseen.
    """
    with open(pack.path, "rb", buffering=0) as file:
        size = pack.path.stat().st_size if size is None else size
        offset = start
        while offset < size:
            record = parse_header(os.pread(file.fileno(), RECORD.size, offset), offset)
            if record is None or record.offset + record.stored > size:
                raise TornPackError(pack.path, offset, "no record")
            if record.kind == FOOTER:
                return
            yield record
            offset = record.offset + record.stored


def parse_header(head: bytes, offset: int) -> Record | None:
    """Return the record whose header is *head*, read at *offset*; None if it is no header."""
    if len(head) < RECORD.size or head[:4] != RECORD_MAGIC:
        return None
    _, kind, codec, _, stored, raw, object_id, _ = RECORD.unpack(head)
    if kind not in KINDS:
        return None
    return Record(kind, codec, ChunkId(object_id), raw, offset + RECORD.size, stored)


def _read_record(file: BinaryIO, offset: int, size: int, seed: int) -> tuple[Record, bytes] | None:
    """Return the whole record at *offset* of a file of *size* bytes, or None, also where it cannot be read."""
    try:
        return _read_whole(file, offset, size, seed)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return None


def _read_whole(file: BinaryIO, offset: int, size: int, seed: int) -> tuple[Record, bytes] | None:
    file.seek(offset)
    head = file.read(RECORD.size)
    record = parse_header(head, offset)
    if record is None or record.offset + record.stored > size:
        return None
    payload = file.read(record.stored)
    expected = int.from_bytes(head[_RECORD_SUM_AT:], "little")
    if len(payload) < record.stored or checksum(seed, head[:_RECORD_SUM_AT], payload) != expected:
        return None
    return record, payload


def every_record(pack: PackFile) -> Iterator[tuple[Record, bytes]]:
    """Yield every whole record, also those behind damage."""
    start: int | None = HEADER.size
    while start is not None:
        try:
            yield from scan(pack, start)
            return
        except TornPackError as error:
            start = find_next_record(pack, error.offset + 1)


def read_record(file: BinaryIO, pack: PackFile, record: Record) -> bytes:
    """Return the payload of a record that a listing named; TornPackError if it is not whole."""
    at = record.offset - RECORD.size
    found = _read_record(file, at, record.offset + record.stored, pack.seed)
    if found is None or found[0] != record:
        raise TornPackError(pack.path, at, "no whole record")
    return found[1]


def find_next_record(pack: PackFile, start: int, *, size: int | None = None) -> int | None:
    """Return where the next whole record begins, from *start* on; for reading on behind damage."""
    step = 1 << 20
    seed = pack.seed
    with open(pack.path, "rb") as file:
        size = pack.path.stat().st_size if size is None else size
        offset = start
        while offset < size:
            window = _readable(file, offset, min(step + len(RECORD_MAGIC) - 1, size - offset))
            at = window.find(RECORD_MAGIC)
            while at >= 0:
                if _read_record(file, offset + at, size, seed) is not None:
                    return offset + at
                at = window.find(RECORD_MAGIC, at + 1)
            offset += step
    return None


def _readable(file: BinaryIO, offset: int, length: int) -> bytes:
    """Return bytes of a file; zeros where a sector of the disk is bad."""
    try:
        return os.pread(file.fileno(), length, offset)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    if length <= _SECTOR:
        return bytes(length)
    pieces = (_readable(file, at, min(_SECTOR, offset + length - at)) for at in _sectors(offset, length))
    return b"".join(pieces)


def _sectors(offset: int, length: int) -> range:
    return range(offset, offset + length, _SECTOR)


class PackWriter:
    """
    The unsealed pack that this process appends to.

    `append` and `write_out` may be called from any thread.  Offsets are given out at once; the
    bytes go to the file in writes of about 1 MiB, and when somebody reads or syncs.
    """

    def __init__(
        self,
        folder: Path,
        number: int,
        store_id: bytes,
        *,
        durable_end: Callable[[], int] | None = None,
        checkpoint: int | None = None,
    ) -> None:
        """
        Take the pack; BlockingIOError if another process has it, DamagedPackError (P5).

        *checkpoint* is where a record begins, and all before it was durable: only what is behind is read.
        *durable_end* says up to where the pack is known to be durable where there is no checkpoint.  It is
        asked only if there are bytes that are no record; without it every whole record counts as durable.
        """
        self.pack = PackFile(folder, number, store_id)
        self.number = number
        self.path = self.pack.path
        self._seed = self.pack.seed
        self._lock = threading.RLock()
        self._syncing = threading.Lock()
        """Taken before `_lock`."""
        try:
            self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _as_store_error(error, self.path) from error
        self._buffer: list[bytes | memoryview] = []
        self._in_buffer: dict[int, bytes | memoryview] = {}
        """Payloads that are not in the file yet, by offset."""
        self._entries = bytearray()
        """What stands from `_start` on, as the footer will list it: a process may live long and add a million."""
        self._start = HEADER.size
        self._sealing = False
        self._failed: StoreError | None = None
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(self.fd).st_size < HEADER.size:
                # New, or its first writer died before the header was out: nothing refers to it.
                os.ftruncate(self.fd, 0)
                self._written = 0
                self._buffer.append(self.pack.header())
                self._end = HEADER.size
                sync_folder(folder)
            else:
                self._written = self._end = self._recover(durable_end, checkpoint)
        except BaseException:
            os.close(self.fd)
            raise
        self._synced = 0
        self._durable = self._written
        """Up to here others may refer to what is in the pack."""

    def _recover(self, durable_end: Callable[[], int] | None, checkpoint: int | None) -> int:
        """
        Find the end of the last whole record and cut off what a crash tore; return the end.

        A killed process tears the tail.  A power cut takes any part of what was not synced, so whole records
        may be behind a gap; they are cut off with it, for nothing refers to what was not synced.  What
        something does refer to is never cut off.
        """
        if checkpoint is not None:
            return self._recover_from(checkpoint)
        try:
            check_pack_header(self.pack)
        except TornPackError:
            if durable_end is None or durable_end() > 0:
                raise
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, self.pack.header(), 0)
            return HEADER.size
        end = HEADER.size
        try:
            for record, _ in scan(self.pack):
                self._entries += _listed(record)
                end = record.offset + record.stored
        except TornPackError as error:
            if durable_end is not None:
                is_damaged = durable_end() > error.offset
            else:
                is_damaged = find_next_record(self.pack, error.offset + 1) is not None
            if is_damaged:
                raise DamagedPackError(self.path, error.offset) from error
        os.ftruncate(self.fd, end)
        return end

    def _recover_from(self, checkpoint: int) -> int:
        """Do the same where all that is durable ends at *checkpoint*: what is no record behind it was torn."""
        check_pack_header(self.pack)
        if os.fstat(self.fd).st_size < checkpoint:
            raise DamagedPackError(self.path, os.fstat(self.fd).st_size)
        self._start = end = checkpoint
        with suppress(TornPackError):
            for record, _ in scan(self.pack, checkpoint):
                self._entries += _listed(record)
                end = record.offset + record.stored
        os.ftruncate(self.fd, end)
        return end

    @property
    def size(self) -> int:
        return self._end

    @property
    def checkpoint(self) -> int | None:
        """Up to where this process has made the pack durable; None if nowhere yet."""
        return self._synced or None

    def append(
        self, kind: int, codec: int, payload: bytes | memoryview, *, raw: int, object_id: bytes
    ) -> Location:
        """Add a record; return where its payload will be.  OutOfSpaceError adds nothing."""
        with self._lock:
            if self._end - self._written >= _BUFFER_BYTES:
                self.write_out()
            self._buffer.append(record_header(self._seed, kind, codec, raw, object_id, payload))
            self._buffer.append(payload)
            offset = self._end + RECORD.size
            self._in_buffer[offset] = payload
            self._end = offset + len(payload)
            self._entries += _FOOTER_ENTRY.pack(kind, codec, offset, len(payload), raw, object_id)
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
            self._in_buffer = {}

    def _take_back(self) -> None:
        """Drop what a failed write left, so that a scan never meets half a record (P4)."""
        os.ftruncate(self.fd, self._written)

    def buffered(self, location: Location) -> bytes | None:
        """Return the payload at *location* if it is not in the file yet."""
        with self._lock:
            payload = self._in_buffer.get(location.offset) if location.pack == self.number else None
        return bytes(payload) if payload is not None else None

    def sync(self) -> None:
        """Make everything appended so far durable; others may append meanwhile."""
        with self._syncing:
            with self._lock:
                self.write_out()
                upto = self._written
            if self._failed is not None:
                raise self._failed
            if self._synced == upto:
                return
            try:
                os.fdatasync(self.fd)
            except OSError as error:
                # The kernel may have dropped the pages and would call a second try a success (fsync(2)).
                self._failed = StoreError(
                    f"{self.path} could not be made durable: {error.strerror}; "
                    "check the disk, then start pfs again"
                )
                # Nothing refers to what was not synced; what the disk has of it would look like damage later.
                with suppress(OSError):
                    os.ftruncate(self.fd, self._durable)
                raise self._failed from error
            self._synced = self._durable = upto

    def seal(self) -> None:
        """Write the footer and make the pack durable; nothing can be appended afterwards."""
        with self._lock:
            if not self._sealing:
                self.write_out()
                self._append_footer()
                self._sealing = True
        self.sync()

    def _append_footer(self) -> None:
        footer = footer_of(self._seed, [*self._before_start(), *_records_listed(self._entries)], at=self._end)
        self._buffer.append(footer)
        self._end += len(footer)

    def _before_start(self) -> Iterator[Record]:
        """Yield the records of earlier writers, past damage."""
        start: int | None = HEADER.size
        while start is not None and start < self._start:
            try:
                yield from scan_headers(self.pack, start, size=self._start)
                return
            except TornPackError as error:
                start = find_next_record(self.pack, error.offset + 1, size=self._start)

    def close(self) -> None:
        """Write out what is buffered and let another process have the pack."""
        with self._syncing:
            try:
                self.write_out()
            finally:
                os.close(self.fd)
                self.fd = -1


def footer_of(seed: int, records: Sequence[Record], *, at: int) -> bytes:
    """Return the footer that lists *records*, to stand at the byte *at*, with its trailer."""
    listing = b"".join(_listed(record) for record in records)
    header = record_header(seed, FOOTER, 0, len(listing), bytes(32), listing)
    return header + listing + TRAILER.pack(TRAILER_MAGIC, at)


def sync_folder(folder: Path) -> None:
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


def read_footer(pack: PackFile) -> list[Record] | None:
    """Return the records that a sealed pack lists, or None if it has no sound footer."""
    with open(pack.path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < HEADER.size + TRAILER.size:
            return None
        file.seek(size - TRAILER.size)
        magic, at = TRAILER.unpack(file.read(TRAILER.size))
        found = _read_record(file, at, size, pack.seed) if magic == TRAILER_MAGIC and at < size else None
    if found is None or found[0].kind != FOOTER:
        return None
    return _records_listed(found[1])


def _listed(record: Record) -> bytes:
    """Return a record as footers list it."""
    return _FOOTER_ENTRY.pack(
        record.kind, record.codec, record.offset, record.stored, record.raw, record.object_id
    )


def _records_listed(listing: bytes | bytearray) -> list[Record]:
    return [
        Record(kind, codec, ChunkId(object_id), raw, offset, length)
        for kind, codec, offset, length, raw, object_id in _FOOTER_ENTRY.iter_unpack(listing)
    ]


class PackReader:
    """Reads payloads; keeps the descriptors of the packs it used last.  Safe in any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[int, Descriptor] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, location: Location) -> bytes:
        """Return the stored bytes; PackGoneError, StoreError when the pack is short or unreadable."""
        pack = self._pack(location.pack)
        try:
            data = pread(pack.fd, location.stored, location.offset)
        except OSError as error:
            raise StoreError(
                f"pack {location.pack:08x} cannot be read at byte {location.offset}: {error.strerror}"
            ) from error
        if len(data) != location.stored:
            raise TornPackError(
                pack_path(self._folder, location.pack), location.offset, "the file ends too early"
            )
        return data

    def _pack(self, number: int) -> Descriptor:
        with self._lock:
            found = self._open.get(number)
            if found is not None:
                self._open.move_to_end(number)
                return found
            path = pack_path(self._folder, number)
            try:
                found = self._open[number] = Descriptor(path, os.O_RDONLY)
            except FileNotFoundError:
                raise PackGoneError(f"pack {path} is missing; run `pfs fsck`") from None
            except OSError as error:
                raise StoreError(f"pack {path} cannot be opened: {error.strerror}; run `pfs fsck`") from error
            if len(self._open) > _OPEN_PACKS:
                self._open.popitem(last=False)
            return found

    def forget_removed(self) -> None:
        """Let go of packs that were removed: the disk gets their bytes back when nobody has them open."""
        with self._lock:
            for number in [n for n, pack in self._open.items() if not os.fstat(pack.fd).st_nlink]:
                del self._open[number]

    def close(self) -> None:
        with self._lock:
            self._open.clear()
