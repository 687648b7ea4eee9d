"""
Taking commits away: squash, drop, forget.

    squash   the commit goes, its children stay: they get its parent and keep their content
    drop     the newest commits go with their data: branches fall back to what was before
    forget   the content goes, the commit stays: what it was made from and when is still known

Each works on one commit, on one with all that was made from it (*recursive*), or on a whole commit
set, and does all or nothing: every refusal comes before the first change.  Whoever makes commits for
a pipeline hears of what went by the returned records (the floors above remove their jobs).

Invariants (fsck.py):

- C6  every commit that another was made from exists;
- C7  a forgotten commit was made from others, is finished, has no content, and no branch names it.

The data itself goes when the store is collected and nothing else needs it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ..errors import ConflictError, NotFoundError
from ..ids import CommitId, RepoName, new_commit_id
from ..store.index import ReadTxn, Table, WriteTxn
from .branches import branches, find_branch, put_branch
from .commits import commit
from .model import Branch, Commit, CommitRef, Origin, move_key
from .moves import last_move, moves_of
from .propagation import add_empty
from .records import (
    ancestors,
    children_of,
    complete_children,
    existing_commit,
    find_commit,
    newest_good,
    remove_commit,
    remove_source,
    replace_commit,
    subvenance_of,
)
from .sets import CommitSetNotFoundError, commits_of_set


class CommitInUseError(ConflictError):
    """Something still needs the commit; the message says what."""


class ForgottenError(NotFoundError):
    """The content of the commit was given up."""

    def __init__(self, ref: CommitRef) -> None:
        super().__init__(f"the commit is forgotten: the content of {ref} was given up")
        self.ref = ref


Gone = list[Commit]
"""The records of what was removed."""


# What is meant


def members(txn: ReadTxn, commit_id: CommitId) -> Gone:
    """Return the commits of a set; CommitSetNotFoundError."""
    found = commits_of_set(txn, commit_id)
    if not found:
        raise CommitSetNotFoundError(commit_id)
    return found


def with_results(txn: ReadTxn, ref: CommitRef) -> Gone:
    """Return a commit and all that was made from it, directly or not."""
    found = {ref: commit(txn, ref.repo, ref.commit)}
    pending = [ref]
    while pending:
        for result in subvenance_of(txn, pending.pop()):
            if result not in found:
                found[result] = existing_commit(txn, result.repo, result.commit)
                pending.append(result)
    return list(found.values())


def _one(txn: ReadTxn, ref: CommitRef, *, recursive: bool) -> Gone:
    return with_results(txn, ref) if recursive else [commit(txn, ref.repo, ref.commit)]


# Squash


def squash_set(txn: WriteTxn, commit_id: CommitId) -> Gone:
    """
    Squash the commits of a set; CommitSetNotFoundError, CommitInUseError.

    What was used for a commit that a newer one has followed may go: that commit loses the provenance.
    """
    gone = members(txn, commit_id)
    _refuse_current_use(txn, gone)
    squash(txn, gone)
    _forget_moves(txn, commit_id)
    return gone


def squash_commit(txn: WriteTxn, ref: CommitRef, *, recursive: bool = False) -> Gone:
    """Squash one commit, or it and all that was made from it; CommitNotFoundError, CommitInUseError."""
    gone = _one(txn, ref, recursive=recursive)
    refs = {each.ref for each in gone}
    for each in gone:
        _refuse_used(txn, each, refs)
    squash(txn, gone)
    return gone


def squash(txn: WriteTxn, gone: Gone) -> None:
    """
    Remove commits of which each has a child that stays; the children keep their content.

    CommitInUseError if a commit is open, has no child, has one that is open, or is named by a branch.
    """
    complete_children(txn)
    for each in gone:
        _refuse_open(each)
        children = children_of(txn, each.ref)
        if not children:
            raise CommitInUseError(
                f"cannot squash {each.ref}: it has no child to take over its content; "
                "`pfs delete commit` removes a newest commit with its data"
            )
        for child in (existing_commit(txn, each.repo, child) for child in children):
            if not child.is_finished:
                raise CommitInUseError(f"cannot squash {each.ref} until child commit {child.ref} is finished")
        named = [line.ref for line in branches(txn, each.repo) if line.head == each.id]
        if named:
            raise CommitInUseError(f"cannot squash {each.ref}: branch {named[0]} names it; move that first")
    for each in gone:
        # Read again: its parent may have been squashed a moment ago.
        current = existing_commit(txn, each.repo, each.id)
        for child_id in children_of(txn, each.ref):
            child = existing_commit(txn, each.repo, child_id)
            replace_commit(txn, child, msgspec.structs.replace(child, parent=current.parent))
        remove_commit(txn, current)
        remove_source(txn, each.ref)


# Drop


def drop_set(txn: WriteTxn, commit_id: CommitId) -> Gone:
    """
    Drop the commits of a set, open ones too; CommitSetNotFoundError, CommitInUseError.

    Branches that the change only moved go back to where they were.
    """
    gone = members(txn, commit_id)
    drop(txn, gone)
    for move in moves_of(txn, commit_id):
        line = find_branch(txn, move.repo, move.branch)
        if line is not None and line.moved == commit_id and move.before is not None:
            _take_back(txn, line, move.before)
    _forget_moves(txn, commit_id)
    return gone


def _take_back(txn: WriteTxn, line: Branch, before: CommitId) -> None:
    if line.open is not None:
        raise CommitInUseError(f"branch {line.ref} has the open commit {line.open.hex()}; finish it first")
    found = find_commit(txn, line.repo, before)
    if found is not None and not found.forgotten:
        put_branch(txn, msgspec.structs.replace(line, head=before, moved=None))


def _forget_moves(txn: WriteTxn, commit_id: CommitId) -> None:
    for move in moves_of(txn, commit_id):
        txn.delete(Table.MOVES, move_key(commit_id, move.ref))


def drop_commit(txn: WriteTxn, ref: CommitRef, *, recursive: bool = False) -> Gone:
    """Drop one commit, or it and all that was made from it; CommitNotFoundError, CommitInUseError."""
    gone = _one(txn, ref, recursive=recursive)
    drop(txn, gone)
    return gone


def drop(txn: WriteTxn, gone: Gone) -> None:
    """
    Remove commits without children, with their data; branches that name them fall back.

    A branch falls back to the nearest ancestor that stays and is not forgotten; one that has none
    gets an empty commit.  CommitInUseError if a commit has a child that stays or was used for
    something that stays.
    """
    complete_children(txn)
    refs = {each.ref for each in gone}
    for each in gone:
        _refuse_used(txn, each, refs)
        for child in children_of(txn, each.ref):
            if CommitRef(each.repo, child) not in refs:
                raise CommitInUseError(
                    f"cannot drop {each.ref}: {each.repo}@{child.hex()} is its child; drop that first, "
                    "or squash this one"
                )
    fallen: list[Branch] = []
    for repo_name in dict.fromkeys(each.repo for each in gone):
        for line in branches(txn, repo_name):
            back = _fall_back(txn, line, refs)
            if back != line:
                put_branch(txn, back)
                fallen.append(back)
    for each in gone:
        remove_commit(txn, each)
    empty_id = new_commit_id()
    for line in fallen:
        if line.head is None and line.open is None:
            add_empty(txn, line.ref, empty_id)


def _fall_back(txn: ReadTxn, line: Branch, gone: set[CommitRef]) -> Branch:
    """Return a branch as it is when *gone* is gone."""
    if line.open is not None and CommitRef(line.repo, line.open) in gone:
        line = msgspec.structs.replace(line, open=None)
    if line.head is None or CommitRef(line.repo, line.head) not in gone:
        return line
    move = last_move(txn, line)
    if move is not None and move.head == line.head and move.before is not None:
        # It came there from another line of commits, perhaps: back to where it was.
        before = find_commit(txn, line.repo, move.before)
        if before is not None and before.ref not in gone and not before.forgotten:
            return msgspec.structs.replace(line, head=before.id, moved=None)
    start = find_commit(txn, line.repo, line.head)
    left = (c for c in ancestors(txn, start) if c.ref not in gone and not c.forgotten)
    back = next(left, None)
    return msgspec.structs.replace(line, head=back.id if back is not None else None, moved=None)


# Forget


def forget_commit(txn: WriteTxn, ref: CommitRef) -> Commit:
    """
    Give up the content of a commit that was made from others; return its new record.

    CommitInUseError for what people put, for what a branch names or shows, and while a child is open.
    """
    record = commit(txn, ref.repo, ref.commit)
    if record.forgotten:
        return record
    _refuse_open(record)
    if record.origin is Origin.USER or not record.provenance:
        raise CommitInUseError(f"cannot forget {ref}: people put it, and nothing could make it again")
    for line in branches(txn, ref.repo):
        shown = newest_good(txn, line)
        if line.head == record.id or (shown is not None and shown.id == record.id):
            raise CommitInUseError(f"cannot forget {ref}: branch {line.ref} shows it")
    complete_children(txn)
    for child in (existing_commit(txn, ref.repo, child) for child in children_of(txn, ref)):
        if not child.is_finished:
            raise CommitInUseError(f"cannot forget {ref} until child commit {child.ref} is finished")
    forgotten = msgspec.structs.replace(record, root=None, forgotten=True)
    replace_commit(txn, record, forgotten)
    return forgotten


# Refusals


def _refuse_open(record: Commit) -> None:
    if not record.is_finished:
        raise CommitInUseError(f"commit {record.ref} is open; finish or drop it first")


def _refuse_current_use(txn: ReadTxn, gone: Gone) -> None:
    """CommitInUseError if something that a branch names, or that is being made, was made from *gone*."""
    leaving = {each.ref for each in gone}
    current: dict[RepoName, set[CommitId | None]] = {}
    for each in gone:
        for user in subvenance_of(txn, each.ref):
            if user.repo not in current:
                lines = branches(txn, user.repo)
                current[user.repo] = {named for line in lines for named in (line.head, line.open)}
            if user not in leaving and user.commit in current[user.repo]:
                raise CommitInUseError(
                    f"commit {each.ref} was used to make {user}, the newest of its branch; "
                    "wait until a newer commit has taken its place"
                )


def _refuse_used(txn: ReadTxn, record: Commit, gone: Iterable[CommitRef]) -> None:
    """CommitInUseError if something that stays was made from the commit."""
    users = [ref for ref in subvenance_of(txn, record.ref) if ref not in gone]
    if users:
        raise CommitInUseError(
            f"commit {record.ref} was used to make {users[0]}; take that with it (--recursive)"
        )
