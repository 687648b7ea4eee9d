"""
Views: directories that somebody else puts together, under .workers and .jobs.

/.workers/<worker>/ is what a worker container has as /pfs.  Whoever runs the container sets its
names for each run: immutable trees to read, and `out`, a fresh writable overlay.  Nothing is
copied or mounted for a run; setting a view is exchanging a dictionary.

/.jobs/<job>/<datum>/ shows what a run saw and wrote, from records in the store (`keep_view`).

The mount knows nothing of jobs: names and trees are all it is given.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec
import trio

from ..errors import ConflictError, NotFoundError
from ..store.index import ReadTxn, Table, WriteTxn
from ..store.store import Store
from ..trees.entry import Entry, Kind
from ..trees.tree import Trees
from ..versions.forks import fork_changes
from ..versions.overlay import Overlay
from .home import ScratchHome
from .inodes import Inodes
from .places import FrozenPlace, LivePlace, Place
from .wire import Sealed, Shown

OUT = b"out"
_KEPT = b"view\0"


class ViewNotFoundError(NotFoundError):
    """No view was set for this worker, or the mount was restarted since."""


class View:
    """The names of one worker's /pfs."""

    def __init__(self, names: dict[bytes, Place], home: ScratchHome | None) -> None:
        self.names = names
        self.home = home


