"""
Changing branches from a process that is not the mount.

While a mount runs it owns the open commits, so it is asked; otherwise this process takes the
ownership for a moment.  A mount that comes or goes meanwhile changes who does it, not what is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from ..errors import UnavailableError
from ..ids import CommitId
from ..store.store import Store
from ..trees.entry import Entry
from ..trees.tree import Trees
from ..versions.changesets import ChangeSet
from ..versions.model import BranchRef, CommitRef
from ..versions.owner import NoOpenCommitError, OpenCommit, OwnedElsewhereError, Owner, put_without_mount
from .client import MountClient

_TRIES_S = 15.0
"""A mount that starts has the ownership some time before it answers."""

Result = TypeVar("Result")


def _nothing() -> None:
    """What this process owns itself stays as it is."""


@dataclass(frozen=True)
class Held:
    """Open commits that stand still."""

    roots: Mapping[CommitRef, Entry]
    """Their content, which is in the store."""
    assure: Callable[[], None] = _nothing
    """UnavailableError if they stand still no more, because the mount has ended: a new one may go on with them."""


class Writing:
    """The changes that people and programs make to branches of one store."""

    def __init__(self, store: Store, trees: Trees) -> None:
        self._store = store
        self._trees = trees

    def start(self, ref: BranchRef, *, description: str = "") -> CommitId:
        """Start a commit that is finished by name only; BranchHasOpenCommitError."""
        return self._ask(
            lambda mount: mount.start(ref, description=description),
            lambda: self._owning(
                lambda owner: owner.start(ref, description=description, explicit=True).record.id
            ),
        )

    def finish(
        self, ref: BranchRef, *, description: str | None = None, error: str = "", force: bool = False
    ) -> CommitId:
        """Finish the open commit of a branch; NoOpenCommitError, ConflictError while it is written."""
        return self._ask(
            lambda mount: mount.finish(ref, description=description, error=error, force=force),
            lambda: self._owning(
                lambda owner: owner.finish(_open(owner, ref), description=description, error=error).id
            ),
        )

    def drop(self, ref: BranchRef) -> None:
        """Throw the open commit of a branch away; NoOpenCommitError."""
        self._ask(
            lambda mount: mount.drop(ref),
            lambda: self._owning(lambda owner: owner.drop(_open(owner, ref))),
        )

    def apply(self, ref: BranchRef, changes: ChangeSet, *, description: str = "") -> tuple[CommitId, bool]:
        """
        Make *changes*: in the branch's open commit, or as a finished commit of their own.

        Returns the commit and whether it is finished; durable at return.  The objects that the
        changes name become visible to the owner first.
        """
        self._store.flush()
        return self._ask(
            lambda mount: mount.apply(ref, changes, description=description),
            lambda: self._put(ref, changes, description),
        )

    @contextmanager
    def holding(self, refs: Sequence[BranchRef]) -> Iterator[Held]:
        """
        Keep the open commits of some branches as they are inside the block, and give their content.

        For who finishes them in a transaction of the store.  NoOpenCommitError; ConflictError while
        they are written.
        """
        if not refs:
            yield Held({})
            return
        with self._asked() as asked:
            if isinstance(asked, Owner):
                with asked.holding(refs) as roots:
                    yield Held(roots)
            else:
                roots = asked.hold(refs)
                try:
                    yield Held(roots, asked.assure)
                finally:
                    # A mount that has ended holds nothing.
                    with suppress(UnavailableError):
                        asked.release()

    @contextmanager
    def _asked(self) -> Iterator[MountClient | Owner]:
        """Give a connection to the mount, or the ownership where no mount runs."""
        deadline = time.monotonic() + _TRIES_S
        asked: MountClient | Owner | None = None
        while asked is None:
            try:
                asked = MountClient(self._store.run)
            except UnavailableError:
                try:
                    asked = Owner(self._store, self._trees)
                except OwnedElsewhereError:
                    if time.monotonic() >= deadline:
                        raise
                    time.sleep(0.05)
        try:
            yield asked
        finally:
            asked.close()

    def _put(self, ref: BranchRef, changes: ChangeSet, description: str) -> tuple[CommitId, bool]:
        made = put_without_mount(self._store, self._trees, ref, changes, description=description)
        return made.id, made.is_finished

    def snapshot(self, ref: BranchRef) -> Entry:
        """
        Return the tree that the open commit of a branch has now; NoOpenCommitError.

        It is the tree that the commit would be finished with, so who reads it finds the same afterwards.
        """
        return self._ask(lambda mount: mount.snapshot(ref), lambda: self._snapshot(ref))

    def _snapshot(self, ref: BranchRef) -> Entry:
        owner = Owner(self._store, self._trees)
        half: list[BranchRef] = []
        try:
            opened = _open(owner, ref)
            # What may be half of a copy does not become whole by being looked at.
            half += [ref] if opened.is_recovered else []
            return opened.overlay.seal()
        finally:
            owner.close(half=half)

    def barrier(self) -> bool:
        """Return when a mount, if one runs, shows all that was committed before; say whether one runs."""
        try:
            mount = MountClient(self._store.run)
        except UnavailableError:
            return False
        with mount:
            mount.barrier()
        return True

    def _ask(self, by_mount: Callable[[MountClient], Result], by_self: Callable[[], Result]) -> Result:
        deadline = time.monotonic() + _TRIES_S
        while True:
            try:
                mount = MountClient(self._store.run)
            except UnavailableError:
                try:
                    return by_self()
                except OwnedElsewhereError:
                    if time.monotonic() >= deadline:
                        raise
                    time.sleep(0.05)
            else:
                with mount:
                    return by_mount(mount)

    def _owning(self, work: Callable[[Owner], Result]) -> Result:
        owner = Owner(self._store, self._trees)
        try:
            return work(owner)
        finally:
            owner.close()


def _open(owner: Owner, ref: BranchRef) -> OpenCommit:
    found = owner.find(ref)
    if found is None:
        raise NoOpenCommitError(ref)
    return found
