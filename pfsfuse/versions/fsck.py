"""
Looks for damage in a store: one function for each invariant, here and in checks.py.

    S1 S2 P1 D1  packs, objects, journal                  (store/fsck.py)
    F1  every record decodes and stands under its own key
    T1  every node and chunk that a finished commit, or the journal of an open one, needs is in the store
    T2  size, number of files and content hash of a directory agree with what is below it, at every node
    T3  size and content hash of a file agree with its bytes or its list of chunks
    R1 R2        repos                                    (repos.py)
    H1 H3 H4 H5  branches                                 (branches.py)
    C1 C2 C3 C4 C5  commits                               (commits.py)
    C6 C7        provenance and forgotten commits         (removal.py)
    C8           children                                 (records.py)
    O2           staging of open commits                  (owner.py)

Cheap by default: every node of every tree is read, each once, but no chunk of a file;
`verify_data` reads those, too.  H2 speaks of a moment and O1 of processes: neither leaves a trace
that could be looked for.  Others may go on writing: all records are read in one transaction, and
what is written later is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import StoreError
from ..ids import ChunkId, chunk_id
from ..store.chunks import MissingChunkError
from ..store.fsck import Problem, check_store
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
from .checks import Records, check_records, read_records
from .journal import damage_in, entries_in
from .model import Origin
from .owner import staging_name


def check(store: Store, trees: Trees, *, verify_data: bool = False) -> list[Problem]:
    """Return all that is wrong with the store; empty when all is well.  Changes nothing."""
    with store.read() as txn:
        records = read_records(txn)
    return [
        *check_store(store, verify_data=verify_data),
        *check_records(records),
        *check_staging(store, records),
        *check_trees(store, trees, records),
    ]


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
