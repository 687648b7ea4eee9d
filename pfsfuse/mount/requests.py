"""
What each request of the kernel means, whatever way it came (transports.py).

It holds no rules of the tree (those are the vfs's) but the few that belong to the protocol:

- extended attributes are offered where the mount was asked for them, but for the one that finishes a
  commit.  Without them the kernel stops asking; with them it asks for `security.capability` before
  every write (docs/performance.md);
- O_TRUNC is ours to do: no SETATTR comes for it;
- who changes something is noted, and who closes a file because a signal ends it.

A method that is `async` may wait, but waits for nothing while the inode `is_ready`: a transport may
then run it on the spot.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Iterator

from ..trees.entry import Kind
from ..versions.staged_tree import now_ns
from .commits import Commits
from .errnos import NeverAskError, NotSupportedError
from .places import KINDS, Attributes, LivePlace
from .vfs import Caller, Changed, Room, Vfs
from .writers import died_by_signal
from .xattrs import ExtendedAttributes

FINISH_XATTR = b"user.pfs.finish"

_TYPE_BITS = 0o170000


class Requests:
    """The requests, in the kernel's words; they raise PfsError, or what nobody expected."""

    def __init__(self, vfs: Vfs, commits: Commits, *, xattrs: bool = False) -> None:
        """*xattrs*: keep extended attributes of users."""
        self.vfs = vfs
        self.commits = commits
        self._xattrs = ExtendedAttributes(vfs) if xattrs else None

    def is_ready(self, ino: int) -> bool:
        """Say whether a change below *ino* would be made without waiting for anything."""
        return self.vfs.is_ready(ino)

    def _noted(self, ino: int, caller: Caller) -> None:
        """Note which process is about to change something at *ino*."""
        place = self.vfs.inodes.place(ino)
        if isinstance(place, LivePlace):
            place.home.written_by(caller.pid)

    # Names

    def lookup(self, parent: int, name: bytes) -> Attributes:
        return self.vfs.lookup(parent, name)

    def forget(self, ino: int, count: int) -> None:
        self.vfs.forget(ino, count)

    def mkdir(self, parent: int, name: bytes, mode: int, caller: Caller) -> Awaitable[Attributes]:
        self._noted(parent, caller)
        return self.vfs.make(parent, name, Kind.DIRECTORY, mode, caller)

    def mknod(self, parent: int, name: bytes, mode: int, rdev: int, caller: Caller) -> Awaitable[Attributes]:
        self._noted(parent, caller)
        kind = KINDS[mode & _TYPE_BITS]
        target = rdev.to_bytes(8, "big") if kind in (Kind.CHARACTER, Kind.BLOCK) else b""
        return self.vfs.make(parent, name, kind, mode, caller, target=target)

    def symlink(self, parent: int, name: bytes, target: bytes, caller: Caller) -> Awaitable[Attributes]:
        self._noted(parent, caller)
        return self.vfs.make(parent, name, Kind.SYMLINK, 0o777, caller, target=target)

    def link(self, ino: int, new_parent: int, new_name: bytes, caller: Caller) -> Awaitable[Attributes]:
        self._noted(ino, caller)
        return self.vfs.link(ino, new_parent, new_name)

    def unlink(self, parent: int, name: bytes, caller: Caller) -> Awaitable[None]:
        self._noted(parent, caller)
        return self.vfs.remove(parent, name, is_directory=False)

    def rmdir(self, parent: int, name: bytes, caller: Caller) -> Awaitable[None]:
        self._noted(parent, caller)
        return self.vfs.remove(parent, name, is_directory=True)

    def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int, caller: Caller
    ) -> Awaitable[None]:
        self._noted(new_parent, caller)
        return self.vfs.rename(parent, name, new_parent, new_name, flags)

    def readlink(self, ino: int) -> bytes:
        return self.vfs.readlink(ino)

    # Attributes

    def getattr(self, ino: int) -> Attributes:
        return self.vfs.getattr(ino)

    @staticmethod
    def now_ns() -> int:
        """Return the time that the kernel means by "now"."""
        return now_ns()

    def setattr(self, ino: int, changed: Changed, fh: int | None, caller: Caller) -> Awaitable[Attributes]:
        self._noted(ino, caller)
        return self.vfs.setattr(ino, changed, fh)

    def getxattr(self, ino: int, name: bytes) -> bytes:
        if self._xattrs is None:
            raise NeverAskError("there are no extended attributes")
        return self._xattrs.get(ino, name)

    def listxattr(self, ino: int) -> list[bytes]:
        if self._xattrs is None:
            raise NeverAskError("there are no extended attributes")
        return self._xattrs.names(ino)

    async def removexattr(self, ino: int, name: bytes, caller: Caller) -> None:
        if self._xattrs is None:
            raise NotSupportedError("there are no extended attributes")
        self._noted(ino, caller)
        await self._xattrs.remove(ino, name)

    async def setxattr(self, ino: int, name: bytes, value: bytes, flags: int, caller: Caller) -> None:
        """Finish the branch's commit: `setfattr -n user.pfs.finish -v "message" /pfs/images/master`."""
        place = self.vfs.inodes.place(ino)
        home = self.commits.branch_of(place) if isinstance(place, LivePlace) else None
        if name == FINISH_XATTR and home is not None:
            await self.commits.finish(home, description=value.decode("utf-8", "replace"))
        elif self._xattrs is None:
            raise NotSupportedError("there are no extended attributes")
        else:
            self._noted(ino, caller)
            await self._xattrs.set(ino, name, value, flags)

    def statfs(self, ino: int | None = None) -> Room:
        """*ino*: which part of the tree is meant, where the transport knows that."""
        return self.vfs.statfs(ino)

    def writes_through(self, fh: int) -> bool:
        """Say whether the kernel must not cache what is written to a file that was just opened."""
        return self.vfs.writes_through(fh)

    # Directories

    def opendir(self, ino: int) -> int:
        return self.vfs.opendir(ino)

    def readdir(self, fh: int, position: int) -> Iterator[tuple[bytes, Attributes, int]]:
        return self.vfs.readdir(fh, position)

    def not_taken(self, fh: int, ino: int) -> None:
        """The last entry that `readdir` gave did not fit into the answer."""
        self.vfs.not_taken(fh, ino)

    def names(self, fh: int, position: int) -> Iterator[tuple[bytes, int, int, int]]:
        return self.vfs.names(fh, position)

    def name_not_taken(self, fh: int) -> None:
        """The last name that `names` gave did not fit into the answer."""
        self.vfs.name_not_taken(fh)

    def keeps_listing(self, ino: int) -> bool:
        """Say whether the kernel may keep the names of a directory until it is told otherwise."""
        return self.vfs.keeps_listing(ino)

    def releasedir(self, fh: int) -> None:
        self.vfs.release(fh)

    def fsyncdir(self, fh: int) -> Awaitable[None]:
        return self.vfs.fsyncdir(fh)

    # Files

    def open(self, ino: int, flags: int, caller: Caller) -> int:
        """Open without O_TRUNC; with it see `open_empty`."""
        return self.vfs.open(ino, flags, caller)

    def unasked(self, fh: int) -> bytes | None:
        """Return the bytes that the kernel may be given together with the answer to OPEN, if any."""
        return self.vfs.unasked(fh)

    async def open_empty(self, ino: int, flags: int, caller: Caller) -> int:
        """Open with O_TRUNC."""
        fh = self.vfs.open(ino, flags, caller)
        self._noted(ino, caller)
        try:
            await self.vfs.truncate_opened(ino, fh, caller)
        except BaseException:
            self.vfs.release(fh)
            raise
        return fh

    async def create(
        self, parent: int, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[int, Attributes]:
        """Make a file and open it; return its handle and its attributes."""
        self._noted(parent, caller)
        made = await self.vfs.make(parent, name, Kind.FILE, mode, caller)
        try:
            fh = self.vfs.open(made.ino, flags & ~os.O_TRUNC, caller)
        except BaseException:
            self.vfs.forget(made.ino, 1)
            raise
        return fh, made

    def read(self, fh: int, offset: int, length: int) -> bytes:
        return self.vfs.read(fh, offset, length)

    def write(self, fh: int, offset: int, data: bytes | memoryview) -> Awaitable[int]:
        return self.vfs.write(fh, offset, data)

    def flush(self, fh: int) -> None:
        handle = self.vfs.flush(fh)
        if handle is not None and died_by_signal(handle.pid):
            self.commits.hold(handle)

    def fsync(self, fh: int) -> Awaitable[None]:
        return self.vfs.fsync(fh)

    def release(self, fh: int) -> None:
        self.vfs.release(fh)
