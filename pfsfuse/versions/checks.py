"""
What fsck looks for among the records of repos, branches and commits, one function for each invariant.

All records are read in one transaction, so they are of one moment; the checks themselves need no store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from ..errors import InvalidNameError, StoreError
from ..ids import BranchName, RepoName
from ..store.index import ReadTxn, Table, decode_changes
from ..store.problems import Problem
from .model import (
    Branch,
    BranchRef,
    Commit,
    CommitRef,
    Move,
    Origin,
    Project,
    Repo,
    branch_key,
    child_key,
    commit_key,
    commit_set_key,
    decode,
    move_key,
    project_key,
    repo_key,
    subvenance_key,
)
from .records import has_complete_children
from .triggers import check_conditions

Record = TypeVar("Record", bound=msgspec.Struct)


@dataclass
class Records:
    """All records of the versioned world, as they were at one moment."""

    repos: dict[RepoName, Repo] = field(default_factory=dict)
    branches: dict[BranchRef, Branch] = field(default_factory=dict)
    commits: dict[CommitRef, Commit] = field(default_factory=dict)
    commit_sets: set[bytes] = field(default_factory=set)
    subvenance: set[bytes] = field(default_factory=set)
    children: set[bytes] | None = None
    """None: the table is not complete yet, and whoever needs it completes it."""
    unreadable: list[Problem] = field(default_factory=list)


def check_records(records: Records) -> Iterator[Problem]:
    """Yield all that is wrong with the records."""
    yield from records.unreadable
    yield from check_repos(records)
    yield from check_provenance_exists(records)
    yield from check_heads(records)
    yield from check_open_commits(records)
    yield from check_loops(records)
    yield from check_propagated(records)
    yield from check_triggers(records)
    yield from check_finished(records)
    yield from check_parents(records)
    yield from check_states(records)
    yield from check_subvenance(records)
    yield from check_commit_sets(records)
    yield from check_sources(records)
    yield from check_forgotten(records)
    yield from check_children(records)


def read_records(txn: ReadTxn) -> Records:
    """F1: return all records; what does not decode is named in `unreadable`."""
    found = Records()
    for repo in _decoded(txn, Table.REPOS, Repo, lambda r: repo_key(r.name), found.unreadable):
        found.repos[repo.name] = repo
    for line in _decoded(txn, Table.BRANCHES, Branch, lambda b: branch_key(b.repo, b.name), found.unreadable):
        found.branches[line.ref] = line
    for commit in _decoded(txn, Table.COMMITS, Commit, lambda c: commit_key(c.repo, c.id), found.unreadable):
        found.commits[commit.ref] = commit
    for _ in _decoded(txn, Table.PROJECTS, Project, lambda p: project_key(p.name), found.unreadable):
        pass
    for _ in _decoded(txn, Table.MOVES, Move, lambda m: move_key(m.change, m.ref), found.unreadable):
        pass
    if has_complete_children(txn):
        found.children = {key for key, _ in txn.scan(Table.CHILDREN)}
    found.commit_sets = {key for key, _ in txn.scan(Table.COMMIT_SETS)}
    found.subvenance = {key for key, _ in txn.scan(Table.SUBVENANCE)}
    for key, raw in txn.scan(Table.CHANGES):
        if decode_changes(raw) is None:
            number = int.from_bytes(key, "big")
            found.unreadable.append(Problem("F1", f"entry {number} of the change log does not decode"))
    return found


def _decoded(
    txn: ReadTxn, table: Table, kind: type[Record], key_of: Callable[[Record], bytes], problems: list[Problem]
) -> Iterator[Record]:
    for key, raw in txn.scan(table):
        try:
            record = decode(raw, kind)
        except StoreError as error:
            problems.append(Problem("F1", f"{key!r} in {table.label}: {error}"))
            continue
        if key_of(record) != key:
            problems.append(Problem("F1", f"{key!r} in {table.label} holds the record of {key_of(record)!r}"))
        yield record


# Repos


def check_repos(records: Records) -> Iterator[Problem]:
    """R1: every branch and commit belongs to a repo that exists."""
    for ref in records.branches:
        if ref.repo not in records.repos:
            yield Problem("R1", f"branch {ref} belongs to no repo")
    for owned in records.commits:
        if owned.repo not in records.repos:
            yield Problem("R1", f"commit {owned} belongs to no repo")


def check_provenance_exists(records: Records) -> Iterator[Problem]:
    """R2: no branch is made from a branch that does not exist."""
    for line in records.branches.values():
        for source in line.provenance:
            if source not in records.branches:
                yield Problem("R2", f"branch {line.ref} is made from {source}, which does not exist")


# Branches


def check_heads(records: Records) -> Iterator[Problem]:
    """H1: a head names a finished commit of the same repo."""
    for line in records.branches.values():
        if line.head is None:
            continue
        head = records.commits.get(CommitRef(line.repo, line.head))
        if head is None:
            yield Problem("H1", f"the head of {line.ref}, {line.head.hex()}, does not exist")
        elif not head.is_finished:
            yield Problem("H1", f"the head of {line.ref}, {line.head.hex()}, is not finished")


def check_open_commits(records: Records) -> Iterator[Problem]:
    """H3: the open commit of a branch is open, was started on it, and its parent is the head."""
    for line in records.branches.values():
        if line.open is None:
            continue
        found = records.commits.get(CommitRef(line.repo, line.open))
        if found is None:
            yield Problem("H3", f"the open commit of {line.ref}, {line.open.hex()}, does not exist")
        elif found.is_finished or found.branch != line.name:
            yield Problem("H3", f"{found.ref} is not open on {line.ref}, which says so")
        elif found.parent != line.head:
            yield Problem("H3", f"{found.ref} is open on {line.ref}, whose head is not its parent")


def check_loops(records: Records) -> Iterator[Problem]:
    """H4: no branch is made, by whatever way, from itself."""
    for start in records.branches:
        pending, seen = [start], set[BranchRef]()
        while pending:
            line = records.branches.get(pending.pop())
            for source in line.provenance if line is not None else ():
                if source == start:
                    yield Problem("H4", f"branch {start} is made from itself")
                    pending.clear()
                    break
                if source not in seen:
                    seen.add(source)
                    pending.append(source)


def check_propagated(records: Records) -> Iterator[Problem]:
    """H5: a propagated branch has provenance, and no open commit."""
    for line in records.branches.values():
        if line.propagated and not line.provenance:
            yield Problem("H5", f"branch {line.ref} is propagated and has no provenance")
        if line.propagated and line.open is not None:
            yield Problem("H5", f"branch {line.ref} is propagated and has an open commit")


def check_triggers(records: Records) -> Iterator[Problem]:
    """G1, G2 and G3: a trigger has a source, which it does not move itself, and conditions that can be read."""
    for line in records.branches.values():
        if line.trigger is None:
            continue
        try:
            check_conditions(line.trigger)
        except InvalidNameError as error:
            yield Problem("G3", f"the trigger of {line.ref} makes no sense: {error}")
        if line.provenance:
            yield Problem("G3", f"branch {line.ref} has a trigger and is made from other branches")
        if BranchRef(line.repo, line.trigger.branch) not in records.branches:
            yield Problem(
                "G1", f"branch {line.ref} is triggered by {line.trigger.branch}, which does not exist"
            )
        if line.name in _sources(records, line):
            yield Problem("G2", f"branch {line.ref} is triggered by itself")


def _sources(records: Records, line: Branch) -> set[BranchName]:
    """Return the names of the branches that trigger *line*, by whatever way."""
    found: set[BranchName] = set()
    current: Branch | None = line
    while current is not None and current.trigger is not None and current.trigger.branch not in found:
        found.add(current.trigger.branch)
        current = records.branches.get(BranchRef(line.repo, current.trigger.branch))
    return found


# Commits


def check_finished(records: Records) -> Iterator[Problem]:
    """C1: a finished commit has a root, or an error, or was forgotten."""
    for commit in records.commits.values():
        if commit.is_finished and commit.root is None and not commit.error and not commit.forgotten:
            yield Problem("C1", f"commit {commit.ref} is finished and has neither content nor an error")


def check_parents(records: Records) -> Iterator[Problem]:
    """C2: a commit's parent is a finished commit of the same repo."""
    for commit in records.commits.values():
        if commit.parent is None:
            continue
        parent = records.commits.get(CommitRef(commit.repo, commit.parent))
        if parent is None or not parent.is_finished:
            why = "does not exist" if parent is None else "is not finished"
            yield Problem("C2", f"the parent of {commit.ref}, {commit.parent.hex()}, {why}")


