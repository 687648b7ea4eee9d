"""Attributes, entries and directories in the layouts of the protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..places import Attributes
from ..vfs import Room
from .protocol import ATTR_OUT, DIRENT, ENTRY_OUT, STATFS_OUT

_BLOCK = 4096
_SECOND = 1_000_000_000
_ALIGNED = 8
_TYPE_SHIFT = 12
"""The type of a directory entry is that of its mode, without the permissions."""


def entry_out(a: Attributes) -> bytes:
    """Return what answers LOOKUP and whatever makes a name."""
    mtime, mtime_ns = divmod(a.mtime_ns, _SECOND)
    ctime, ctime_ns = (mtime, mtime_ns) if a.ctime_ns == a.mtime_ns else divmod(a.ctime_ns, _SECOND)
    atime, atime_ns = (mtime, mtime_ns) if a.atime_ns is None else divmod(a.atime_ns, _SECOND)
    entry_s, attr_s = int(a.entry_s), int(a.attr_s)
    return ENTRY_OUT.pack(
        a.ino, 0, entry_s, attr_s, int((a.entry_s - entry_s) * _SECOND), int((a.attr_s - attr_s) * _SECOND),
        a.ino, a.size, a.blocks, atime, mtime, ctime, atime_ns, mtime_ns, ctime_ns,
        a.mode, a.nlink, a.uid, a.gid, a.rdev, _BLOCK, 0,
    )  # fmt: skip


def attr_out(a: Attributes) -> bytes:
    """Return what answers GETATTR and SETATTR."""
    mtime, mtime_ns = divmod(a.mtime_ns, _SECOND)
    ctime, ctime_ns = divmod(a.ctime_ns, _SECOND)
    atime, atime_ns = (mtime, mtime_ns) if a.atime_ns is None else divmod(a.atime_ns, _SECOND)
    attr_s = int(a.attr_s)
    return ATTR_OUT.pack(
        attr_s, int((a.attr_s - attr_s) * _SECOND), 0,
        a.ino, a.size, a.blocks, atime, mtime, ctime, atime_ns, mtime_ns, ctime_ns,
        a.mode, a.nlink, a.uid, a.gid, a.rdev, _BLOCK, 0,
    )  # fmt: skip


def statfs_out(room: Room) -> bytes:
    """Return what answers STATFS."""
    return STATFS_OUT.pack(
        room.blocks,
        room.free,
        room.available,
        room.files,
        room.files_free,
        room.block,
        room.name_max,
        room.block,
        0,
    )


def directory_out(
    entries: Iterator[tuple[bytes, Attributes, int]],
    room: int,
    not_taken: Callable[[int], None],
) -> bytes:
    """
    Return what answers READDIRPLUS: as many entries as go into *room* bytes.

    *not_taken* is told of the one, by its inode, that was taken from *entries* and had no room.
    """
    parts: list[bytes] = []
    for name, attributes, position in entries:
        length = len(name)
        padding = -length % _ALIGNED
        room -= ENTRY_OUT.size + DIRENT.size + length + padding
        if room < 0:
            not_taken(attributes.ino)
            break
        parts += (
            entry_out(attributes),
            DIRENT.pack(attributes.ino, position, length, attributes.mode >> _TYPE_SHIFT),
            name,
            bytes(padding),
        )
    return b"".join(parts)


def names_out(
    entries: Iterator[tuple[bytes, int, int, int]], room: int, not_taken: Callable[[], None]
) -> bytes:
    """Return what answers READDIR, of (name, ino, mode, position behind it)."""
    parts: list[bytes] = []
    for name, ino, mode, position in entries:
        length = len(name)
        padding = -length % _ALIGNED
        room -= DIRENT.size + length + padding
        if room < 0:
            not_taken()
            break
        parts += (DIRENT.pack(ino, position, length, mode >> _TYPE_SHIFT), name, bytes(padding))
    return b"".join(parts)
