"""
Files made of parts of other files.

Costs follow what is new: parts of existing files are taken over chunk by chunk, or list node
by list node; only around the seams bytes are read and cut, until the cuts meet the old ones
again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import StoreError
from ..store.chunker import CUTTING, LOOK_AHEAD, Cutting
from ..store.objects import Objects
from .chunk_list import Contents, inline
from .chunk_row import ChunkRow
from .reader import Reader


class _Piece(Protocol):
    """A run of the bytes of the new file."""

    @property
    def length(self) -> int: ...

    def read_all(self) -> bytes:
        """Return the bytes; for small pieces."""
        ...

    def append_to(self, row: ChunkRow, *, final: bool) -> None:
        """Add the bytes to *row*; *final*: the file ends with this piece."""
        ...


@dataclass(frozen=True, slots=True)
class _Kept:
    """Bytes [start, end) of a file that is there already."""

    reader: Reader
    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start

    @property
    def is_whole(self) -> bool:
        """Say whether these are all bytes of the file."""
        return self.length == self.reader.contents.size

    def read_all(self) -> bytes:
        return self.reader.read(self.start, self.length)

    def append_to(self, row: ChunkRow, *, final: bool) -> None:
        contents = self.reader.contents
        has_chunks = contents.depth > 0
        at = self.start
        while at < self.end:
            if has_chunks and not row.pending:
                taken = self._take_over(row, at, final=final) - at
                if not taken:
                    taken = row.repeat_zeros(self._zeros_from(row, at, self.length))
                if taken:
                    at += taken
                    continue
            stop = self._next_stop(at)
            row.pending += self.reader.read(at, stop - at)
            at = stop
            if has_chunks:
                at -= row.cut(final=final and at == self.end, gives_back=self._resumable(row, at))
            elif at == self.end or len(row.pending) >= row.batch:
                row.cut(final=final and at == self.end)

    def _take_over(self, row: ChunkRow, at: int, *, final: bool) -> int:
        """Give *row* the chunks from *at* on whose ends surely remain; return where the last one ends."""
        layout = self.reader.layout
        reached = row.take_over(layout, at, self.end - LOOK_AHEAD)
        if final:
            # The end of the file ends a chunk, too.
            _, start, length = layout.find(reached)
            if start + length == self.end:
                return row.take_over(layout, reached, self.end)
        return reached

    def _next_stop(self, at: int) -> int:
        if self.reader.contents.depth == 0:
            return self.end
        _, start, length = self.reader.layout.find(at)
        return min(start + length, self.end)

    def _resumable(self, row: ChunkRow, stop: int) -> Callable[[int], bool]:
        """Return what says whether old chunks can be taken over from a cut so many bytes before *stop*."""

        def gives_back(rest: int) -> bool:
            at = stop - rest
            if at < self.start:
                return False
            enough = row.sizes.most + 1
            return self.reader.layout.find(at)[1] == at or self._zeros_from(row, at, enough) >= enough

        return gives_back

    def _zeros_from(self, row: ChunkRow, at: int, most: int) -> int:
        """Return how many bytes from *at* on stand in zero chunks; counting ends beyond *most*."""
        end = at
        for key, start, length in self.reader.layout.between(at, min(at + most, self.end)):
            if key != row.zero_chunk_id:
                break
            end = min(start + length, self.end)
        return end - at


@dataclass(frozen=True, slots=True)
class _Zeros:
    """Bytes that nobody wrote."""

    length: int

    def read_all(self) -> bytes:
        return bytes(self.length)

    def append_to(self, row: ChunkRow, *, final: bool) -> None:
        done = 0
        while done < self.length:
            if not row.pending:
                done += row.repeat_zeros(self.length - done)
            step = min(self.length - done, row.sizes.most)
            row.pending += bytes(step)
            done += step
            done -= row.cut(final=final and done == self.length, gives_back=self._resumable(row, done))

    def _resumable(self, row: ChunkRow, done: int) -> Callable[[int], bool]:
        def gives_back(rest: int) -> bool:
            return rest <= done and self.length - done + rest > row.sizes.most

        return gives_back


@dataclass(frozen=True, slots=True)
class _Fresh:
    """Bytes that the caller brings."""

    read: Callable[[int, int], bytes]
    offset: int
    length: int

    def read_all(self) -> bytes:
        return self._read(self.offset, self.length)

    def append_to(self, row: ChunkRow, *, final: bool) -> None:
        end = self.offset + self.length
        for offset in range(self.offset, end, row.batch):
            stop = min(offset + row.batch, end)
            row.pending += self._read(offset, stop - offset)
            row.cut(final=final and stop == end)

    def _read(self, offset: int, length: int) -> bytes:
        data = self.read(offset, length)
        if len(data) != length:
            raise StoreError(
                f"{len(data)} bytes at {offset} where {length} were staged: they must be written again"
            )
        return data


def slice_of(
    objects: Objects, contents: Contents, start: int, end: int, *, cutting: Cutting = CUTTING
) -> Contents:
    """Return the bytes [start, end) of *contents* as the contents of a file of their own."""
    end = min(end, contents.size)
    return _assembled(objects, [_Kept(Reader(objects, contents), min(start, end), end)], cutting)


def concat(objects: Objects, parts: Sequence[Contents], *, cutting: Cutting = CUTTING) -> Contents:
    """Return the bytes of all *parts*, one after the other."""
    pieces = [_Kept(Reader(objects, part), 0, part.size) for part in parts]
    return _assembled(objects, pieces, cutting)


def splice(
    objects: Objects,
    base: Contents,
    size: int,
    dirty: Sequence[tuple[int, int]],
    read_dirty: Callable[[int, int], bytes],
    *,
    cutting: Cutting = CUTTING,
) -> Contents:
    """
    Return *base*, cut or extended with zeros to *size*, with the ranges *dirty* written over it.

    *dirty* are [start, end) in order and disjoint; *read_dirty*(offset, length) returns their
    bytes.  What is beyond *size* is left out.
    """
    reader = Reader(objects, base)
    pieces: list[_Piece] = []

    def keep(start: int, end: int) -> None:
        pieces.append(_Kept(reader, min(start, base.size), min(end, base.size)))
        pieces.append(_Zeros(max(end - max(start, base.size), 0)))

    position = 0
    for start, end in dirty:
        start, end = min(start, size), min(end, size)
        keep(position, start)
        pieces.append(_Fresh(read_dirty, start, end - start))
        position = end
    keep(position, size)
    return _assembled(objects, pieces, cutting)


def _assembled(objects: Objects, pieces: Sequence[_Piece], cutting: Cutting) -> Contents:
    pieces = [piece for piece in pieces if piece.length > 0]
    if len(pieces) == 1 and isinstance(pieces[0], _Kept) and pieces[0].is_whole:
        return pieces[0].reader.contents
    size = sum(piece.length for piece in pieces)
    if size <= cutting.inline_most:
        return inline(b"".join(piece.read_all() for piece in pieces))
    row = ChunkRow(objects, cutting)
    for piece in pieces:
        piece.append_to(row, final=piece is pieces[-1])
    return row.finish()
