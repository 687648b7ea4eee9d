"""
Puts the records of a repo that came from elsewhere in their place, all in one transaction.

The objects are there already.  A repo of the same name is continued if it has a part of the same
history and no branch of it would lose commits; else it is refused, or, if told so, replaced.

What the repo was made from may be missing here: a commit of provenance that does not exist is left
out (C6), as is a branch (R2); `Unresolved` says which, so that they can be set when they have come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from ..errors import ConflictError, ExistsError
from ..ids import CommitId, RepoName
from ..names import check_repo_name
from ..store.index import ReadTxn, Table, WriteTxn
from ..versions.branches import BranchInUseError, find_branch, put_branch
from ..versions.model import (
    Branch,
    BranchRef,
    Commit,
    CommitRef,
    Repo,
    encode,
    move_key,
    repo_key,
)
from ..versions.records import add_commit, all_commits, ancestors, find_commit, replace_commit
from ..versions.repos import delete_repo, find_repo
from .dump import RepoRecords

Names = Mapping[RepoName, RepoName]
"""What repos are to be called here instead."""


class OtherHistoryError(ExistsError):
    """There is a repo of the name, and it is another one."""

    def __init__(self, repo: RepoName, why: str) -> None:
        super().__init__(
            f"repo {repo} exists and {why}; give the other one another name (--as {repo}=NAME) or replace "
            "this one (--force)"
        )
        self.repo = repo


class ContentMissingError(ConflictError):
    """Commits come whose content, or whose parent, is neither here nor with them."""


@dataclass
class Installed:
    """What was put in place."""

    repo: RepoName
    commits: int = 0
    """New ones."""
    branches: int = 0
    """Changed ones."""


@dataclass
class Unresolved:
    """Provenance on what was not there when its repo came."""

    commits: list[Commit] = field(default_factory=list)
    """As they should be."""
    branches: list[Branch] = field(default_factory=list)

    def settle(self, txn: WriteTxn) -> None:
        """Set what can be set now; the rest stays as it is."""
        for wanted in self.commits:
            here = find_commit(txn, wanted.repo, wanted.id)
            if here is not None:
                replace_commit(txn, here, _with_known_sources(txn, wanted))
        for line in self.branches:
            found = find_branch(txn, line.repo, line.name)
            if found is not None:
                known = tuple(s for s in line.provenance if find_branch(txn, s.repo, s.branch) is not None)
                changed = msgspec.structs.replace(found, provenance=known, propagated=line.propagated)
                put_branch(txn, changed if known else found)


def renamed(found: RepoRecords, names: Names) -> RepoRecords:
    """Return the records as they are with repos called otherwise."""

    def name(old: RepoName) -> RepoName:
        return names.get(old, old)

    def branch(ref: BranchRef) -> BranchRef:
        return BranchRef(name(ref.repo), ref.branch)

    replace = msgspec.structs.replace
    return RepoRecords(
        replace(found.repo, name=check_repo_name(name(found.repo.name))),
        [
            replace(
                each,
                repo=name(each.repo),
                provenance=tuple(CommitRef(name(source.repo), source.commit) for source in each.provenance),
            )
            for each in found.commits
        ],
        [
            replace(each, repo=name(each.repo), provenance=tuple(map(branch, each.provenance)))
            for each in found.branches
        ],
        [replace(each, repo=name(each.repo)) for each in found.moves],
    )


def refuse_other_history(txn: ReadTxn, repo: RepoName, coming: set[CommitId]) -> None:
    """OtherHistoryError if the repo here has commits and none of those that come: they are strangers."""
    if find_repo(txn, repo) is None:
        return
    here = {commit.id for commit in all_commits(txn, repo) if commit.is_finished}
    if here and not here & coming:
        raise OtherHistoryError(repo, "has none of the commits of the one that comes")


def install(txn: WriteTxn, found: RepoRecords, unresolved: Unresolved, *, force: bool = False) -> Installed:
    """Put a repo in place; OtherHistoryError, BranchInUseError, ContentMissingError change nothing."""
    done = Installed(found.repo.name)
    if force and find_repo(txn, found.repo.name) is not None and not _continues(txn, found):
        delete_repo(txn, found.repo.name, force=True)
    _refuse(txn, found)
    _put_repo(txn, found.repo)
    for commit in found.commits:
        done.commits += _put_commit(txn, commit, unresolved)
    for move in found.moves:
        txn.put(Table.MOVES, move_key(move.change, move.ref), encode(move))
    for line in found.branches:
        done.branches += _put_branch(txn, line, unresolved)
    return done


def _continues(txn: ReadTxn, found: RepoRecords) -> bool:
    try:
        _refuse(txn, found)
    except (OtherHistoryError, BranchInUseError):
        return False
    return True


def _refuse(txn: ReadTxn, found: RepoRecords) -> None:
    """Refuse what would change or lose a commit that is here."""
    name = found.repo.name
    if find_repo(txn, name) is None:
        return
    coming = {commit.id: commit for commit in found.commits}
    for commit in found.commits:
        here = find_commit(txn, name, commit.id)
        if here is not None and (here.root != commit.root or here.parent != commit.parent):
            raise OtherHistoryError(name, f"its commit {commit.id.hex()} is another one")
    for line in found.branches:
        here_line = find_branch(txn, name, line.name)
        if here_line is None or here_line.head in (None, line.head):
            continue
        if here_line.open is not None:
            raise BranchInUseError(f"branch {here_line.ref} has an open commit here; finish it first")
        if here_line.head not in _line_of(txn, line, coming):
            raise OtherHistoryError(name, f"its branch {line.name} has commits that the other has not")


def _line_of(txn: ReadTxn, line: Branch, coming: Mapping[CommitId, Commit]) -> set[CommitId]:
    """Return the ids of a branch's commits, those that come and those that are here."""
    found: set[CommitId] = set()
    current = line.head
    while current is not None and current in coming:
        found.add(current)
        current = coming[current].parent
    if current is not None:
        found.update(each.id for each in ancestors(txn, find_commit(txn, line.repo, current)))
    return found


def _put_repo(txn: WriteTxn, repo: Repo) -> None:
    if find_repo(txn, repo.name) is None:
        txn.put(Table.REPOS, repo_key(repo.name), encode(repo))


def _put_commit(txn: WriteTxn, commit: Commit, unresolved: Unresolved) -> bool:
    if find_commit(txn, commit.repo, commit.id) is not None:
        return False
    if commit.parent is not None and find_commit(txn, commit.repo, commit.parent) is None:
        raise ContentMissingError(
            f"commit {commit.ref} continues {commit.parent.hex()}, which is not here; bring that first"
        )
    add_commit(txn, _with_known_sources(txn, commit))
    if any(find_commit(txn, source.repo, source.commit) is None for source in commit.provenance):
        unresolved.commits.append(commit)
    return True


def _with_known_sources(txn: ReadTxn, commit: Commit) -> Commit:
    known = tuple(s for s in commit.provenance if find_commit(txn, s.repo, s.commit) is not None)
    return msgspec.structs.replace(commit, provenance=known)


def _put_branch(txn: WriteTxn, line: Branch, unresolved: Unresolved) -> bool:
    here = find_branch(txn, line.repo, line.name)
    if here is not None:
        if here.head == line.head:
            return False
        put_branch(txn, msgspec.structs.replace(here, head=line.head))
        return True
    gone = [source for source in line.provenance if find_branch(txn, source.repo, source.branch) is None]
    if gone:
        unresolved.branches.append(line)
    put_branch(txn, line.without(gone))
    return True
