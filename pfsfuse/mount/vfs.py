"""
The mounted tree, without the kernel: what every operation means.

    /                             repos of the default project
    /<repo>/                      branches; .commits; and every commit by its name, not listed
    /<repo>/<branch>/             the open commit, else the newest commit without error
    /<repo>/.commits/<id>/        finished commits
    /.projects/<project>/<repo>/  repos of other projects
    /.workers/<worker>/           what a worker container has as /pfs (views.py)
    /.jobs/<job>/<datum>/         what a datum saw and wrote
    /.pfs/                        version, status

Operations take inode numbers and return attributes, bytes or handle numbers; they raise PfsError.
Every one is atomic among the tasks of the mount from its last `await` on: an operation that
changes something first awaits `home.begin()`, then looks and acts without awaiting.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import trio

from ..errors import (
    ConflictError,
    ExistsError,
    ForbiddenError,
    InvalidNameError,
    IsADirectoryPathError,
    NameTooLongError,
    NotADirectoryPathError,
    PathNotFoundError,
    PfsError,
    ReadOnlyError,
)
from ..ids import ChunkId
from ..names import MAX_NAME_BYTES
from ..store.store import Store
from ..trees.contents import Contents, Reader
from ..trees.entry import Entry, Kind
from ..trees.recent import Recent
from ..trees.tree import Trees
from ..versions.overlay import Overlay
from ..versions.owner import Owner
from ..versions.staged import StagedDirectory, StagedFile, StagedLeaf
from .handles import CutOffError, DirectoryHandle, FileHandle, Handles, Named
from .home import BranchHome, Home, same_home
from .places import KINDS, TYPES, Attributes, FrozenPlace, GeneratedPlace, LivePlace, Place, TextPlace
from .upper import UpperTree

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

_CHUNK_CACHE_BYTES = 32 << 20
"""Decoded chunks kept for all open files; the kernel has its own cache of what was read."""

_DECODERS = 2

_NEAR_QUOTA = 64 << 20
"""Bytes of room from which on files are written around the kernel's cache."""

