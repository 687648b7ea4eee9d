"""
Protocol adapter: pyfuse3 calls become vfs calls, and errors become error numbers, here and nowhere else.

It holds no rules of its own but three that belong to the protocol:

- getxattr and listxattr answer ENOSYS.  The kernel then stops asking; otherwise it would ask for
  `security.capability` before every write (docs/performance.md).
- every exception ends in a FUSEError.  Anything else that left a handler would end the mount.
- the writeback cache is on, so the kernel keeps sizes and times of files being written.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence
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

from .. import errors
from ..trees.entry import Kind
from .commits import Commits
from .guard import unexpected
from .handles import CutOffError
from .places import KINDS, Attributes, LivePlace
from .vfs import Caller, Changed, Vfs
from .writers import died_by_signal

log = logging.getLogger(__name__)

ERRNO: dict[type[BaseException], int] = {
    errors.NotFoundError: errno.ENOENT,
    errors.ExistsError: errno.EEXIST,
    errors.InvalidNameError: errno.EINVAL,
    errors.NameTooLongError: errno.ENAMETOOLONG,
    errors.ReadOnlyError: errno.EROFS,
    errors.ForbiddenError: errno.EPERM,
    errors.CrossBranchError: errno.EXDEV,
    errors.NotEmptyError: errno.ENOTEMPTY,
    errors.NotADirectoryPathError: errno.ENOTDIR,
    errors.IsADirectoryPathError: errno.EISDIR,
    errors.FileTooLargeError: errno.EFBIG,
    errors.ConflictError: errno.EBUSY,
    errors.OutOfSpaceError: errno.ENOSPC,
    errors.UnavailableError: errno.EIO,
    errors.StoreError: errno.EIO,
    errors.PfsError: errno.EIO,
}
"""The one place that says which error number an error is."""

FINISH_XATTR = b"user.pfs.finish"

_BLOCK = 4096


def errno_of(error: BaseException) -> int | None:
    """Return the error number of a PfsError, or None for anything else."""
    for kind in type(error).__mro__:
        if kind in ERRNO:
            return ERRNO[kind]
    return None


class errno_for:  # noqa: N801 - reads as a word of the language where it is used
    """
    Turn what goes wrong in the block into a FUSEError.

    A PfsError has its number.  A cancellation goes on.  Anything unexpected is EIO, logged with
    the operation and what it was asked, so that no handler can end the mount.
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
        number = errno_of(error)
        if number is None and isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            number = error.errno
        if number is None or (isinstance(error, errors.StoreError) and not isinstance(error, CutOffError)):
            log.error("%s%r failed", self.operation, self.what, exc_info=error)
        raise FUSEError(number or errno.EIO) from error


