"""
Tar archives, into the store and out of it.

Read: plain, or compressed with gzip, zstd, bzip2 or xz, told by their first bytes.  Kept: bytes,
permission bits (not setuid and setgid), times, symbolic links, empty directories; a hard link becomes an
equal file.  What else is in an archive is left out and named.

Promises: an archive is read as a stream, so memory grows with the number of members only (hard links may refer
to any of them).  One that is cut off, even between two members, is an error.  Paths never leave the target.
"""

from __future__ import annotations

import bz2
import io
import lzma
import os
import tarfile
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Any, BinaryIO, Protocol, Self

from ..errors import InvalidNameError, StoreError
from ..names import split_path
from ..store.codec import decompressed
from ..store.objects import Objects
from ..trees.contents import Contents, ContentsWriter, Reader
from ..trees.entry import Entry, Kind, symlink
from ..trees.node import EMPTY_CONTENT
from ..trees.tree import Trees
from ..versions.changesets import Append, Change, MakeDirectory, Path, Put
from .streams import file_entry

_STEP = 1 << 20
_KEPT_MODE = 0o1777
_SMALL = 256 << 10
"""Files up to this size are read ahead, by several threads."""
_AHEAD = 64


class ArchiveError(InvalidNameError):
    """This is no tar archive, or not a whole one."""


@dataclass
class Untarred:
    """What an archive makes."""

    changes: list[Change] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


# Reading


def untar(
    objects: Objects, parts: Iterable[bytes], name: str, target: Path, *, append: bool = False
) -> Untarred:
    """Store the members of the archive *parts*, called *name*, and return the changes that put them below *target*."""
    try:
        return _Reading(objects, target, append).run(_Whole(_plain(parts)))
    except (tarfile.TarError, StoreError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise ArchiveError(f"{name}: this is no whole tar archive: {error}") from error


class _Member(tarfile.TarInfo):
    """A header.  The class of each archive notes whether it saw the end mark; tarfile ends at damage, too."""

    saw_end = False

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        cls.saw_end |= len(buf) == tarfile.BLOCKSIZE and not any(buf)
        return super().frombuf(buf, encoding, errors)


class _Reading:
    def __init__(self, objects: Objects, target: Path, append: bool) -> None:
        self._objects = objects
        self._target = target
        self._append = append
        self._files: dict[Path, Entry] = {}
        self._made = Untarred()
        self._directories: list[Change] = []

    def run(self, stream: _Whole) -> Untarred:
        header: type[_Member] = type("_MemberOfOne", (_Member,), {})
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=header, errors="surrogateescape") as archive:
            for member in archive:
                path = (*self._target, *_path_of(member.name))
                if path:
                    self._take(archive, member, path)
        if not header.saw_end:
            raise EOFError("it is damaged or cut off behind its last whole member")
        # What is behind the end mark belongs to the archive, too: a checksum, or padding.
        stream.drain()
        # A directory's time is its own only if nothing is put below it afterwards.
        self._made.changes += reversed(self._directories)
        return self._made

    def _take(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
        mtime_ns = _mtime_ns(member)
        if member.isdir():
            self._directories.append(MakeDirectory(path, _directory(member.mode, mtime_ns)))
        elif member.issym():
            uid, gid = os.geteuid(), os.getegid()
            target = os.fsencode(member.linkname)
            self._made.changes.append(Put(path, symlink(target, uid=uid, gid=gid, mtime_ns=mtime_ns)))
        elif member.islnk():
            known = self._files.get(_path_of(member.linkname))
            if known is None:
                self._made.left_out.append(member.name)
            else:
                self._put(path, known)
        elif member.isfile():
            body = archive.extractfile(member)
            assert body is not None  # it is a file
            writer = ContentsWriter(self._objects)
            while part := body.read(_STEP):
                writer.write(part)
            entry = file_entry(writer, mtime_ns=mtime_ns, mode=member.mode & _KEPT_MODE)
            self._files[_path_of(member.name)] = entry
            self._put(path, entry)
        else:
            self._made.left_out.append(member.name)

    def _put(self, path: Path, entry: Entry) -> None:
        self._made.changes.append(Append(path, entry) if self._append else Put(path, entry))


def _path_of(name: str) -> Path:
    raw = os.fsencode(name)
    return split_path(b"/".join(element for element in raw.split(b"/") if element != b"."))


def _mtime_ns(member: tarfile.TarInfo) -> int:
    """Return the time to the nanosecond, as the archive has it: tarfile makes a float of it."""
    try:
        return int(Decimal(member.pax_headers.get("mtime", str(member.mtime))) * 1_000_000_000)
    except (InvalidOperation, ValueError, OverflowError):
        return int(member.mtime * 1_000_000_000)


def _directory(mode: int, mtime_ns: int) -> Entry:
    uid, gid = os.geteuid(), os.getegid()
    return Entry(Kind.DIRECTORY, mode & _KEPT_MODE, uid, gid, mtime_ns, 0, 0, 0, b"", EMPTY_CONTENT)


class _Whole(io.RawIOBase):
    """Parts as a file that can be read; tarfile reads at most some blocks too far."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = b""

    def read(self, count: int = -1) -> bytes:
        found = bytearray(self._rest[:count])
        self._rest = self._rest[count:]
        while len(found) < count and (part := next(self._parts, None)) is not None:
            needed = count - len(found)
            found += part[:needed]
            self._rest = part[needed:]
        return bytes(found)

    def drain(self) -> None:
        """Read up to the end, which checks what a compressor puts there."""
        for _ in self._parts:
            pass


class _Decompressor(Protocol):
    unused_data: bytes
    eof: bool

    def decompress(self, data: bytes, /) -> bytes: ...


def _plain(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield *parts* without their compression, if they have one."""
    ahead = iter(parts)
    first = b""
    while len(first) < 6 and (part := next(ahead, None)) is not None:
        first += part
    every = chain([first], ahead)
    if first.startswith(b"\x1f\x8b"):
        return _inflated(every, lambda: zlib.decompressobj(wbits=31))
    if first.startswith(b"BZh"):
        return _inflated(every, bz2.BZ2Decompressor)
    if first.startswith(b"\xfd7zXZ\0"):
        return _inflated(every, lzma.LZMADecompressor)
    if first.startswith(b"\x28\xb5\x2f\xfd"):
        return decompressed(every)
    return every


def _inflated(parts: Iterable[bytes], make: Any) -> Iterator[bytes]:
    """Yield what is in a compressed file, which may be several in a row; EOFError if it ends early."""
    inside: _Decompressor | None = None
    for part in parts:
        while part:
            if inside is None and not part.strip(b"\0"):
                break  # padding, as gzip takes it
            inside = inside or make()
            assert inside is not None
            yield inside.decompress(part)
            part = inside.unused_data if inside.eof else b""
            inside = None if inside.eof else inside
    if inside is not None:
        raise EOFError("the compressed file ends in the middle")


# Writing


def write_tar(trees: Trees, entries: Iterable[tuple[Path, Entry]], stream: BinaryIO, *, threads: int) -> None:
    """Write *entries* as a pax archive, by their paths; FIFOs and devices as such, sockets not at all."""
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="pfs-export") as pool,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_STEP) as archive,
    ):
        for path, entry, body in _read_ahead(trees, entries, pool):
            if path and entry.kind != Kind.SOCKET:
                archive.addfile(_header(path, entry), body)


