"""
What the bytes of a file are: nothing, a few bytes, one chunk, or a list of chunks.

A chunk list is a tree like that of a directory (levels.py), by position instead of by name.
The ends of its nodes depend on the ids of the chunks alone, so the same chunks give the same
list, and a change in a huge file makes O(log n) new nodes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from ..ids import ChunkId, chunk_id
from ..store.chunker import Cutting
from ..store.objects import ObjectKind, Objects
from .entry import Entry, Kind
from .levels import Builder, Shape
from .node import ChunkList, CorruptNodeError, decode_list, encode, list_content
from .recent import Recent

_KEPT_NODES = 32
"""Decoded list nodes that one `Layout` keeps: the paths of a few readers at different places."""


@dataclass(frozen=True, slots=True)
class Contents:
    """
    The bytes of a file.  The fields are those of its `Entry`.

    The same bytes have the same `Contents`, whatever way they were written.
    """

    size: int
    depth: int
    data: bytes
    content: bytes

    @classmethod
    def of(cls, entry: Entry) -> Contents:
        """Return the contents of the file *entry*."""
        return cls(entry.size, entry.depth, entry.data, entry.content)

    def entry(self, *, mode: int, uid: int, gid: int, mtime_ns: int) -> Entry:
        """Return the entry of a file with these contents."""
        return Entry(
            kind=Kind.FILE,
            mode=mode,
            uid=uid,
            gid=gid,
            mtime_ns=mtime_ns,
            size=self.size,
            files=1,
            depth=self.depth,
            data=self.data,
            content=self.content,
        )


def inline(data: bytes) -> Contents:
    """Return contents that need no chunk."""
    return Contents(len(data), 0, data, chunk_id(data))


def single_chunk(size: int, key: ChunkId) -> Contents:
    """Return contents that are one chunk, whose id is the hash of the bytes."""
    return Contents(size, 1, key, key)


EMPTY = inline(b"")


@dataclass(frozen=True, slots=True)
class ListNode:
    """A chunk list node with the place of each child, counted from the first byte of the node."""

    height: int
    keys: list[bytes]
    lengths: list[int]
    starts: list[int]
    """Where each child starts, and at the end where the last one ends."""

    @property
    def length(self) -> int:
        """Number of bytes below."""
        return self.starts[-1]


def _list_node(height: int, keys: list[bytes], lengths: list[int]) -> ListNode:
    return ListNode(height, keys, lengths, list(accumulate(lengths, initial=0)))


class Layout:
    """Where the chunks of a file are.  May be shared between threads."""

    def __init__(self, objects: Objects, contents: Contents) -> None:
        self._objects = objects
        self._nodes: Recent[ListNode] = Recent(_KEPT_NODES)
        self.root = self._root(contents)
        self._leaf = (0, self.root if self.root.height == 1 else _list_node(1, [], []))
        """Where the leaf used last starts, and the leaf; replaced in one step."""

    def child(self, parent: ListNode, at: int) -> ListNode:
        """Return the list node that is the child number *at* of *parent*."""
        return self._node(parent.keys[at], parent.height - 1, parent.lengths[at])

    def find(self, offset: int) -> tuple[ChunkId, int, int]:
        """Return (id, start, length) of the chunk with the byte *offset*, which must be in the file."""
        base, leaf = self._leaf
        if not base <= offset < base + leaf.length:
            base, leaf = self._leaf = self._descend(offset)
        at = bisect_right(leaf.starts, offset - base) - 1
        return ChunkId(leaf.keys[at]), base + leaf.starts[at], leaf.lengths[at]

    def between(self, offset: int, end: int) -> Iterator[tuple[ChunkId, int, int]]:
        """Yield (id, start, length) of the chunks that hold the bytes [offset, end)."""
        while offset < end:
            found = self.find(offset)
            yield found
            offset = found[1] + found[2]

    def _root(self, contents: Contents) -> ListNode:
        if contents.depth == 0:
            return _list_node(1, [], [])
        if contents.depth == 1:
            return _list_node(1, [contents.data], [contents.size])
        return self._node(contents.data, contents.depth - 1, contents.size)

    def _descend(self, offset: int) -> tuple[int, ListNode]:
        base, node = 0, self.root
        while node.height > 1:
            at = bisect_right(node.starts, offset - base) - 1
            base += node.starts[at]
            node = self.child(node, at)
        return base, node

    def _node(self, node_id: bytes, height: int, length: int) -> ListNode:
        node = self._nodes.get(node_id)
        if node is None:
            object_id = ChunkId(node_id)
            stored = decode_list(self._objects.get(object_id), object_id)
            node = _list_node(stored.height, stored.keys, stored.items)
            self._nodes.put(node_id, node)
        if node.height != height or node.length != length:
            raise CorruptNodeError(
                ChunkId(node_id),
                f"height {node.height} and {node.length} bytes where {height} and {length} are expected",
            )
        return node


def list_builder(objects: Objects, cutting: Cutting) -> Builder[int]:
    """Return a builder of chunk lists: its keys are chunk ids, its items their lengths."""

    def close(level: int, keys: list[bytes], lengths: list[int]) -> tuple[bytes, int]:
        node = ChunkList(level + 1, keys, lengths)
        return objects.put(encode(node), ObjectKind.CHUNK_LIST), sum(lengths)

    return Builder(Shape(cutting.list_least, cutting.list_most, cutting.list_spread), _first_end, close)


def finished_list(builder: Builder[int]) -> Contents:
    """Return the contents whose chunks *builder* got."""
    root = builder.finish(least_level=0)
    if root is None:
        return EMPTY
    height, key, size = root
    if height == 0:
        return single_chunk(size, ChunkId(key))
    return Contents(size, height + 1, key, list_content(ChunkId(key)))


def _first_end(keys: list[bytes], start: int, stop: int, level: int, spread: int) -> int:
    # Ids are hashes already: each level looks at a byte of its own.
    mask = spread - 1
    for at in range(start, stop):
        if not keys[at][level] & mask:
            return at
    return stop