def check_states(records: Records) -> Iterator[Problem]:
    """C3: an open commit is the open commit of its branch."""
    for commit in records.commits.values():
        line = records.branches.get(BranchRef(commit.repo, commit.branch))
        if not commit.is_finished and (line is None or line.open != commit.id):
            yield Problem("C3", f"commit {commit.ref} is open, but not the open commit of its branch")


def check_subvenance(records: Records) -> Iterator[Problem]:
    """C4: provenance and subvenance agree."""
    expected = {
        subvenance_key(source, commit.ref): f"{commit.ref} from {source}"
        for commit in records.commits.values()
        for source in commit.provenance
    }
    for key in sorted(expected.keys() - records.subvenance):
        yield Problem("C4", f"the subvenance of {expected[key]} is missing")
    for key in sorted(records.subvenance - expected.keys()):
        yield Problem("C4", f"the subvenance {key!r} belongs to no commit")


def check_commit_sets(records: Records) -> Iterator[Problem]:
    """C5: the table of commit sets names exactly the commits."""
    expected = {commit_set_key(ref.commit, ref.repo): ref for ref in records.commits}
    for key in sorted(expected.keys() - records.commit_sets):
        yield Problem("C5", f"commit {expected[key]} is in no commit set")
    for key in sorted(records.commit_sets - expected.keys()):
        yield Problem("C5", f"the commit set {key[:16].hex()} names a commit that does not exist")


