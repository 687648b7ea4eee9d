"""
Trees of the store, written into the host's file system without the mount.

Kept: bytes, permission bits, times of change, symbolic links, empty directories.  The owner is whoever
exports.  FIFOs, sockets and devices are left out and named.  What is there already is
overwritten file by file; a symbolic link in the way is replaced, never followed.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import BinaryIO

from ..trees.contents import Contents, Reader
from ..trees.entry import Entry, Kind
from ..trees.tree import Trees
from .ingest import THREADS, Progress

_STEP = 1 << 20
_WAITING = 8
_BATCH_FILES = 64
_BATCH_BYTES = 8 << 20
"""A task for a thread: many small files at once, since handing one over costs more than writing it."""
_DECODERS = 2
"""Threads that decompress ahead of one that writes."""
_DECODED_AHEAD_FROM = 4 << 20
"""Smaller files are decompressed by the thread that writes them; others are written beside them."""

_Wanted = tuple[bytes, Entry]
"""A place of the host, and what is to be there."""


def write_to(
    trees: Trees, entry: Entry, stream: BinaryIO, *, offset: int = 0, length: int | None = None
) -> None:
    """Write the bytes of a file from *offset* on, at most *length* of them."""
    end = entry.size if length is None else min(offset + length, entry.size)
    if end - offset <= _STEP:
        stream.write(Reader(trees.objects, Contents.of(entry)).read(offset, end - offset))
        return
    with ThreadPoolExecutor(_DECODERS, thread_name_prefix="pfs-export") as pool:
        reader = Reader(trees.objects, Contents.of(entry), pool=pool)
        for start in range(offset, end, _STEP):
            stream.write(reader.read(start, min(_STEP, end - start)))


def export(
    trees: Trees,
    entry: Entry,
    target: bytes,
    *,
    threads: int = THREADS,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[bytes]:
    """Have *target* on the host be *entry*, with what is below it; return the host paths left out."""
    return export_all(trees, [(entry, target)], threads=threads, progress=progress)


def export_all(
    trees: Trees,
    wanted: Sequence[tuple[Entry, bytes]],
    *,
    threads: int = THREADS,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[bytes]:
    """`export` of several entries, none of which is to be below another."""
    state = Progress(
        found_files=sum(entry.files for entry, _ in wanted),
        found_bytes=sum(entry.size for entry, _ in wanted),
    )
    made = _Made(umask=_umask())
    waiting: deque[Future[tuple[int, int]]] = deque()

    def take() -> None:
        files, size = waiting.popleft().result()
        state.files += files
        state.bytes += size
        progress(state)

    with (
        ThreadPoolExecutor(threads, thread_name_prefix="pfs-export") as pool,
        ThreadPoolExecutor(_DECODERS, thread_name_prefix="pfs-decode") as decoders,
    ):
        try:
            every = chain.from_iterable(_walk(trees, *each) for each in wanted)
            for batch in _batches(made.files(every)):
                if len(waiting) >= _WAITING:
                    take()
                waiting.append(pool.submit(_write_files, trees, batch, made.umask, decoders))
            while waiting:
                take()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    made.finish_directories()
    return made.left_out


@dataclass
class _Made:
    """What is made while walking, before and after the files."""

    umask: int
    directories: list[tuple[bytes, Entry]] = field(default_factory=list)
    left_out: list[bytes] = field(default_factory=list)

    def files(self, every: Iterable[_Wanted]) -> Iterator[_Wanted]:
        """Yield the files; directories and links are made on the way."""
        for host, found in every:
            if found.kind == Kind.FILE:
                yield host, found
            elif found.kind == Kind.DIRECTORY:
                # Writable until everything is in it.
                os.makedirs(host, mode=0o700, exist_ok=True)
                self.directories.append((host, found))
            elif found.kind == Kind.SYMLINK:
                _make_link(host, found)
            else:
                self.left_out.append(host)

    def finish_directories(self) -> None:
        for host, found in reversed(self.directories):
            os.chmod(host, found.mode)
            os.utime(host, ns=(found.mtime_ns, found.mtime_ns))


def _batches(files: Iterable[_Wanted]) -> Iterator[list[_Wanted]]:
    batch: list[_Wanted] = []
    size = 0
    for host, found in files:
        batch.append((host, found))
        size += found.size
        if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _walk(trees: Trees, entry: Entry, target: bytes) -> Iterator[tuple[bytes, Entry]]:
    yield target, entry
    if entry.kind == Kind.DIRECTORY:
        for path, found in trees.walk(entry):
            yield os.path.join(target, *path), found


def _make_link(host: bytes, entry: Entry) -> None:
    with suppress(FileNotFoundError):
        os.unlink(host)
    os.symlink(entry.data, host)
    os.utime(host, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)


def _write_files(
    trees: Trees, batch: Sequence[_Wanted], umask: int, decoders: ThreadPoolExecutor
) -> tuple[int, int]:
    for host, found in batch:
        _write_file(trees, host, found, umask, decoders if found.size > _DECODED_AHEAD_FROM else None)
    return len(batch), sum(found.size for _, found in batch)


def _write_file(
    trees: Trees, host: bytes, entry: Entry, umask: int, decoders: ThreadPoolExecutor | None
) -> None:
    # Every call into the kernel counts where files are small, so this makes no more than it must.
    fd = _create(host, entry.mode)
    try:
        reader = Reader(trees.objects, Contents.of(entry), pool=decoders)
        for start in range(0, entry.size, _STEP):
            _write_all(fd, reader.read(start, _STEP))
        if entry.mode & (umask | ~0o777):
            os.fchmod(fd, entry.mode)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
    finally:
        os.close(fd)


def _create(host: bytes, mode: int) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(host, flags | os.O_EXCL, mode & 0o777)
    except FileExistsError:
        if os.path.islink(host):
            os.unlink(host)
        fd = os.open(host, flags | os.O_TRUNC, mode & 0o777)
        os.fchmod(fd, mode)
        return fd


def _umask() -> int:
    """Return the umask: os.umask would change it for a moment, for all threads."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        found = next((line for line in status if line.startswith("Umask:")), "Umask: 777")
    return int(found.split()[1], 8)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
