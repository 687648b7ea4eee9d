"""
Changing what names what: heads and provenance of branches, with all that follows downstream.

These are what people's `create branch`, `update branch` and `delete branch` do.  Each is one change
with an id: given, where several operations of a transaction are one change, else a new one.  A head
that moves to a commit which exists gets no new commit, but a `Move` (moves.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ids import CommitId, new_commit_id
from ..store.index import WriteTxn
from .branches import (
    BranchInUseError,
    branch,
    create_branch,
    find_branch,
    move_head,
    set_provenance,
)
from .model import Branch, BranchRef
from .moves import note_move
from .propagation import add_empty, add_propagated, propagate
from .repos import repo


class MadeByPipelineError(BranchInUseError):
    """A pipeline makes this branch: what it is made from is said in the pipeline."""


def make_branch(
    txn: WriteTxn,
    ref: BranchRef,
    *,
    head: CommitId | None = None,
    provenance: Sequence[BranchRef] | None = None,
    change_id: CommitId | None = None,
) -> Branch:
    """
    Create a branch, or change the head or the provenance of one that exists; None leaves each as it is.

    BranchExistsError if there is nothing to change.  A branch that is made from others gets a commit
    at once, empty if it has no other content; so has every source that has none yet.
    """
    change = change_id or new_commit_id()
    known = find_branch(txn, ref.repo, ref.branch)
    if known is None or (head is None and provenance is None):
        create_branch(txn, ref.repo, ref.branch)
    if head is not None:
        set_head(txn, ref, head, change_id=change)
    if provenance is not None:
        change_provenance(txn, ref, provenance, change_id=change)
    return branch(txn, ref.repo, ref.branch)


def set_head(txn: WriteTxn, ref: BranchRef, to: CommitId, *, change_id: CommitId | None = None) -> Branch:
    """
    Point a branch at a finished commit of its repo: an older one, a newer one, one of another branch.

    What is made from the branch is made anew, under the id of the change.  Nothing happens if the
    branch is there already.  BranchInUseError while a commit is open; HeadOfOtherRepoError.
    """
    line = branch(txn, ref.repo, ref.branch)
    moved = move_head(txn, ref, to, expected=line.head)
    if line.head == to:
        return moved
    change = change_id or new_commit_id()
    if moved.propagated:
        # Its new content stands beside new provenance: a commit of its own says so.
        add_propagated(txn, moved, change)
    note_move(txn, ref, change, before=line.head)
    propagate(txn, [ref], change)
    return branch(txn, ref.repo, ref.branch)


def change_provenance(
    txn: WriteTxn, ref: BranchRef, provenance: Sequence[BranchRef], *, change_id: CommitId | None = None
) -> Branch:
    """
    Have a branch be made from *provenance*, or, if that is empty, from nothing: then people write it.

    MadeByPipelineError; BranchInUseError while a commit is open on it; ProvenanceLoopError.
    """
    line = branch(txn, ref.repo, ref.branch)
    wanted = tuple(dict.fromkeys(provenance))
    if line.provenance == wanted:
        return line
    if line.provenance and not line.propagated:
        raise MadeByPipelineError(f"branch {ref} is made by a pipeline; change its inputs there")
    if line.open is not None:
        raise BranchInUseError(f"branch {ref} has the open commit {line.open.hex()}; finish it first")
    change = change_id or new_commit_id()
    for source in wanted:
        if source != ref:
            _ensure_source(txn, source, change)
    changed = set_provenance(txn, ref, wanted, propagated=True)
    if not wanted:
        return changed
    add_propagated(txn, changed, change)
    note_move(txn, ref, change, before=line.head)
    propagate(txn, [ref], change)
    return branch(txn, ref.repo, ref.branch)


def _ensure_source(txn: WriteTxn, ref: BranchRef, change_id: CommitId) -> None:
    """Have a branch exist and, unless somebody is writing its first commit, have a commit."""
    line = find_branch(txn, ref.repo, ref.branch)
    if line is None:
        line = create_branch(txn, repo(txn, ref.repo).name, ref.branch)
    if line.head is None and line.open is None:
        add_empty(txn, line.ref, change_id)
