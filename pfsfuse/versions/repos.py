"""
Repos: create, inspect, list, delete.

Invariants (fsck.py):

- R1  every branch and commit belongs to a repo that exists;
- R2  no branch has provenance on a branch that does not exist: what is deleted by force leaves it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from ..errors import ConflictError, ExistsError, NotFoundError
from ..ids import RepoName
from ..names import check_repo_name
from ..store.index import ReadTxn, Table, WriteTxn
from .model import (
    Branch,
    Commit,
    Repo,
    branch_key,
    commit_key,
    commit_set_key,
    decode,
    encode,
    repo_key,
    subvenance_key,
)


class RepoNotFoundError(NotFoundError):
    """There is no repo of this name."""

    def __init__(self, repo: RepoName) -> None:
        super().__init__(f"repo {repo} not found; `pfs list repo` names those that exist")
        self.repo = repo


class RepoExistsError(ExistsError):
    """The name of the repo is taken."""

    def __init__(self, repo: RepoName) -> None:
        super().__init__(f"repo {repo} already exists")
        self.repo = repo


class RepoInUseError(ConflictError):
    """Branches of other repos are made from this one."""


def create_repo(
    txn: WriteTxn,
    name: str,
    *,
    description: str = "",
    autocommit_s: float | None = None,
    update: bool = False,
    now_ns: int | None = None,
) -> Repo:
    """
    Create the repo *name* and return it; RepoExistsError if there is one.

    With *update* an existing repo keeps its content and creation time and takes the rest.
    """
    repo_name = check_repo_name(name)
    existing = find_repo(txn, repo_name)
    if existing is not None and not update:
        raise RepoExistsError(repo_name)
    created = existing.created_ns if existing else (now_ns or time.time_ns())
    repo = Repo(repo_name, created, description, autocommit_s)
    txn.put(Table.REPOS, repo_key(repo_name), encode(repo))
    return repo


def find_repo(txn: ReadTxn, name: RepoName) -> Repo | None:
    """Return the repo *name*, or None."""
    raw = txn.get(Table.REPOS, repo_key(name))
    return decode(raw, Repo) if raw is not None else None


def repo(txn: ReadTxn, name: str) -> Repo:
    """Return the repo *name*; RepoNotFoundError if there is none."""
    found = find_repo(txn, check_repo_name(name))
    if found is None:
        raise RepoNotFoundError(RepoName(name))
    return found


def repos(txn: ReadTxn) -> Iterator[Repo]:
    """Yield all repos, by name."""
    for _, raw in txn.scan(Table.REPOS):
        yield decode(raw, Repo)


def delete_repo(txn: WriteTxn, name: str, *, force: bool = False) -> None:
    """
    Delete a repo with all its branches and commits.

    RepoInUseError if branches of other repos have provenance on it; with *force* they lose it.
    """
    target = repo(txn, name).name
    users = [
        branch
        for branch in (decode(raw, Branch) for _, raw in txn.scan(Table.BRANCHES))
        if branch.repo != target and any(source.repo == target for source in branch.provenance)
    ]
    if users and not force:
        names = ", ".join(str(user.ref) for user in users)
        raise RepoInUseError(
            f"repo {target} cannot be deleted: {names} is made from it; delete that first, or use --force"
        )
    for key, raw in list(txn.scan(Table.COMMITS, commit_key(target, b""))):
        commit = decode(raw, Commit)
        txn.delete(Table.COMMITS, key)
        txn.delete(Table.COMMIT_SETS, commit_set_key(commit.id, target))
        for source in commit.provenance:
            txn.delete(Table.SUBVENANCE, subvenance_key(source, commit.ref))
    for key, _ in list(txn.scan(Table.BRANCHES, target.encode() + b"\0")):
        txn.delete(Table.BRANCHES, key)
    txn.delete(Table.REPOS, repo_key(target))
    for user in users:
        left = tuple(source for source in user.provenance if source.repo != target)
        txn.put(
            Table.BRANCHES,
            branch_key(user.repo, user.name),
            encode(msgspec.structs.replace(user, provenance=left)),
        )
