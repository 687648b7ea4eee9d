"""Writing the bytes of files from the first to the last."""

from __future__ import annotations

from collections.abc import Sequence

from ..store.chunker import CUTTING, ChunkSizes, Cutting
from ..store.objects import ObjectKind, Objects
from .chunk_list import Contents, Layout, inline, single_chunk
from .chunk_row import ChunkRow


def store_small(objects: Objects, files: Sequence[bytes], *, cutting: Cutting = CUTTING) -> list[Contents]:
    """Store whole files of at most `small_most(cutting)` bytes each, all at once; what `ContentsWriter` gives."""
    chunked = [data for data in files if len(data) > cutting.inline_most]
    keys = iter(objects.put_all(chunked, ObjectKind.CHUNK))
    return [
        single_chunk(len(data), next(keys)) if len(data) > cutting.inline_most else inline(data)
        for data in files
    ]


def small_most(cutting: Cutting = CUTTING) -> int:
    """Return up to how many bytes a file surely is a single chunk, or none."""
    return cutting.normal.least


class ContentsWriter:
    """
    Cuts and stores a stream of bytes; keeps a few MiB in memory whatever their number.

    How coarsely a file is cut depends on its size (`Cutting.large_above`).  *size_hint* says
    with what to begin; without one, or with a wrong one, the file is right in the end, but what
    was written until the truth showed, `large_above` bytes at most, is read back and cut again.
    For one thread.
    """

    def __init__(self, objects: Objects, *, size_hint: int | None = None, cutting: Cutting = CUTTING) -> None:
        self._objects = objects
        self._cutting = cutting
        self._size = 0
        self._row = ChunkRow(objects, cutting, cutting.sizes_for(size_hint or 0))

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*, which the caller may reuse at once."""
        view = memoryview(data).cast("B")
        step = self._row.batch  # of now: the row is replaced where the file becomes a large one
        for start in range(0, len(view), step):
            self._append(view[start : start + step])

    def finish(self) -> Contents:
        """Return what was written.  Nothing can be written afterwards."""
        if self._size <= self._cutting.inline_most:
            return inline(self._all_bytes())
        sizes = self._cutting.sizes_for(self._size)
        if self._row.sizes != sizes:
            self._cut_again(sizes)
        self._row.cut(final=True)
        return self._row.finish()

    def _append(self, data: memoryview) -> None:
        self._size += len(data)
        if self._size > self._cutting.large_above and self._row.sizes != self._cutting.large:
            self._cut_again(self._cutting.large)
        self._row.pending += data
        if len(self._row.pending) >= self._row.batch:
            self._row.cut(final=False)

    def _all_bytes(self) -> bytes:
        # So few bytes are never cut before the end: a batch is longer.
        return bytes(self._row.pending)

    def _cut_again(self, sizes: ChunkSizes) -> None:
        pending = self._row.pending
        written = self._row.finish()
        self._row = ChunkRow(self._objects, self._cutting, sizes)
        for key, _, _ in Layout(self._objects, written).between(0, written.size):
            self._row.pending += self._objects.get(key)
            if len(self._row.pending) >= self._row.batch:
                self._row.cut(final=False)
        self._row.pending += pending