class Views:
    """All views."""

    def __init__(self, store: Store, trees: Trees, scratch: Path) -> None:
        self._store = store
        self._trees = trees
        self._scratch = scratch
        self._views: dict[str, View] = {}
        self._serial = itertools.count()
        self._kept_roots: WeakValueDictionary[str, FrozenPlace] = WeakValueDictionary()

    # Set by the runner

    def set(self, worker: str, inputs: dict[bytes, Shown], out: Entry | None, *, writable: bool) -> None:
        """
        Have a worker see *inputs*, and with *writable* an `out` that starts as *out* (None: empty).

        An earlier view's `out` that was not sealed is thrown away.
        """
        self._discard(worker)
        names: dict[bytes, Place] = {}
        for name, shown in inputs.items():
            names[name] = FrozenPlace(shown.label, (), shown.entry)
        home = None
        if writable:
            folder = self._scratch / f"{worker}-{next(self._serial)}"
            base = out if out is not None else self._trees.empty_directory()
            # Whatever user the command runs as; no change of the root itself is ever looked at.
            base = msgspec.structs.replace(base, mode=0o777)
            home = ScratchHome(Overlay(self._trees, base, folder, objects=self._store.chunks))
            names[OUT] = home.root
        self._views[worker] = View(names, home)

    async def seal(self, worker: str) -> Sealed:
        """
        End the run: return what is in `out`, with all its bytes durable in the store.

        Writes to it fail from now on.  ViewNotFoundError, ConflictError if it is sealed already,
        and the error of a write that failed, whether or not the run cared: its output is not whole.
        """
        view = self._views.get(worker)
        if view is None or view.home is None:
            raise ViewNotFoundError(f"worker {worker} has no view with an output; set one first")
        home, overlay = view.home, view.home.overlay
        if home.is_sealed or overlay is None:
            raise ConflictError(f"the output of worker {worker} is sealed already")
        await _until_released(home)
        home.is_sealed = True
        if home.lost is not None:
            raise home.lost
        # Held before anything is stored, and after the job's own hold began: so gc waits for one of them.
        home.hold_stored(self._store)
        try:
            sealed = await trio.to_thread.run_sync(self._seal, overlay)
        except BaseException:
            # A full disk, perhaps: it may be tried again.
            home.is_sealed = False
            raise
        for node in overlay.root.staged():
            if isinstance(node.tag, LivePlace) and node.sealed is not None:
                node.tag.show(node.sealed, None)
        home.root.show(sealed.root, None)
        home.overlay = None
        overlay.discard()
        home.release_stored()
        return sealed

    def _seal(self, overlay: Overlay) -> Sealed:
        root = overlay.seal()
        changes = fork_changes(overlay, root, self._store.chunks)
        self._store.flush()
        return Sealed(root, changes)

    def drop(self, worker: str) -> None:
        """Forget a worker's view."""
        self._discard(worker)
        self._views.pop(worker, None)

    def _discard(self, worker: str) -> None:
        view = self._views.get(worker)
        if view is not None and view.home is not None and view.home.overlay is not None:
            view.home.is_sealed = True
            view.home.overlay.discard()
            view.home.overlay = None
            view.home.release_stored()

    def clear(self) -> None:
        """Forget all views; every output that was not sealed is thrown away."""
        for worker in list(self._views):
            self.drop(worker)

    # Asked by the vfs

    @staticmethod
    def is_area(parts: tuple[str, ...]) -> bool:
        """Say whether *parts* is a directory of views, not a view."""
        return parts == (".workers",) or (parts[0] == ".jobs" and len(parts) < 3)

    def exists(self, parts: tuple[str, ...]) -> bool:
        """Say whether there is a view, or a directory of views, with this way."""
        if parts[0] == ".workers":
            return parts[1] in self._views
        with self._store.read() as txn:
            return next(txn.scan(Table.DOCUMENTS, _kept_key(*parts[1:])), None) is not None

    def names(self, parts: tuple[str, ...]) -> list[str]:
        """Return the names in a view or in a directory of views."""
        if parts == (".workers",):
            return sorted(self._views)
        if parts[0] == ".workers":
            view = self._views.get(parts[1])
            return sorted(name.decode() for name in view.names) if view is not None else []
        with self._store.read() as txn:
            if len(parts) == 3:
                return sorted(name.decode() for name in kept_view(txn, parts[1], parts[2]))
            prefix = _kept_key(*parts[1:])
            keys = (
                key[len(prefix) :].split(b"\0")[0].decode() for key, _ in txn.scan(Table.DOCUMENTS, prefix)
            )
            return sorted(set(keys))

    def child(self, parts: tuple[str, ...], name: bytes, inodes: Inodes) -> Place | None:
        """Return what a name in a view stands for."""
        if parts[0] == ".workers":
            view = self._views.get(parts[1])
            return view.names.get(name) if view is not None else None
        with self._store.read() as txn:
            shown = kept_view(txn, parts[1], parts[2]).get(name)
        if shown is None:
            return None
        label = f"{'/'.join(parts)}/{name.decode()}"
        if shown.entry.kind == Kind.DIRECTORY:
            known = self._kept_roots.get(label)
            if known is None or known.entry != shown.entry:
                known = self._kept_roots[label] = FrozenPlace(shown.label, (), shown.entry)
            return known
        return inodes.frozen(shown.label, (name,), shown.entry, is_directory=False)


async def _until_released(home: ScratchHome) -> None:
    """Wait for the releases that the kernel sends after a process has ended; cut off who stays."""
    await home.writers_gone(5.0)
    for handle in home.writers:
        handle.is_cut = True


def _kept_key(*names: str) -> bytes:
    return _KEPT + b"".join(name.encode() + b"\0" for name in names)


def keep_view(txn: WriteTxn, job: str, datum: str, names: dict[bytes, Shown]) -> None:
    """Show what a run saw and wrote under /.jobs/<job>/<datum>/, until `forget_views`."""
    txn.put(Table.DOCUMENTS, _kept_key(job, datum), msgspec.msgpack.encode(names), journal=False)


def kept_view(txn: ReadTxn, job: str, datum: str) -> dict[bytes, Shown]:
    """Return what `keep_view` recorded; empty if nothing."""
    raw = txn.get(Table.DOCUMENTS, _kept_key(job, datum))
    return msgspec.msgpack.decode(raw, type=dict[bytes, Shown]) if raw is not None else {}


def forget_views(txn: WriteTxn, job: str) -> None:
    """Stop showing a job's views."""
    for key, _ in list(txn.scan(Table.DOCUMENTS, _kept_key(job))):
        txn.delete(Table.DOCUMENTS, key, journal=False)
