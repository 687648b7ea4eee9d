"""
The index: small, ordered tables in one LMDB environment that several processes share.

LMDB serialises writers of all processes and gives every reader a consistent view.  Nothing
in here is the only copy of anything: objects and journaled tables come back from the packs
(rebuild.py).  Rules that keep it fast and safe:

- one environment a process, never inherited by a fork;
- transactions are short: no `await`, no network, no waiting for a person inside one;
- a committed transaction is on the disk (LMDB's own fsync is never turned off).

Keys are bytes of at most 511; a key of several parts joins them with NUL, which no name contains.
"""

from __future__ import annotations

import enum
import os
import struct
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from functools import cached_property, partial
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, cast

import lmdb
import msgspec
import xxhash

from ..errors import OutOfSpaceError, ReadOnlyDiskError, StoreError
from . import condemned
from .boot import this_boot
from .packs import sync_folder

MAP_SIZE = 1 << 40
"""The same in every process; costs address space only."""

MAX_READERS = 1024


_OWN = frozenset({"meta", "objects", "packs", "changes", "outbox"})
"""Tables of the store itself."""


class Table(enum.Enum):
    """The tables; `journaled` ones are also written to packs, batch by batch."""

    META = ("meta", False)
    """
    b"sequence" → u64, number of the last batch; b"clock" → u64, newest time of a record;
    b"next_pack" → u32; what gc is at (condemned.py).
    """
    OBJECTS = ("objects", False)
    """ChunkId → Location (packs.py)."""
    PACKS = ("packs", False)
    """pack number, u32 big-endian → PackState (packs.py)."""
    CHANGES = ("changes", False)
    """sequence, u64 big-endian → msgpack array of (table, key): the change log."""
    OUTBOX = ("outbox", False)
    """sequence → its writer, a checksum and the batch (`join_outbox`), while that is not known to be in a pack."""
    PROJECTS = ("projects", True)
    REPOS = ("repos", True)
    BRANCHES = ("branches", True)
    COMMITS = ("commits", True)
    COMMIT_SETS = ("commit_sets", True)
    """CommitId + repo → b"": which repos have a commit of this id."""
    SUBVENANCE = ("subvenance", True)
    """input repo NUL CommitId + output repo NUL CommitId → b"": what came of a commit."""
    CHILDREN = ("children", False)
    """repo NUL parent CommitId + child CommitId → b""; made anew from COMMITS where it is lost."""
    MOVES = ("moves", True)
    """CommitId + repo NUL branch → Move: heads that changed without a new commit, by the id of the change."""
    DOCUMENTS = ("documents", True)
    """Records of the floors above, keyed by a namespace of theirs."""

    def __init__(self, label: str, journaled: bool) -> None:
        self.label = label
        self.journaled = journaled
        self.has_records = label not in _OWN
        """Whether what it holds may name objects (condemned.py)."""


_BY_LABEL = {table.label: table for table in Table}

Batch = list[tuple[str, bytes, bytes | None]]
"""What one transaction changed in journaled tables: (table, key, value or None for a deletion)."""

KEPT_CHANGES = 100_000
"""The change log forgets older entries; a listener that is further behind starts over from the tables."""

TRIM_EVERY = 1000

_HARDLY_ANY = 256 << 10
"""Bytes of free disk below which a failed write is put down to a full disk."""

_U64 = struct.Struct(">Q")
_SEQUENCE = b"sequence"
_CLOCK = b"clock"


class IndexDamagedError(StoreError):
    """The index is not what LMDB wrote; it can be made anew from the packs."""


