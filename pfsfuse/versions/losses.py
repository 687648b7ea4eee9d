"""
What is lost when objects cannot be read: which bytes of which files, in which commits.

Only directories with damage somewhere below are gone through a second time, so the work is in
proportion to what is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from ..errors import StoreError
from ..ids import ChunkId, CommitId, RepoName
from ..store.objects import ObjectKind
from ..store.store import Store
from ..trees.entry import Entry, Kind
from ..trees.node import Leaf, decode_list, entry_references, references
from ..trees.tree import Trees
from .model import Commit

Range = tuple[int, int]
"""Bytes of a file, [start, end)."""


@dataclass
class Loss:
    """Something of a repo that cannot be read, the same in each of *commits*."""

    repo: RepoName
    path: bytes
    """Without a leading slash; empty for the root directory."""
    size: int
    """Of the whole file, or of all files of the directory."""
    ranges: list[Range] = field(default_factory=list)
    """Which bytes of a file; empty for a directory."""
    after: bytes | None = None
    """Of a directory, the names behind this one are lost …"""
    upto: bytes | None = None
    """… up to this one; None: from the first, to the last."""
    commits: list[CommitId] = field(default_factory=list)

    @property
    def what(self) -> str:
        """What is lost, in words."""
        if self.ranges:
            spans = ", ".join(f"{start}-{end - 1}" for start, end in self.ranges)
            return f"bytes {spans} of {self.size}"
        if self.after is None and self.upto is None:
            return "all entries of the directory"
        after = f" after {_shown(self.after)}" if self.after is not None else ""
        upto = f" up to {_shown(self.upto)}" if self.upto is not None else ""
        return f"the entries{after}{upto} of the directory"


def find_losses(
    store: Store, trees: Trees, commits: Iterable[Commit], unreadable: Collection[ChunkId]
) -> list[Loss]:
    """Return what finished commits lose by *unreadable* objects, and by those that are not there at all."""
    walk = _Walk(store, trees, unreadable)
    found: dict[tuple[object, ...], Loss] = {}
    for commit in sorted(commits, key=lambda c: (c.repo, c.started_ns)):
        if commit.root is None:
            continue
        for loss in walk.of_directory(commit.root, (), commit.repo):
            key = (loss.repo, loss.path, loss.size, tuple(loss.ranges), loss.after, loss.upto)
            found.setdefault(key, loss).commits.append(commit.id)
    return list(found.values())


class _Walk:
    """Knows of every node that it has seen whether something below is lost."""

    def __init__(self, store: Store, trees: Trees, unreadable: Collection[ChunkId]) -> None:
        self._store = store
        self._trees = trees
        self._unreadable = unreadable
        self._is_hurt: dict[bytes, bool] = {}

    # Looking for damage

    def _is_lost(self, object_id: bytes) -> bool:
        return object_id in self._unreadable or not self._store.chunks.has(ChunkId(object_id))

    def _entry_is_hurt(self, entry: Entry) -> bool:
        return any(self._object_is_hurt(*named) for named in entry_references(entry))

    def _object_is_hurt(self, object_id: ChunkId, kind: ObjectKind) -> bool:
        """Say whether an object, or anything below it, is lost; each node is looked at once."""
        if kind is ObjectKind.CHUNK:
            return self._is_lost(object_id)
        pending: list[tuple[ChunkId, ObjectKind, list[ChunkId] | None]] = [(object_id, kind, None)]
        while pending:
            current, its_kind, below = pending.pop()
            if below is not None:
                self._is_hurt[current] |= any(self._is_hurt[each] for each in below)
            elif current not in self._is_hurt:
                nodes, self._is_hurt[current] = self._below(current, its_kind)
                pending.append((current, its_kind, [each for each, _ in nodes]))
                pending += [(each, kind_of, None) for each, kind_of in nodes]
        return self._is_hurt[object_id]

    def _below(self, node_id: ChunkId, kind: ObjectKind) -> tuple[list[tuple[ChunkId, ObjectKind]], bool]:
        """Return the nodes that a node names, and whether it or one of its chunks is lost."""
        if self._is_lost(node_id):
            return [], True
        try:
            named = list(references(self._store.chunks.get(node_id), kind, node_id))
        except StoreError:
            return [], True
        nodes = [pair for pair in named if pair[1] is not ObjectKind.CHUNK]
        return nodes, any(self._is_lost(each) for each, kind in named if kind is ObjectKind.CHUNK)

    # Naming it

    def of_directory(self, entry: Entry, path: tuple[bytes, ...], repo: RepoName) -> Iterator[Loss]:
        pending = [(entry, path)]
        while pending:
            current, where = pending.pop()
            if not self._entry_is_hurt(current):
                continue
            if current.kind == Kind.FILE:
                yield Loss(repo, b"/".join(where), current.size, list(self._ranges_of(current)))
                continue
            for found in self._in_node(current.data, None, None):
                if isinstance(found, tuple):
                    pending.append((found[1], (*where, found[0])))
                else:
                    found.repo, found.path, found.size = repo, b"/".join(where), current.size
                    yield found

    def _in_node(
        self, node_id: bytes, after: bytes | None, upto: bytes | None
    ) -> Iterator[Loss | tuple[bytes, Entry]]:
        """Yield the entries of a directory that have damage, and a loss for each node that is gone."""
        try:
            node = None if self._is_lost(node_id) else self._trees.node(node_id)
        except StoreError:
            node = None
        if node is None:
            yield Loss(RepoName(""), b"", 0, after=after, upto=upto)
        elif isinstance(node, Leaf):
            for name, entry in zip(node.keys, node.items, strict=True):
                if self._entry_is_hurt(entry):
                    yield name, entry
        else:
            for at, child in enumerate(node.items):
                if self._object_is_hurt(ChunkId(child.id), ObjectKind.DIRECTORY_NODE):
                    yield from self._in_node(child.id, node.keys[at - 1] if at else after, node.keys[at])

    def _ranges_of(self, entry: Entry) -> Iterator[Range]:
        """Yield the lost bytes of a file, adjoining ranges as one."""
        last: Range | None = None
        for start, end in self._lost_in(entry.data, entry.depth - 1, 0, entry.size):
            if last is not None and last[1] == start:
                last = (last[0], end)
                continue
            if last is not None:
                yield last
            last = (start, end)
        if last is not None:
            yield last

    def _lost_in(self, object_id: bytes, height: int, start: int, end: int) -> Iterator[Range]:
        """Yield what is lost below a chunk (height 0) or a chunk list."""
        if self._is_lost(object_id):
            yield start, end
            return
        if height == 0:
            return
        try:
            node = decode_list(self._store.chunks.get(ChunkId(object_id)), ChunkId(object_id))
        except StoreError:
            yield start, end
            return
        for key, length in zip(node.keys, node.items, strict=True):
            yield from self._lost_in(key, height - 1, start, start + length)
            start += length


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
