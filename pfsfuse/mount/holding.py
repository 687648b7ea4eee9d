"""
Open commits that stand still while another process finishes them in a transaction of its own.

The process asks for some branches, gets the content of their open commits, writes the store, and
ends its connection or says that it is done.  Meanwhile whoever wants to change one of them waits.
Whatever became of that process, the store says which commits it has finished: these are settled, the
others go on as they were.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import trio

from ..trees.entry import Entry
from ..versions.commits import find_commit
from ..versions.model import BranchRef, CommitRef
from ..versions.owner import OpenCommit
from .commits import Commits
from .home import BranchHome


@dataclass(frozen=True)
class _Held:
    home: BranchHome
    opened: OpenCommit
    root: Entry


@asynccontextmanager
async def holding(commits: Commits, refs: Sequence[BranchRef]) -> AsyncIterator[dict[CommitRef, Entry]]:
    """
    Keep the open commits of some branches as they are, and give their content, which is in the store.

    NoOpenCommitError; ConflictError naming the files that are open for writing.
    """
    held: list[_Held] = []
    async with AsyncExitStack() as stack:
        # In one order, so that two who hold several branches do not wait for each other.
        for ref in sorted(set(refs), key=str):
            home = await commits.ready_to_finish(ref)
            opened = await stack.enter_async_context(commits.closed(home))
            root = await trio.to_thread.run_sync(opened.overlay.seal)
            held.append(_Held(home, opened, root))
        await trio.to_thread.run_sync(commits.store.flush)
        try:
            yield {each.opened.record.ref: each.root for each in held}
        finally:
            failed = [each.home.ref for each in held if _settle(commits, each)]
    if failed:
        # The mount shows the newest commit without error: what was just settled goes again.
        await commits.refresh(failed)


def _settle(commits: Commits, each: _Held) -> bool:
    """Show a commit as finished if it is; say whether it was finished with an error."""
    with commits.store.read() as txn:
        ref = each.opened.record.ref
        found = find_commit(txn, ref.repo, ref.commit)
    if found is None or not found.is_finished or each.home.opened is not each.opened:
        return False
    each.home.settle(each.root)
    commits.vfs.owner.settle(each.opened)
    return bool(found.error)
