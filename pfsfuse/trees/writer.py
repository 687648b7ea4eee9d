"""Writing the bytes of files from the first to the last."""

from __future__ import annotations

from collections.abc import Sequence

from ..store.chunker import CUTTING, Cutting
from ..store.objects import ObjectKind, Objects
from .chunk_list import Contents, inline, single_chunk
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
    return cutting.sizes.least


class ContentsWriter:
    """Cuts and stores a stream of bytes; keeps a MiB or two in memory whatever their number.  For one thread."""

    def __init__(self, objects: Objects, *, cutting: Cutting = CUTTING) -> None:
        self._inline_most = cutting.inline_most
        self._size = 0
        self._row = ChunkRow(objects, cutting)

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*, which the caller may reuse at once."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), self._row.batch):
            self._append(view[start : start + self._row.batch])

    def finish(self) -> Contents:
        """Return what was written.  Nothing can be written afterwards."""
        if self._size <= self._inline_most:
            # So few bytes are never cut before the end: a batch is longer.
            return inline(bytes(self._row.pending))
        self._row.cut(final=True)
        return self._row.finish()

    def _append(self, data: memoryview) -> None:
        self._size += len(data)
        self._row.pending += data
        if len(self._row.pending) >= self._row.batch:
            self._row.cut(final=False)
