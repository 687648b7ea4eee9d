"""
The transport through pyfuse3: its calls become requests (requests.py), and errors FUSEError.

Every exception ends in a FUSEError: anything else that left a handler would end the mount.  The
writeback cache is on, so the kernel keeps sizes and times of files being written.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import pyfuse3
import trio
from pyfuse3 import (
    EntryAttributes,
    FileHandleT,
    FileInfo,
    FileNameT,
    FlagT,
    FUSEError,
    InodeT,
    ModeT,
    ReaddirToken,
    RequestContext,
    SetattrFields,
    StatvfsData,
)

from .errnos import number_for
from .guard import unexpected
from .kernel import Known
from .places import Attributes
from .requests import Requests
from .vfs import Caller, Changed

_BLOCK = 4096


class errno_for:  # noqa: N801 - reads as a word of the language where it is used
    """
    Turn what goes wrong in the block into a FUSEError, so that no handler can end the mount.

    A cancellation goes on.
    """

    __slots__ = ("operation", "what")

    def __init__(self, operation: str, *what: object) -> None:
        self.operation = operation
        self.what = what

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, FUSEError) or not isinstance(error, Exception):
            return
        raise FUSEError(number_for(error, self.operation, self.what)) from error


class Adapter(pyfuse3.Operations):
    """The handlers, in pyfuse3's words."""

    supports_dot_lookup = False
    enable_writeback_cache = True
    enable_acl = False

    def __init__(self, requests: Requests) -> None:
        super().__init__()
        self._do = requests

    # Names

    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        with errno_for("lookup", parent_inode, name):
            return _entry(self._do.lookup(parent_inode, name))
        raise AssertionError

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        for inode, count in inode_list:
            # Nobody waits for an answer, so even a FUSEError would end the mount.
            with unexpected(f"forgetting inode {inode}"):
                self._do.forget(inode, count)

    async def mkdir(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext
    ) -> EntryAttributes:
        with errno_for("mkdir", parent_inode, name):
            return _entry(await self._do.mkdir(parent_inode, name, mode & ~ctx.umask, _caller(ctx)))
        raise AssertionError

    async def mknod(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        with errno_for("mknod", parent_inode, name):
            return _entry(await self._do.mknod(parent_inode, name, mode & ~ctx.umask, rdev, _caller(ctx)))
        raise AssertionError

    async def symlink(
        self, parent_inode: InodeT, name: FileNameT, target: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        with errno_for("symlink", parent_inode, name):
            return _entry(await self._do.symlink(parent_inode, name, bytes(target), _caller(ctx)))
        raise AssertionError

    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        with errno_for("link", inode, new_parent_inode, new_name):
            return _entry(await self._do.link(inode, new_parent_inode, new_name, _caller(ctx)))
        raise AssertionError

    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        with errno_for("unlink", parent_inode, name):
            await self._do.unlink(parent_inode, name, _caller(ctx))

    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        with errno_for("rmdir", parent_inode, name):
            await self._do.rmdir(parent_inode, name, _caller(ctx))

    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> None:
        with errno_for("rename", parent_inode_old, name_old, parent_inode_new, name_new):
            await self._do.rename(parent_inode_old, name_old, parent_inode_new, name_new, flags, _caller(ctx))

    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        with errno_for("readlink", inode):
            return FileNameT(self._do.readlink(inode))
        raise AssertionError

    # Attributes

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        with errno_for("getattr", inode):
            return _entry(self._do.getattr(inode))
        raise AssertionError

    async def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        with errno_for("setattr", inode):
            changed = Changed(
                size=attr.st_size if fields.update_size else None,
                mode=attr.st_mode & 0o7777 if fields.update_mode else None,
                uid=attr.st_uid if fields.update_uid else None,
                gid=attr.st_gid if fields.update_gid else None,
                mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
                atime_ns=attr.st_atime_ns if fields.update_atime else None,
            )
            return _entry(await self._do.setattr(inode, changed, fh, _caller(ctx)))
        raise AssertionError

    async def access(self, inode: InodeT, mode: ModeT, ctx: RequestContext) -> bool:
        # Never asked: the kernel checks by itself (default_permissions).
        return True

    async def getxattr(self, inode: InodeT, name: bytes, ctx: RequestContext) -> bytes:
        with errno_for("getxattr", inode, name):
            return self._do.getxattr(inode, name)
        raise AssertionError

    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[bytes]:
        with errno_for("listxattr", inode):
            return self._do.listxattr(inode)
        raise AssertionError

    async def removexattr(self, inode: InodeT, name: bytes, ctx: RequestContext) -> None:
        with errno_for("removexattr", inode, name):
            await self._do.removexattr(inode, name, _caller(ctx))

    async def setxattr(self, inode: InodeT, name: bytes, value: bytes, ctx: RequestContext) -> None:
        with errno_for("setxattr", inode, name):
            # pyfuse3 does not hand on the flags XATTR_CREATE and XATTR_REPLACE.
            await self._do.setxattr(inode, name, value, 0, _caller(ctx))

    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        with errno_for("statfs"):
            room = self._do.statfs()
            data = StatvfsData()
            data.f_bsize = data.f_frsize = room.block
            data.f_blocks, data.f_bfree, data.f_bavail = room.blocks, room.free, room.available
            data.f_files, data.f_ffree, data.f_favail = room.files, room.files_free, room.files_free
            data.f_namemax = room.name_max
            return data
        raise AssertionError

    # Directories

    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        with errno_for("opendir", inode):
            return FileHandleT(self._do.opendir(inode))
        raise AssertionError

    async def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        with errno_for("readdir", fh, start_id):
            for name, attributes, position in self._do.readdir(fh, start_id):
                if not pyfuse3.readdir_reply(token, FileNameT(name), _entry(attributes), position):
                    self._do.not_taken(fh, attributes.ino)
                    return

    async def releasedir(self, fh: FileHandleT) -> None:
        with errno_for("releasedir", fh):
            self._do.releasedir(fh)

    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        with errno_for("fsyncdir", fh):
            await self._do.fsyncdir(fh)

    # Files

    def _opened(self, fh: int) -> FileInfo:
        return FileInfo(fh=FileHandleT(fh), keep_cache=True, direct_io=self._do.writes_through(fh))

    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        with errno_for("open", inode):
            if flags & os.O_TRUNC:
                # libfuse has the kernel leave it to us (FUSE_CAP_ATOMIC_O_TRUNC).
                fh = await self._do.open_empty(inode, flags, _caller(ctx))
            else:
                fh = self._do.open(inode, flags, _caller(ctx))
            return self._opened(fh)
        raise AssertionError

    async def create(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        with errno_for("create", parent_inode, name):
            fh, made = await self._do.create(parent_inode, name, mode & ~ctx.umask, flags, _caller(ctx))
            return self._opened(fh), _entry(made)
        raise AssertionError

    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        with errno_for("read", fh, off, size):
            return self._do.read(fh, off, size)
        raise AssertionError

    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        with errno_for("write", fh, off, len(buf)):
            return await self._do.write(fh, off, buf)
        raise AssertionError

    async def flush(self, fh: FileHandleT) -> None:
        with errno_for("flush", fh):
            self._do.flush(fh)

    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        with errno_for("fsync", fh):
            await self._do.fsync(fh)

    async def release(self, fh: FileHandleT) -> None:
        with errno_for("release", fh):
            self._do.release(fh)


class Pyfuse3Transport:
    """The life of a connection to the kernel, with pyfuse3's session loop.  One in a process."""

    def __init__(self) -> None:
        self.kernel = FuseKernel()

    def mount(self, point: Path, requests: Requests, *, source: str, subtype: str) -> None:
        options = {*pyfuse3.default_options, f"fsname={source}", f"subtype={subtype}", "allow_other"}
        pyfuse3.init(Adapter(requests), os.fspath(point), options)

    async def serve(self) -> None:
        await pyfuse3.main()

    def stop(self) -> None:
        pyfuse3.terminate()

    def close(self, *, unmount: bool) -> None:
        pyfuse3.close(unmount=unmount)


class FuseKernel:
    """Tells the kernel, from threads: the calls block until requests of the kernel's own are answered."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(4)

    async def forget_names(self, names: Sequence[tuple[int, bytes]]) -> None:
        if names:
            await trio.to_thread.run_sync(_forget_names, list(names), limiter=self._limiter)

    async def forget_inodes(self, inodes: Sequence[int]) -> None:
        if inodes:
            await trio.to_thread.run_sync(_forget_inodes, list(inodes), limiter=self._limiter)

    async def let_go(self, known: Sequence[Known]) -> None:
        await self.forget_names([(each.parent, each.name) for each in known])


def _forget_names(names: list[tuple[int, bytes]]) -> None:
    for inode, name in names:
        try:
            pyfuse3.invalidate_entry(InodeT(inode), FileNameT(name))
        except OSError as error:
            # ENOENT: the kernel does not have it.  ENOTEMPTY: something is mounted there.
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
                raise


def _forget_inodes(inodes: list[int]) -> None:
    for inode in inodes:
        try:
            pyfuse3.invalidate_inode(InodeT(inode))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise


def _caller(ctx: RequestContext) -> Caller:
    return Caller(ctx.uid, ctx.gid, ctx.pid)


def _entry(attributes: Attributes) -> EntryAttributes:
    entry = EntryAttributes()
    entry.st_ino = InodeT(attributes.ino)
    entry.generation = 0
    entry.entry_timeout = attributes.entry_s
    entry.attr_timeout = attributes.attr_s
    entry.st_mode = ModeT(attributes.mode)
    entry.st_nlink = attributes.nlink
    entry.st_uid = attributes.uid
    entry.st_gid = attributes.gid
    entry.st_rdev = attributes.rdev
    entry.st_size = attributes.size
    entry.st_blksize = _BLOCK
    entry.st_blocks = attributes.blocks
    entry.st_atime_ns = attributes.mtime_ns if attributes.atime_ns is None else attributes.atime_ns
    entry.st_mtime_ns = attributes.mtime_ns
    entry.st_ctime_ns = attributes.ctime_ns
    return entry
