"""
The kernel's requests: passed through to a folder, logged, and failed or held where that is wanted.

Each file has a descriptor (O_PATH) of the file below, so names may change as they like.  The kernel
may keep what it reads: what LMDB maps is the kernel's page cache, which every write goes through.
Changed pages of shared mappings come as writes when they are synced or the kernel needs room.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pyfuse3
import trio
from pyfuse3 import (
    EntryAttributes,
    FileHandleT,
    FileInfo,
    FUSEError,
    InodeT,
    ReaddirToken,
    RequestContext,
    SetattrFields,
    StatvfsData,
)

from .disk import BLOCK
from .faults import Faults, Hold, On, matches
from .log import TOP, Changed, LogWriter, Made, Named, Synced, Truncated, Wrote

log = logging.getLogger(__name__)

_libc = ctypes.CDLL(None, use_errno=True)

_KEPT_S = 3600.0
"""Nobody else changes what is below, so the kernel may keep what it knows."""


@dataclass
class _Node:
    fd: int
    key: tuple[int, int]
    is_folder: bool
    lookups: int = 0


class Adapter(pyfuse3.Operations):
    """See the module."""

    supports_dot_lookup = False
    enable_writeback_cache = False
    enable_acl = False

    def __init__(self, below: str, log_writer: LogWriter) -> None:
        super().__init__()
        self.below = os.path.realpath(below)
        self.log = log_writer
        self.faults = Faults()
        self.hold: Hold | None = None
        self._counted = 0
        self._held: trio.Event | None = None
        """Set when what is held may go on."""
        self.is_holding = trio.Event()
        """Set while something is held."""
        self._nodes: dict[InodeT, _Node] = {}
        self._by_key: dict[tuple[int, int], InodeT] = {}
        self._next = TOP
        self._listings: dict[int, list[bytes]] = {}
        self._next_listing = 0
        top = os.open(self.below, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._know(top, is_new=False)

    def _know(self, fd: int, *, is_new: bool) -> InodeT:
        """Return the number of the file that *fd* is open on, and keep the descriptor or close it."""
        status = os.fstat(fd)
        key = (status.st_dev, status.st_ino)
        found = self._by_key.get(key)
        if found is not None and not is_new:
            os.close(fd)
            return found
        number = InodeT(self._next)
        self._next += 1
        self._nodes[number] = _Node(fd, key, stat.S_ISDIR(status.st_mode))
        self._by_key[key] = number
        return number

    def add_existing(self) -> None:
        """Log all that is there already, as durable."""
        waiting = [(InodeT(TOP), self.below)]
        seen = {InodeT(TOP)}
        while waiting:
            folder, path = waiting.pop()
            for entry in os.scandir(path):
                fd = os.open(entry.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
                number = self._know(fd, is_new=False)
                if number not in seen:
                    seen.add(number)
                    self._log_existing(number, entry.path)
                self.log.add(Named([(folder, os.fsencode(entry.name), number)]))
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((number, entry.path))
            self.log.add(Synced(folder))

    def _log_existing(self, number: InodeT, path: str) -> None:
        mode = os.lstat(path).st_mode
        target = os.fsencode(os.readlink(path)) if stat.S_ISLNK(mode) else b""
        self.log.add(Made(number, mode, target))
        if stat.S_ISREG(mode):
            with open(path, "rb") as file:
                self.log.add(Wrote(number, 0, file.read()))
            self.log.add(Synced(number))

    # What fails, what is held

    def path_of(self, number: int) -> str:
        """Return where a file is, from the top."""
        return os.readlink(f"/proc/self/fd/{self._nodes[InodeT(number)].fd}")[len(self.below) + 1 :]

    def _check(self, on: On, number: int, offset: int = 0, length: int = 1, *, name: bytes = b"") -> None:
        """FUSEError if this is to fail."""
        if not self.faults.all:
            return
        path = self.path_of(number)
        if name:
            path = f"{path}/{os.fsdecode(name)}".removeprefix("/")
        wanted = self.faults.error(on, path, offset, length)
        if wanted is None and on is On.WRITE:
            wanted = self.faults.error(On.CHANGE, path, offset, length)
        if wanted is not None:
            raise FUSEError(wanted)

    async def _hold(self, number: int, *, after: bool) -> None:
        """Wait, if this fsync is the one that is held; EIO if it is let go to fail."""
        hold = self.hold
        if hold is None or hold.after is not after or not matches(self.path_of(number), hold.path):
            return
        self._counted += 1
        if self._counted != hold.number:
            return
        self._held = trio.Event()
        self.is_holding.set()
        await self._held.wait()
        raise FUSEError(errno.EIO)

    def set_hold(self, hold: Hold | None) -> None:
        self.hold = hold
        self._counted = 0

    def let_go(self) -> None:
        """Answer the fsync that is held, with EIO: who waited for it is to be dead by now."""
        self.hold = None
        if self._held is not None:
            self._held.set()
        self.is_holding = trio.Event()

    def forget_pages(self) -> None:
        """Have the kernel drop what it keeps of all files.  In a thread."""
        for number, node in list(self._nodes.items()):
            if not node.is_folder:
                with suppress(FileNotFoundError):
                    # The kernel does not know it any more.
                    pyfuse3.invalidate_inode(number)

    # Looking

    async def lookup(self, parent: InodeT, name: bytes, ctx: RequestContext) -> EntryAttributes:
        with _errno():
            return self._look_up(parent, name)

    def _look_up(self, parent: InodeT, name: bytes) -> EntryAttributes:
        folder = self._nodes[parent].fd
        if name == b".":
            fd = os.dup(folder)
        else:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        return self._given(self._know(fd, is_new=False))

    def _given(self, number: InodeT) -> EntryAttributes:
        """Return attributes for an answer that the kernel counts as a look-up."""
        self._nodes[number].lookups += 1
        return self._attributes(number)

    def _attributes(self, number: InodeT) -> EntryAttributes:
        found = os.fstat(self._nodes[number].fd)
        entry = EntryAttributes()
        entry.st_ino = number
        for name in (
            *("st_mode", "st_nlink", "st_uid", "st_gid", "st_rdev", "st_size"),
            *("st_atime_ns", "st_mtime_ns", "st_ctime_ns"),
        ):
            setattr(entry, name, getattr(found, name))
        entry.st_blksize = BLOCK
        entry.st_blocks = found.st_blocks
        entry.generation = 0
        entry.entry_timeout = entry.attr_timeout = _KEPT_S
        return entry

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        for number, count in inode_list:
            node = self._nodes.get(number)
            if node is None:
                continue
            node.lookups -= count
            # A file that has a name keeps its number: the log knows it by that.
            if node.lookups <= 0 and number != TOP and os.fstat(node.fd).st_nlink == 0:
                del self._nodes[number]
                if self._by_key.get(node.key) == number:
                    del self._by_key[node.key]
                os.close(node.fd)

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        with _errno():
            return self._attributes(inode)

    async def readlink(self, inode: InodeT, ctx: RequestContext) -> bytes:
        with _errno():
            return os.readlink(b"", dir_fd=self._nodes[inode].fd)

    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        found = os.statvfs(self.below)
        made = StatvfsData()
        for name in (
            *("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail"),
            *("f_files", "f_ffree", "f_favail", "f_namemax"),
        ):
            setattr(made, name, getattr(found, name))
        return made

    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        with _errno():
            self._next_listing += 1
            self._listings[self._next_listing] = [
                os.fsencode(name) for name in sorted(os.listdir(self._real(inode)))
            ]
            return FileHandleT(self._next_listing | inode << 32)

    async def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        names = self._listings[fh & 0xFFFFFFFF]
        for position in range(start_id, len(names)):
            try:
                entry = self._look_up(InodeT(fh >> 32), names[position])
            except FileNotFoundError:
                continue
            if not pyfuse3.readdir_reply(token, names[position], entry, position + 1):
                self._nodes[InodeT(entry.st_ino)].lookups -= 1
                return

    async def releasedir(self, fh: FileHandleT) -> None:
        del self._listings[fh & 0xFFFFFFFF]

    # Names

    async def mknod(
        self, parent: InodeT, name: bytes, mode: int, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        with _errno():
            self._check(On.CHANGE, parent, name=name)
            os.mknod(name, mode, rdev, dir_fd=self._nodes[parent].fd)
            return self._given(self._made(parent, name))

    async def mkdir(self, parent: InodeT, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        with _errno():
            self._check(On.CHANGE, parent, name=name)
            os.mkdir(name, mode, dir_fd=self._nodes[parent].fd)
            return self._given(self._made(parent, name))

    async def symlink(
        self, parent: InodeT, name: bytes, target: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        with _errno():
            self._check(On.CHANGE, parent, name=name)
            os.symlink(target, name, dir_fd=self._nodes[parent].fd)
            return self._given(self._made(parent, name, target))

    def _made(self, parent: InodeT, name: bytes, target: bytes = b"") -> InodeT:
        """Log a new file and its first name."""
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._nodes[parent].fd)
        number = self._know(fd, is_new=True)
        self.log.add(Made(number, os.fstat(fd).st_mode, target))
        self.log.add(Named([(parent, name, number)]))
        return number

    async def create(
        self, parent: InodeT, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        with _errno():
            self._check(On.CHANGE, parent, name=name)
            folder = self._nodes[parent].fd
            opened = os.open(
                name, _open_flags(flags) | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=folder
            )
            return FileInfo(fh=FileHandleT(opened), keep_cache=True), self._given(self._made(parent, name))

    async def link(
        self, inode: InodeT, new_parent: InodeT, new_name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        with _errno():
            self._check(On.CHANGE, new_parent, name=new_name)
            os.link(self._real(inode), new_name, dst_dir_fd=self._nodes[new_parent].fd, follow_symlinks=True)
            self.log.add(Named([(new_parent, new_name, inode)]))
            return self._given(inode)

    async def unlink(self, parent: InodeT, name: bytes, ctx: RequestContext) -> None:
        with _errno():
            self._check(On.CHANGE, parent, name=name)
            os.unlink(name, dir_fd=self._nodes[parent].fd)
            self.log.add(Named([(parent, name, None)]))

    async def rmdir(self, parent: InodeT, name: bytes, ctx: RequestContext) -> None:
        with _errno():
            self._check(On.CHANGE, parent, name=name)
            os.rmdir(name, dir_fd=self._nodes[parent].fd)
            self.log.add(Named([(parent, name, None)]))

    async def rename(
        self,
        parent_old: InodeT,
        name_old: bytes,
        parent_new: InodeT,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        with _errno():
            self._check(On.CHANGE, parent_old, name=name_old)
            self._check(On.CHANGE, parent_new, name=name_new)
            old, new = self._nodes[parent_old].fd, self._nodes[parent_new].fd
            moved = self._know(
                os.open(name_old, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=old), is_new=False
            )
            replaced = None
            if flags == pyfuse3.RENAME_EXCHANGE:
                there = os.open(name_new, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=new)
                replaced = self._know(there, is_new=False)
            _rename(old, name_old, new, name_new, flags)
            self.log.add(Named([(parent_old, name_old, replaced), (parent_new, name_new, moved)]))

    # Bytes and attributes

    def _real(self, number: InodeT) -> str:
        """Return a path that always leads to the file below."""
        return f"/proc/self/fd/{self._nodes[number].fd}"

    async def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        with _errno():
            path = self._real(inode)
            if fields.update_size:
                self._check(On.WRITE, inode, attr.st_size)
                os.truncate(path, attr.st_size)
                self.log.add(Truncated(inode, attr.st_size))
            if fields.update_mode:
                self._check(On.CHANGE, inode)
                os.chmod(path, stat.S_IMODE(attr.st_mode))
                self.log.add(Changed(inode, attr.st_mode))
            if fields.update_uid or fields.update_gid:
                self._check(On.CHANGE, inode)
                uid = attr.st_uid if fields.update_uid else -1
                os.chown(path, uid, attr.st_gid if fields.update_gid else -1)
            if fields.update_atime or fields.update_mtime:
                now = os.fstat(self._nodes[inode].fd)
                atime = attr.st_atime_ns if fields.update_atime else now.st_atime_ns
                mtime = attr.st_mtime_ns if fields.update_mtime else now.st_mtime_ns
                os.utime(path, ns=(atime, mtime))
            return self._attributes(inode)

    async def open(self, inode: InodeT, flags: int, ctx: RequestContext) -> FileInfo:
        with _errno():
            if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC:
                self._check(On.CHANGE, inode)
            opened = os.open(self._real(inode), _open_flags(flags) | os.O_CLOEXEC)
            if flags & os.O_TRUNC:
                self.log.add(Truncated(inode, 0))
            return FileInfo(fh=FileHandleT(opened), keep_cache=True)

    def _number_of(self, fh: int) -> InodeT:
        status = os.fstat(fh)
        return self._by_key[(status.st_dev, status.st_ino)]

    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        with _errno():
            self._check(On.READ, self._number_of(fh), off, size)
            return os.pread(fh, size, off)

    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        with _errno():
            number = self._number_of(fh)
            self._check(On.WRITE, number, off, len(buf))
            done = os.pwrite(fh, buf, off)
            self.log.add(Wrote(number, off, bytes(buf[:done])))
            return done

    async def flush(self, fh: FileHandleT) -> None:
        return

    async def release(self, fh: FileHandleT) -> None:
        os.close(fh)

    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        await self._sync(self._number_of(fh))

    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        await self._sync(InodeT(fh >> 32))

    async def _sync(self, number: InodeT) -> None:
        # What is below is never synced: whether the disk has it is what the log says.
        await self._hold(number, after=False)
        try:
            self._check(On.SYNC, number)
        except FUSEError:
            self.log.add(Synced(number, ok=False, path=self.path_of(number)))
            raise
        self.log.add(Synced(number, path=self.path_of(number)))
        await self._hold(number, after=True)


def _open_flags(flags: int) -> int:
    """Return flags for the file below: the kernel finds the end for O_APPEND, and sends the fsyncs of O_SYNC."""
    return flags & ~(
        os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_SYNC | os.O_DSYNC | os.O_DIRECT
    )


def _rename(old: int, name_old: bytes, new: int, name_new: bytes, flags: int) -> None:
    if _libc.renameat2(old, name_old, new, name_new, flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def _errno() -> Iterator[None]:
    """Give the kernel the errno of whatever goes wrong."""
    try:
        yield
    except FUSEError:
        raise
    except OSError as error:
        raise FUSEError(error.errno or errno.EIO) from error
    except Exception as error:
        log.exception("a request failed")
        raise FUSEError(errno.EIO) from error
