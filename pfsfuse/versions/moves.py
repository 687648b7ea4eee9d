"""
Moves: heads that changed without a new commit.

A branch that is pointed at a commit which exists, by hand, by a trigger, or because its provenance
changed, gets no commit of its own for it.  The record of the move carries the id of the change instead:
it tells the runner to make jobs, lets `repo@<id>` name the commit that was moved to, and says where
the branch was before.
"""

from __future__ import annotations

import msgspec

from ..ids import CommitId, RepoName
from ..store.index import ReadTxn, Table, WriteTxn
from .branches import branch, put_branch
from .model import Branch, BranchRef, Move, decode, encode, move_key


def note_move(txn: WriteTxn, ref: BranchRef, change_id: CommitId, *, before: CommitId | None) -> None:
    """Record that a branch has, by this change, its present head and had *before* before."""
    line = branch(txn, ref.repo, ref.branch)
    assert line.head is not None
    known = find_move(txn, change_id, ref)
    move = Move(
        change_id,
        ref.repo,
        ref.branch,
        line.head,
        txn.now_ns(),
        before=known.before if known is not None else before,
    )
    txn.put(Table.MOVES, move_key(change_id, ref), encode(move))
    put_branch(txn, msgspec.structs.replace(line, moved=change_id))


def find_move(txn: ReadTxn, change_id: CommitId, ref: BranchRef) -> Move | None:
    """Return how a change moved a branch, or None."""
    raw = txn.get(Table.MOVES, move_key(change_id, ref))
    return decode(raw, Move) if raw is not None else None


def last_move(txn: ReadTxn, line: Branch) -> Move | None:
    """Return the newest move of a branch, or None."""
    return find_move(txn, line.moved, line.ref) if line.moved is not None else None


def moves_of(txn: ReadTxn, change_id: CommitId, repo_name: RepoName | None = None) -> list[Move]:
    """Return the moves of a change, of all repos or of one."""
    prefix = change_id + (repo_name.encode() + b"\0" if repo_name is not None else b"")
    return [decode(raw, Move) for _, raw in txn.scan(Table.MOVES, prefix)]
