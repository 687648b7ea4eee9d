"""
Repos: create, inspect, list, delete.

Invariants (fsck.py):

- R1  every branch and commit belongs to a repo that exists;
- R2  no branch has provenance on a branch that does not exist: what is deleted by force leaves it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from ..errors import ConflictError, ExistsError, NotFoundError
from ..ids import RepoName
from ..names import DEFAULT_PROJECT, check_repo_name
from ..store.index import ReadTxn, Table, WriteTxn
from .model import Branch, Move, Repo, branch_key, decode, encode, project_key, repo_key
from .projects import project, project_of, remove_project
from .records import all_commits, complete_children, remove_commit, remove_source


class Unset(enum.Enum):
    """The type of `KEEP`."""

    KEEP = 0


KEEP = Unset.KEEP
"""Not given: what may be None stays as it is."""


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
    quota_bytes: int | None = None,
    update: bool = False,
    now_ns: int | None = None,
) -> Repo:
    """
    Create the repo *name* and return it; RepoExistsError if there is one.

    With *update* an existing repo keeps its content and creation time and takes the rest.
    ProjectNotFoundError: a project is made first.
    """
    repo_name = check_repo_name(name)
    existing = find_repo(txn, repo_name)
    if existing is not None and not update:
        raise RepoExistsError(repo_name)
    project(txn, project_of(repo_name))
    if txn.count(Table.COMMITS) == 0:
        complete_children(txn)
    created = existing.created_ns if existing else (now_ns or txn.now_ns())
    repo = Repo(repo_name, created, description, autocommit_s, quota_bytes)
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


def repos(txn: ReadTxn, *, project: str | None = None) -> Iterator[Repo]:
    """Yield the repos of all projects, or of one, by name."""
    prefix = b"" if project in (None, DEFAULT_PROJECT) else project_key(f"{project}/")
    for _, raw in txn.scan(Table.REPOS, prefix):
        found = decode(raw, Repo)
        if project is None or project_of(found.name) == project:
            yield found


def update_repo(
    txn: WriteTxn,
    name: str,
    *,
    description: str | None = None,
    autocommit_s: float | Unset | None = KEEP,
    quota_bytes: int | Unset | None = KEEP,
) -> Repo:
    """Change what is given of a repo; RepoNotFoundError."""
    changed = repo(txn, name)
    if description is not None:
        changed = msgspec.structs.replace(changed, description=description)
    if not isinstance(autocommit_s, Unset):
        changed = msgspec.structs.replace(changed, autocommit_s=autocommit_s)
    if not isinstance(quota_bytes, Unset):
        changed = msgspec.structs.replace(changed, quota_bytes=quota_bytes)
    txn.put(Table.REPOS, repo_key(changed.name), encode(changed))
    return changed


def delete_repo(txn: WriteTxn, name: str, *, force: bool = False) -> None:
    """
    Delete a repo with all its branches and commits.

    RepoInUseError if branches of other repos have provenance on it; with *force* they lose it.
    """
    target = repo(txn, name).name
    users = [
        line
        for line in (decode(raw, Branch) for _, raw in txn.scan(Table.BRANCHES) if b"provenance" in raw)
        if line.repo != target and any(source.repo == target for source in line.provenance)
    ]
    if users and not force:
        names = ", ".join(str(user.ref) for user in users)
        raise RepoInUseError(
            f"repo {target} cannot be deleted: {names} is made from it; delete that first, or use --force"
        )
    for commit in list(all_commits(txn, target)):
        remove_commit(txn, commit)
        remove_source(txn, commit.ref)
    for key, raw in list(txn.scan(Table.MOVES)):
        if decode(raw, Move).repo == target:
            txn.delete(Table.MOVES, key)
    for key, _ in list(txn.scan(Table.BRANCHES, target.encode() + b"\0")):
        txn.delete(Table.BRANCHES, key)
    txn.delete(Table.REPOS, repo_key(target))
    for user in users:
        gone = {source for source in user.provenance if source.repo == target}
        txn.put(Table.BRANCHES, branch_key(user.repo, user.name), encode(user.without(gone)))


def delete_project(txn: WriteTxn, name: str, *, force: bool = False) -> None:
    """
    Delete a project; ProjectNotEmptyError if it has repos, unless *force*: then these are deleted, too.

    Repos of other projects that are made from them lose the provenance.  `default` only loses its
    repos and its description.  ProjectNotFoundError.
    """
    project(txn, name)
    if force:
        for each in list(repos(txn, project=name)):
            delete_repo(txn, each.name, force=True)
    remove_project(txn, name)
