"""
Looks for damage in a store: one function for each invariant, see `check`.

    S1 S2 P1 D1  packs, objects, journal                  (store/fsck.py)
    F1  every record decodes and stands under its own key
    T1  every node and chunk that a finished commit, or the journal of an open one, needs is in the store
    T2  size, number of files and content hash of a directory agree with what is below it, at every node
    T3  size and content hash of a file agree with its bytes or its list of chunks
    R1 R2        repos                                    (repos.py)
    H1 H3 H4     branches                                 (branches.py)
    G1 G2 G3     triggers                                 (triggers.py)
    C1 C2 C3 C4 C5  commits                               (commits.py)
    O1 O2        staging of open commits                  (owner.py)
    X1 X2        transactions                             (transaction_check.py)

Cheap by default: every node of every tree is read, each once, but no chunk of a file;
`verify_data` reads those, too.  H2 speaks of a moment and O1 of processes: neither leaves a trace
that could be looked for.  Others may go on writing: all records are read in one transaction, and
what is written later is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from ..errors import InvalidNameError, StoreError
from ..ids import BranchName, RepoName
from ..store.fsck import examine_store
from ..store.index import ReadTxn, Table, decode_changes
from ..store.problems import Problem
from ..store.store import Store
from ..trees.tree import Trees
from .losses import Loss, find_losses
from .model import (
    Branch,
    BranchRef,
    Commit,
    CommitRef,
    Repo,
    branch_key,
    commit_key,
    commit_set_key,
    decode,
    repo_key,
    subvenance_key,
)
from .staging_check import check_staging
from .transaction_check import check_transactions
from .tree_check import check_trees
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
    unreadable: list[Problem] = field(default_factory=list)


@dataclass
class Report:
    """All that fsck found."""

    problems: list[Problem]
    losses: list[Loss] = field(default_factory=list)
    """What of the finished commits cannot be read because of the problems."""
    read_bytes: int = 0
    """Stored bytes that --verify-data read, and how long that took."""
    seconds: float = 0.0

    @property
    def bytes_per_second(self) -> float:
        return self.read_bytes / self.seconds if self.seconds else 0.0


def check(store: Store, trees: Trees, *, verify_data: bool = False) -> list[Problem]:
    """Return all that is wrong with the store; empty when all is well.  Changes nothing."""
    return examine(store, trees, verify_data=verify_data).problems


def examine(store: Store, trees: Trees, *, verify_data: bool = False) -> Report:
    """Look for all that is wrong with the store, and for what is lost by it.  Changes nothing."""
    with store.read() as txn:
        records = read_records(txn)
        transactions = list(check_transactions(txn, records.commits))
    commits = list(records.commits.values())
    below = examine_store(store, verify_data=verify_data)
    of_trees = list(check_trees(store, trees, commits))
    problems = [
        *below.problems,
        *records.unreadable,
        *check_repos(records),
        *check_provenance_exists(records),
        *check_heads(records),
        *check_open_commits(records),
        *check_loops(records),
        *check_triggers(records),
        *check_finished(records),
        *check_parents(records),
        *check_states(records),
        *check_subvenance(records),
        *check_commit_sets(records),
        *check_staging(store, commits, below.unreadable),
        *transactions,
        *of_trees,
    ]
    unreadable = below.unreadable | {p.object_id for p in of_trees if p.object_id is not None}
    losses = find_losses(store, trees, commits, unreadable) if unreadable else []
    return Report(problems, losses, below.read_bytes, below.seconds)


def read_records(txn: ReadTxn) -> Records:
    """F1: return all records; what does not decode is named in `unreadable`."""
    found = Records()
    for repo in _decoded(txn, Table.REPOS, Repo, lambda r: repo_key(r.name), found.unreadable):
        found.repos[repo.name] = repo
    for line in _decoded(txn, Table.BRANCHES, Branch, lambda b: branch_key(b.repo, b.name), found.unreadable):
        found.branches[line.ref] = line
    for commit in _decoded(txn, Table.COMMITS, Commit, lambda c: commit_key(c.repo, c.id), found.unreadable):
        found.commits[commit.ref] = commit
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
    """C1: a finished commit has a root, or an error."""
    for commit in records.commits.values():
        if commit.is_finished and commit.root is None and not commit.error:
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
