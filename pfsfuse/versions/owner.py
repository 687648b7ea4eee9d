"""
The owner of open commits.

While the mount runs it owns every open commit that people write; without a mount, the process that
needs one takes the ownership for a moment.  An flock on staging/owner.lock says who it is.
Commits of pipelines (origin AUTO) are not its business: their maker finishes them with a tree.

Invariants:

- O1  only the owner changes anything under staging/;
- O2  an open commit of origin USER has its staging folder, or has no changes yet.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import ConflictError, PfsError, ReadOnlyDiskError
from ..store.index import Table
from ..store.store import Store
from ..trees.entry import Entry
from ..trees.tree import Trees
from .branches import StaleHeadError, create_branch, find_branch
from .changesets import ChangeSet, apply_to_overlay, apply_to_tree
from .commits import NoOpenCommitError as NoOpenCommitError
from .commits import (
    base_root,
    commit,
    drop_open_commit,
    find_commit,
    finish_commit,
    newest_good,
    start_commit,
)
from .model import Branch, BranchRef, Commit, CommitRef, Origin, decode
from .overlay import Overlay
from .quotas import refuse_over_quota
from .repos import repo

log = logging.getLogger(__name__)


class OwnedElsewhereError(ConflictError):
    """Another process owns the open commits."""


class OpenCommit:
    """An open commit and its content."""

    def __init__(self, record: Commit, overlay: Overlay) -> None:
        self.record = record
        self.overlay = overlay

    @property
    def branch(self) -> BranchRef:
        return BranchRef(self.record.repo, self.record.branch)

    @property
    def is_recovered(self) -> bool:
        """Whether it was found with changes that an earlier process had made."""
        return self.overlay.recovered


class Owner:
    """The right to change open commits, held from creation to `close`."""

    def __init__(self, store: Store, trees: Trees, *, wait_s: float = 0.0) -> None:
        """
        Take the ownership, waiting up to *wait_s*; OwnedElsewhereError if another process keeps it.

        ReadOnlyDiskError on a read-only disk.
        """
        if store.is_read_only:
            raise ReadOnlyDiskError
        self.store = store
        self.trees = trees
        self._lock = _take_lock(store.staging / "owner.lock", wait_s)
        self.open: dict[BranchRef, OpenCommit] = {}
        self._starting = threading.RLock()
        """One journal must not be opened twice: threads take turns to find and start commits."""

    def recover(self) -> list[OpenCommit]:
        """Open the staging of every open commit that earlier owners left, and remove staging of others."""
        with self.store.read() as txn:
            records = [decode(raw, Branch) for _, raw in txn.scan(Table.BRANCHES)]
            opened = [commit(txn, b.repo, b.open) for b in records if b.open is not None]
        for record in opened:
            if record.origin is Origin.USER:
                self._recover_one(record)
        wanted = {staging_name(record) for record in opened}
        for entry in os.scandir(self.store.staging):
            if entry.is_dir() and entry.name not in wanted:
                shutil.rmtree(entry.path)
            elif entry.name.startswith("orphan-"):
                os.unlink(entry.path)
        return list(self.open.values())

    def _recover_one(self, record: Commit) -> None:
        try:
            self._adopt(record)
        except PfsError as error:
            # The other commits go on; whoever wants to write this one is told the same.
            log.error("open commit %s cannot be recovered: %s", record.ref, error)

    def _adopt(self, record: Commit) -> OpenCommit:
        with self.store.read() as txn:
            base = base_root(txn, record)
            quota = repo(txn, record.repo).quota_bytes
        scratch = self.store.staging / staging_name(record)
        opened = OpenCommit(record, Overlay(self.trees, base, scratch, objects=self.store.chunks))
        opened.overlay.room.limit = quota
        self.open[opened.branch] = opened
        return opened

    def find(self, ref: BranchRef) -> OpenCommit | None:
        """Return the open commit of a branch, also one that another process has just started."""
        with self._starting:
            found = self.open.get(ref)
            if found is not None:
                return found
            with self.store.read() as txn:
                line = find_branch(txn, ref.repo, ref.branch)
                wanted = line.open if line is not None else None
                record = commit(txn, ref.repo, wanted) if wanted is not None else None
            if record is None or record.origin is not Origin.USER:
                return None
            return self._adopt(record)

    def find_or_start(self, ref: BranchRef) -> OpenCommit:
        """Return the open commit of a branch, starting one if there is none."""
        with self._starting:
            return self.find(ref) or self.start(ref)

    def start(self, ref: BranchRef, *, description: str = "", explicit: bool = False) -> OpenCommit:
        """Start a commit; BranchHasOpenCommitError, OutputBranchError, RepoNotFoundError."""
        with self._starting:
            with self.store.write() as txn:
                record = start_commit(txn, ref.repo, ref.branch, description=description, explicit=explicit)
            return self._adopt(record)

    def finish(self, opened: OpenCommit, *, description: str | None = None, error: str = "") -> Commit:
        """`seal` and `settle` in one, for a process where nobody else looks at the overlay."""
        done = self.seal(opened, description=description, error=error)
        self.settle(opened)
        return done

    def seal(self, opened: OpenCommit, *, description: str | None = None, error: str = "") -> Commit:
        """
        Seal an open commit and make it the head, durable at return.  May run in any thread.

        The caller keeps everybody from writing meanwhile, and calls `settle` when nobody looks at
        the overlay any more.  When it fails, the commit stays open with everything in it.
        """
        root = opened.overlay.seal()
        with self.store.write() as txn:
            return finish_commit(txn, opened.record.ref, root, description=description, error=error)

    @contextmanager
    def holding(self, refs: Sequence[BranchRef]) -> Iterator[dict[CommitRef, Entry]]:
        """
        Give the content of the open commits of some branches, for who finishes them in one transaction.

        Those that are finished when the block ends are settled.  NoOpenCommitError.
        """
        held: dict[CommitRef, OpenCommit] = {}
        for ref in refs:
            found = self.find(ref)
            if found is None:
                raise NoOpenCommitError(ref)
            held[found.record.ref] = found
        try:
            yield {ref: opened.overlay.seal() for ref, opened in held.items()}
        finally:
            with self.store.read() as txn:
                done = [find_commit(txn, ref.repo, ref.commit) for ref in held]
            for each in done:
                if each is not None and each.is_finished:
                    self.settle(held[each.ref])

    def settle(self, opened: OpenCommit) -> None:
        """Remove the staging of a commit that is finished."""
        del self.open[opened.branch]
        opened.overlay.discard()

    def forget(self, opened: OpenCommit) -> None:
        """Remove the staging of a commit whose branch or repo was deleted."""
        self.open.pop(opened.branch, None)
        opened.overlay.discard()

    def drop(self, opened: OpenCommit) -> None:
        """Throw an open commit away."""
        with self.store.write() as txn:
            drop_open_commit(txn, opened.record.ref)
        del self.open[opened.branch]
        opened.overlay.discard()

    def close(self, *, half: Collection[BranchRef] = ()) -> None:
        """
        Journal what is open and give the ownership up.

        The commits of the branches *half* may be half of something, as after a crash.
        """
        for opened in self.open.values():
            opened.overlay.close(in_good_order=opened.branch not in half)
        self.open.clear()
        os.close(self._lock)


def staging_name(record: Commit) -> str:
    """Return the name of an open commit's folder under staging/."""
    return f"{record.id.hex()}-{record.repo.replace('/', '+')}"


