"""
What a directory knows about one name in it.

An entry carries two hashes.  `data` is the address of what is stored.  `content` says what a
reader would find: names, kinds, bytes and, for files, whether they are executable; no times,
no owners, no other permissions.  Two entries of the same kind with equal `content` hold the
same data.  The name of an entry, its kind and its executable bit are hashed where the entry
stands in its directory, so the `content` of a file depends on its bytes alone.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from ..ids import chunk_id

EXECUTABLE = 0o100
"""The permission bit that counts as content, as in git: execution by the owner."""


class Kind(enum.IntEnum):
    """What stands at a path."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    FIFO = 4
    SOCKET = 5
    CHARACTER = 6
    BLOCK = 7


_FILE = int(
    Kind.FILE
)  # a member of an enum costs several times as much as an int where millions are compared
_DIRECTORY = int(Kind.DIRECTORY)


class More(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """
    What few entries have; the others have none of it.

    Nothing of it is content.  A later field is appended and has a default.
    """

    directories: int = 0
    """Directory: how many of the entries in it are directories; its link count is two more."""
    linked: int = 0
    """Directory: how many names below it, at any depth, have a `group`."""
    group: int = 0
    """Hard links: a number that the names of one file have in common, and nothing else in the tree."""
    names: int = 0
    """Hard links: how many names the file had when its commit was finished."""
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    """Extended attributes, by name."""
    holes: int = 0
    """File: how many of its bytes were seen to be in holes when it was written through the mount."""


NO_MORE = More()


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """
    All about one path but its name.

    The order of the fields is the stored format; a later field is appended and has a default.
    """

    kind: int
    mode: int
    """Permission bits (0o7777)."""
    uid: int
    gid: int
    mtime_ns: int
    size: int
    """File: bytes.  Symlink: bytes of the target.  Directory: the sum over all non-directories below."""
    files: int
    """Directory: number of non-directories below.  Everything else: 1."""
    depth: int
    """
    File: 0 if `data` is the bytes, 1 if it is the id of the only chunk, n >= 2 if it is the id
    of a chunk list node of height n - 1.  Directory: height of its tree, 0 if empty.
    """
    data: bytes
    """See `depth`.  Directory: id of the root node, b"" if it is empty.  Symlink: target.  Device: number."""
    content: bytes
    """32 bytes; see the module."""
    more: More | None = None
    """None where all of it would have its default, which is nearly everywhere."""

    @property
    def is_directory(self) -> bool:
        """Say whether other entries stand below this one."""
        return self.kind == _DIRECTORY


def marks(entries: Iterable[Entry]) -> bytes:
    """Return, a byte each, what a directory's content hash takes of its entries: kind and executable bit."""
    return bytes(
        [
            _FILE << 1 | 1 if entry.kind == _FILE and entry.mode & EXECUTABLE else entry.kind << 1
            for entry in entries
        ]
    )


def is_same_content(one: Entry | None, other: Entry | None) -> bool:
    """Say whether a reader would find the same at two places; nothing is the same as nothing."""
    if one is None or other is None:
        return one is other
    return one.content == other.content and marks((one,)) == marks((other,))


def with_more(entry: Entry, more: More) -> Entry:
    """Return *entry* with *more*."""
    return msgspec.structs.replace(entry, more=None if more == NO_MORE else more)


def directories_in(entries: Iterable[Entry]) -> int:
    """Return how many of *entries* are directories."""
    return len([entry for entry in entries if entry.kind == _DIRECTORY])


def linked_in(entries: Iterable[Entry]) -> int:
    """Return how many hard-linked names *entries* are and have below them."""
    return sum([entry.more.linked + (entry.more.group != 0) for entry in entries if entry.more is not None])


def symlink(target: bytes, *, uid: int, gid: int, mtime_ns: int) -> Entry:
    """Return the entry of a symbolic link to *target*."""
    return Entry(
        kind=Kind.SYMLINK,
        mode=0o777,
        uid=uid,
        gid=gid,
        mtime_ns=mtime_ns,
        size=len(target),
        files=1,
        depth=0,
        data=target,
        content=chunk_id(target),
    )


def special(kind: Kind, *, mode: int, uid: int, gid: int, mtime_ns: int, device: int = 0) -> Entry:
    """Return the entry of a FIFO, a socket or a device with the number *device* (`st_rdev`)."""
    data = device.to_bytes(8, "big") if kind in (Kind.CHARACTER, Kind.BLOCK) else b""
    return Entry(
        kind=kind,
        mode=mode,
        uid=uid,
        gid=gid,
        mtime_ns=mtime_ns,
        size=0,
        files=1,
        depth=0,
        data=data,
        content=chunk_id(data),
    )


def device_number(entry: Entry) -> int:
    """Return `st_rdev` of *entry*; 0 for what is no device."""
    return int.from_bytes(entry.data, "big") if entry.kind in (Kind.CHARACTER, Kind.BLOCK) else 0
