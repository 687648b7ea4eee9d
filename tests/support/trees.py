"""Shapes and cuttings with which a few names and bytes make many nodes, and files to put in."""

from __future__ import annotations

from pfsfuse.ids import chunk_id
from pfsfuse.store.chunker import ChunkSizes, Cutting
from pfsfuse.store.objects import Objects
from pfsfuse.trees.contents import Contents, ContentsWriter
from pfsfuse.trees.entry import Entry, Kind
from pfsfuse.trees.levels import Shape

SMALL_SHAPE = Shape(least=2, most=6, spread=2)

SMALL_CUTTING = Cutting(
    sizes=ChunkSizes(least=64, average=256, most=1024),
    inline_most=32,
    list_least=2,
    list_most=6,
    list_spread=2,
)


def a_file(text: str = "", *, mode: int = 0o644, mtime_ns: int = 0) -> Entry:
    """Return a file so small that it stands in its entry."""
    data = text.encode()
    return Entry(
        kind=Kind.FILE,
        mode=mode,
        uid=0,
        gid=0,
        mtime_ns=mtime_ns,
        size=len(data),
        files=1,
        depth=0,
        data=data,
        content=chunk_id(data),
    )


def written(
    objects: Objects,
    data: bytes,
    *,
    step: int = 1 << 30,
    cutting: Cutting = SMALL_CUTTING,
) -> Contents:
    """Write *data* from the first to the last byte, *step* bytes at a time."""
    writer = ContentsWriter(objects, cutting=cutting)
    for start in range(0, len(data), step):
        writer.write(data[start : start + step])
    return writer.finish()
