"""
What a command works with: where the store is, the store itself, the screen.

PFS_ROOT is read here and nowhere else.  The store is opened when a command first asks for it.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from .context import active_transaction
from .screen import Screen

if TYPE_CHECKING:
    from pfsfuse.ids import CommitId
    from pfsfuse.mount.writing import Writing
    from pfsfuse.store.index import WriteTxn
    from pfsfuse.store.store import Store
    from pfsfuse.trees.tree import Trees
    from pfsfuse.versions.requests import Change, Request
    from pfsfuse.versions.transactions import Transaction

ROOT_VARIABLE = "PFS_ROOT"


def store_root() -> Path:
    """Return the folder of the store: $PFS_ROOT, else the usual place of root or of the user."""
    named = os.environ.get(ROOT_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    return Path("/var/lib/pfs") if os.geteuid() == 0 else Path.home() / ".local/share/pfs"


class Session:
    """One run of one command.  A context manager: it closes what was opened."""

    def __init__(self, screen: Screen, root: Path | None = None) -> None:
        self.screen = screen
        self.root = root or store_root()
        self._opened: Store | None = None

    @property
    def run(self) -> Path:
        """The run folder of the store, which may not exist yet."""
        return self.root / "run"

    @cached_property
    def store(self) -> Store:
        """The store; the others hear of what this process changes in it."""
        from pfsfuse.store.store import Store
        from pfsfuse.versions.changes import poke_after_writes

        self._opened = Store(self.root)
        poke_after_writes(self._opened)
        return self._opened

    @cached_property
    def trees(self) -> Trees:
        """The directories of the store."""
        from pfsfuse.trees.tree import Trees

        return Trees(self.store.chunks)

    @cached_property
    def writing(self) -> Writing:
        """The way to change branches, whether a mount runs or not."""
        from pfsfuse.mount.writing import Writing

        return Writing(self.store, self.trees)

    @cached_property
    def transaction(self) -> CommitId | None:
        """The transaction that this command is part of, if it is one that can be."""
        return active_transaction(self.root)

    def change(self, *requests: Request) -> list[CommitId | None]:
        """
        Do what is asked, all or nothing, or add it to the active transaction.

        Returns for each request the commit that it is about, if it is about one.
        """
        from pfsfuse.versions import transactions

        if self.transaction is None:
            done = transactions.batch(self.store, self.trees, requests, perform=_perform)
            return list(done.responses)
        answers = transactions.append(self.store, self.trees, self.transaction, *requests, perform=_perform)
        self.screen.note(f"added to transaction {self.transaction.hex()}")
        return answers

    def finish_transaction(self, transaction_id: CommitId) -> Transaction:
        """Do all that a transaction asks for, or nothing of it."""
        from pfsfuse.versions import transactions
        from pfsfuse.versions.model import BranchRef

        with self.store.read() as txn:
            opened = transactions.commits_to_seal(txn, transactions.transaction(txn, transaction_id))
        with self.writing.holding([BranchRef(each.repo, each.branch) for each in opened]) as held:
            return transactions.finish(
                self.store,
                self.trees,
                transaction_id,
                roots=held.roots,
                assure=held.assure,
                perform=_perform,
            )

    def close(self) -> None:
        """Close the store, opening it first if it was not; the next use opens it again."""
        self.store.close()
        self._opened = None
        for name in ("store", "trees", "writing"):
            self.__dict__.pop(name, None)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._opened is not None:
            self._opened.close()


def _perform(txn: WriteTxn, request: Request, change: Change) -> CommitId | None:
    """Do a request of any floor; what knows of pipelines is loaded when it is needed."""
    from pfsfuse.versions.requests import Foreign, perform

    if isinstance(request, Foreign):
        from runner.jobs.requests import perform_foreign

        return perform_foreign(txn, request, change)
    return perform(txn, request, change)