def check_sources(records: Records) -> Iterator[Problem]:
    """C6: every commit that another was made from exists."""
    for commit in records.commits.values():
        for source in commit.provenance:
            if source not in records.commits:
                yield Problem("C6", f"commit {commit.ref} was made from {source}, which does not exist")


def check_forgotten(records: Records) -> Iterator[Problem]:
    """C7: a forgotten commit was made from others, is finished, has no content, and no branch names it."""
    heads = {CommitRef(line.repo, line.head): line.ref for line in records.branches.values() if line.head}
    for commit in (commit for commit in records.commits.values() if commit.forgotten):
        if not commit.is_finished or commit.root is not None or commit.origin is Origin.USER:
            yield Problem(
                "C7", f"commit {commit.ref} is forgotten, and open, or has content, or was put by people"
            )
        if commit.ref in heads:
            yield Problem("C7", f"commit {commit.ref} is forgotten, and the head of {heads[commit.ref]}")


def check_children(records: Records) -> Iterator[Problem]:
    """C8: the table of children agrees with the parents of the commits."""
    if records.children is None:
        return
    expected = {
        child_key(commit.repo, commit.parent, commit.id): commit.ref
        for commit in records.commits.values()
        if commit.parent is not None
    }
    for key in sorted(expected.keys() - records.children):
        yield Problem("C8", f"commit {expected[key]} is no child of its parent")
    for key in sorted(records.children - expected.keys()):
        yield Problem("C8", f"the child {key!r} belongs to no commit")
