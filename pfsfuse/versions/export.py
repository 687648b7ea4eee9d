"""
Trees of the store, written into the host's file system without the mount.

Kept: bytes, permission bits, times of change, symbolic links, empty directories.  The owner is whoever
exports.  FIFOs, sockets and devices are left out and named.  What is there already is
overwritten file by file; a symbolic link in the way is replaced, never followed.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import BinaryIO

from ..trees.contents import Contents, Reader
from ..trees.entry import Entry, Kind
from ..trees.tree import Trees
from .ingest import THREADS, Progress

_STEP = 1 << 20
_WAITING_FILES = 256


def write_to(trees: Trees, entry: Entry, stream: BinaryIO, *, offset: int = 0) -> None:
    """Write the bytes of a file from *offset* on."""
    reader = Reader(trees.objects, Contents.of(entry))
    for start in range(offset, entry.size, _STEP):
        stream.write(reader.read(start, _STEP))


def export(
    trees: Trees,
    entry: Entry,
    target: bytes,
    *,
    threads: int = THREADS,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[bytes]:
    """Have *target* on the host be *entry*, with what is below it; return the host paths left out."""
    state = Progress(found_files=entry.files, found_bytes=entry.size)
    waiting: deque[Future[int]] = deque()
    directories: list[tuple[bytes, Entry]] = []
    left_out: list[bytes] = []

    def take() -> None:
        state.bytes += waiting.popleft().result()
        state.files += 1
        progress(state)

    with ThreadPoolExecutor(threads, thread_name_prefix="pfs-export") as pool:
        try:
            for host, found in _walk(trees, entry, target):
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
