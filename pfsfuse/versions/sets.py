"""
Commit sets: what one change caused in all repos, and what it used of those that it did not change.

The commits of a set share an id.  A repo that the change did not touch has no commit of it; there
`repo@<id>` means the commit that the set was made from, found by walking provenance from the set's
own commits, nearest first: the *alias*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..errors import NotFoundError
from ..ids import BranchName, CommitId, RepoName
from ..store.index import ReadTxn, Table
from .model import Commit, CommitRef, Move, decode
from .records import existing_commit, find_commit


class CommitSetNotFoundError(NotFoundError):
    """No change has this id."""

    def __init__(self, commit_id: CommitId) -> None:
        super().__init__(f"commit set not found: no commit has the id {commit_id.hex()}")
        self.commit_id = commit_id


@dataclass(frozen=True)
class CommitSet:
    """What `inspect commit <id>` shows."""

    id: CommitId
    commits: list[Commit]
    """Those of the id and those that they were made from, each behind what it was made from."""

    @property
    def members(self) -> list[Commit]:
        """The commits of the id itself."""
        return [commit for commit in self.commits if commit.id == self.id]

    @property
    def is_finished(self) -> bool:
        return all(commit.is_finished for commit in self.members)

    @property
    def started_ns(self) -> int:
        return min((commit.started_ns for commit in self.members), default=0)


def commits_of_set(txn: ReadTxn, commit_id: CommitId) -> list[Commit]:
    """Return the commits of all repos that share this id; empty if there are none."""
    keys = [key for key, _ in txn.scan(Table.COMMIT_SETS, commit_id)]
    return [existing_commit(txn, RepoName(key[len(commit_id) :].decode()), commit_id) for key in keys]


def commit_set(txn: ReadTxn, commit_id: CommitId) -> CommitSet:
    """Return a commit set, inputs first; CommitSetNotFoundError."""
    own = _own(txn, commit_id)
    if not own:
        raise CommitSetNotFoundError(commit_id)
    everything = {c.ref: c for c in own}
    everything.update({c.ref: c for c in used_by(txn, everything.values())})
    return CommitSet(commit_id, in_order(everything))


def _own(txn: ReadTxn, commit_id: CommitId) -> list[Commit]:
    """Return the commits of a change and those that it moved a branch to."""
    moves = [decode(raw, Move) for _, raw in txn.scan(Table.MOVES, commit_id)]
    moved = [find_commit(txn, move.repo, move.head) for move in moves]
    return [*commits_of_set(txn, commit_id), *(commit for commit in moved if commit is not None)]


def used_by(txn: ReadTxn, commits: Iterable[Commit]) -> Iterator[Commit]:
    """Yield what commits were made from, directly or not, nearest first."""
    level = list(commits)
    seen = {commit.ref for commit in level}
    while level:
        sources = dict.fromkeys(source for commit in level for source in commit.provenance)
        level = []
        for source in sources:
            found = find_commit(txn, source.repo, source.commit) if source not in seen else None
            seen.add(source)
            if found is not None:
                level.append(found)
                yield found


def alias(
    txn: ReadTxn, commit_id: CommitId, repo_name: RepoName, branch: BranchName | None = None
) -> Commit | None:
    """
    Return the commit of a repo that the change *commit_id* made, moved to, or used; None if it did neither.

    With *branch* only a commit that was started on that branch.
    """

    def fits(commit: Commit | None) -> bool:
        return commit is not None and commit.repo == repo_name and branch in (None, commit.branch)

    own = find_commit(txn, repo_name, commit_id)
    if own is not None and fits(own):
        return own
    prefix = commit_id + repo_name.encode() + b"\0"
    for _, raw in txn.scan(Table.MOVES, prefix):
        move = decode(raw, Move)
        if branch in (None, move.branch):
            return find_commit(txn, repo_name, move.head)
    return next(filter(fits, used_by(txn, _own(txn, commit_id))), None)


def sets_with_prefix(txn: ReadTxn, digits: str, *, most: int = 2) -> list[CommitId]:
    """Return the ids of at most *most* commit sets that begin with these hexadecimal digits."""
    whole = bytes.fromhex(digits[: len(digits) // 2 * 2])
    found: dict[CommitId, None] = {}
    for table in (Table.COMMIT_SETS, Table.MOVES):
        start = whole
        while len(found) < most:
            key = next((key for key, _ in txn.scan(table, whole, start=start)), None)
            if key is None:
                break
            if key[:16].hex().startswith(digits):
                found[CommitId(key[:16])] = None
            start = _after(key[:16])
    return list(found)


def _after(commit_id: bytes) -> bytes:
    """Return the first key behind all of a commit set."""
    return commit_id + b"\xff"


def list_sets(txn: ReadTxn, *, number: int = 0) -> list[CommitId]:
    """Return the ids of all commit sets, newest first; *number* limits the list."""
    started: dict[CommitId, int] = {}
    for _, raw in txn.scan(Table.COMMITS):
        commit = decode(raw, Commit)
        started[commit.id] = max(started.get(commit.id, 0), commit.started_ns)
    found = sorted(started, key=lambda each: (started[each], each), reverse=True)
    return found[:number] if number else found


def in_order(commits: dict[CommitRef, Commit]) -> list[Commit]:
    """Return commits so that each stands behind those of them that it was made from."""
    done: dict[CommitRef, Commit] = {}
    pending = [(ref, False) for ref in reversed(commits)]
    while pending:
        ref, is_below_done = pending.pop()
        if ref in done:
            continue
        if is_below_done:
            done[ref] = commits[ref]
            continue
        pending.append((ref, True))
        pending += [(source, False) for source in commits[ref].provenance if source in commits]
    return list(done.values())
