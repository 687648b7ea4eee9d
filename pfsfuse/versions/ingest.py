"""
Files of the host, brought into the store without the mount.

The bytes go into the store as they are read, by several threads; what comes out is a change set.
Promises: memory does not grow with the size of the files, only with their number (a few hundred
bytes each); nothing is visible until the change set is applied, and then all of it at once.

Kept: bytes, permission bits (but not setuid and setgid: the owner changes), times of change, symbolic
links, empty directories.  The owner is whoever ingests.  FIFOs, sockets and devices have no bytes
to bring; they are left out and named.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..errors import IsADirectoryPathError
from ..store.objects import Objects
from ..trees.contents import Contents, ContentsWriter, small_most, store_small
from ..trees.entry import Entry, Kind, symlink
from ..trees.node import EMPTY_CONTENT
from .changesets import Append, Change, MakeDirectory, Path, Put

_BATCH_FILES = 64
_BATCH_BYTES = 8 << 20
"""A task for a thread: many small files at once, since handing one over costs more than reading it."""
_BUFFER = 1 << 20
_SMALL = small_most()
_KEPT_MODE = 0o1777

THREADS = max(2, min(8, os.cpu_count() or 1))
"""More threads than CPUs make small files slower: there is one interpreter lock."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file or folder of the host, and the path in the commit that it goes to; () is the root."""

    host: bytes
    path: Path


@dataclass
class Progress:
    """How far an ingest is.  What is found grows until everything was looked at."""

    files: int = 0
    bytes: int = 0
    found_files: int = 0
    found_bytes: int = 0


@dataclass
class Ingested:
    """What an ingest makes."""

    changes: list[Change] = field(default_factory=list)
    left_out: list[bytes] = field(default_factory=list)
    """Host paths of what is neither file, folder nor symbolic link."""


def ingest(
    objects: Objects,
    sources: Iterable[Source],
    *,
    recursive: bool = False,
    append: bool = False,
    threads: int = THREADS,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Ingested:
    """
    Store the bytes of *sources* and return the change set that puts them where they belong.

    With *append* the bytes of files are added to the files that are there.  A folder needs
    *recursive*: IsADirectoryPathError.  What cannot be read raises OSError with its path.
    """
    return _Run(objects, append, threads, progress).run(sources, recursive)


class _Run:
    """One ingest."""

    def __init__(
        self, objects: Objects, append: bool, threads: int, progress: Callable[[Progress], None]
    ) -> None:
        self._objects = objects
        self._append = append
        self._threads = threads
        self._tell = progress
        self._progress = Progress()
        self._uid, self._gid = os.geteuid(), os.getegid()
        self._made = Ingested()
        self._directories: list[Change] = []
        """In the order of the walk: parents first."""

    def run(self, sources: Iterable[Source], recursive: bool) -> Ingested:
        waiting: deque[Future[list[tuple[Path, Entry]]]] = deque()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="pfs-ingest") as pool:
            try:
                for batch in _batches(self._files(sources, recursive), self._progress):
                    if len(waiting) > 2 * self._threads:
                        self._take(waiting.popleft().result())
                    waiting.append(pool.submit(self._store_all, batch))
                while waiting:
                    self._take(waiting.popleft().result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        # A directory's time is its own only if nothing is put below it afterwards.
        self._made.changes += reversed(self._directories)
        return self._made

    def _take(self, stored: Sequence[tuple[Path, Entry]]) -> None:
        make = Append if self._append else Put
        self._made.changes += [make(path, entry) for path, entry in stored]
        self._progress.files += len(stored)
        self._progress.bytes += sum(entry.size for _, entry in stored)
        self._tell(self._progress)

    # Looking, in the caller's thread

    def _files(self, sources: Iterable[Source], recursive: bool) -> Iterator[tuple[Source, int]]:
        """Yield the files with their sizes; folders and links are done on the way."""
        for source in sources:
            there = os.stat(source.host)
            if not stat.S_ISDIR(there.st_mode):
                yield source, there.st_size
            elif recursive:
                yield from self._folder(source, there)
            else:
                shown = source.host.decode("utf-8", "backslashreplace")
                raise IsADirectoryPathError(f"{shown} is a directory; -r puts what is in it")

    def _folder(self, source: Source, there: os.stat_result) -> Iterator[tuple[Source, int]]:
        pending = [(source, there)]
        while pending:
            folder, attributes = pending.pop()
            if folder.path:
                self._directories.append(MakeDirectory(folder.path, self._directory_entry(attributes)))
            with os.scandir(folder.host) as entries:
                for entry in entries:
                    below = Source(entry.path, (*folder.path, entry.name))
                    found = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((below, found))
                    elif stat.S_ISREG(found.st_mode):
                        yield below, found.st_size
                    elif entry.is_symlink():
                        self._made.changes.append(Put(below.path, self._link_entry(below.host, found)))
                    else:
                        self._made.left_out.append(entry.path)

    def _directory_entry(self, there: os.stat_result) -> Entry:
        mode = there.st_mode & _KEPT_MODE
        return Entry(
            Kind.DIRECTORY, mode, self._uid, self._gid, there.st_mtime_ns, 0, 0, 0, b"", EMPTY_CONTENT
        )

    def _link_entry(self, host: bytes, there: os.stat_result) -> Entry:
        return symlink(os.readlink(host), uid=self._uid, gid=self._gid, mtime_ns=there.st_mtime_ns)

    # Reading, in threads

    def _store_all(self, batch: Sequence[Source]) -> list[tuple[Path, Entry]]:
        """Store the files of one task: those that are one chunk together, the others as streams."""
        buffer = bytearray(_BUFFER)
        small: list[tuple[Source, os.stat_result, bytes]] = []
        stored: list[tuple[Path, Entry]] = []
        for source in batch:
            with _opened(source.host) as fd:
                there = os.fstat(fd)
                if there.st_size <= _SMALL:
                    # One byte more than a small file may have: it may have grown since.
                    data = os.read(fd, _SMALL + 1)
                    if len(data) <= _SMALL:
                        small.append((source, there, data))
                        continue
                    os.lseek(fd, 0, os.SEEK_SET)
                stored.append((source.path, self._entry(self._store(fd, there, buffer), there)))
        contents = store_small(self._objects, [data for _, _, data in small])
        stored += [
            (source.path, self._entry(one, there))
            for (source, there, _), one in zip(small, contents, strict=True)
        ]
        return stored

    def _store(self, fd: int, there: os.stat_result, buffer: bytearray) -> Contents:
        writer = ContentsWriter(self._objects)
        view = memoryview(buffer)
        while count := os.readv(fd, [view]):
            writer.write(view[:count])
        return writer.finish()

    def _entry(self, contents: Contents, there: os.stat_result) -> Entry:
        return contents.entry(
            mode=there.st_mode & _KEPT_MODE, uid=self._uid, gid=self._gid, mtime_ns=there.st_mtime_ns
        )


@contextmanager
def _opened(host: bytes) -> Iterator[int]:
    """A descriptor of the file; an OSError in the block gets its name, which read(2) does not know."""
    fd = os.open(host, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror, host) from error
        raise
    finally:
        os.close(fd)


def _batches(files: Iterable[tuple[Source, int]], progress: Progress) -> Iterator[list[Source]]:
    batch: list[Source] = []
    size = 0
    for source, length in files:
        batch.append(source)
        size += length
        progress.found_files += 1
        progress.found_bytes += length
        if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
