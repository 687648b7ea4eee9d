"""
Streams of bytes, brought into the store.

Promises: memory does not grow with the length of a stream; nothing is visible until the changes that come
out are applied, and then all of it at once.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

from ..store.objects import Objects
from ..trees.contents import Contents, ContentsWriter, Reader
from ..trees.entry import Entry
from ..versions.changesets import Append, Path, Put
from ..versions.ingest import Progress

_STEP = 1 << 20
_FILE_MODE = 0o644


@dataclass(frozen=True)
class Stream:
    """Something to read once, and the path in the commit that it goes to."""

    path: Path
    read: Callable[[], Iterator[bytes]]
    size: int | None = None
    mtime_ns: int | None = None


def parts_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of a file or pipe up to its end."""
    while part := file.read(_STEP):
        yield part


def bytes_of(objects: Objects, entry: Entry) -> Iterator[bytes]:
    """Yield the bytes of a file of the store."""
    reader = Reader(objects, Contents.of(entry))
    for start in range(0, entry.size, _STEP):
        yield reader.read(start, _STEP)


def store(objects: Objects, stream: Stream) -> Entry:
    """Store the bytes of a stream and return the entry of a file that has them."""
    writer = ContentsWriter(objects)
    for part in stream.read():
        writer.write(part)
    return file_entry(writer, mtime_ns=stream.mtime_ns)


def file_entry(writer: ContentsWriter, *, mtime_ns: int | None = None, mode: int = _FILE_MODE) -> Entry:
    """Return what was written as a file that belongs to whoever runs this."""
    when_ns = time.time_ns() if mtime_ns is None else mtime_ns
    return writer.finish().entry(mode=mode, uid=os.geteuid(), gid=os.getegid(), mtime_ns=when_ns)


def ingest_streams(
    objects: Objects,
    streams: Iterable[Stream],
    *,
    append: bool = False,
    threads: int,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[Put | Append]:
    """Store the bytes of *streams*, several at a time, and return the changes that have them be files."""
    state = Progress()
    made: list[Put | Append] = []
    waiting: deque[tuple[Path, Future[Entry]]] = deque()

    def take() -> None:
        path, future = waiting.popleft()
        entry = future.result()
        made.append(Append(path, entry) if append else Put(path, entry))
        state.files += 1
        state.bytes += entry.size
        progress(state)

    with ThreadPoolExecutor(threads, thread_name_prefix="pfs-ingest") as pool:
        try:
            for stream in streams:
                state.found_files += 1
                state.found_bytes += stream.size or 0
                if len(waiting) > 2 * threads:
                    take()
                waiting.append((stream.path, pool.submit(store, objects, stream)))
            while waiting:
                take()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return made