def commit_changes(
    store: Store,
    trees: Trees,
    ref: BranchRef,
    changes: ChangeSet,
    *,
    description: str = "",
) -> Commit:
    """
    Make one finished commit of *changes* on a branch that has no open commit; durable at return.

    The branch is made if it is new.  When another writer is faster it starts over from the
    new head, so no one's change is lost.  BranchHasOpenCommitError, OutputBranchError.
    """
    while True:
        with store.read() as txn:
            owner = repo(txn, ref.repo)
            line = find_branch(txn, ref.repo, ref.branch)
            good = newest_good(txn, line) if line is not None else None
        now = time.time_ns()
        base = (
            good.root if good is not None and good.root is not None else trees.empty_directory(mtime_ns=now)
        )
        root = apply_to_tree(trees, store.chunks, base, changes, mtime_ns=now)
        refuse_over_quota(owner, base, root)
        try:
            with store.write() as txn:
                current = find_branch(txn, ref.repo, ref.branch) or create_branch(txn, ref.repo, ref.branch)
                expected = line.head if line is not None else None
                if current.head != expected:
                    raise StaleHeadError(ref, expected, current.head)
                started = start_commit(txn, ref.repo, ref.branch, description=description)
                return finish_commit(txn, started.ref, root)
        except StaleHeadError:
            continue


def put_without_mount(
    store: Store, trees: Trees, ref: BranchRef, changes: ChangeSet, *, description: str = ""
) -> Commit:
    """
    Apply *changes* where no mount runs: into the branch's open commit, or as a commit of their own.

    OwnedElsewhereError if another process keeps the ownership for more than 10 s.
    """
    owner = Owner(store, trees, wait_s=10.0)
    try:
        opened = owner.find(ref)
        if opened is None:
            return commit_changes(store, trees, ref, changes, description=description)
        store.flush()
        apply_to_overlay(opened.overlay, changes)
        opened.overlay.sync()
        return opened.record
    finally:
        owner.close()


def _take_lock(path: Path, wait_s: float) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                raise OwnedElsewhereError(
                    "another process owns the open commits of this store (a mount that does not answer?); "
                    "see `pfs status`"
                ) from None
            time.sleep(0.02)
        else:
            return fd
