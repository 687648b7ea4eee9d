"""
Objects in packs: put, get, and what makes them visible and durable.

A put object goes through three states.  *Pending*: this process can read it.  *Synced*: its
bytes are in a pack on the disk.  *Indexed*: every process can read it.  The store moves all
pending objects through the other two at the start of each of its write transactions, so
whatever a transaction refers to is durable before the transaction is.

Threads may put and get at the same time, but not inside a write transaction of the index: taking a
new pack is one itself.  Compression of larger objects happens on a small pool,
off the path of the one who puts; the number of objects on their way is bounded.

Invariants (fsck.py):

- S1  an indexed object is whole in its pack: length, checksum and BLAKE3 name;
- S2  a location names a pack that exists.

An object whose append failed (full disk) stays pending, in memory, until it is in a pack: whoever
put the same bytes was told that it is there.

Beside gc: an object in a condemned pack counts as absent for who puts it, and is read as ever; a put
is a hold (holds.py); an object whose pack is gone is looked up once more.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

from ..errors import ReadOnlyDiskError, StoreError
from ..ids import ChunkId, chunk_id
from . import codec
from .condemned import Condemned
from .holds import Holds
from .index import Index, ReadTxn, Table, WriteTxn, decode_batch, sequence_key
from .objects import ObjectKind
from .packs import (
    JOURNAL,
    PACK_BYTES,
    RECORD,
    DamagedPackError,
    Location,
    PackFile,
    PackGoneError,
    PackReader,
    PackState,
    PackWriter,
    Record,
    TornPackError,
    checkpoint_in,
    every_record,
    open_state,
    pack_path,
    parse_header,
)

log = logging.getLogger(__name__)

_POOL_THREADS = max(1, min(4, os.cpu_count() or 1))
_COMPRESS_APART_FROM = 16 << 10
"""Smaller objects are compressed by the caller: handing them over costs more than it saves."""
_MAX_IN_FLIGHT = 16
"""So many times what is put together, a MiB or two, may wait for the pool."""

_NEXT_PACK = b"next_pack"

Placed = dict[ChunkId, Location]


class MissingChunkError(StoreError):
    """The index does not know the object."""

    def __init__(self, object_id: ChunkId) -> None:
        super().__init__(f"object {object_id.hex()} is not in the store; run `pfs fsck`")
        self.object_id = object_id


class CorruptChunkError(StoreError):
    """The stored bytes of an object are not the ones that were written."""

    def __init__(self, object_id: ChunkId, location: Location, why: str) -> None:
        super().__init__(
            f"object {object_id.hex()} in pack {location.pack:08x} at byte {location.offset}: {why}; "
            "run `pfs fsck`"
        )
        self.object_id = object_id


class Chunks:
    """The objects of one store, as this process sees and adds to them."""

    def __init__(
        self, index: Index, folder: Path, store_id: bytes, compression: codec.Compression, holds: Path | None
    ) -> None:
        self._index = index
        self._compression = compression
        self._folder = folder
        self._store_id = store_id
        self._reader = PackReader(folder)
        self._writer: PackWriter | None = None
        self._sealed: list[int] = []
        """Packs sealed by this process whose state is not yet in the index."""
        self._sealed_noted: list[int] = []
        self._lock = threading.RLock()
        self._pending: dict[ChunkId, Future[Placed]] = {}
        """What was put and is not in the index; those put together share a future."""
        self._failed: dict[ChunkId, tuple[bytes, ObjectKind]] = {}
        """Pending objects that no pack took; every sync and every put tries again."""
        self._pool: ThreadPoolExecutor | None = None
        self._in_flight = threading.BoundedSemaphore(_MAX_IN_FLIGHT)
        self._condemned = Condemned()
        """As this process knows it: at least as new as its newest hold."""
        self.holds = Holds(holds, self._look_at_condemned)
        self.read_bytes = 0
        """How much was read from packs, decompressed: a figure for people, exact but for races."""

    # Putting

    def put(self, data: bytes | memoryview, kind: ObjectKind) -> ChunkId:
        """
        Store *data* (at most 16 MiB) under its name and return the name.

        Equal bytes are stored once.  After OutOfSpaceError the same put may be tried again.
        """
        return self.put_all((data,), kind)[0]

    def put_all(self, data: Sequence[bytes | memoryview], kind: ObjectKind) -> list[ChunkId]:
        """
        Store each of *data* under its name and return the names, in the same order.

        Looked up, compressed and appended together: for files of a few KiB the locks and
        hand-overs of one object at a time cost more than the work on its bytes.
        """
        if self._index.is_read_only:
            raise ReadOnlyDiskError
        names = [chunk_id(one) for one in data]
        fresh: dict[ChunkId, bytes | memoryview] = {}
        result: Future[Placed] = Future()
        with self._lock:
            self.holds.hold_by_put()
            if self._failed:
                self._retry()
            with self._index.read() as txn:
                for object_id, one in zip(names, data, strict=True):
                    if not self._is_here_to_stay(txn, object_id):
                        fresh[object_id] = one
                        self._pending[object_id] = result
        if not fresh:
            return names
        # The caller may reuse what it passed.
        owned = {object_id: bytes(one) for object_id, one in fresh.items()}
        if sum(map(len, owned.values())) < _COMPRESS_APART_FROM:
            self._compress_and_append(owned, kind, result)
        else:
            self._in_flight.acquire()
            self._workers().submit(self._in_background, owned, kind, result)
        return names

    def _is_here_to_stay(self, txn: ReadTxn, object_id: ChunkId) -> bool:
        """Say whether an object need not be stored again.  Called with the lock held."""
        coming = self._pending.get(object_id)
        if coming is not None:
            # One without a place yet is appended, or tried again, to a pack that is none of the condemned ones.
            placed = coming.result().get(object_id) if coming.done() else None
            return placed is None or placed.pack not in self._condemned.packs
        raw = txn.get(Table.OBJECTS, object_id)
        return raw is not None and Location.decode(raw).pack not in self._condemned.packs

    def _look_at_condemned(self) -> int:
        with self._index.read() as txn:
            return self._know_condemned(txn)

    def _know_condemned(self, txn: ReadTxn) -> int:
        """Learn what gc condemned, as *txn* sees it; return the epoch."""
        found = txn.condemned()
        if found.epoch > self._condemned.epoch or found.packs != self._condemned.packs:
            self._condemned = found
        return found.epoch

    def _workers(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_POOL_THREADS, thread_name_prefix="pfs-compress")
            return self._pool

    def _in_background(self, owned: dict[ChunkId, bytes], kind: ObjectKind, result: Future[Placed]) -> None:
        try:
            with suppress(Exception):
                # What no pack took is in `_failed`, and the next sync tries again.
                self._compress_and_append(owned, kind, result)
        finally:
            self._in_flight.release()

    def _compress_and_append(
        self, owned: dict[ChunkId, bytes], kind: ObjectKind, result: Future[Placed]
    ) -> None:
        """Append *owned* to the pack and give *result* the places of those that found one."""
        placed: Placed = {}
        try:
            encoded = self._compression.encode_all(list(owned.values()))
            with self._lock:
                try:
                    for (object_id, data), (used, payload) in zip(owned.items(), encoded, strict=True):
                        placed[object_id] = self._pack().append(
                            kind, used, payload, raw=len(data), object_id=object_id
                        )
                finally:
                    self._failed |= {k: (data, kind) for k, data in owned.items() if k not in placed}
                    # With the lock held: whoever looks next must see which pack it is in.
                    result.set_result(placed)
        except BaseException:
            with self._lock:
                if not result.done():
                    self._failed |= {k: (data, kind) for k, data in owned.items()}
                    result.set_result(placed)
            raise

    def _retry(self) -> None:
        """Append what no pack took, or raise what is in the way.  Called with the lock held."""
        for object_id, (data, kind) in list(self._failed.items()):
            result: Future[Placed] = Future()
            self._compress_and_append({object_id: data}, kind, result)
            self._pending[object_id] = result
            del self._failed[object_id]

    def _pack(self) -> PackWriter:
        """Return the pack to append to.  Called with the lock held."""
        while True:
            if self._writer is None:
                self._writer = self._take_pack()
            if self._writer.size < PACK_BYTES and self._writer.number not in self._condemned.packs:
                return self._writer
            self._writer.seal()
            self._sealed.append(self._writer.number)
            self._writer.close()
            self._writer = None

    def _take_pack(self) -> PackWriter:
        """Take an unsealed pack that nobody writes, or begin a new one."""
        for number in self._unsealed():
            taken = self._try_pack(number) if number not in self._condemned.packs else None
            if taken is not None:
                return taken
        while True:
            try:
                return PackWriter(self._folder, self._next_number(), self._store_id)
            except BlockingIOError:
                # Another process saw the new file before this one had locked it, and writes it now.
                continue

    def _unsealed(self) -> list[int]:
        with self._index.read() as txn:
            found = [
                int.from_bytes(key, "big")
                for key, state in txn.scan(Table.PACKS)
                if state[0] == PackState.OPEN
            ]
        return [number for number in found if number not in self._sealed]

    def _try_pack(self, number: int) -> PackWriter | None:
        """Take a pack, if it can be written and nobody does."""
        if not pack_path(self._folder, number).exists():
            # Begun and not written yet by another process, or lost; never to be mixed with what is new.
            return None
        with self._index.read() as txn:
            state = txn.get(Table.PACKS, number.to_bytes(4, "big")) or b""
        try:
            return PackWriter(
                self._folder,
                number,
                self._store_id,
                durable_end=lambda: self._durable_end(number),
                checkpoint=checkpoint_in(state),
            )
        except BlockingIOError:
            return None
        except (TornPackError, DamagedPackError, OSError) as error:
            # Also one that cannot be read: what is in it may be all right still.
            log.error("pack %08x: %s; it is not written any more", number, error)
            self._sealed.append(number)
            return None

    def recover(self) -> None:
        """Cut off what a power cut has torn of packs, before it looks like damage."""
        with self._lock:
            for number in self._unsealed():
                taken = self._try_pack(number)
                if taken is not None:
                    taken.close()

    def _durable_end(self, number: int) -> int:
        """Return up to where a pack is durable for certain: what the index has, and batches that left the outbox."""
        end = 0
        with self._index.read() as txn:
            for _, value in txn.scan(Table.OBJECTS):
                found = Location.decode(value)
                if found.pack == number:
                    end = max(end, found.offset + found.stored)
        pack = PackFile(self._folder, number, self._store_id)
        for record, payload in every_record(pack):
            if record.kind == JOURNAL and self._is_confirmed(record, payload):
                end = max(end, record.offset + record.stored)
        return end

    def _is_confirmed(self, record: Record, payload: bytes) -> bool:
        sequence, _ = decode_batch(codec.decode(record.codec, payload, record.raw))
        with self._index.read() as txn:
            return sequence <= txn.sequence() and txn.get(Table.OUTBOX, sequence_key(sequence)) is None

    def _next_number(self) -> int:
        with self._index.write() as txn:
            raw = txn.get(Table.META, _NEXT_PACK)
            number = int.from_bytes(raw, "big") if raw else 1
            txn.put(Table.META, _NEXT_PACK, (number + 1).to_bytes(4, "big"))
            txn.put(Table.PACKS, number.to_bytes(4, "big"), bytes([PackState.OPEN]))
        return number

    # What is stored elsewhere already, compressed as it is

    def put_stored(self, record: Record, payload: bytes) -> bool:
        """
        Store an object as another store has it; say whether it was not here.

        CorruptChunkError if the payload is not what the record says; nothing is stored then.
        """
        with self._lock:
            self.holds.hold_by_put()
            if self._failed:
                self._retry()
            with self._index.read() as txn:
                if self._is_here_to_stay(txn, record.object_id):
                    return False
        where = Location(0, record.offset, record.stored, record.raw, record.codec, record.kind)
        decoded(record.object_id, where, payload)
        result: Future[Placed] = Future()
        with self._lock:
            result.set_result({record.object_id: self.move(record, payload)})
            self._pending[record.object_id] = result
        return True

    def lacks(self, object_ids: Sequence[ChunkId]) -> list[bool]:
        """Say of each object whether a put would store it; what is here stays while the caller holds."""
        with self._lock, self._index.read() as txn:
            self._know_condemned(txn)
            return [not self._is_here_to_stay(txn, object_id) for object_id in object_ids]

    def get_stored(self, object_id: ChunkId) -> tuple[Record, bytes]:
        """Return an object as it is stored, checked against its name; MissingChunkError, CorruptChunkError."""
        location, stored, _ = self._whole(object_id)
        kind, used = location.kind, location.codec
        return Record(kind, used, object_id, location.raw, location.offset, location.stored), stored

    def leave_pack(self) -> None:
        """Let go of the pack that is appended to; the next put takes one again."""
        with self._lock:
            if self._writer is not None:
                self._writer.sync()
                self._writer.close()
                self._writer = None

    # Durability; used by Store only

    def sync(self) -> dict[ChunkId, Location]:
        """Make all pending objects durable and return where they are.  They stay pending until `forget`."""
        with self._lock:
            waiting = set(self._pending.values())
        # The pool needs the lock to append, so it is waited for without it.
        wait(waiting)
        with self._lock:
            self._retry()
            # What others put since then is not waited for, and what they failed to place waits.
            located = {
                object_id: result.result()[object_id]
                for object_id, result in self._pending.items()
                if result.done() and object_id not in self._failed
            }
            writer = self._writer
        if writer is not None:
            # What went to an earlier pack was made durable when that was sealed.
            writer.sync()
        return located

    def index(self, txn: WriteTxn, located: dict[ChunkId, Location]) -> None:
        """Enter synced objects, and packs that were sealed, into the index."""
        self._know_condemned(txn)
        for object_id, location in located.items():
            if not txn.put_new(Table.OBJECTS, object_id, location.encode()):
                self._leave_condemned(txn, object_id, location)
        self._note_checkpoint(txn)
        self._sealed_noted = list(self._sealed)
        for number in self._sealed_noted:
            key = number.to_bytes(4, "big")
            # gc may have removed it meanwhile.
            if txn.get(Table.PACKS, key) is not None:
                txn.put(Table.PACKS, key, bytes([PackState.SEALED]))

    def _note_checkpoint(self, txn: WriteTxn) -> None:
        """Have the next writer of the pack read only what comes from now on."""
        writer = self._writer
        if writer is None or writer.checkpoint is None:
            return
        key, state = writer.number.to_bytes(4, "big"), open_state(writer.checkpoint)
        found = txn.get(Table.PACKS, key)
        # gc may have removed it meanwhile.
        if found is not None and found[0] == PackState.OPEN and found != state:
            txn.put(Table.PACKS, key, state)

    def _leave_condemned(self, txn: WriteTxn, object_id: ChunkId, location: Location) -> None:
        """Have the index know an object where it stays, if it knows it in a condemned pack."""
        raw = txn.get(Table.OBJECTS, object_id) if self._condemned.packs else None
        if raw is not None and Location.decode(raw).pack in self._condemned.packs:
            txn.put(Table.OBJECTS, object_id, location.encode())

    def forget(self, located: dict[ChunkId, Location]) -> None:
        """Stop treating indexed objects as pending, once the transaction is committed."""
        with self._lock:
            for object_id, location in located.items():
                coming = self._pending.get(object_id)
                # It may have been put once more meanwhile, since its pack was condemned.
                if coming is not None and coming.done() and coming.result().get(object_id) is location:
                    del self._pending[object_id]
            self._sealed = [number for number in self._sealed if number not in self._sealed_noted]

    @property
    def is_settled(self) -> bool:
        """Whether the index knows all that this process put and sealed."""
        return not self._pending and not self._sealed

    # Beside gc

    def move(self, record: Record, payload: bytes) -> Location:
        """Append a record of another pack, as it is stored; the caller indexes where it is."""
        with self._lock:
            return self._pack().append(
                record.kind, record.codec, payload, raw=record.raw, object_id=record.object_id
            )

    def leave_condemned_packs(self) -> None:
        """Let gc have the pack that this process appends to, if it is condemned, and forget removed ones."""
        self._look_at_condemned()
        with self._lock:
            if self._writer is not None and self._writer.number in self._condemned.packs:
                self._writer.seal()
                self._sealed.append(self._writer.number)
                self._writer.close()
                self._writer = None
        self._reader.forget_removed()

    # Journal

    def append_journal(self, batch: bytes) -> None:
        """Write a batch of the index into the pack and make it durable."""
        used, payload = self._compression.encode(batch)
        with self._lock:
            pack = self._pack()
            pack.append(JOURNAL, used, payload, raw=len(batch), object_id=chunk_id(batch))
        pack.sync()

    # Getting

    def has(self, object_id: ChunkId) -> bool:
        """Say whether the object can be read."""
        return object_id in self._pending or self._indexed(object_id) is not None

    def _indexed(self, object_id: ChunkId) -> Location | None:
        with self._index.read() as txn:
            raw = txn.get(Table.OBJECTS, object_id)
        return Location.decode(raw) if raw is not None else None

    def locate(self, object_id: ChunkId) -> Location:
        """Return where an object is; MissingChunkError if nowhere."""
        pending = self._pending.get(object_id)
        location = pending.result().get(object_id) if pending is not None else self._indexed(object_id)
        if location is None:
            # It may have been indexed, and left the pending ones, between the two looks.
            location = self._indexed(object_id)
        if location is None:
            raise MissingChunkError(object_id)
        return location

    def get(self, object_id: ChunkId) -> bytes:
        """Return the object's bytes, checked against its name; MissingChunkError or CorruptChunkError."""
        failed = self._failed.get(object_id)
        if failed is not None:
            return failed[0]
        _, _, raw = self._whole(object_id)
        self.read_bytes += len(raw)
        return raw

    def _whole(self, object_id: ChunkId) -> tuple[Location, bytes, bytes]:
        """Return where an object is, how it is stored, and its bytes."""
        location, stored = self._stored(object_id)
        try:
            return location, stored, decoded(object_id, location, stored)
        except CorruptChunkError as error:
            # The record says of itself what the index may say wrongly; the name decides.
            packed = self._as_packed(object_id, location)
            if packed is None or packed == location:
                raise
            try:
                stored = self._reader.read(packed)
                return packed, stored, decoded(object_id, packed, stored)
            except StoreError:
                raise error from None

    def _as_packed(self, object_id: ChunkId, location: Location) -> Location | None:
        """Return what the record in front of an object's place says of it; None if it is of another."""
        at = location.offset - RECORD.size
        if at < 0:
            return None
        try:
            head = self._reader.read(Location(location.pack, at, RECORD.size, RECORD.size, 0, 0))
        except StoreError:
            return None
        found = parse_header(head, at)
        if found is None or found.object_id != object_id:
            return None
        return Location(location.pack, found.offset, found.stored, found.raw, found.codec, found.kind)

    def _stored(self, object_id: ChunkId) -> tuple[Location, bytes]:
        location = self.locate(object_id)
        writer = self._writer
        stored = writer.buffered(location) if writer is not None else None
        if stored is None:
            return self._read(object_id, location)
        return location, stored

    def _read(self, object_id: ChunkId, location: Location) -> tuple[Location, bytes]:
        """Return the stored bytes and where they were: gc may move them between the look and the read."""
        while True:
            try:
                return location, self._reader.read(location)
            except PackGoneError:
                there = self.locate(object_id)
                if there == location:
                    raise
                location = there

    def close(self) -> None:
        """Stop the pool and let others have the pack.  What is pending is lost: flush first."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        with self._lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        self._reader.close()
        self.holds.close()


def decoded(object_id: ChunkId, location: Location, stored: bytes) -> bytes:
    """Return the bytes of an object, checked against its name; CorruptChunkError."""
    try:
        raw = codec.decode(location.codec, stored, location.raw)
    except StoreError as error:
        raise CorruptChunkError(object_id, location, str(error)) from error
    if chunk_id(raw) != object_id:
        raise CorruptChunkError(object_id, location, "the bytes do not have this name")
    return raw