class Adapter(pyfuse3.Operations):
    """The handlers, in the kernel's words."""

    supports_dot_lookup = False
    enable_writeback_cache = True
    enable_acl = False

    def __init__(self, vfs: Vfs, commits: Commits) -> None:
        super().__init__()
        self.vfs = vfs
        self.commits = commits

    def _noted(self, inode: InodeT, ctx: RequestContext) -> None:
        """Note which process is about to change something at *inode*."""
        place = self.vfs.inodes.place(inode)
        if isinstance(place, LivePlace):
            place.home.written_by(ctx.pid)

    # Names

    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        with errno_for("lookup", parent_inode, name):
            return _entry(self.vfs.lookup(parent_inode, name))
        raise AssertionError

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        for inode, count in inode_list:
            # Nobody waits for an answer, so even a FUSEError would end the mount.
            with unexpected(f"forgetting inode {inode}"):
                self.vfs.forget(inode, count)

    async def mkdir(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext
    ) -> EntryAttributes:
        with errno_for("mkdir", parent_inode, name):
            self._noted(parent_inode, ctx)
            return _entry(
                await self.vfs.make(parent_inode, name, Kind.DIRECTORY, mode & ~ctx.umask, _caller(ctx))
            )
        raise AssertionError

    async def mknod(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        with errno_for("mknod", parent_inode, name):
            self._noted(parent_inode, ctx)
            kind = KINDS[mode & 0o170000]
            target = rdev.to_bytes(8, "big") if kind in (Kind.CHARACTER, Kind.BLOCK) else b""
            made = await self.vfs.make(
                parent_inode, name, kind, mode & ~ctx.umask, _caller(ctx), target=target
            )
            return _entry(made)
        raise AssertionError

    async def symlink(
        self, parent_inode: InodeT, name: FileNameT, target: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        with errno_for("symlink", parent_inode, name):
            self._noted(parent_inode, ctx)
            made = await self.vfs.make(
                parent_inode, name, Kind.SYMLINK, 0o777, _caller(ctx), target=bytes(target)
            )
            return _entry(made)
        raise AssertionError

    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        with errno_for("link", inode, new_parent_inode, new_name):
            self._noted(inode, ctx)
            return _entry(await self.vfs.link(inode, new_parent_inode, new_name))
        raise AssertionError

    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        with errno_for("unlink", parent_inode, name):
            self._noted(parent_inode, ctx)
            await self.vfs.remove(parent_inode, name, is_directory=False)

    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        with errno_for("rmdir", parent_inode, name):
            self._noted(parent_inode, ctx)
            await self.vfs.remove(parent_inode, name, is_directory=True)

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
            self._noted(parent_inode_new, ctx)
            await self.vfs.rename(parent_inode_old, name_old, parent_inode_new, name_new, flags)

    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        with errno_for("readlink", inode):
            return FileNameT(self.vfs.readlink(inode))
        raise AssertionError

    # Attributes

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        with errno_for("getattr", inode):
            return _entry(self.vfs.getattr(inode))
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
            self._noted(inode, ctx)
            changed = Changed(
                size=attr.st_size if fields.update_size else None,
                mode=attr.st_mode & 0o7777 if fields.update_mode else None,
                uid=attr.st_uid if fields.update_uid else None,
                gid=attr.st_gid if fields.update_gid else None,
                mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
                atime_ns=attr.st_atime_ns if fields.update_atime else None,
            )
            return _entry(await self.vfs.setattr(inode, changed, fh))
        raise AssertionError

    async def access(self, inode: InodeT, mode: ModeT, ctx: RequestContext) -> bool:
        # Never asked: the kernel checks by itself (default_permissions).
        return True

    async def getxattr(self, inode: InodeT, name: bytes, ctx: RequestContext) -> bytes:
        raise FUSEError(errno.ENOSYS)

    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[bytes]:
        raise FUSEError(errno.ENOSYS)

    async def removexattr(self, inode: InodeT, name: bytes, ctx: RequestContext) -> None:
        raise FUSEError(errno.ENOTSUP)

    async def setxattr(self, inode: InodeT, name: bytes, value: bytes, ctx: RequestContext) -> None:
        """Finish the branch's commit: `setfattr -n user.pfs.finish -v "message" /pfs/images/master`."""
        with errno_for("setxattr", inode, name):
            place = self.vfs.inodes.place(inode)
            home = self.commits.branch_of(place) if isinstance(place, LivePlace) else None
            if name != FINISH_XATTR or home is None:
                raise FUSEError(errno.ENOTSUP)
            await self.commits.finish(home, description=value.decode("utf-8", "replace"), is_request=True)

    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        with errno_for("statfs"):
            room = self.vfs.statfs()
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
            return FileHandleT(self.vfs.opendir(inode))
        raise AssertionError

    async def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        with errno_for("readdir", fh, start_id):
            for name, attributes, position, taken in self.vfs.readdir(fh, start_id):
                is_taken = pyfuse3.readdir_reply(token, FileNameT(name), _entry(attributes), position)
                taken(is_taken)
                if not is_taken:
                    return

    async def releasedir(self, fh: FileHandleT) -> None:
        with errno_for("releasedir", fh):
            self.vfs.release(fh)

    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        with errno_for("fsyncdir", fh):
            await self.vfs.fsyncdir(fh)

    # Files

    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        with errno_for("open", inode):
            fh = self.vfs.open(inode, flags, _caller(ctx))
            if flags & os.O_TRUNC:
                self._noted(inode, ctx)
                # libfuse has the kernel leave it to us (FUSE_CAP_ATOMIC_O_TRUNC); no SETATTR comes.
                try:
                    await self.vfs.truncate_opened(inode, fh, _caller(ctx))
                except BaseException:
                    self.vfs.release(fh)
                    raise
            return FileInfo(fh=FileHandleT(fh), keep_cache=True)
        raise AssertionError

    async def create(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        with errno_for("create", parent_inode, name):
            self._noted(parent_inode, ctx)
            caller = _caller(ctx)
            made = await self.vfs.make(parent_inode, name, Kind.FILE, mode & ~ctx.umask, caller)
            try:
                fh = self.vfs.open(made.ino, flags, caller)
            except BaseException:
                self.vfs.forget(made.ino, 1)
                raise
            return FileInfo(fh=FileHandleT(fh), keep_cache=True), _entry(made)
        raise AssertionError

    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        with errno_for("read", fh, off, size):
            return self.vfs.read(fh, off, size)
        raise AssertionError

    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        with errno_for("write", fh, off, len(buf)):
            return await self.vfs.write(fh, off, buf)
        raise AssertionError

    async def flush(self, fh: FileHandleT) -> None:
        with errno_for("flush", fh):
            handle = self.vfs.flush(fh)
            if handle is not None and died_by_signal(handle.pid):
                self.commits.hold(handle)

    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        with errno_for("fsync", fh):
            await self.vfs.fsync(fh)

    async def release(self, fh: FileHandleT) -> None:
        with errno_for("release", fh):
            self.vfs.release(fh)


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
    entry.st_blocks = (attributes.size + 511) // 512
    entry.st_atime_ns = attributes.mtime_ns if attributes.atime_ns is None else attributes.atime_ns
    entry.st_mtime_ns = attributes.mtime_ns
    entry.st_ctime_ns = attributes.ctime_ns
    return entry
