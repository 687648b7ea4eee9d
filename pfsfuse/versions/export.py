"""
Trees of the store, written into the host's file system without the mount.

Kept: bytes, permission bits, times of change, symbolic links, empty directories.  The owner is whoever
exports.  FIFOs, sockets and devices are left out and named.  What is there already is
overwritten file by file; a symbolic link in the way is replaced, never followed.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from typing import BinaryIO

from ..trees.contents import Contents, Reader
from ..trees.entry import Entry, Kind
from ..trees.tree import Trees
from .ingest import THREADS, Progress

_STEP = 1 << 20
_WAITING_FILES = 256
_DECODERS = 2
"""Threads that decompress ahead of one that writes."""


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
    waiting: deque[Future[int]] = deque()
    directories: list[tuple[bytes, Entry]] = []
    left_out: list[bytes] = []

    def take() -> None:
        state.bytes += waiting.popleft().result()
        state.files += 1
        progress(state)

    with ThreadPoolExecutor(threads, thread_name_prefix="pfs-export") as pool:
        try:
            for host, found in chain.from_iterable(_walk(trees, *each) for each in wanted):
                if found.kind == Kind.DIRECTORY:
                    # Writable until everything is in it.
                    os.makedirs(host, mode=0o700, exist_ok=True)
                    directories.append((host, found))
                elif found.kind == Kind.SYMLINK:
                    _make_link(host, found)
                elif found.kind == Kind.FILE:
                    if len(waiting) >= _WAITING_FILES:
                        take()
                    waiting.append(pool.submit(_write_file, trees, host, found))
                else:
                    left_out.append(host)
            while waiting:
                take()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for host, found in reversed(directories):
        os.chmod(host, found.mode)
        os.utime(host, ns=(found.mtime_ns, found.mtime_ns))
    return left_out


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


def _write_file(trees: Trees, host: bytes, entry: Entry) -> int:
    if os.path.islink(host):
        os.unlink(host)
    fd = os.open(host, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb", buffering=0) as file:
        reader = Reader(trees.objects, Contents.of(entry))
        for start in range(0, entry.size, _STEP):
            _write_all(file.fileno(), reader.read(start, _STEP))
        os.fchmod(fd, entry.mode)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
    return entry.size


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