class ReadTxn:
    """A consistent view of all tables."""

    def __init__(self, txn: lmdb.Transaction, tables: dict[Table, Any]) -> None:
        self._txn = txn
        self._tables = tables

    def get(self, table: Table, key: bytes) -> bytes | None:
        """Return the value of *key*, or None."""
        return cast(bytes | None, self._txn.get(key, db=self._tables[table]))

    def getter(self, table: Table) -> Callable[[bytes], bytes | None]:
        """Return `get` of one table, for who looks up many keys; it ends with the transaction."""
        return cast(Callable[[bytes], bytes | None], partial(self._txn.get, db=self._tables[table]))

    def slice(self, table: Table, start: bytes, most: int) -> list[tuple[bytes, bytes]]:
        """Return the first *most* pairs from the key *start* on; several times as fast as `scan`."""
        with self._txn.cursor(db=self._tables[table]) as cursor:
            found = cursor.set_range(start)
            pairs = cast(Iterator[tuple[bytes, bytes]], cursor.iternext() if found else iter(()))
            return list(islice(pairs, most))

    def condemned(self) -> condemned.Condemned:
        """Return what gc has decided last."""
        return condemned.Condemned.decode(self.get(Table.META, condemned.KEY))

    def scan(
        self, table: Table, prefix: bytes = b"", *, start: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """
        Yield the pairs whose key begins with *prefix*, in the order of keys.

        Forwards from the first such key ≥ *start*; reversed from the last such key ≤ *start*.
        """
        with self._txn.cursor(db=self._tables[table]) as cursor:
            if reverse:
                found = _seek_last(cursor, prefix, start)
                pairs = cursor.iterprev() if found else iter(())
            else:
                found = cursor.set_range(max(prefix, start or b""))
                pairs = cursor.iternext() if found else iter(())
            for key, value in cast(Iterator[tuple[bytes, bytes]], pairs):
                if not key.startswith(prefix):
                    return
                yield key, value

    def count(self, table: Table) -> int:
        """Return the number of keys in *table*."""
        entries: int = self._txn.stat(self._tables[table])["entries"]
        return entries

    def check_order(self) -> None:
        """IndexDamagedError unless every key stands where a look-up finds it; reads all of the index."""
        for table in Table:
            before = None
            for key, value in self.scan(table):
                if (before is not None and key <= before) or self.get(table, key) != value:
                    raise IndexDamagedError(f"the key {key!r} of {table.label} is out of its place")
                before = key

    def sequence(self) -> int:
        """Return the number of the newest batch; 0 in a new store."""
        raw = self.get(Table.META, _SEQUENCE)
        return _U64.unpack(raw)[0] if raw else 0

    def changes(self, after: int) -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
        """
        Yield (sequence, what changed) of the batches newer than *after*, oldest first.

        If the log has forgotten some of them (KEPT_CHANGES), or one is damaged, one entry names all
        keys there are.
        """
        oldest = next(self.scan(Table.CHANGES), None)
        if oldest is not None and _U64.unpack(oldest[0])[0] > after + 1:
            yield self.sequence(), self._everything()
            return
        for key, value in self.scan(Table.CHANGES, start=_U64.pack(after + 1)):
            changed = decode_changes(value)
            if changed is None:
                yield self.sequence(), self._everything()
                return
            yield _U64.unpack(key)[0], changed

    def _everything(self) -> list[tuple[str, bytes]]:
        return [(table.label, key) for table in Table if table.journaled for key, _ in self.scan(table)]


def decode_changes(value: bytes) -> list[tuple[str, bytes]] | None:
    """Return what an entry of the change log names; None if it is damaged."""
    try:
        return msgspec.msgpack.decode(value, type=list[tuple[str, bytes]])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _seek_last(cursor: lmdb.Cursor, prefix: bytes, start: bytes | None) -> bool:
    """Put *cursor* on the last key that begins with *prefix* and is ≤ *start*."""
    limit = _after_prefix(prefix)
    if start is not None:
        limit = start + b"\0" if limit is None else min(limit, start + b"\0")
    if limit is None:
        found: bool = cursor.last()
    elif cursor.set_range(limit):
        found = cursor.prev()
    else:
        found = cursor.last()
    return found


def _after_prefix(prefix: bytes) -> bytes | None:
    """Return the smallest key beyond all that begin with *prefix*; None if there is no such key."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


class WriteTxn(ReadTxn):
    """The one writer of the moment.  What it reads is current; what it writes appears at once, or never."""

    def __init__(self, txn: lmdb.Transaction, tables: dict[Table, Any]) -> None:
        super().__init__(txn, tables)
        self._batch: Batch = []
        self._touched: list[tuple[str, bytes]] = []
        self._graves = 0
        self.sealed_sequence: int | None = None
        self.sealed_batch: bytes | None = None

    def put(self, table: Table, key: bytes, value: bytes, *, journal: bool = True) -> None:
        """Set *key*.  `journal=False` keeps a passing state of a journaled table out of the packs."""
        self._bury(table, key, value)
        self._txn.put(key, value, db=self._tables[table])
        self._note(table, key, value, journal)

    def now_ns(self) -> int:
        """Return the time: later than any that was returned before, also when the clock was set back."""
        last = self.get(Table.META, _CLOCK)
        now = max(time.time_ns(), _U64.unpack(last)[0] + 1 if last else 0)
        self.put(Table.META, _CLOCK, _U64.pack(now))
        return now

    def put_new(self, table: Table, key: bytes, value: bytes) -> bool:
        """Set *key* if it is not there; say whether it was set.  For tables that are not journaled."""
        assert not table.journaled
        added: bool = self._txn.put(key, value, overwrite=False, db=self._tables[table])
        return added

    def delete(self, table: Table, key: bytes, *, journal: bool = True) -> bool:
        """Remove *key*; say whether it was there."""
        self._bury(table, key, None)
        found: bool = self._txn.delete(key, db=self._tables[table])
        if found:
            self._note(table, key, None, journal)
        return found

    @cached_property
    def _is_gc_at_work(self) -> bool:
        return bool(self.condemned().packs)

    def _bury(self, table: Table, key: bytes, value: bytes | None) -> None:
        """Leave a grave for gc of what a record named (condemned.py)."""
        if table.has_records and self._is_gc_at_work:
            lost = condemned.lost_ids(self.get(table, key), value)
            if lost:
                self._graves += 1
                grave = condemned.GRAVE + _U64.pack(self.sequence()) + self._graves.to_bytes(4, "big")
                self._txn.put(grave, lost, db=self._tables[Table.META])

    def set_condemned(self, packs: Set[int], *, epoch: int) -> None:
        """Write down what gc decided; when nothing is condemned any more, the graves go."""
        self.put(Table.META, condemned.KEY, condemned.Condemned(epoch, frozenset(packs)).encode())
        if not packs:
            for key, _ in list(self.scan(Table.META, condemned.GRAVE)):
                self.delete(Table.META, key)

    def _note(self, table: Table, key: bytes, value: bytes | None, journal: bool) -> None:
        if table.journaled:
            self._touched.append((table.label, key))
            if journal:
                self._batch.append((table.label, key, value))

    def seal(self) -> None:
        """Write the change log and the outbox.  Called once, by the store, before the commit."""
        if not self._touched:
            return
        number = self.sequence() + 1
        key = _U64.pack(number)
        self.put(Table.META, _SEQUENCE, key)
        self.put(Table.CHANGES, key, msgspec.msgpack.encode(self._touched))
        if number % TRIM_EVERY == 0:
            self._trim_changes(number - KEPT_CHANGES)
        if self._batch:
            self.sealed_batch = encode_batch(number, self._batch)
            self.put(Table.OUTBOX, key, join_outbox(process_identity(os.getpid()), self.sealed_batch))
        self.sealed_sequence = number

    def _trim_changes(self, up_to: int) -> None:
        if up_to <= 0:
            return
        for key in [
            key for key, _ in takewhile(lambda pair: pair[0] <= _U64.pack(up_to), self.scan(Table.CHANGES))
        ]:
            self.delete(Table.CHANGES, key)

    def apply_batch(self, batch: Batch) -> None:
        """Do what *batch* did, without journaling it again (rebuild)."""
        for label, key, value in batch:
            table = _BY_LABEL.get(label)
            if table is None:
                raise StoreError(
                    f"the journal names a table {label!r} that this version of pfs does not know"
                )
            if value is None:
                self._txn.delete(key, db=self._tables[table])
            else:
                self._txn.put(key, value, db=self._tables[table])

    def set_sequence(self, number: int) -> None:
        """Continue numbering after *number* (rebuild)."""
        self.put(Table.META, _SEQUENCE, _U64.pack(number))


def encode_batch(sequence: int, batch: Batch) -> bytes:
    """Return the bytes of a batch as packs keep them: msgpack (sequence, batch)."""
    return msgspec.msgpack.encode((sequence, batch))


def decode_batch(data: bytes) -> tuple[int, Batch]:
    """Undo `encode_batch`; StoreError for anything else."""
    try:
        sequence, batch = msgspec.msgpack.decode(data, type=tuple[int, Batch])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"a journal record does not decode: {error}") from error
    return sequence, batch


_IDENTITY = struct.Struct("<IQ")


def process_identity(pid: int) -> bytes:
    """
    Return what tells a process from all others: id, and start time mixed with the life of the machine.

    Zeros if it is dead.  The same id and start time may come again when the machine is started anew.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except OSError:
        return bytes(_IDENTITY.size)
    # proc(5): field 22 is the start time; field 3 is the first behind the name in parentheses.
    started = int(line[line.rfind(b")") + 2 :].split()[19])
    return _IDENTITY.pack(pid, started ^ int.from_bytes(this_boot()[:8], "little"))


def join_outbox(identity: bytes, batch: bytes) -> bytes:
    """Return an entry of the outbox: who wrote it, xxh3-64 of the batch, the batch."""
    return identity + xxhash.xxh3_64_digest(batch) + batch


def split_outbox(value: bytes) -> tuple[bool, bytes]:
    """Return (whether the writer of an outbox entry is alive, its batch); StoreError if it is damaged."""
    identity, rest = value[: _IDENTITY.size], value[_IDENTITY.size :]
    if len(identity) < _IDENTITY.size:
        raise StoreError("an entry of the outbox is too short; run `pfs fsck`")
    batch = rest[8:]
    if xxhash.xxh3_64_digest(batch) != rest[:8]:
        # Before there were checksums the batch began here; bytes of a checksum never decode as one.
        batch = rest
    decode_batch(batch)
    pid, _ = _IDENTITY.unpack(identity)
    return pid != 0 and identity == process_identity(pid), batch


def sequence_key(number: int) -> bytes:
    """Return the key of batch *number* in CHANGES and OUTBOX."""
    return _U64.pack(number)


def data_path(path: Path) -> Path:
    """Return the file with the data of the environment in the folder *path*."""
    return path / "data.mdb"


class Index:
    """The LMDB environment of one store in this process."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """
        Open the environment, making one if there is none.

        *read_only*: the disk is, so nobody writes; locks, which would have to be written, are not needed.
        """
        path.mkdir(mode=0o700, exist_ok=True)
        self._owner = os.getpid()
        self.path = path
        self.is_read_only = read_only
        is_new = not data_path(path).exists()
        try:
            self._env = lmdb.open(
                os.fspath(path),
                map_size=MAP_SIZE,
                max_dbs=len(Table),
                max_readers=MAX_READERS,
                readahead=False,
                mode=0o600,
                readonly=read_only,
                lock=not read_only,
                create=not read_only,
            )
            if is_new:
                # LMDB syncs the file, and not its name.
                sync_folder(path)
            self._check_length()
            self._env.reader_check()
            self._tables: dict[Table, Any] = {
                table: self._env.open_db(table.label.encode(), create=not read_only) for table in Table
            }
        except lmdb.Error as error:
            raise IndexDamagedError(
                f"the index in {path} cannot be opened: {error}; `pfs fsck --rebuild-index` makes it anew"
            ) from error

    def _check_length(self) -> None:
        """IndexDamagedError if the file was cut off: reading beyond its end would kill the process (SIGBUS)."""
        needed = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        found = data_path(self.path).stat().st_size
        if found < needed:
            self._env.close()
            raise IndexDamagedError(
                f"the index in {self.path} has {found} bytes of {needed}; "
                "`pfs fsck --rebuild-index` makes it anew"
            )

    @contextmanager
    def read(self) -> Iterator[ReadTxn]:
        """A view that stays as it is while the block runs.  Keep it short: it holds back page reuse."""
        assert os.getpid() == self._owner, "an LMDB environment does not survive a fork"
        try:
            with self._env.begin() as txn:
                yield ReadTxn(txn, self._tables)
        except lmdb.Error as error:
            raise IndexDamagedError(
                f"the index cannot be read: {error}; `pfs fsck --rebuild-index` makes it anew"
            ) from error

    @contextmanager
    def write(self) -> Iterator[WriteTxn]:
        """
        The right to write, when every other writer is done; committed and durable at the end of the block.

        An exception in the block takes everything back.  OutOfSpaceError when the disk is full.
        """
        assert os.getpid() == self._owner, "an LMDB environment does not survive a fork"
        if self.is_read_only:
            raise ReadOnlyDiskError
        try:
            with self._env.begin(write=True) as txn:
                writer = WriteTxn(txn, self._tables)
                yield writer
                writer.seal()
        except (lmdb.MapFullError, lmdb.DiskError) as error:
            raise OutOfSpaceError("the disk under the store is full; free space and retry") from error
        except lmdb.Error as error:
            if self._is_disk_full():
                # LMDB says EIO where a write was cut short, as it is when the last free block was taken.
                raise OutOfSpaceError("the disk under the store is full; free space and retry") from error
            raise IndexDamagedError(f"the index refused a write: {error}") from error

    def _is_disk_full(self) -> bool:
        room = os.statvfs(self.path)
        return room.f_bavail * room.f_frsize < _HARDLY_ANY

    def check_readers(self) -> int:
        """Free the reader slots of dead processes; return how many there were."""
        freed: int = self._env.reader_check()
        return freed

    def close(self) -> None:
        """Close the environment; nothing may use it afterwards."""
        self._env.close()
