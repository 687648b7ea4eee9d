"""
The life of open commits in the mount: who starts them, who adds to them, when they are finished.

A finish goes through these steps; until the gate closes, writers go on undisturbed:

1. handles that are open for writing are named and the finish refused, or cut off, or, when the
   mount finishes by itself, known to be idle;
2. the kernel writes back what it holds of their files;
3. the bytes of all changed files go into the store, in threads;
4. the gate closes: whoever wants to write waits, and will write into the next commit;
5. the tree is built and the commit and the head are written, in a thread;
6. the places show the finished commit, with the inodes they had, and the gate opens.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import trio

from ..errors import ConflictError, NotFoundError, OutOfSpaceError, PfsError, StoreError
from ..ids import RepoName
from ..store.index import Table
from ..store.store import Store
from ..trees.contents import Contents
from ..trees.entry import Entry, Kind
from ..trees.node import entry_references
from ..versions.changesets import (
    Append,
    Change,
    Delete,
    MakeDirectory,
    Primitive,
    PutTree,
    apply_one,
    check_changes,
)
from ..versions.commits import BranchHasOpenCommitError
from ..versions.model import BranchRef, Commit
from ..versions.overlay import Overlay
from ..versions.owner import NoOpenCommitError, OpenCommit, commit_changes
from ..versions.repos import find_repo
from ..versions.staged import Node, StagedFile
from ..versions.staged_tree import Found
from .guard import unexpected
from .handles import FileHandle
from .home import BranchHome, detach
from .kernel import Kernel
from .places import LivePlace
from .vfs import Vfs

log = logging.getLogger(__name__)

AUTOCOMMIT_S = 2.0
"""Seconds without a change, and without an open writer, after which a commit is finished by itself."""

IDLE_WRITER_S = 60.0
"""Seconds after which a handle that is open for writing, but not written, counts no more."""

_LOOK_EVERY_S = 0.1
_RETRY_S = 5.0
_RELEASE_S = 1.0

_BATCH_FILES = 64
_BATCH_BYTES = 1 << 20


class UnflushedError(StoreError):
    """A change set names bytes that its maker has not made visible to others."""

    def __init__(self, path: tuple[bytes, ...]) -> None:
        shown = b"/".join(path).decode("utf-8", "backslashreplace")
        super().__init__(
            f"the bytes of /{shown} are not in the store; flush the store before handing them over"
        )


class Commits:
    """See the module."""

    def __init__(self, vfs: Vfs, kernel: Kernel, *, autocommit_s: float = AUTOCOMMIT_S) -> None:
        self.vfs = vfs
        self.kernel = kernel
        self.autocommit_s = autocommit_s
        self._stale_in, self._stale_out = trio.open_memory_channel[list[tuple[int, bytes]]](math.inf)
        vfs.upper.forget_later = self.forget_later
        self._not_before: dict[BranchRef, float] = {}

    @property
    def store(self) -> Store:
        return self.vfs.store

    # Starting and adding

    async def start(self, ref: BranchRef, *, description: str = "") -> Commit:
        """Start a commit by name; it is finished by name only.  BranchHasOpenCommitError."""
        found = await trio.to_thread.run_sync(self.vfs.owner.find, ref)
        if found is not None:
            raise BranchHasOpenCommitError(ref, found.record.id)
        opened = await trio.to_thread.run_sync(
            lambda: self.vfs.owner.start(ref, description=description, explicit=True)
        )
        home = self.vfs.upper.home(ref)
        if home.opened is None:
            home.adopt(opened)
        return opened.record

    async def apply(self, ref: BranchRef, changes: Sequence[Change], *, description: str = "") -> Commit:
        """
        Apply a change set of another process: into the open commit, or as a finished commit of its own.

        Durable at return.  UnflushedError if it names bytes that are not in the store.
        """
        with self.store.hold():
            return await self._apply(ref, changes, description)

    async def _apply(self, ref: BranchRef, changes: Sequence[Change], description: str) -> Commit:
        await trio.to_thread.run_sync(self._refuse_missing, changes)
        while True:
            home = self._home_if_any(ref)
            if home is not None and home.opened is not None:
                return await self._apply_to_open(home, changes)
            try:
                made = await trio.to_thread.run_sync(
                    lambda: commit_changes(self.store, self.vfs.trees, ref, changes, description=description)
                )
            except BranchHasOpenCommitError:
                if not await self._adopt_found(ref):
                    # A job's: only its maker writes it.
                    raise
                continue
            await self.refresh([ref])
            return made

    def _home_if_any(self, ref: BranchRef) -> BranchHome | None:
        try:
            return self.vfs.upper.home(ref)
        except NotFoundError:
            return None

    async def _adopt_found(self, ref: BranchRef) -> bool:
        """Show the open commit of a branch that another process has started; say whether there is one."""
        opened = await trio.to_thread.run_sync(self.vfs.owner.find, ref)
        home = self._home_if_any(ref)
        if opened is not None and home is not None and home.opened is None:
            home.adopt(opened)
        return opened is not None

    def _refuse_missing(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if isinstance(change, Delete):
                continue
            for object_id, _ in entry_references(change.entry):
                if not self.store.chunks.has(object_id):
                    raise UnflushedError(change.path)

    async def _apply_to_open(self, home: BranchHome, changes: Sequence[Change]) -> Commit:
        # What the kernel still holds of a file that is appended to comes first.
        await self.kernel.forget_inodes([place.ino for place in self._known(home, changes) if place.ino])
        overlay = await home.begin()
        opened = home.opened
        assert opened is not None
        home.relinked.clear()
        stale: list[tuple[int, bytes]] = []
        for change in check_changes(overlay, changes):
            before = overlay.resolve(change.path)
            size = _size_of(before)
            apply_one(overlay, change)
            stale += self._show_change(home, change, before, size)
        relinked = list(home.relinked)
        await trio.to_thread.run_sync(overlay.sync_step())
        await self.kernel.forget_names(stale)
        await self.kernel.forget_inodes(relinked)
        return opened.record

    def _known(self, home: BranchHome, changes: Sequence[Change]) -> list[LivePlace]:
        found = [known_place(home, change.path) for change in changes if isinstance(change, Append)]
        # Which files a tree is appended to is seen when it is applied, so all that are known count.
        for change in changes:
            if isinstance(change, PutTree) and change.append:
                found += self._known_below(home, change.path)
        return [place for place in found if place is not None]

    def _known_below(self, home: BranchHome, path: tuple[bytes, ...]) -> list[LivePlace | None]:
        top = known_place(home, path) if path else home.root
        found = [top] if top is not None else []
        for place in found:  # grows while it runs
            found += place.children.values()
        return [place for place in found if not place.is_directory]

    def _show_change(
        self, home: BranchHome, change: Primitive, before: Found | None, size: int
    ) -> list[tuple[int, bytes]]:
        """Have the places agree with a change that was just applied; return the stale names."""
        if not change.path:
            stale = [(home.root.ino, name) for name in home.root.children]
            for place in list(home.root.children.values()):
                detach(place)
            return stale
        overlay = home.overlay
        assert overlay is not None
        parent = home.root
        for length, element in enumerate(change.path[:-1], 1):
            # The change staged the directories on the way.
            below = parent.children.get(element)
            if below is None:
                return [(parent.ino, element)]
            parent = below
            _show_staged(parent, overlay, change.path[:length])
        name = change.path[-1]
        known = parent.children.get(name)
        if isinstance(change, MakeDirectory) and known is not None and known.is_directory:
            _show_staged(known, overlay, change.path)
            return [(parent.ino, name)]
        if known is not None:
            found = overlay.resolve(change.path)
            if (
                isinstance(change, Append)
                and before is not None
                and before.kind == Kind.FILE
                and found is not None
            ):
                home.supersede(known, found, size, change.entry.size)
            else:
                home.unnamed(known, parent, name)
        return [(parent.ino, name)]

    # Finishing

    async def finish(
        self,
        ref: BranchRef,
        *,
        description: str | None = None,
        error: str = "",
        force: bool = False,
    ) -> Commit:
        """
        Finish the open commit of a branch; durable at return.

        NoOpenCommitError; ConflictError naming the files that are open for writing, unless *force*:
        then what is written to them later fails with EIO.
        """
        if not force:
            home = await self.ready_to_finish(ref)
            return await self._finish(home, description=description, error=error)
        home = await self._home_with_found(ref)
        await self._flush_writers(home)
        cut = list(home.writers)
        for handle in cut:
            handle.is_cut = True
        done = await self._finish(home, description=description, error=error)
        self._part_from(cut)
        return done

    async def ready_to_finish(self, ref: BranchRef) -> BranchHome:
        """Return the home of a branch on which nobody has a file open for writing; ConflictError."""
        home = await self._home_with_found(ref)
        await home.writers_gone(_RELEASE_S)
        self.vfs.refuse_writers(home)
        return home

    async def _home_with_found(self, ref: BranchRef) -> BranchHome:
        home = self.vfs.upper.home(ref)
        if home.opened is None:
            await self._adopt_found(ref)
        return home

    def _part_from(self, cut: list[FileHandle]) -> None:
        """
        Give the files of cut handles new inodes.

        The kernel goes on taking writes into the pages of the old ones; nobody else may see those.
        """
        stale: list[tuple[int, bytes]] = []
        for handle in cut:
            place = handle.place
            if isinstance(place, LivePlace) and place.parent is not None and not place.is_detached:
                stale.append((place.parent.ino, place.name))
                detach(place)
        self.forget_later(stale)

    async def _flush_writers(self, home: BranchHome) -> None:
        await self.kernel.forget_inodes(sorted({h.place.ino for h in home.writers}))

    async def _finish(
        self,
        home: BranchHome,
        *,
        description: str | None = None,
        error: str = "",
    ) -> Commit:
        async with self.closed(home) as opened:
            done = await trio.to_thread.run_sync(
                lambda: self.vfs.owner.seal(opened, description=description, error=error)
            )
            assert done.root is not None
            home.settle(done.root)
            self.vfs.owner.settle(opened)
        if done.error:
            # The mount shows the newest commit without error: what was just settled goes again.
            await self.refresh([home.ref])
        return done

    @asynccontextmanager
    async def closed(self, home: BranchHome) -> AsyncIterator[OpenCommit]:
        """Give the open commit of a branch with all its bytes stored; who wants to change it waits meanwhile."""
        async with home.finish_lock:
            opened = home.opened
            if opened is None:
                raise NoOpenCommitError(home.ref)
            await self._flush_writers(home)
            home.hold_stored(self.store)
            await self._ingest(home)
            home.gate = trio.Event()
            try:
                yield opened
            finally:
                home.gate.set()
                home.gate = None

    async def snapshot(self, ref: BranchRef) -> Entry:
        """
        Return the tree that the open commit of a branch has now, readable by every process.

        The commit stays open.  What programs have written and not yet flushed is in it as well.
        """
        home = self.vfs.upper.home(ref)
        if home.opened is None:
            await self._adopt_found(ref)
        async with self.closed(home) as opened:
            root = await trio.to_thread.run_sync(opened.overlay.seal)
        await trio.to_thread.run_sync(self.store.flush)
        return root

    def release_stored(self) -> None:
        """End the holds of open commits whose bytes are stored; they are stored again when they are finished."""
        for home in self.vfs.upper.homes.values():
            if home.overlay is not None and not home.finish_lock.locked():
                home.overlay.forget_ingested()
                home.release_stored()

    async def _ingest(self, home: BranchHome) -> None:
        """Put the bytes of changed files into the store while writers go on; what changes again waits for the gate."""
        overlay = home.overlay
        assert overlay is not None
        for files in _batches(overlay.unsealed_files()):
            steps = [overlay.ingest_step(file) for file in files]
            stored = await trio.to_thread.run_sync(_stored, [store for _, store in steps])
            for file, (version, _), contents in zip(files, steps, stored, strict=True):
                overlay.ingested(file, version, contents)

    async def finish_by_themselves(self) -> None:
        """Finish quiet commits, for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(_LOOK_EVERY_S)
                now = time.monotonic()
                for home in [h for h in self.vfs.upper.homes.values() if h.opened is not None]:
                    if home.processes.any_killed():
                        home.is_held = True
                    with unexpected(f"looking at the commit on {home.ref}"):
                        if self._is_due(home, now):
                            self._not_before[home.ref] = now + _RETRY_S
                            nursery.start_soon(self._finish_quietly, home)

    def _is_due(self, home: BranchHome, now: float) -> bool:
        opened = home.opened
        if opened is None or opened.record.explicit or home.finish_lock.locked():
            return False
        if home.is_held or home.has_half_files():
            return False
        quiet = now - home.changed_at
        if quiet < _LOOK_EVERY_S or any(now - h.used_at < IDLE_WRITER_S for h in home.at_work()):
            return False
        wanted = self._autocommit_of(home)
        return 0 <= wanted <= quiet and now >= self._not_before.get(home.ref, 0.0)

    def _autocommit_of(self, home: BranchHome) -> float:
        with self.store.read() as txn:
            found = find_repo(txn, home.ref.repo)
        own = found.autocommit_s if found is not None else None
        return self.autocommit_s if own is None else own

    async def _finish_quietly(self, home: BranchHome) -> None:
        with unexpected(f"finishing the commit on {home.ref}"):
            try:
                await self._finish(home)
            except OutOfSpaceError as error:
                log.warning("commit on %s stays open: %s", home.ref, error)
            except PfsError:
                log.exception("commit on %s stays open", home.ref)
            else:
                self._not_before.pop(home.ref, None)

    def branch_of(self, place: LivePlace) -> BranchRef | None:
        """Return the branch whose root *place* is, or None."""
        home = place.home
        return home.ref if isinstance(home, BranchHome) and place is home.root else None

    def hold(self, handle: FileHandle) -> None:
        """Keep the commit that a killed process was writing open until it is written again or finished by hand."""
        place = handle.place
        if (
            isinstance(place, LivePlace)
            and isinstance(place.home, BranchHome)
            and place.home.opened is not None
        ):
            place.home.is_held = True

    def forget_later(self, names: list[tuple[int, bytes]]) -> None:
        """Have the kernel forget names when it can: the caller may be answering it right now."""
        names = [(ino, name) for ino, name in names if ino]
        if names:
            self._stale_in.send_nowait(names)

    async def forget_stale(self) -> None:
        """Tell the kernel of names that were put off, for ever."""
        async for names in self._stale_out:
            with unexpected("telling the kernel of changed names"):
                await self.kernel.forget_names(names)

    async def drop(self, ref: BranchRef) -> None:
        """Throw the open commit of a branch away."""
        home = self.vfs.upper.home(ref)
        async with home.finish_lock:
            opened = home.opened
            if opened is None:
                raise NoOpenCommitError(ref)
            if home.writers:
                raise ConflictError("files are open for writing; close them first")
            stale = home.dropped()
            await trio.to_thread.run_sync(self.vfs.owner.drop, opened)
        await self.kernel.forget_names(stale)
        # Names that were made in it may be in a listing though nobody has looked them up.
        await self.kernel.forget_inodes([home.root.ino])

    # What others did

    async def refresh(self, refs: Sequence[BranchRef]) -> None:
        """Show what other processes committed, and have the kernel forget what is no longer true."""
        stale: list[tuple[int, bytes]] = []
        touched: list[int] = []
        for ref in refs:
            names, inodes = self.vfs.upper.refresh(ref)
            stale += names
            touched += inodes
        await self.kernel.forget_names([(ino, name) for ino, name in stale if ino])
        await self.kernel.forget_inodes([ino for ino in touched if ino])

    async def refresh_all(self, touched: Sequence[tuple[Table, bytes]]) -> None:
        """Show what the change log names."""
        changed_repos = {key for table, key in touched if table is Table.REPOS}
        with self.store.read() as txn:
            for home in list(self.vfs.upper.homes.values()) if changed_repos else ():
                found = find_repo(txn, home.ref.repo)
                home.set_quota(found.quota_bytes if found is not None else None)
            names = [RepoName(key.decode()) for key in changed_repos]
            deleted = [name for name in names if find_repo(txn, name) is None]
        keys = {key for table, key in touched if table is Table.BRANCHES}
        await self.refresh(
            [
                ref
                for ref in list(self.vfs.upper.homes)
                if b"%s\0%s" % (ref.repo.encode(), ref.branch.encode()) in keys
            ]
        )
        await self.kernel.forget_names(
            [each for name in deleted for each in self.vfs.upper.forget_repo(name)]
        )


def _batches(files: Sequence[StagedFile]) -> Iterator[list[StagedFile]]:
    """Yield *files* in portions that are worth a trip to a thread."""
    batch: list[StagedFile] = []
    size = 0
    for file in files:
        batch.append(file)
        size += file.size
        if len(batch) == _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _stored(steps: Sequence[Callable[[], Contents]]) -> list[Contents]:
    return [step() for step in steps]


def _show_staged(place: LivePlace, overlay: Overlay, path: tuple[bytes, ...]) -> None:
    """Have the place of a directory show the staged node that there may be now."""
    found = overlay.resolve(path) if place.node is None else None
    if isinstance(found, Node):
        place.show(found, overlay)


def known_place(home: BranchHome, path: tuple[bytes, ...]) -> LivePlace | None:
    """Return the place at *path* if the kernel may know it."""
    place = home.root
    for name in path:
        below = place.children.get(name)
        if below is None:
            return None
        place = below
    return place


def _size_of(found: Found | None) -> int:
    return int(getattr(found, "size", 0)) if found is not None and found.kind == Kind.FILE else 0
