"""
Commit records, and the tables that have to agree with them.

Whoever adds, changes or removes a commit does it through `add_commit`, `replace_commit` and
`remove_commit`: these keep commit sets (C5), subvenance (C4) and children (C8) in step.  Branches
are the caller's.

Invariants (fsck.py):

- C8  the table of children agrees with the parents of the commits, once it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ..errors import NotFoundError
from ..ids import CommitId, RepoName
from ..store.index import ReadTxn, Table, WriteTxn
from .model import (
    Branch,
    Commit,
    CommitRef,
    child_key,
    commit_key,
    commit_set_key,
    decode,
    encode,
    subvenance_key,
)

_CHILDREN_COMPLETE = b"children"
"""In META: CHILDREN has every commit.  Not so in a store of an earlier version, or just after a rebuild."""


class CommitNotFoundError(NotFoundError):
    """No commit of the repo is meant by this text."""


# Finding


def find_commit(txn: ReadTxn, repo_name: RepoName, commit_id: CommitId) -> Commit | None:
    """Return a commit by its id, or None."""
    raw = txn.get(Table.COMMITS, commit_key(repo_name, commit_id))
    return decode(raw, Commit) if raw is not None else None


def existing_commit(txn: ReadTxn, repo_name: RepoName, commit_id: CommitId) -> Commit:
    """Return a commit of a repo that is known to exist; CommitNotFoundError."""
    found = find_commit(txn, repo_name, commit_id)
    if found is None:
        raise CommitNotFoundError(f"commit {commit_id.hex()} not found in repo {repo_name}")
    return found


def all_commits(txn: ReadTxn, repo_name: RepoName) -> Iterator[Commit]:
    """Yield the commits of a repo, in no order."""
    for _, raw in txn.scan(Table.COMMITS, commit_key(repo_name, b"")):
        yield decode(raw, Commit)


def ancestors(txn: ReadTxn, start: Commit | None) -> Iterator[Commit]:
    """Yield *start*, its parent, and so on."""
    current = start
    while current is not None:
        yield current
        current = existing_commit(txn, current.repo, current.parent) if current.parent is not None else None


def head_of(txn: ReadTxn, record: Branch) -> Commit | None:
    """Return the newest finished commit of a branch, or None."""
    return existing_commit(txn, record.repo, record.head) if record.head is not None else None


def newest_good(txn: ReadTxn, record: Branch) -> Commit | None:
    """
    Return the newest commit without error whose content is there.

    It is what the mount shows and what a new commit is based on.
    """
    return next((c for c in ancestors(txn, head_of(txn, record)) if c.is_good), None)


def subvenance_of(txn: ReadTxn, ref: CommitRef) -> list[CommitRef]:
    """Return the commits that were made directly from *ref*."""
    prefix = subvenance_key(ref)
    found = []
    for key, _ in txn.scan(Table.SUBVENANCE, prefix):
        name, _, commit_id = key[len(prefix) :].partition(b"\0")
        found.append(CommitRef(RepoName(name.decode()), CommitId(commit_id)))
    return found


def children_of(txn: ReadTxn, ref: CommitRef) -> list[CommitId]:
    """Return the commits whose parent is *ref*."""
    if txn.get(Table.META, _CHILDREN_COMPLETE) is None:
        return [c.id for c in all_commits(txn, ref.repo) if c.parent == ref.commit]
    prefix = child_key(ref.repo, ref.commit)
    return [CommitId(key[len(prefix) :]) for key, _ in txn.scan(Table.CHILDREN, prefix)]


# Changing


def add_commit(txn: WriteTxn, record: Commit) -> None:
    """Write a commit that is not there yet."""
    _put(txn, record)
    txn.put(Table.COMMIT_SETS, commit_set_key(record.id, record.repo), b"")
    _note_parent(txn, record)
    for source in record.provenance:
        txn.put(Table.SUBVENANCE, subvenance_key(source, record.ref), b"")


def replace_commit(txn: WriteTxn, old: Commit, new: Commit) -> None:
    """Write another record of the same commit; parent and provenance may differ."""
    assert old.ref == new.ref
    _put(txn, new)
    if old.parent != new.parent:
        _forget_parent(txn, old)
        _note_parent(txn, new)
    for source in set(old.provenance) - set(new.provenance):
        txn.delete(Table.SUBVENANCE, subvenance_key(source, old.ref))
    for source in set(new.provenance) - set(old.provenance):
        txn.put(Table.SUBVENANCE, subvenance_key(source, new.ref), b"")


def remove_commit(txn: WriteTxn, record: Commit) -> None:
    """Remove a commit.  What is made from it, its children and the branches that name it are the caller's."""
    txn.delete(Table.COMMITS, commit_key(record.repo, record.id))
    txn.delete(Table.COMMIT_SETS, commit_set_key(record.id, record.repo))
    _forget_parent(txn, record)
    for source in record.provenance:
        txn.delete(Table.SUBVENANCE, subvenance_key(source, record.ref))


def remove_source(txn: WriteTxn, source: CommitRef) -> None:
    """Take a commit that goes out of the provenance of all that were made from it (C6)."""
    for ref in subvenance_of(txn, source):
        result = existing_commit(txn, ref.repo, ref.commit)
        left = tuple(each for each in result.provenance if each != source)
        replace_commit(txn, result, msgspec.structs.replace(result, provenance=left))


def _put(txn: WriteTxn, record: Commit) -> None:
    txn.put(Table.COMMITS, commit_key(record.repo, record.id), encode(record))


def _note_parent(txn: WriteTxn, record: Commit) -> None:
    if record.parent is not None:
        txn.put(Table.CHILDREN, child_key(record.repo, record.parent, record.id), b"")


def _forget_parent(txn: WriteTxn, record: Commit) -> None:
    if record.parent is not None:
        txn.delete(Table.CHILDREN, child_key(record.repo, record.parent, record.id))


def complete_children(txn: WriteTxn) -> None:
    """Have CHILDREN name every commit: once in the life of an index; nothing to do where that is so."""
    if txn.get(Table.META, _CHILDREN_COMPLETE) is not None:
        return
    for _, raw in txn.scan(Table.COMMITS):
        _note_parent(txn, decode(raw, Commit))
    txn.put(Table.META, _CHILDREN_COMPLETE, b"1")


def has_complete_children(txn: ReadTxn) -> bool:
    """Say whether CHILDREN names every commit."""
    return txn.get(Table.META, _CHILDREN_COMPLETE) is not None
