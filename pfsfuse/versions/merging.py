"""
Merging one branch into another: by path, on the trees of their newest good commits.

The merge is three-way: what both have in common is the content of their nearest common ancestor, found
by parents and by earlier merges.  Where histories cross there can be several that are nearest; then
all have to agree on what comes of a path, or it is in conflict (docs/decisions/0020).  The result is a
commit on the target that names what was merged into it, or, where the sides are in conflict and
neither is favoured, an error that lists all conflicts, and nothing is written.

Making the plan reads without a lock; if the target has moved when it is to be written, it is made anew.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import ConflictError, InvalidNameError
from ..ids import CommitId, RepoName
from ..store.index import ReadTxn
from ..store.store import Store
from ..trees.diff import diff
from ..trees.entry import Entry
from ..trees.merge import Conflict, Merged, Side, merge
from ..trees.tree import Trees
from .branches import StaleHeadError, branch
from .commits import (
    BranchHasOpenCommitError,
    CommitNotFoundError,
    OutputBranchError,
    ancestors,
    commit,
    find_commit,
    finish_commit,
    newest_good,
    resolve,
    start_commit,
)
from .model import Branch, BranchRef, Commit
from .quotas import refuse_over_quota
from .repos import repo as find_repo

_SHOWN = 20
"""Conflicts that an error names."""


class MergeConflictError(ConflictError):
    """Both sides have changed the same paths, and nobody said whose changes count."""

    def __init__(self, source: str, target: BranchRef, conflicts: list[Conflict]) -> None:
        shown = [describe(each) for each in conflicts[:_SHOWN]]
        if len(conflicts) > _SHOWN:
            shown.append(f"and {len(conflicts) - _SHOWN} more")
        super().__init__(
            f"{source} and {target} are in conflict; nothing was merged. Change one of them, or choose "
            "whose version counts with --ours or --theirs:\n    " + "\n    ".join(shown)
        )
        self.conflicts = conflicts


def describe(conflict: Conflict) -> str:
    """Return a conflict in one line: /path: why."""
    path = b"/".join(conflict.path).decode("utf-8", "backslashreplace")
    return f"/{path}: {conflict.kind}"


@dataclass(frozen=True)
class Plan:
    """What a merge would do."""

    target: BranchRef
    head: CommitId | None
    """Of the target."""
    source: Commit
    base: Commit | None
    """The nearest common ancestor, of several the newest; None if there is none."""
    ours: Entry
    """What the target has."""
    merged: Merged
    is_done: bool
    """Everything of the source is in the target already."""


def plan_merge(
    store: Store, trees: Trees, repo: RepoName, source: str, target: BranchRef, *, favour: Side = Side.OURS
) -> Plan:
    """
    Return what merging *source*, a branch or commit of *repo*, into a branch of that repo would do.

    CommitNotFoundError; InvalidNameError for a branch of another repo; OutputBranchError and
    BranchHasOpenCommitError for a target that cannot be written.
    """
    if repo != target.repo:
        raise InvalidNameError(f"{repo} and {target.repo} are two repos; only branches of one can be merged")
    with store.read() as txn:
        line = branch(txn, target.repo, target.branch)
        _refuse_unwritable(line)
        theirs = _good(txn, resolve(txn, repo, source))
        ours = newest_good(txn, line)
        bases = common_ancestors(txn, ours, theirs)
        before = [next((c for c in ancestors(txn, base) if c.is_good), None) for base in bases]
    base = bases[0] if bases else None
    empty = trees.empty_directory(mtime_ns=theirs.started_ns)
    our_root = (ours.root if ours is not None else None) or empty
    their_root = theirs.root or empty
    if base is not None and base.id == theirs.id:
        return Plan(target, line.head, theirs, base, our_root, Merged(our_root, []), is_done=True)
    starts = [each.root if each is not None else None for each in before] or [None]
    merged = _merge_from_all(trees, starts, our_root, their_root, favour)
    return Plan(target, line.head, theirs, base, our_root, merged, is_done=False)


def _merge_from_all(
    trees: Trees, bases: Sequence[Entry | None], ours: Entry, theirs: Entry, favour: Side
) -> Merged:
    """Merge from each of several beginnings; what does not come out alike is in conflict."""
    first, *others = (merge(trees, base, ours, theirs, favour=favour) for base in bases)
    found = {conflict.path: conflict for each in (first, *others) for conflict in each.conflicts}
    for other in others:
        for change in diff(trees, first.root, other.root, by_content=True, descend=False):
            here, there = (trees.resolve(side, change.path) for side in (ours, theirs))
            found[change.path] = Conflict(change.path, None, here, there)
    conflicts = [
        found[path] for path in sorted(found) if not any(path[:n] in found for n in range(len(path)))
    ]
    decided = {each.path: each.ours if favour is Side.OURS else each.theirs for each in conflicts}
    return Merged(trees.apply(first.root, decided) if others else first.root, conflicts)


def merge_branch(
    store: Store,
    trees: Trees,
    repo: RepoName,
    source: str,
    target: BranchRef,
    *,
    favour: Side | None = None,
    description: str = "",
) -> Commit | None:
    """
    Merge *source* into the branch *target* and return the commit; None if there is nothing to merge.

    MergeConflictError, unless *favour* says whose version of a path in conflict counts; and what
    `plan_merge` raises.
    """
    while True:
        # What is taken out of the source's tree must not be swept before the commit names it.
        with store.hold():
            plan = plan_merge(store, trees, repo, source, target, favour=favour or Side.OURS)
            if plan.is_done:
                return None
            if plan.merged.conflicts and favour is None:
                raise MergeConflictError(f"{repo}@{source}", target, plan.merged.conflicts)
            try:
                return _write(store, plan, description or f"Merge {source}")
            except StaleHeadError:
                continue


def _write(store: Store, plan: Plan, description: str) -> Commit:
    ref = plan.target
    with store.write() as txn:
        line = branch(txn, ref.repo, ref.branch)
        if line.head != plan.head:
            raise StaleHeadError(ref, plan.head, line.head)
        good = newest_good(txn, line)
        refuse_over_quota(find_repo(txn, ref.repo), good.root if good is not None else None, plan.merged.root)
        started = start_commit(txn, ref.repo, ref.branch, description=description, merged=plan.source.id)
        return finish_commit(txn, started.ref, plan.merged.root)


def _refuse_unwritable(line: Branch) -> None:
    if line.provenance:
        raise OutputBranchError(line.ref)
    if line.open is not None:
        raise BranchHasOpenCommitError(line.ref, line.open)


def _good(txn: ReadTxn, named: Commit) -> Commit:
    """Return the newest commit with content that can be used, from *named* back."""
    if not named.is_finished:
        raise ConflictError(f"commit {named.ref} is open; finish it before it is merged")
    found = next((c for c in ancestors(txn, named) if c.is_good), None)
    if found is None:
        raise CommitNotFoundError(f"{named.ref} has no content that could be merged")
    return found


# Common ancestors

_OURS, _THEIRS, _STALE = 1, 2, 4


def common_ancestors(txn: ReadTxn, ours: Commit | None, theirs: Commit) -> list[Commit]:
    """
    Return the nearest common ancestors of two commits, newest first.

    Nearest: no other common ancestor follows from it.  Looks at what was committed since, as far as
    the times of commits follow their order.
    """
    if ours is None:
        return []
    found = [c for c, flags in _painted(txn, ours, theirs) if not flags & _STALE]
    return sorted(found, key=_age, reverse=True)


def _painted(txn: ReadTxn, ours: Commit, theirs: Commit) -> list[tuple[Commit, int]]:
    """Return the common ancestors that were found, and how they are marked in the end."""
    marks: dict[CommitId, int] = {}
    waiting: list[tuple[int, bytes, Commit]] = []
    common: dict[CommitId, Commit] = {}

    def paint(each: Commit, mark: int) -> None:
        if marks.get(each.id, 0) & mark != mark:
            marks[each.id] = marks.get(each.id, 0) | mark
            time, name = _age(each)
            heapq.heappush(waiting, (-time, name, each))

    paint(ours, _OURS)
    paint(theirs, _THEIRS)
    while any(not marks[each.id] & _STALE for _, _, each in waiting):
        _, _, each = heapq.heappop(waiting)
        mark = marks[each.id]
        if mark & _OURS and mark & _THEIRS:
            common[each.id] = each
            mark |= _STALE
        for parent in parents_of(txn, each):
            paint(parent, mark)
    return [(each, marks[each.id]) for each in common.values()]


def _age(each: Commit) -> tuple[int, bytes]:
    return each.finished_ns or each.started_ns, each.id


def parents_of(txn: ReadTxn, each: Commit) -> Iterator[Commit]:
    """Yield the parent of a commit and what was merged into it, as far as they are still there."""
    if each.parent is not None:
        yield commit(txn, each.repo, each.parent)
    merged = find_commit(txn, each.repo, each.merged) if each.merged is not None else None
    if merged is not None:
        yield merged
