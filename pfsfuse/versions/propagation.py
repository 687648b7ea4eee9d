"""
What a change of branches causes downstream, at once and in the same transaction.

A branch with provenance says that its commits are made from those of other branches.  Two kinds:

- a pipeline makes them: its jobs do, later, with the id of the change (the floors above);
- nobody makes them: the branch is *propagated*.  Each change upstream gives it one finished commit
  with the id of the change, the heads of its provenance as provenance, and the content that it had.

So `repo@<id>` means something in every repo that a change reaches, and the graph of commits is whole
wherever people draw it by hand.  A propagated branch behind one that a pipeline makes gets its commit
when that one's is finished.

Several operations of one transaction share an id by calling with the same *change_id*: a branch that
has its commit of the change already is given the newer provenance instead of a second commit.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ..ids import CommitId, new_commit_id
from ..store.index import ReadTxn, WriteTxn
from ..trees.tree import empty_directory
from .branches import branch, downstream, find_branch, is_written_by_pipeline, put_branch
from .model import Branch, BranchRef, Commit, CommitRef, CommitState, Origin
from .records import add_commit, find_commit, newest_good, replace_commit
from .triggers import fire


def propagate(txn: WriteTxn, changed: Iterable[BranchRef], change_id: CommitId) -> list[Commit]:
    """Give the propagated branches downstream of *changed* their commits of a change; return these."""
    made: list[Commit] = []
    while changed:
        moved: list[BranchRef] = []
        for line in downstream(txn, changed, propagated_only=True):
            made.append(add_propagated(txn, line, change_id))
            moved += fire(txn, line, made[-1])
        # What a trigger moves is changed in turn.
        changed = moved
    return made


def add_propagated(txn: WriteTxn, line: Branch, change_id: CommitId) -> Commit:
    """Give one branch its commit of a change."""
    current = branch(txn, line.repo, line.name)
    provenance = heads(txn, current.provenance)
    known = find_commit(txn, line.repo, change_id)
    if known is not None and current.head == change_id:
        newer = msgspec.structs.replace(known, provenance=provenance)
        replace_commit(txn, known, newer)
        return newer
    # A repo has one commit of each id: a second branch of it, or a late change, takes another.
    is_free = known is None and not is_written_by_pipeline(txn, line.repo)
    commit_id = change_id if is_free else new_commit_id()
    good = newest_good(txn, current)
    return _add_finished(
        txn,
        current,
        Commit(
            current.repo,
            commit_id,
            current.name,
            CommitState.FINISHED,
            now := txn.now_ns(),
            parent=current.head,
            origin=Origin.AUTO,
            finished_ns=now,
            root=good.root if good is not None else empty_directory(mtime_ns=now),
            provenance=provenance,
            placeholder=current.head is None,
        ),
    )


def add_empty(txn: WriteTxn, ref: BranchRef, change_id: CommitId) -> Commit:
    """
    Give a branch without commits its empty first one.

    It keeps the graph whole and is no data: nothing follows from it.
    """
    line = branch(txn, ref.repo, ref.branch)
    assert line.head is None
    assert line.open is None
    now = txn.now_ns()
    return _add_finished(
        txn,
        line,
        Commit(
            line.repo,
            change_id if find_commit(txn, line.repo, change_id) is None else new_commit_id(),
            line.name,
            CommitState.FINISHED,
            now,
            origin=Origin.AUTO,
            finished_ns=now,
            root=empty_directory(mtime_ns=now),
            provenance=heads(txn, line.provenance),
            placeholder=True,
        ),
    )


def _add_finished(txn: WriteTxn, line: Branch, made: Commit) -> Commit:
    add_commit(txn, made)
    put_branch(txn, msgspec.structs.replace(line, head=made.id))
    return made


def heads(txn: ReadTxn, sources: Iterable[BranchRef]) -> tuple[CommitRef, ...]:
    """Return what a commit made from these branches now is made from: their newest good commits."""
    found = []
    for source in sources:
        line = find_branch(txn, source.repo, source.branch)
        used = newest_good(txn, line) if line is not None else None
        if used is not None:
            found.append(used.ref)
    return tuple(dict.fromkeys(found))
