"""
The chunks of a file that is being made, from the first to the last.

Bytes are added and cut; whole chunks, and whole nodes of chunk lists, are taken over from
files that are there already.  The result is what cutting all bytes anew gives, because

- a chunk is taken over only where the row stands at a cut, and only if all that its end
  depends on, LOOK_AHEAD bytes after it included, follows in the new file, too;
- a list node is taken over only where the row stands at a node's end on all levels below.

Memory: the bytes that are not cut yet, a few times the longest chunk.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Callable
from contextlib import ExitStack
from itertools import accumulate

from ..ids import ChunkId, chunk_id
from ..store.chunker import ChunkSizes, Cutter, Cutting
from ..store.objects import ObjectKind, Objects
from .chunk_list import Contents, Layout, ListNode, finished_list, list_builder


@functools.cache
def zero_chunk(sizes: ChunkSizes) -> tuple[ChunkId, int]:
    """Return id and length of the chunks that a long run of zero bytes is cut into."""
    length = Cutter(sizes).cut(bytes(sizes.most), final=False)[0]
    return chunk_id(bytes(length)), length


def _never(_rest: int) -> bool:
    return False


class ChunkRow:
    """Cuts as *cutting* says and stores what is cut.  For one thread."""

    def __init__(self, objects: Objects, cutting: Cutting) -> None:
        sizes = self.sizes = cutting.sizes
        self.batch = 4 * sizes.most
        """So many bytes are worth cutting at a time."""
        self.pending = bytearray()
        """Bytes after the last cut."""
        self._objects = objects
        self._cutter = Cutter(sizes)
        self._builder = list_builder(objects, cutting)
        self.zero_chunk_id, self._zero_length = zero_chunk(sizes)

    def cut(self, *, final: bool, gives_back: Callable[[int], bool] = _never) -> int:
        """
        Cut the pending bytes as far as the cuts are certain; *final*: the file ends with them.

        After each cut *gives_back* is asked, with the number of bytes beyond it, whether the
        caller goes on from that cut in another way.  Then those bytes are dropped, and their
        number is returned, else 0.
        """
        lengths = self._cutter.cut(self.pending, final=final)
        done = rest = 0
        for at, length in enumerate(lengths):
            done += length
            if done < len(self.pending) and gives_back(len(self.pending) - done):
                rest = len(self.pending) - done
                del lengths[at + 1 :]
                break
        self._store(lengths)
        self.pending = bytearray() if rest else self.pending[done:]
        return rest

    def _store(self, lengths: list[int]) -> None:
        """Store the first chunks of the pending bytes, of these lengths."""
        with ExitStack() as views:
            view = views.enter_context(memoryview(self.pending))
            starts = accumulate(lengths, initial=0)
            chunks = [
                views.enter_context(view[start : start + length])
                for start, length in zip(starts, lengths, strict=False)
            ]
            keys: list[bytes] = list(self._objects.put_all(chunks, ObjectKind.CHUNK))
        self._builder.extend(0, keys, lengths)

    def repeat_zeros(self, length: int) -> int:
        """
        Append the chunks that *length* zero bytes surely begin with, nothing being pending.

        Return the number of bytes in them.  They are cut once, not read: holes cost little.
        """
        if length <= self.sizes.most:
            return 0
        count = (length - self.sizes.most - 1) // self._zero_length + 1
        key = self._objects.put(bytes(self._zero_length), ObjectKind.CHUNK)
        self._builder.repeat(0, key, self._zero_length, count)
        return count * self._zero_length

    def take_over(self, layout: Layout, start: int, stop: int) -> int:
        """
        Append the chunks of another file that lie in [start, stop), nothing being pending.

        The caller knows that their ends remain cuts.  Return where the last one ends: *start* if
        no chunk begins there or if it reaches beyond *stop*.
        """
        if start >= stop or layout.find(start)[1] != start:
            return start
        return self._take_over_node(layout, layout.root, 0, start, stop, is_last=True)

    def finish(self) -> Contents:
        """Return the contents made of all chunks so far."""
        return finished_list(self._builder)

    def _take_over_node(
        self, layout: Layout, node: ListNode, base: int, start: int, stop: int, *, is_last: bool
    ) -> int:
        """
        Append what is below *node*, which starts at *base*, as far as it lies in [start, stop).

        *is_last*: the node ends its level.  Such a node was closed by the end of the file and
        cannot be taken over whole.  Return where the last chunk ends.
        """
        level = node.height - 1
        closed = len(node.keys) - 1 if is_last and level else len(node.keys)
        whole = min(bisect_right(node.starts, stop - base) - 1, closed)
        reached = max(base, start)
        at = max(bisect_right(node.starts, start - base) - 1, 0)
        while at < len(node.keys) and base + node.starts[at] < stop:
            if start <= base + node.starts[at] and at < whole and self._builder.is_clean(level):
                self._builder.extend(level, node.keys[at:whole], node.lengths[at:whole])
                at = whole
                reached = base + node.starts[at]
            elif level == 0:
                break
            else:
                below = layout.child(node, at)
                ends_level = is_last and at == len(node.keys) - 1
                reached = self._take_over_node(
                    layout, below, base + node.starts[at], start, stop, is_last=ends_level
                )
                at += 1
        return reached
