"""
Requests of the kernel, decoded, done and encoded again: one handler for each operation.

A handler gets the header and the body of a request and returns the body of the answer.  `NOTHING`:
this request has no answer.  `Later`: the answer takes waiting.  What it raises becomes an error
number in the session.

The body is a view of the one buffer that all requests are taken into.  What outlives the handler is
copied first.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

from ..errnos import NeverAskError, TooSmallError
from ..guard import unexpected
from ..requests import Requests
from ..vfs import Caller, Changed
from . import protocol as p
from .device import Buffer
from .encoding import attr_out, directory_out, entry_out, names_out, statfs_out
from .protocol import Op, Open

_NOW = p.SET_ATIME_NOW | p.SET_MTIME_NOW
_SECOND = 1_000_000_000
_KEEP = int(Open.KEEP_CACHE)
_THROUGH = int(Open.KEEP_CACHE | Open.DIRECT_IO)
_KEEP_LISTING = int(Open.KEEP_CACHE | Open.CACHE_DIR)
_EMPTY = b""

T = TypeVar("T")


class Head(NamedTuple):
    """What every request begins with."""

    length: int
    operation: int
    unique: int
    ino: int
    uid: int
    gid: int
    pid: int
    extensions: int
    padding: int

    @property
    def caller(self) -> Caller:
        return Caller(self.uid, self.gid, self.pid)


@dataclass(frozen=True, slots=True)
class Later:
    """An answer that has to be waited for."""

    work: Awaitable[Buffer]
    is_change: bool = False
    """Waits until it may begin, and then for nothing: until then it may be given up."""


class Nothing:
    """No answer."""


NOTHING = Nothing()
Answer = Buffer | Later | Nothing
Handler = Callable[[Head, memoryview], Answer]


def at_once(work: Awaitable[T]) -> T:
    """Run a coroutine that waits for nothing."""
    coroutine = cast("Coroutine[Any, Any, T]", work)
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    coroutine.close()
    raise AssertionError("a change waited though its inode was ready")


class Dispatch:
    """The handlers, over `Requests`."""

    def __init__(self, requests: Requests, store: Callable[[int, bytes], None]) -> None:
        """*store* puts bytes of an inode, from its first one on, into the kernel's cache."""
        self._do = requests
        self._store = store
        self.handlers: dict[int, Handler] = {
            Op.LOOKUP: self._lookup,
            Op.FORGET: self._forget,
            Op.BATCH_FORGET: self._batch_forget,
            Op.GETATTR: self._getattr,
            Op.SETATTR: self._setattr,
            Op.READLINK: self._readlink,
            Op.SYMLINK: self._symlink,
            Op.MKNOD: self._mknod,
            Op.MKDIR: self._mkdir,
            Op.UNLINK: self._unlink,
            Op.RMDIR: self._rmdir,
            Op.RENAME: self._rename,
            Op.RENAME2: self._rename2,
            Op.LINK: self._link,
            Op.OPEN: self._open,
            Op.CREATE: self._create,
            Op.READ: self._read,
            Op.WRITE: self._write,
            Op.FLUSH: self._flush,
            Op.FSYNC: self._fsync,
            Op.RELEASE: self._release,
            Op.STATFS: self._statfs,
            Op.SETXATTR: self._setxattr,
            Op.GETXATTR: self._getxattr,
            Op.LISTXATTR: self._listxattr,
            Op.REMOVEXATTR: self._removexattr,
            Op.OPENDIR: self._opendir,
            Op.READDIR: self._readdir,
            Op.READDIRPLUS: self._readdirplus,
            Op.RELEASEDIR: self._releasedir,
            Op.FSYNCDIR: self._fsyncdir,
            Op.DESTROY: self._destroy,
        }

    def _change(self, ino: int, work: Awaitable[T], encode: Callable[[T], Buffer]) -> Answer:
        """Do a change: on the spot where nothing has to be waited for."""
        if self._do.is_ready(ino):
            return encode(at_once(work))
        return Later(_encoded(work, encode), is_change=True)

    # Names

    def _lookup(self, head: Head, body: memoryview) -> Answer:
        return entry_out(self._do.lookup(head.ino, bytes(body[:-1])))

    def _forget(self, head: Head, body: memoryview) -> Answer:
        (count,) = p.FORGET_IN.unpack_from(body)
        with unexpected(f"forgetting inode {head.ino}"):
            self._do.forget(head.ino, count)
        return NOTHING

    def _batch_forget(self, head: Head, body: memoryview) -> Answer:
        (count, _) = p.BATCH_FORGET_IN.unpack_from(body)
        start = p.BATCH_FORGET_IN.size
        for ino, lookups in p.FORGET_ONE.iter_unpack(body[start : start + count * p.FORGET_ONE.size]):
            with unexpected(f"forgetting inode {ino}"):
                self._do.forget(ino, lookups)
        return NOTHING

    def _mkdir(self, head: Head, body: memoryview) -> Answer:
        mode, umask = p.MKDIR_IN.unpack_from(body)
        name = bytes(body[p.MKDIR_IN.size : -1])
        return self._change(head.ino, self._do.mkdir(head.ino, name, mode & ~umask, head.caller), entry_out)

    def _mknod(self, head: Head, body: memoryview) -> Answer:
        mode, rdev, umask, _ = p.MKNOD_IN.unpack_from(body)
        name = bytes(body[p.MKNOD_IN.size : -1])
        made = self._do.mknod(head.ino, name, mode & ~umask, rdev, head.caller)
        return self._change(head.ino, made, entry_out)

    def _symlink(self, head: Head, body: memoryview) -> Answer:
        name, target, _ = bytes(body).split(b"\0", 2)
        return self._change(head.ino, self._do.symlink(head.ino, name, target, head.caller), entry_out)

    def _link(self, head: Head, body: memoryview) -> Answer:
        (ino,) = p.LINK_IN.unpack_from(body)
        name = bytes(body[p.LINK_IN.size : -1])
        return self._change(ino, self._do.link(ino, head.ino, name, head.caller), entry_out)

    def _unlink(self, head: Head, body: memoryview) -> Answer:
        return self._change(head.ino, self._do.unlink(head.ino, bytes(body[:-1]), head.caller), _nothing)

    def _rmdir(self, head: Head, body: memoryview) -> Answer:
        return self._change(head.ino, self._do.rmdir(head.ino, bytes(body[:-1]), head.caller), _nothing)

    def _rename(self, head: Head, body: memoryview) -> Answer:
        (new_parent,) = p.RENAME_IN.unpack_from(body)
        return self._moved(head, new_parent, 0, body[p.RENAME_IN.size :])

    def _rename2(self, head: Head, body: memoryview) -> Answer:
        new_parent, flags, _ = p.RENAME2_IN.unpack_from(body)
        return self._moved(head, new_parent, flags, body[p.RENAME2_IN.size :])

    def _moved(self, head: Head, new_parent: int, flags: int, names: memoryview) -> Answer:
        name, new_name, _ = bytes(names).split(b"\0", 2)
        work = self._do.rename(head.ino, name, new_parent, new_name, flags, head.caller)
        return self._change(head.ino, work, _nothing)

    def _readlink(self, head: Head, body: memoryview) -> Answer:
        return self._do.readlink(head.ino)

    # Attributes

    def _getattr(self, head: Head, body: memoryview) -> Answer:
        return attr_out(self._do.getattr(head.ino))

    def _setattr(self, head: Head, body: memoryview) -> Answer:
        (
            valid, _, fh, size, _, atime, mtime, _, atime_ns, mtime_ns, _, mode, _, uid, gid, _,
        ) = p.SETATTR_IN.unpack_from(body)  # fmt: skip
        now = self._do.now_ns() if valid & _NOW else 0
        changed = Changed(
            size=size if valid & p.SET_SIZE else None,
            mode=mode & 0o7777 if valid & p.SET_MODE else None,
            uid=uid if valid & p.SET_UID else None,
            gid=gid if valid & p.SET_GID else None,
            mtime_ns=_time(valid & p.SET_MTIME, valid & p.SET_MTIME_NOW, mtime, mtime_ns, now),
            atime_ns=_time(valid & p.SET_ATIME, valid & p.SET_ATIME_NOW, atime, atime_ns, now),
        )
        work = self._do.setattr(head.ino, changed, fh if valid & p.SET_FH else None, head.caller)
        return self._change(head.ino, work, attr_out)

    def _statfs(self, head: Head, body: memoryview) -> Answer:
        return statfs_out(self._do.statfs(head.ino))

    def _getxattr(self, head: Head, body: memoryview) -> Answer:
        size, _ = p.GETXATTR_IN.unpack_from(body)
        return _sized(self._do.getxattr(head.ino, bytes(body[p.GETXATTR_IN.size : -1])), size)

    def _listxattr(self, head: Head, body: memoryview) -> Answer:
        size, _ = p.GETXATTR_IN.unpack_from(body)
        return _sized(b"".join(name + b"\0" for name in self._do.listxattr(head.ino)), size)

    def _setxattr(self, head: Head, body: memoryview) -> Answer:
        size, flags = p.SETXATTR_IN.unpack_from(body)
        name, _, rest = bytes(body[p.SETXATTR_IN.size :]).partition(b"\0")
        return Later(_encoded(self._do.setxattr(head.ino, name, rest[:size], flags, head.caller), _nothing))

    def _removexattr(self, head: Head, body: memoryview) -> Answer:
        return Later(_encoded(self._do.removexattr(head.ino, bytes(body[:-1]), head.caller), _nothing))

    # Directories

    def _opendir(self, head: Head, body: memoryview) -> Answer:
        fh = self._do.opendir(head.ino)
        return p.OPEN_OUT.pack(fh, _KEEP_LISTING if self._do.keeps_listing(head.ino) else 0, 0)

    def _readdirplus(self, head: Head, body: memoryview) -> Answer:
        fh, position, size = p.READ_IN.unpack_from(body)
        return directory_out(self._do.readdir(fh, position), size, lambda ino: self._do.not_taken(fh, ino))

    def _readdir(self, head: Head, body: memoryview) -> Answer:
        fh, position, size = p.READ_IN.unpack_from(body)
        return names_out(self._do.names(fh, position), size, lambda: self._do.name_not_taken(fh))

    def _releasedir(self, head: Head, body: memoryview) -> Answer:
        self._do.releasedir(p.FH_IN.unpack_from(body)[0])
        return _EMPTY

    def _fsyncdir(self, head: Head, body: memoryview) -> Answer:
        return Later(_encoded(self._do.fsyncdir(p.FH_IN.unpack_from(body)[0]), _nothing))

    # Files

    def _open(self, head: Head, body: memoryview) -> Answer:
        (flags, _) = p.OPEN_IN.unpack_from(body)
        if flags & os.O_TRUNC:
            return self._change(head.ino, self._do.open_empty(head.ino, flags, head.caller), self._opened)
        fh = self._do.open(head.ino, flags, head.caller)
        data = self._do.unasked(fh)
        if data is not None:
            self._store(head.ino, data)
        return self._opened(fh)

    def _opened(self, fh: int) -> bytes:
        return p.OPEN_OUT.pack(fh, _THROUGH if self._do.writes_through(fh) else _KEEP, 0)

    def _create(self, head: Head, body: memoryview) -> Answer:
        flags, mode, umask, _ = p.CREATE_IN.unpack_from(body)
        name = bytes(body[p.CREATE_IN.size : -1])
        work = self._do.create(head.ino, name, mode & ~umask, flags, head.caller)
        return self._change(head.ino, work, lambda made: entry_out(made[1]) + self._opened(made[0]))

    def _read(self, head: Head, body: memoryview) -> Answer:
        fh, offset, size = p.READ_IN.unpack_from(body)
        return self._do.read(fh, offset, size)

    def _write(self, head: Head, body: memoryview) -> Answer:
        fh, offset, size, _, _, _, _ = p.WRITE_IN.unpack_from(body)
        data = body[p.WRITE_IN.size : p.WRITE_IN.size + size]
        if self._do.is_ready(head.ino):
            return _written(at_once(self._do.write(fh, offset, data)))
        return Later(_encoded(self._do.write(fh, offset, bytes(data)), _written), is_change=True)

    def _flush(self, head: Head, body: memoryview) -> Answer:
        self._do.flush(p.FH_IN.unpack_from(body)[0])
        return _EMPTY

    def _fsync(self, head: Head, body: memoryview) -> Answer:
        return Later(_encoded(self._do.fsync(p.FH_IN.unpack_from(body)[0]), _nothing))

    def _release(self, head: Head, body: memoryview) -> Answer:
        self._do.release(p.FH_IN.unpack_from(body)[0])
        return _EMPTY

    def _destroy(self, head: Head, body: memoryview) -> Answer:
        return _EMPTY


def unknown(head: Head, body: memoryview) -> Answer:
    """Answer an operation that is not in the table; the kernel has a way of its own, and asks no more."""
    raise NeverAskError(f"the mount has no operation {head.operation}")


async def _encoded(work: Awaitable[T], encode: Callable[[T], Buffer]) -> Buffer:
    return encode(await work)


def _nothing(_: None) -> bytes:
    return _EMPTY


def _written(count: int) -> bytes:
    return p.WRITE_OUT.pack(count, 0)


def _time(is_set: int, is_now: int, seconds: int, nanoseconds: int, now_ns: int) -> int | None:
    if is_now:
        return now_ns
    return seconds * _SECOND + nanoseconds if is_set else None


def _sized(value: bytes, room: int) -> bytes:
    """Answer getxattr and listxattr: with *room* 0 the caller asks for the length only."""
    if room == 0:
        return p.GETXATTR_OUT.pack(len(value), 0)
    if len(value) > room:
        raise TooSmallError(f"{len(value)} bytes do not fit into {room}")
    return value
