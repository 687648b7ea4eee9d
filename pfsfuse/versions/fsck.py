"""
Looks for damage in a store: one function for each invariant, see `check`.

    S1 S2 P1 D1 G1  packs, objects, journal, gc           (store/fsck.py)
    F1  every record decodes and stands under its own key
    T1  every node and chunk that a finished commit, or the journal of an open one, needs is in the store
    T2  size, number of files and content hash of a directory agree with what is below it, at every node
    T3  size and content hash of a file agree with its bytes or its list of chunks
    R1 R2        repos                                    (repos.py)
    H1 H3 H4     branches                                 (branches.py)
    C1 C2 C3 C4 C5  commits                               (commits.py)
    O2           staging of open commits                  (owner.py)

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

from ..errors import StoreError
from ..ids import ChunkId, RepoName, chunk_id
from ..store.chunks import MissingChunkError
from ..store.fsck import Problem, check_store
from ..store.index import ReadTxn, Table
from ..store.layout import packs_stay
from ..store.store import Store
from ..trees.entry import Entry, Kind
from ..trees.node import (
    EMPTY_CONTENT,
    Leaf,
    decode_list,
    entry_references,
    interior_content,
    leaf_content,
    list_content,
)
from ..trees.tree import Trees
from .journal import damage_in, entries_in
from .model import (
    Branch,
    BranchRef,
    Commit,
    CommitRef,
    Origin,
    Repo,
    branch_key,
    commit_key,
    commit_set_key,
    decode,
    repo_key,
    subvenance_key,
)
from .owner import staging_name

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


def check(store: Store, trees: Trees, *, verify_data: bool = False) -> list[Problem]:
    """Return all that is wrong with the store; empty when all is well.  Changes nothing; waits for a gc."""
    with packs_stay(store):
        return _check(store, trees, verify_data=verify_data)


def _check(store: Store, trees: Trees, *, verify_data: bool) -> list[Problem]:
    with store.read() as txn:
        records = read_records(txn)
    return [
        *check_store(store, verify_data=verify_data),
        *records.unreadable,
        *check_repos(records),
        *check_provenance_exists(records),
        *check_heads(records),
        *check_open_commits(records),
        *check_loops(records),
        *check_finished(records),
        *check_parents(records),
        *check_states(records),
        *check_subvenance(records),
        *check_commit_sets(records),
        *check_staging(store, records),
        *check_trees(store, trees, records),
    ]


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


# Open commits


def check_staging(store: Store, records: Records) -> Iterator[Problem]:
    """O2, and T1 for open commits: the journal of an open commit is whole, and what it names is there."""
    for commit in records.commits.values():
        journal = store.staging / staging_name(commit) / "journal"
        if commit.is_finished or commit.origin is not Origin.USER or not journal.exists():
            continue
        damaged_at = damage_in(journal)
        if damaged_at is not None:
            yield Problem("O2", f"the journal of open commit {commit.ref} is damaged at byte {damaged_at}")
        for entry in entries_in(journal):
            for object_id, _ in entry_references(entry):
                if not store.chunks.has(object_id):
                    yield Problem("T1", f"object {object_id.hex()} of open commit {commit.ref} is missing")


# Trees


@dataclass(frozen=True)
class _Sums:
    """What a node says of all below it, as its parent should have it."""

    content: bytes
    entries: int
    size: int
    files: int


def check_trees(store: Store, trees: Trees, records: Records) -> Iterator[Problem]:
    """T1, T2 and T3 for every tree of a finished commit; each node is read once."""
    walk = _Walk(store, trees)
    for commit in records.commits.values():
        if commit.root is not None:
            yield from walk.check(commit.root, str(commit.ref))


class _Walk:
    """Goes through trees; knows what it has seen."""

    def __init__(self, store: Store, trees: Trees) -> None:
        self._store = store
        self._trees = trees
        self._sums: dict[bytes, _Sums | None] = {}
        """By node; None for one that cannot be read."""
        self._lists: dict[bytes, int | None] = {}
        """By chunk list: how many bytes it says are below."""
        self._problems: list[Problem] = []

    def check(self, root: Entry, where: str) -> list[Problem]:
        """Return what is wrong with the directory *root* and what has not been looked at of all below."""
        self._problems = []
        pending = [(root, where)]
        while pending:
            entry, path = pending.pop()
            if entry.is_directory:
                pending += self._check_directory(entry, path)
            elif entry.kind == Kind.FILE:
                self._check_file(entry, path)
        return self._problems

    def _add(self, invariant: str, message: str) -> None:
        self._problems.append(Problem(invariant, message))

    def _check_directory(self, entry: Entry, path: str) -> list[tuple[Entry, str]]:
        """Check a directory's nodes; return its entries that were not looked at yet."""
        if entry.depth == 0:
            if (entry.content, entry.size, entry.files) != (EMPTY_CONTENT, 0, 0):
                self._add("T2", f"{path}: an empty directory has the attributes of another")
            return []
        below: list[tuple[Entry, str]] = []
        sums = self._node(entry.data, entry.depth, path, below)
        if sums is not None and (sums.content, sums.size, sums.files) != (
            entry.content,
            entry.size,
            entry.files,
        ):
            self._add("T2", f"{path}: the directory says something else than its node {entry.data.hex()}")
        return below

    def _node(self, node_id: bytes, height: int, path: str, below: list[tuple[Entry, str]]) -> _Sums | None:
        """Check a node and what is below it; return its sums.  Recursion ends at the height of one tree."""
        if node_id in self._sums:
            return self._sums[node_id]
        self._sums[node_id] = None
        try:
            node = self._trees.node(node_id)
        except StoreError as error:
            self._add("T1", f"{path}: {error}")
            return None
        if node.height != height:
            self._add("T2", f"{path}: node {node_id.hex()} has height {node.height}, not {height}")
        if node.keys != sorted(set(node.keys)):
            self._add("T2", f"{path}: the names in node {node_id.hex()} are not in order")
        if isinstance(node, Leaf):
            below += [(e, f"{path}/{_shown(k)}") for k, e in zip(node.keys, node.items, strict=True)]
            content, entries = leaf_content(node.keys, node.items), len(node.keys)
        else:
            for child in node.items:
                found = self._node(child.id, height - 1, path, below)
                said = _Sums(child.content, child.entries, child.size, child.files)
                if found is not None and found != said:
                    self._add("T2", f"{path}: node {node_id.hex()} says something else than {child.id.hex()}")
            content = interior_content(height, node.items)
            entries = sum(child.entries for child in node.items)
        size = sum(item.size for item in node.items)
        sums = self._sums[node_id] = _Sums(content, entries, size, sum(item.files for item in node.items))
        return sums

    def _check_file(self, entry: Entry, path: str) -> None:
        if entry.depth == 0:
            if len(entry.data) != entry.size or chunk_id(entry.data) != entry.content:
                self._add("T3", f"{path}: the bytes of the file are not those that its entry says")
        elif entry.depth == 1:
            if entry.content != entry.data:
                self._add("T3", f"{path}: the content hash is not the id of the only chunk")
            self._check_chunk(entry.data, entry.size, path)
        else:
            if entry.content != list_content(ChunkId(entry.data)):
                self._add("T3", f"{path}: the content hash is not that of the list of chunks")
            size = self._chunk_list(entry.data, entry.depth - 1, path)
            if size is not None and size != entry.size:
                self._add("T3", f"{path}: the chunks have {size} bytes, the file {entry.size}")

    def _chunk_list(self, list_id: bytes, height: int, path: str) -> int | None:
        """Check a chunk list and what is below it; return the number of bytes."""
        if list_id in self._lists:
            return self._lists[list_id]
        self._lists[list_id] = None
        object_id = ChunkId(list_id)
        try:
            node = decode_list(self._store.chunks.get(object_id), object_id)
        except StoreError as error:
            self._add("T1", f"{path}: {error}")
            return None
        if node.height != height:
            self._add("T3", f"{path}: chunk list {list_id.hex()} has height {node.height}, not {height}")
        for key, length in zip(node.keys, node.items, strict=True):
            if height == 1:
                self._check_chunk(key, length, path)
            else:
                size = self._chunk_list(key, height - 1, path)
                if size is not None and size != length:
                    self._add("T3", f"{path}: chunk list {list_id.hex()} says {length} bytes, not {size}")
        size = self._lists[list_id] = sum(node.items)
        return size

    def _check_chunk(self, object_id: bytes, length: int, path: str) -> None:
        try:
            found = self._store.chunks.locate(ChunkId(object_id))
        except MissingChunkError as error:
            self._add("T1", f"{path}: {error}")
            return
        if found.raw != length:
            self._add("T3", f"{path}: chunk {object_id.hex()} has {found.raw} bytes, not {length}")


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