def _read_ahead(
    trees: Trees, entries: Iterable[tuple[Path, Entry]], pool: ThreadPoolExecutor
) -> Iterator[tuple[Path, Entry, BinaryIO | None]]:
    waiting: deque[tuple[Path, Entry, Future[bytes] | None]] = deque()

    def taken() -> tuple[Path, Entry, BinaryIO | None]:
        path, entry, future = waiting.popleft()
        if future is not None:
            return path, entry, io.BytesIO(future.result())
        return path, entry, io.BufferedReader(_Body(trees, entry), _STEP) if entry.kind == Kind.FILE else None

    for path, entry in entries:
        is_small = entry.kind == Kind.FILE and entry.size <= _SMALL
        future = pool.submit(_Body(trees, entry).readall) if is_small else None
        waiting.append((path, entry, future))
        if len(waiting) >= _AHEAD:
            yield taken()
    while waiting:
        yield taken()


class _Body(io.RawIOBase):
    """A file of the store, to be read from front to back."""

    def __init__(self, trees: Trees, entry: Entry) -> None:
        self._reader = Reader(trees.objects, Contents.of(entry))
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._reader.read(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.DIRECTORY: tarfile.DIRTYPE,
    Kind.SYMLINK: tarfile.SYMTYPE,
    Kind.FIFO: tarfile.FIFOTYPE,
    Kind.CHARACTER: tarfile.CHRTYPE,
    Kind.BLOCK: tarfile.BLKTYPE,
}


def _header(path: Path, entry: Entry) -> tarfile.TarInfo:
    made = tarfile.TarInfo(os.fsdecode(b"/".join(path)))
    made.type = _TYPES[Kind(entry.kind)]
    made.mode, made.uid, made.gid = entry.mode, entry.uid, entry.gid
    made.size = entry.size if entry.kind == Kind.FILE else 0
    seconds, rest = divmod(entry.mtime_ns, 1_000_000_000)
    made.mtime = seconds
    if rest:
        made.pax_headers = {"mtime": f"{Decimal(entry.mtime_ns).scaleb(-9):f}"}
    if entry.kind == Kind.SYMLINK:
        made.linkname = os.fsdecode(entry.data)
    if entry.kind in (Kind.CHARACTER, Kind.BLOCK):
        device = int.from_bytes(entry.data, "big")
        made.devmajor, made.devminor = os.major(device), os.minor(device)
    return made
