"""
The store: one directory that holds everything, and the transactions on it.

    <root>/format.json    format version, id of the store, chunking parameters
    <root>/store.lock     shared flock of every process that has the store open
    <root>/index/         LMDB (index.py)
    <root>/packs/         objects and the journal of refs (packs.py)
    <root>/staging/       journals of open commits (versions/staging)
    <root>/run/           sockets, locks and logs of the running processes; nothing that must last

Order of every durable change (D1 in docs/invariants.md): the objects it refers to are synced to
their pack; then the LMDB transaction commits; then its batch is synced to a pack.  A crash between
the last two leaves the batch in the table OUTBOX, and the next process that opens the store writes
it to a pack; so the packs alone always suffice to rebuild an index that had been acknowledged.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from ..errors import ConflictError, OutOfSpaceError, StoreError
from . import chunker
from .boot import this_boot
from .chunks import Chunks
from .codec import Compression
from .index import Index, ReadTxn, Table, WriteTxn, data_path, sequence_key, split_outbox
from .packs import STORE_ID_BYTES, id_in_packs, sync_folder

log = logging.getLogger(__name__)

FORMAT = 1
INDEX = "index"
PACKS = "packs"
_FOLDERS = (PACKS, "staging", "run", "run/wake")

_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "afs", "lustre", "9p"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.s3fs"}
)


class Format(msgspec.Struct):
    """What `format.json` says."""

    format: int
    store: str
    """32 hexadecimal digits, drawn when the store was made."""
    chunking: dict[str, Any]
    """`Cutting.recorded` of the chunker: it decides the names of everything stored."""


class UnknownFormatError(StoreError):
    """The directory was written by a version of pfs that this one does not understand."""


class LostIndexError(StoreError):
    """There are packs and no index."""


class StoreInUseError(ConflictError):
    """Other processes have the store open, or one is rebuilding its index."""


class Store:
    """A store, opened by this process.  Methods may be called from any thread."""

    def __init__(self, root: Path, *, alone: bool = False) -> None:
        """
        Open the store at *root*, making an empty one if the directory is empty or absent.

        *alone*: StoreInUseError if any other process has it open, and none can open it meanwhile.
        """
        self.root = root
        self.is_read_only = _is_on_read_only_disk(root)
        """Then everything can be read, and who wants to write gets ReadOnlyDiskError."""
        _refuse_network_file_system(root)
        self.format = read_or_make_format(root)
        self.id = store_id(root, self.format)
        _make_folders(root)
        self._open_lock = lock_store(root, exclusive=alone)
        try:
            if not data_path(root / INDEX).exists():
                _refuse_lost_index(root)
                _make_index(root)
            self._index = Index(root / INDEX, read_only=self.is_read_only)
        except BaseException:
            os.close(self._open_lock)
            raise
        self.chunks = Chunks(
            self._index,
            root / PACKS,
            self.id,
            Compression.chosen(),
            None if self.is_read_only else self.run / "holds",
        )
        self._lock = threading.RLock()
        self._journaled: list[int] = []
        """Batches that this process has synced to a pack and can take out of the outbox."""
        self._after_write: list[Callable[[], None]] = []
        if not self.is_read_only:
            self._recover_from_power_cut()
            self._empty_outbox()

    @property
    def run(self) -> Path:
        """Where sockets and locks of running processes are."""
        return self.root / "run"

    @property
    def staging(self) -> Path:
        """Where the journals of open commits are."""
        return self.root / "staging"

    @property
    def packs(self) -> Path:
        return self.root / PACKS

    @contextmanager
    def read(self) -> Iterator[ReadTxn]:
        """A consistent view of all tables.  Keep the block short; no `await` in it."""
        with self._index.read() as txn:
            yield txn

    @contextmanager
    def write(self) -> Iterator[WriteTxn]:
        """
        A transaction: all of it or, after an exception, nothing.

        When the block has ended, the change and every object put before it are durable and
        visible to all processes.  One writer at a time, of all processes: keep the block short.
        """
        with self._lock:
            located = self.chunks.sync()
            with self._index.write() as txn:
                self.chunks.index(txn, located)
                for number in self._journaled:
                    txn.delete(Table.OUTBOX, sequence_key(number))
                yield txn
            self.chunks.forget(located)
            self._journaled.clear()
            if txn.sealed_batch is not None and txn.sealed_sequence is not None:
                self._journal(txn.sealed_sequence, txn.sealed_batch)
        if txn.sealed_sequence is not None:
            self.poke()

    def poke(self) -> None:
        """Have everybody who waits for news look."""
        for hook in self._after_write:
            hook()

    def flush(self) -> None:
        """Make every object put so far durable and visible to all processes."""
        if self._journaled or not self.chunks.is_settled:
            with self.write():
                pass

    def hold(self) -> AbstractContextManager[None]:
        """
        Have gc leave what the block puts, or takes out of trees, until records name it or the block ends.

        What is put outside of such blocks is held until the process rests, or ends.
        """
        return self.chunks.holds.hold()

    def hold_on(self) -> None:
        """Hold until the process rests or ends, as a put does: for who takes something out of trees first."""
        self.chunks.holds.hold_by_put()

    def rest(self) -> None:
        """Have gc wait no longer for what was put outside of `hold` blocks; see `resting`."""
        self.resting()()

    def resting(self) -> Callable[[], None]:
        """
        Say that no operation outside of `hold` blocks is under way; return the slow half, for any thread.

        For processes that live long.  The slow half flushes, and lets go of packs that gc wants.
        """
        end = self.chunks.holds.turn()

        def settle() -> None:
            self._index_all()
            self.chunks.leave_condemned_packs()
            self._index_all()
            end()

        return settle

    def _index_all(self) -> None:
        if not self.chunks.is_settled:
            with self.write():
                pass

    def _journal(self, sequence: int, batch: bytes) -> None:
        try:
            self.chunks.append_journal(batch)
        except (OutOfSpaceError, StoreError) as error:
            # The change itself is safe in the index; its batch stays in the outbox.
            log.warning("batch %d is not in a pack yet: %s", sequence, error)
        else:
            self._journaled.append(sequence)

    def _recover_from_power_cut(self) -> None:
        """The first to open the store in a life of the machine looks at what the end of the last one has left."""
        known = self.run / "boot"
        boot = this_boot().hex()
        if not known.exists() or known.read_text() != boot:
            self.chunks.recover()
            with suppress(OSError):
                # On a full disk the next one looks again.
                known.write_text(boot)

    def _empty_outbox(self) -> None:
        """Write batches to a pack that a crash of their writer kept from it."""
        with self.read() as txn:
            waiting = list(txn.scan(Table.OUTBOX))
        for key, value in waiting:
            sequence = int.from_bytes(key, "big")
            try:
                is_alive, batch = split_outbox(value)
            except StoreError as error:
                # It stays where it is: a pack must not take what a replay could not read.
                log.error("batch %d in the outbox is damaged: %s", sequence, error)
                continue
            if not is_alive:
                self._journal(sequence, batch)

    def after_write(self, hook: Callable[[], None]) -> None:
        """Have *hook* called, outside any transaction, when this process has changed a journaled table."""
        self._after_write.append(hook)

    def check_readers(self) -> int:
        """Free what dead processes hold in the index."""
        return self._index.check_readers()

    def close(self) -> None:
        """Flush and close.  The store must not be used afterwards."""
        with self._lock:
            try:
                self.flush()
            finally:
                self.chunks.close()
                self._index.close()
                os.close(self._open_lock)


def _make_folders(root: Path) -> None:
    """Make what is missing, and have it survive power loss before anything in it is promised."""
    missing = [name for name in _FOLDERS if not (root / name).is_dir()]
    for name in missing:
        (root / name).mkdir(mode=0o700, exist_ok=True)
    if missing:
        sync_folder(root)


def lock_store(root: Path, *, exclusive: bool) -> int:
    """
    Lock the store and return the descriptor that holds the lock.

    Shared by all who have the store open; exclusive for who replaces its index.  ConflictError
    names who is in the way.
    """
    flags = os.O_RDONLY if _is_on_read_only_disk(root) else os.O_RDWR | os.O_CREAT
    fd = os.open(root / "store.lock", flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        why = (
            "other processes have it open; stop them (`pfs down`)"
            if exclusive
            else "its index is being rebuilt, or it is being repaired"
        )
        raise StoreInUseError(f"the store in {root} cannot be opened: {why}") from None
    return fd


def _refuse_lost_index(root: Path) -> None:
    """An empty index beside packs would number batches and packs from the start, and ruin both."""
    if any((root / PACKS).iterdir()):
        raise LostIndexError(
            f"the store in {root} has lost its index; `pfs fsck --rebuild-index` makes it anew"
        )


def _make_index(root: Path) -> None:
    """
    Make the index of a new store, so that after a power cut there is a whole one or none.

    Two processes may do so at once: rename lets exactly one of the two win.
    """
    draft = Path(tempfile.mkdtemp(prefix="index-", dir=root / "run"))
    Index(draft).close()
    try:
        draft.rename(root / INDEX)
    except OSError as error:
        shutil.rmtree(draft)
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise StoreError(f"{root / INDEX} cannot be made: {error.strerror}") from error
    sync_folder(root)


def read_or_make_format(root: Path) -> Format:
    path = root / "format.json"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return _make_format(root, path)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    try:
        found = msgspec.json.decode(data, type=Format)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnknownFormatError(f"{path} is not the format file of a store: {error}") from error
    if found.format != FORMAT:
        raise UnknownFormatError(
            f"the store in {root} has format {found.format}; this pfs knows format {FORMAT}. "
            "Use the version of pfs that wrote it."
        )
    if found.chunking != chunker.CUTTING.recorded():
        raise UnknownFormatError(f"the store in {root} cuts its chunks differently: {found.chunking}")
    return found


def store_id(root: Path, found: Format) -> bytes:
    """
    Return the id of the store; UnknownFormatError if it is none, or not the one that its packs name.

    Under a wrong id nothing in the packs could be told from the records of another store.
    """
    try:
        named = bytes.fromhex(found.store)
    except ValueError:
        named = b""
    in_packs = id_in_packs(root / PACKS)
    if len(named) != STORE_ID_BYTES or in_packs not in (None, named):
        raise UnknownFormatError(
            f"{root / 'format.json'} does not name the store that the packs belong to; "
            "`pfs fsck --repair` mends it"
        )
    return named


def _make_format(root: Path, path: Path) -> Format:
    _make_root(root)
    others = [e.name for e in root.iterdir() if e.name != "run" and not e.name.startswith(".format")]
    if others and path.exists():
        # Another process made the store while this one looked.
        return read_or_make_format(root)
    if others:
        raise StoreError(
            f"{root} is neither empty nor a store: format.json is missing; choose another PFS_ROOT"
        )
    os.chmod(root, 0o700)
    made = Format(FORMAT, secrets.token_hex(16), chunker.CUTTING.recorded())
    # Two processes may start at once: link() lets exactly one of the two files win.
    draft = root / f".format-{os.getpid()}-{threading.get_ident()}"
    with open(draft, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(made)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        return msgspec.json.decode(path.read_bytes(), type=Format)
    finally:
        draft.unlink()
    sync_folder(root)
    return made


def _make_root(root: Path) -> None:
    """Make the folder of a new store; whatever of its path is new survives power loss."""
    missing = [each for each in (root, *root.parents) if not each.exists()]
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in missing:
        sync_folder(each.parent)


def _is_on_read_only_disk(root: Path) -> bool:
    return root.exists() and bool(os.statvfs(root).f_flag & os.ST_RDONLY)


def _refuse_network_file_system(root: Path) -> None:
    """LMDB's locks and memory map work on a local file system only."""
    kind = file_system_of(root)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise StoreError(
            f"{root} is on a network file system ({kind}); the index needs a local disk. Set PFS_ROOT to one."
        )


def file_system_of(path: Path) -> str:
    """Return the type of the file system that *path* (which may not exist yet) is or will be on."""
    target = os.path.realpath(path)
    best = ("", "unknown")
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            _, point, kind, *_ = line.split(" ")
            point = point.replace("\\040", " ")
            inside = target == point or target.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best[0]):
                best = (point, kind)
    return best[1]
