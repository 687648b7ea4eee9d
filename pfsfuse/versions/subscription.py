"""
Following a branch: its commits as they come, each once, parents first.

What is delivered is the line of the branch, from its head back to what was delivered before: new
commits of its own, and those that came to it when its head was moved by hand or by a trigger.  A head
that goes back brings nothing new.  Other branches, whatever their names begin with, do not matter.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..ids import CommitId
from ..store.index import ReadTxn
from ..store.store import Store
from .branches import find_branch
from .changes import Listener, watch
from .model import Branch, BranchRef, Commit, CommitState
from .records import ancestors, find_commit, head_of
from .repos import repo


class Subscription:
    """What one subscriber has been given."""

    def __init__(self, ref: BranchRef, *, after: Commit | None = None, state: CommitState) -> None:
        """
        Commits count from the state *state* on: open ones as well, or finished ones only.

        *after* is the last commit that the subscriber knows, with all before it; None: none.
        """
        self._ref = ref
        self._state = state
        self._delivered: set[CommitId] = set() if after is None else {after.id}

    def news(self, txn: ReadTxn) -> list[Commit]:
        """Return what was not delivered yet, oldest first; RepoNotFoundError.  A branch may come later."""
        line = find_branch(txn, repo(txn, self._ref.repo).name, self._ref.branch)
        if line is None:
            return []
        found: list[Commit] = []
        for each in self._line(txn, line):
            if each.id in self._delivered:
                break
            found.append(each)
        self._delivered.update(each.id for each in found)
        return found[::-1]

    def _line(self, txn: ReadTxn, line: Branch) -> Iterator[Commit]:
        opened = find_commit(txn, line.repo, line.open) if line.open is not None else None
        if opened is not None and self._state is CommitState.OPEN and opened.id not in self._delivered:
            yield opened
        yield from ancestors(txn, head_of(txn, line))


def subscribe(store: Store, subscription: Subscription) -> Iterator[Commit]:
    """Yield commits as they come, for ever.  Blocks the thread; RepoNotFoundError when the repo goes."""
    with Listener(store) as listener:
        for _ in watch(listener):
            with store.read() as txn:
                news = subscription.news(txn)
            yield from news
