"""Reading the bytes of files."""

from __future__ import annotations

from collections.abc import Iterator

from ..ids import ChunkId
from ..store.objects import Objects
from .chunk_list import Contents, Layout, ListNode
from .node import CorruptNodeError
from .recent import Recent

_KEPT_BYTES = 2 * 1024 * 1024
"""Chunks that one `Reader` keeps: enough that the requests of a kernel's read-ahead decode none twice."""

_COMPARED_BYTES = 1024 * 1024


class Reader:
    """
    An open file: remembers where its chunks are, and the chunks used last.

    May be shared between threads.
    """

    def __init__(self, objects: Objects, contents: Contents) -> None:
        self.contents = contents
        self.layout = Layout(objects, contents)
        self._objects = objects
        self._chunks: Recent[bytes] = Recent(_KEPT_BYTES)

    def read(self, offset: int, length: int) -> bytes:
        """Return *length* bytes from *offset* on, fewer at the end of the file."""
        end = min(offset + length, self.contents.size)
        if offset >= end:
            return b""
        if self.contents.depth == 0:
            return self.contents.data[offset:end]
        key, start, size = self.layout.find(offset)
        if end <= start + size:
            return self._chunk(key, size)[offset - start : end - start]
        parts = [
            memoryview(self._chunk(key, size))[max(offset - start, 0) : end - start]
            for key, start, size in self.layout.between(offset, end)
        ]
        return b"".join(parts)

    def _chunk(self, key: ChunkId, length: int) -> bytes:
        data = self._chunks.get(key)
        if data is None:
            data = self._objects.get(key)
            if len(data) != length:
                raise CorruptNodeError(key, f"a chunk of {len(data)} bytes where {length} are expected")
            self._chunks.put(key, data, length)
        return data


def read(objects: Objects, contents: Contents, offset: int, length: int) -> bytes:
    """Return *length* bytes from *offset* on, fewer at the end.  Use a `Reader` to read more than once."""
    return Reader(objects, contents).read(offset, length)


def chunks(
    objects: Objects, contents: Contents, offset: int = 0, end: int | None = None
) -> Iterator[tuple[ChunkId, int]]:
    """
    Yield (id, length) of the chunks that hold the bytes [offset, end), in order and whole.

    Files whose bytes stand in their entry have none.
    """
    if contents.depth == 0:
        return
    stop = contents.size if end is None else min(end, contents.size)
    for key, _, length in Layout(objects, contents).between(offset, stop):
        yield key, length


def is_prefix(objects: Objects, old: Contents, new: Contents) -> bool:
    """
    Say whether the bytes of *new* begin with all those of *old*.

    What has the same chunks is not read; a file that grew by appending costs one chunk.  Only
    where one of the two is cut more coarsely (see chunker.py) all bytes of *old* are compared.
    """
    if old.size >= new.size:
        return old.content == new.content
    before, after = Reader(objects, old), Reader(objects, new)
    offset = _shared_start(before.layout, after.layout)
    while offset < old.size:
        length = min(_COMPARED_BYTES, old.size - offset)
        if before.read(offset, length) != after.read(offset, length):
            return False
        offset += length
    return True


def _shared_start(one: Layout, other: Layout) -> int:
    """Return a number of bytes that both files begin with, as far as equal ids tell."""
    left, right = one.root, other.root
    while left.height > right.height:
        left = one.child(left, 0)
    while right.height > left.height:
        right = other.child(right, 0)
    shared = 0
    while True:
        at = _first_difference(left, right)
        shared += left.starts[at]
        if left.height == 1 or at == len(left.keys) or at == len(right.keys):
            return shared
        left, right = one.child(left, at), other.child(right, at)


def _first_difference(left: ListNode, right: ListNode) -> int:
    for at, (one, other) in enumerate(zip(left.keys, right.keys, strict=False)):
        if one != other:
            return at
    return min(len(left.keys), len(right.keys))
