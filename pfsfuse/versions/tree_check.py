"""
Goes through all trees and compares every node with what its parent says of it.

    T1  every node and chunk that a finished commit needs is in the store
    T2  size, number of files and content hash of a directory agree with what is below it, at every node
    T3  size and content hash of a file agree with its bytes or its list of chunks

Every node is read, each once; of chunks only the places are looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..errors import StoreError
from ..ids import ChunkId, chunk_id
from ..store.chunks import MissingChunkError
from ..store.problems import Problem
from ..store.store import Store
from ..trees.entry import Entry, Kind
from ..trees.node import (
    EMPTY_CONTENT,
    Leaf,
    decode_list,
    interior_content,
    leaf_content,
    list_content,
)
from ..trees.tree import Trees
from .model import Commit


@dataclass(frozen=True)
class _Sums:
    """What a node says of all below it, as its parent should have it."""

    content: bytes
    entries: int
    size: int
    files: int


def check_trees(store: Store, trees: Trees, commits: Iterable[Commit]) -> Iterator[Problem]:
    """T1, T2 and T3 for every tree of a finished commit; each node is read once."""
    walk = _Walk(store, trees)
    for commit in commits:
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

    def _add(self, invariant: str, message: str, object_id: bytes | None = None) -> None:
        named = ChunkId(object_id) if object_id is not None else None
        self._problems.append(Problem(invariant, message, named))

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
            self._add("T1", f"{path}: {error}", node_id)
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
            self._add("T1", f"{path}: {error}", list_id)
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
            self._add("T1", f"{path}: {error}", object_id)
            return
        if found.raw != length:
            self._add("T3", f"{path}: chunk {object_id.hex()} has {found.raw} bytes, not {length}")


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
