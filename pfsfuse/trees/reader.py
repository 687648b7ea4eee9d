"""Reading the bytes of files."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from ..ids import ChunkId
from ..store.objects import Objects
from .chunk_list import Contents, Layout, ListNode
from .node import CorruptNodeError
from .recent import Recent

_KEPT_BYTES = 2 * 1024 * 1024
"""Chunks that one `Reader` keeps: enough that the requests of a kernel's read-ahead decode none twice."""

_AHEAD_BYTES = 4 * 1024 * 1024
"""How far a reader with a pool looks ahead: some requests of a kernel that reads ahead by 1 MiB."""

_COMPARED_BYTES = 1024 * 1024


class Reader:
    """
    An open file: remembers where its chunks are, and the chunks used last.

    May be shared between threads, but for one with a pool: that has one user at a time.
    """

    def __init__(
        self,
        objects: Objects,
        contents: Contents,
        *,
        cache: Recent[bytes] | None = None,
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        """
        *cache* keeps chunks for several readers; without it the reader keeps a few of its own.

        With *pool*, whoever reads from front to back finds the next chunks decoded by its threads.
        """
        self.contents = contents
        self.layout = Layout(objects, contents)
        self._objects = objects
        self._chunks: Recent[bytes] = Recent(_KEPT_BYTES) if cache is None else cache
        self._pool = pool
        self._coming: dict[ChunkId, Future[bytes]] = {}
        self._expected = 0
        self._ahead_to = 0

    def read(self, offset: int, length: int) -> bytes:
        """Return *length* bytes from *offset* on, fewer at the end of the file."""
        end = min(offset + length, self.contents.size)
        if offset >= end:
            return b""
        if self.contents.depth == 0:
            return self.contents.data[offset:end]
        if self._pool is not None:
            self._look_ahead(self._pool, offset, end)
        key, start, size = self.layout.find(offset)
        if end <= start + size:
            return self._chunk(key, size)[offset - start : end - start]
        parts = [
            memoryview(self._chunk(key, size))[max(offset - start, 0) : end - start]
            for key, start, size in self.layout.between(offset, end)
        ]
        return b"".join(parts)

    def _look_ahead(self, pool: ThreadPoolExecutor, offset: int, end: int) -> None:
        """Have the chunks behind *end* decoded, if the reads so far follow each other."""
        follows, self._expected = offset == self._expected, end
        if not follows:
            self._coming.clear()
            self._ahead_to = end
            return
        target = min(end + _AHEAD_BYTES, self.contents.size)
        start = max(self._ahead_to, end)
        if target - start < _AHEAD_BYTES // 4 and target < self.contents.size:
            return
        for key, _, _ in self.layout.between(start, target) if start < target else ():
            if key not in self._coming and self._chunks.get(key) is None:
                self._coming[key] = pool.submit(self._objects.get, key)
        self._ahead_to = target

    def _chunk(self, key: ChunkId, length: int) -> bytes:
        data = self._chunks.get(key)
        if data is None:
            coming = self._coming.pop(key, None)
            data = coming.result() if coming is not None else self._objects.get(key)
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