_UNASKED_BYTES = 128 << 10
"""Larger files are given to the kernel as it asks for them."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    uid: int = 0
    gid: int = 0
    pid: int = 0


@dataclass(slots=True)
class Changed:
    """What a setattr call sets; None leaves a thing as it is."""

    size: int | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime_ns: int | None = None
    atime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """What statfs tells, in blocks of `block` bytes."""

    block: int
    blocks: int
    free: int
    available: int
    files: int
    files_free: int
    name_max: int = MAX_NAME_BYTES


class Vfs:
    """See the module."""

    def __init__(self, store: Store, trees: Trees, owner: Owner) -> None:
        self.store = store
        self.trees = trees
        self.owner = owner
        self.upper = UpperTree(store, trees, owner)
        self.inodes = self.upper.inodes
        self.handles = Handles()
        self._chunks: Recent[bytes] = Recent(_CHUNK_CACHE_BYTES)
        self._decoders = ThreadPoolExecutor(_DECODERS, thread_name_prefix="pfs-decode")
        self.listings = 0
        """How often the names of a directory were asked for."""
        self._room: tuple[float, Room] | None = None

    # Finding places

    def is_ready(self, ino: int) -> bool:
        """Say whether a change at *ino* would wait for nothing: its `home.begin()` returns at once."""
        place = self.inodes.place(ino)
        return isinstance(place, LivePlace) and place.home.is_ready

    def lookup(self, parent_ino: int, name: bytes) -> Attributes:
        """Return what a name stands for and count the look-up; PathNotFoundError."""
        if len(name) > MAX_NAME_BYTES:
            # The kernel lets FUSE have longer ones.
            raise NameTooLongError(
                f"a file name has {len(name)} bytes; at most {MAX_NAME_BYTES} are possible"
            )
        parent = self.inodes.place(parent_ino)
        place = self._child(parent, name, None)
        if place is None:
            raise PathNotFoundError(name)
        self.inodes.looked_up(place, parent, name)
        return self._attributes(place, parent)

    @staticmethod
    def _attributes(place: Place, parent: Place) -> Attributes:
        attributes = place.attributes()
        if isinstance(parent, GeneratedPlace):
            # The name of a branch, a commit or a view can come to mean something else.
            attributes.entry_s = 0.0 if parent.parts[:1] == (".workers",) else min(attributes.entry_s, 1.0)
        return attributes

    def _child(self, parent: Place, name: bytes, listed: Entry | None) -> Place | None:
        """Return what a name stands for; *listed* is what a listing of the directory says of it."""
        if isinstance(parent, LivePlace):
            return parent.home.child(parent, name, listed)
        if isinstance(parent, FrozenPlace):
            entry = listed
            if entry is None:
                entry = self.trees.lookup(parent.entry, name) if parent.is_directory else None
            if entry is None:
                return None
            found = self.inodes.frozen(
                parent.label, (*parent.path, name), entry, is_directory=entry.kind == Kind.DIRECTORY
            )
            found.parent = parent.ino
            return found
        if isinstance(parent, GeneratedPlace):
            return self.upper.child(parent.parts, _text(name)) if name.isascii() else None
        return None

    # Directories

    def opendir(self, ino: int) -> int:
        """Open a directory and return its handle."""
        place = self.inodes.place(ino)
        if not place.is_directory:
            raise NotADirectoryPathError("not a directory")
        return self.handles.add(DirectoryHandle(place, self._names(place)))

    def _names(self, place: Place) -> Iterator[Named]:
        if isinstance(place, LivePlace):
            return iter(place.home.names(place))
        if isinstance(place, FrozenPlace):
            return self.trees.list(place.entry)
        assert isinstance(place, GeneratedPlace)
        names = [name.encode("utf-8", "surrogateescape") for name in self.upper.names(place.parts)]
        return iter([(name, None) for name in names])

    def readdir(self, fh: int, position: int) -> Iterator[tuple[bytes, Attributes, int]]:
        """
        Yield (name, attributes, position behind it) from *position* on.

        Each counts as a look-up; give the last one back with `not_taken` if the kernel had no room for it.
        """
        handle = self._at(fh, position)
        parent = handle.place
        is_as_listed = not isinstance(parent, LivePlace) or parent.entry is handle.listed
        while (named := handle.next_name()) is not None:
            name, entry = named
            place = self._child(parent, name, entry if is_as_listed else None)
            if place is not None:
                self.inodes.looked_up(place, parent, name)
                yield name, self._attributes(place, parent), handle.position

    def _at(self, fh: int, position: int) -> DirectoryHandle:
        """Return the handle of a directory, which will go on at *position*."""
        self.listings += 1
        handle = self.handles.get(fh, DirectoryHandle)
        if position != handle.position:
            handle.restart(self._names(handle.place))
            while handle.position < position and handle.next_name() is not None:
                continue
        return handle

    def not_taken(self, fh: int, ino: int) -> None:
        """Take back the last entry that `readdir` gave, which has the inode *ino*."""
        self.handles.get(fh, DirectoryHandle).push_back()
        self.forget(ino, 1)

    def names(self, fh: int, position: int) -> Iterator[tuple[bytes, int, int, int]]:
        """
        Yield (name, inode, mode, position behind it) from *position* on, for who wants no attributes.

        Nothing is counted as a look-up.  Give the last one back with `name_not_taken`.
        """
        handle = self._at(fh, position)
        while (named := handle.next_name()) is not None:
            glance = self._glance(handle.place, *named)
            if glance is not None:
                ino, kind = glance
                yield (
                    named[0],
                    ino or self.inodes.number(handle.place, named[0]),
                    TYPES[kind],
                    handle.position,
                )

    def _glance(self, parent: Place, name: bytes, entry: Entry | None) -> tuple[int, int] | None:
        """Return the inode, 0 if it has none yet, and the kind of what a name stands for."""
        if isinstance(parent, LivePlace):
            found = parent.home.find(parent, name)
            known = parent.children.get(name)
            return (known.ino if known is not None else 0, found.kind) if found is not None else None
        place = self._child(parent, name, entry)
        if isinstance(place, FrozenPlace):
            return place.ino, place.entry.kind
        if place is None:
            return None
        return place.ino, Kind.DIRECTORY if place.is_directory else Kind.FILE

    def name_not_taken(self, fh: int) -> None:
        """Take back the last entry that `names` gave."""
        self.handles.get(fh, DirectoryHandle).push_back()

    def keeps_listing(self, ino: int) -> bool:
        """Say whether names in a directory change only where the kernel sees it, or is told."""
        return not isinstance(self.inodes.place(ino), GeneratedPlace)

    # Attributes

    def getattr(self, ino: int) -> Attributes:
        """Return the attributes of an inode."""
        return self.inodes.place(ino).attributes()

    async def setattr(self, ino: int, changed: Changed, fh: int | None = None) -> Attributes:
        """Set attributes and return them all."""
        place = self.inodes.place(ino)
        if not isinstance(place, LivePlace):
            raise _read_only(place)
        if fh is not None:
            self._refuse_cut(self.handles.get(fh, FileHandle))
        overlay = await self.begin_at(place)
        if changed.size is not None:
            if place.is_directory:
                raise IsADirectoryPathError("a directory has no length to set")
            file = place.home.stage_file(place, overlay)
            size = self._file_size(place, changed.size)
            place.current.overlay_of_node().truncate(file, size)
            if size == 0:
                # It is written anew.
                place.home.half_files.discard(file)
            for follower in place.current.followers:
                follower.cut(size)
        if changed.size is None or changed != Changed(size=changed.size):
            # Also where nothing is to be set, as by chown(-1, -1): the time of status change is.
            node = place.home.stage(place, overlay)
            place.current.overlay_of_node().set_attributes(
                node,
                mode=changed.mode,
                uid=changed.uid,
                gid=changed.gid,
                mtime_ns=changed.mtime_ns,
                atime_ns=changed.atime_ns,
            )
        return place.attributes()

    async def truncate_opened(self, ino: int, fh: int, caller: Caller) -> None:
        """Empty a file that *caller* opened with O_TRUNC; what it does not own runs as its owner no more."""
        changed = Changed(size=0)
        mode = self.inodes.place(ino).attributes().mode
        if caller.uid != 0 and mode & (stat.S_ISUID | stat.S_ISGID):
            # The kernel does so by itself before a write or a truncate(2), but leaves this one to us.
            changed.mode = stat.S_IMODE(mode) & ~stat.S_ISUID
            if mode & stat.S_IXGRP:
                changed.mode &= ~stat.S_ISGID
        await self.setattr(ino, changed, fh)

    @staticmethod
    def _file_size(place: LivePlace, kernel_size: int) -> int:
        """Translate a size as the kernel counts it for an inode whose file others appended to."""
        return kernel_size + sum(count for size, count in place.shifts if kernel_size > size)

    def readlink(self, ino: int) -> bytes:
        """Return the target of a symlink."""
        place = self.inodes.place(ino)
        entry: Entry | None = None
        if isinstance(place, LivePlace):
            if isinstance(place.node, StagedLeaf):
                return place.node.target
            entry = place.entry
        elif isinstance(place, FrozenPlace):
            entry = place.entry
        if entry is None or entry.kind != Kind.SYMLINK:
            raise InvalidNameError("not a symbolic link")
        return entry.data

    def statfs(self, ino: int | None = None) -> Room:
        """Return the room that a repo's quota leaves at *ino*, else that of the disk, looked up once a second."""
        disk = self._disk_room()
        place = self.inodes.place(ino) if ino is not None else None
        home = place.home if isinstance(place, LivePlace) else None
        if not isinstance(home, BranchHome) or home.quota is None:
            return disk
        if home.overlay is not None:
            home.overlay.room.sum_up()
        blocks = -(-home.quota // disk.block)
        free = min((home.room or 0) // disk.block, disk.available)
        return Room(disk.block, blocks, free, free, disk.files, disk.files_free)

    def writes_through(self, fh: int) -> bool:
        """
        Say whether writes to a file that was just opened must reach us at once, around the kernel's cache.

        That is so near a quota: who writes beyond it is told by write(2), as on other file systems,
        and not only when the file is closed.
        """
        handle = self.handles.get(fh, FileHandle)
        home = handle.place.home if isinstance(handle.place, LivePlace) else None
        if not handle.writable or not isinstance(home, BranchHome) or home.quota is None:
            return False
        return (home.room or 0) < _NEAR_QUOTA

    def _disk_room(self) -> Room:
        now = time.monotonic()
        if self._room is None or now - self._room[0] > 1.0:
            disk = os.statvfs(self.store.root)
            room = Room(disk.f_frsize, disk.f_blocks, disk.f_bfree, disk.f_bavail, disk.f_files, disk.f_ffree)
            self._room = (now, room)
        return self._room[1]

    # Making and removing names

    async def make(
        self,
        parent_ino: int,
        name: bytes,
        kind: Kind,
        mode: int,
        caller: Caller,
        *,
        target: bytes = b"",
    ) -> Attributes:
        """Make a file, directory, symlink or special file, and count the look-up."""
        parent = self.inodes.place(parent_ino)
        if isinstance(parent, GeneratedPlace):
            place: Place = await self.upper.make(parent.parts, _text(name), kind)
        else:
            place = await self._make_live(parent, name, kind, mode, caller, target)
        self.inodes.looked_up(place, parent, name)
        return self._attributes(place, parent)

    async def _make_live(
        self, parent: Place, name: bytes, kind: Kind, mode: int, caller: Caller, target: bytes
    ) -> LivePlace:
        if not isinstance(parent, LivePlace):
            raise _read_only(parent)
        overlay = await parent.home.begin()
        directory = parent.home.stage_directory(parent, overlay)
        permissions, gid = stat.S_IMODE(mode), caller.gid
        if directory.mode & stat.S_ISGID:
            # inode(7): below a set-group-ID directory everything gets its group, directories the bit too.
            gid = directory.gid
            permissions |= stat.S_ISGID if kind is Kind.DIRECTORY else 0
        overlay.create(directory, name, kind, mode=permissions, uid=caller.uid, gid=gid, target=target)
        made = parent.home.child(parent, name)
        assert made is not None
        return made

    async def remove(self, parent_ino: int, name: bytes, *, is_directory: bool) -> None:
        """Unlink a file or remove an empty directory."""
        parent = self.inodes.place(parent_ino)
        if isinstance(parent, GeneratedPlace):
            await self.upper.remove(parent.parts, _text(name), is_directory=is_directory)
            return
        if not isinstance(parent, LivePlace):
            raise _read_only(parent)
        overlay = await parent.home.begin()
        place = parent.home.child(parent, name)
        if place is None:
            raise PathNotFoundError(name)
        directory = parent.home.stage_directory(parent, overlay)
        overlay.remove(directory, name, is_directory=is_directory)
        parent.home.unnamed(place, parent, name)

    async def rename(
        self, parent_ino: int, name: bytes, new_parent_ino: int, new_name: bytes, flags: int = 0
    ) -> None:
        """Rename, as renameat2(2) with RENAME_NOREPLACE and RENAME_EXCHANGE."""
        if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE) or flags == RENAME_NOREPLACE | RENAME_EXCHANGE:
            raise InvalidNameError("these rename flags are not supported")
        parent, new_parent = self.inodes.place(parent_ino), self.inodes.place(new_parent_ino)
        if not isinstance(parent, LivePlace) or not isinstance(new_parent, LivePlace):
            raise _read_only(parent if not isinstance(parent, LivePlace) else new_parent)
        home = same_home(parent, new_parent)
        overlay = await home.begin()
        moving, replaced = home.child(parent, name), home.child(new_parent, new_name)
        if moving is None:
            raise PathNotFoundError(name)
        if replaced is not None and flags & RENAME_NOREPLACE:
            raise ExistsError(f"{_text(new_name)} exists already")
        source = home.stage_directory(parent, overlay)
        target = home.stage_directory(new_parent, overlay)
        if flags & RENAME_EXCHANGE:
            self._exchange(home, parent, name, new_parent, new_name)
            return
        overlay.rename(source, name, target, new_name)
        if moving is not replaced:
            node = target.children[new_name]
            assert node is not None and not isinstance(node, Entry)
            moving.show(node, overlay)
            home.moved(moving, parent, name, new_parent, new_name)

    def _exchange(
        self, home: Home, parent: LivePlace, name: bytes, other: LivePlace, other_name: bytes
    ) -> None:
        one, two = home.child(parent, name), home.child(other, other_name)
        if one is None or two is None:
            raise PathNotFoundError(name if one is None else other_name)
        overlay = home.overlay
        assert overlay is not None
        source, target = home.stage_directory(parent, overlay), home.stage_directory(other, overlay)
        home.stage(one, overlay)
        home.stage(two, overlay)
        overlay.exchange(source, name, target, other_name)
        if one.parent is parent and one.name == name:
            one.parent, one.name = other, other_name
        if two.parent is other and two.name == other_name:
            two.parent, two.name = parent, name
        other.add_child(other_name, one)
        parent.add_child(name, two)

    async def link(self, ino: int, new_parent_ino: int, new_name: bytes) -> Attributes:
        """Give a file another name in the same open commit, and count the look-up."""
        place, parent = self.inodes.place(ino), self.inodes.place(new_parent_ino)
        if not isinstance(place, LivePlace) or not isinstance(parent, LivePlace):
            raise _read_only(place if not isinstance(place, LivePlace) else parent)
        home = same_home(place, parent)
        overlay = await home.begin()
        target = place.current
        if target.is_directory:
            raise ForbiddenError("a directory has one name only")
        if target.is_detached:
            raise PathNotFoundError(target.name)
        directory = home.stage_directory(parent, overlay)
        overlay.link(home.stage(target, overlay), directory, new_name)
        parent.add_child(new_name, target)
        self.inodes.looked_up(target, parent, new_name)
        return self._attributes(target, parent)

    # Files

    def open(self, ino: int, flags: int, caller: Caller) -> int:
        """Open a file and return its handle."""
        place = self.inodes.place(ino)
        if place.is_directory:
            raise IsADirectoryPathError("is a directory")
        writable = flags & os.O_ACCMODE != os.O_RDONLY
        if writable and not isinstance(place, LivePlace):
            raise _read_only(place)
        home = place.home if isinstance(place, LivePlace) else None
        if writable and isinstance(home, BranchHome) and not home.writable:
            raise ReadOnlyError(f"branch {home.ref} is made by a pipeline; only the pipeline writes it")
        handle = FileHandle(place, writable=writable, pid=caller.pid)
        if writable and isinstance(place, LivePlace):
            place.home.writers.add(handle)
        place.handles += 1
        return self.handles.add(handle)

    def unasked(self, fh: int) -> bytes | None:
        """
        Return all bytes of a file that was just opened, if the kernel may have them before it asks.

        That is so for small committed files which nobody else has open: what is read of them has to
        be decoded whole anyway, and no request of the kernel's can be about their pages.  Once for
        each inode; what the kernel drops later it asks for.
        """
        handle = self.handles.get(fh, FileHandle)
        place = handle.place
        if place.is_given or place.handles != 1 or handle.writable:
            return None
        entry = place.entry if isinstance(place, (LivePlace, FrozenPlace)) else None
        if isinstance(place, LivePlace) and place.follows is not None:
            # The kernel has a size of its own for it.
            return None
        if (
            entry is None
            or entry.kind != Kind.FILE
            or not 0 < entry.size <= _UNASKED_BYTES
            or entry.depth > 1
        ):
            return None
        place.is_given = True
        try:
            data = entry.data if entry.depth == 0 else self.store.chunks.get(ChunkId(entry.data))
        except PfsError:
            return None
        # Whoever reads will be told what is wrong.
        return data if len(data) == entry.size else None

    def read(self, fh: int, offset: int, length: int) -> bytes:
        """Return bytes; fewer at the end of the file."""
        handle = self.handles.get(fh, FileHandle)
        place = handle.place
        if isinstance(place, TextPlace):
            return place.text[offset : offset + length]
        if isinstance(place, FrozenPlace):
            return self._read_entry(handle, place.entry, offset, length)
        assert isinstance(place, LivePlace)
        if place.follows is None:
            return self._read_live(handle, place, offset, length)
        pieces = [
            self._read_live(handle, place.current, at, end - start)
            for at, start, end in place.to_file_ranges(offset, length)
        ]
        return b"".join(pieces)

    def _read_live(self, handle: FileHandle, place: LivePlace, offset: int, length: int) -> bytes:
        if isinstance(place.node, StagedFile):
            return place.overlay_of_node().read(place.node, offset, length)
        assert place.entry is not None
        return self._read_entry(handle, place.entry, offset, length)

    def _read_entry(self, handle: FileHandle, entry: Entry, offset: int, length: int) -> bytes:
        if entry.kind != Kind.FILE:
            raise InvalidNameError("not a regular file")
        reader = handle.reader
        if reader is None or reader.contents.content != entry.content:
            reader = handle.reader = Reader(
                self.store.chunks, Contents.of(entry), cache=self._chunks, pool=self._decoders
            )
        return reader.read(offset, length)

    async def write(self, fh: int, offset: int, data: bytes | memoryview) -> int:
        """Write all of *data* and return its length."""
        handle = self.handles.get(fh, FileHandle)
        place = handle.place
        if not isinstance(place, LivePlace):
            raise _read_only(place)
        self._refuse_cut(handle)
        handle.used_at = time.monotonic()
        handle.is_saved = False
        place.home.written_by(handle.pid)
        file = place.home.stage_file(place, await self.begin_at(place))
        target = place.current.overlay_of_node()
        try:
            if place.follows is None:
                target.write(file, offset, data)
            else:
                for at, start, end in place.to_file_ranges(offset, len(data)):
                    target.write(file, at, data[start:end])
        except PfsError as error:
            place.home.lose(file, error)
            raise
        return len(data)

    @staticmethod
    async def begin_at(place: LivePlace) -> Overlay:
        """Do as `begin`, but open no commit for a file that has lost its name: no commit would have it."""
        current = place.current
        if isinstance(place.home, BranchHome) and current.is_detached and current.overlay is not None:
            return current.overlay
        return await place.home.begin()

    @staticmethod
    def _refuse_cut(handle: FileHandle) -> None:
        if handle.is_cut:
            raise CutOffError("the commit was finished with --force while this file was open; open it again")

    def flush(self, fh: int) -> FileHandle | None:
        """
        A descriptor was closed: what was written survives the end of this process from now on.

        Returns the handle if it is open for writing.
        """
        handle = self.handles.get(fh, FileHandle)
        handle.is_saved = True
        file = self._staged_file(handle)
        if file is not None and handle.writable:
            place = handle.place
            assert isinstance(place, LivePlace)
            place.current.overlay_of_node().save(file)
            place.home.touch()
        return handle if handle.writable else None

    def _staged_file(self, handle: FileHandle) -> StagedFile | None:
        place = handle.place
        node = place.current.node if isinstance(place, LivePlace) else None
        return node if isinstance(node, StagedFile) else None

    async def fsync(self, fh: int) -> None:
        """Make what was written survive power loss."""
        handle = self.handles.get(fh, FileHandle)
        file = self._staged_file(handle)
        if file is not None and isinstance(handle.place, LivePlace):
            overlay = handle.place.current.overlay_of_node()
            await trio.to_thread.run_sync(overlay.sync_step(file))

    async def fsyncdir(self, fh: int) -> None:
        """Make the names of a directory survive power loss."""
        place = self.handles.get(fh, DirectoryHandle).place
        if isinstance(place, LivePlace) and place.overlay is not None:
            await trio.to_thread.run_sync(place.overlay.sync_step())

    def release(self, fh: int) -> None:
        """The last descriptor of a handle is gone."""
        handle = self.handles.pop(fh)
        if not isinstance(handle, FileHandle):
            return
        handle.place.handles -= 1
        if not handle.writable or not isinstance(handle.place, LivePlace):
            return
        place = handle.place
        place.home.writer_closed(handle)
        node = place.current.node
        if not isinstance(node, StagedFile) or any(h.place is place for h in place.home.writers):
            return
        if node.parent is not None:
            overlay = place.current.overlay_of_node()
            overlay.save(node)
            overlay.bytes.rest(node)

    def forget(self, ino: int, count: int) -> None:
        """The kernel dropped *count* look-ups."""
        place = self.inodes.forget(ino, count)
        if not isinstance(place, LivePlace) or place.follows is not None:
            return
        node = place.node
        is_followed = any(follower.lookups for follower in place.followers)
        if node is not None and node.parent is None and place.parent is not None and not is_followed:
            # Nobody can come to something unlinked any more: the kernel forgets it only when the
            # last descriptor is closed.
            place.overlay_of_node().forget(node)

    def refuse_writers(self, home: Home) -> None:
        """ConflictError naming the files that are open for writing."""
        names = sorted({_shown(h.place) for h in home.at_work()})
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise ConflictError(
                f"still open for writing: {', '.join(names[:5])}{more}; close them, or finish with --force"
            )


def _read_only(place: Place) -> PfsError:
    if isinstance(place, FrozenPlace):
        return ReadOnlyError("a finished commit never changes; write below a branch")
    return ForbiddenError("this directory is made by pfs; files live below a branch, in /<repo>/<branch>/")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _shown(place: Place) -> str:
    path = place.path if isinstance(place, LivePlace) else ()
    return "/" + b"/".join(path).decode("utf-8", "backslashreplace")


__all__ = ["KINDS", "Caller", "Changed", "Room", "StagedDirectory", "Vfs"]
