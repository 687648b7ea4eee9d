"""
Homes: where live places live.  A home is a branch, or the /pfs/out of one container.

A home holds the tree of its live places and, while there is one, the overlay that takes changes.
Between two `await`s every method is atomic among the tasks of the mount; the few that await say
what may have changed meanwhile.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import trio

from ..errors import (
    CrossBranchError,
    NotADirectoryPathError,
    OutOfSpaceError,
    PathNotFoundError,
    PfsError,
    ReadOnlyError,
    StoreError,
)
from ..store.store import Store
from ..trees.contents import Contents
from ..trees.diff import diff
from ..trees.entry import Entry, Kind
from ..trees.links import Links, group_of
from ..trees.tree import Trees
from ..versions.model import BranchRef
from ..versions.overlay import Overlay
from ..versions.owner import OpenCommit, Owner
from ..versions.staged import Node, StagedDirectory, StagedFile
from ..versions.staged_tree import Found
from .handles import FileHandle
from .places import LivePlace
from .writers import Processes


class Home:
    """What both kinds have: live places over an overlay or a committed tree."""

    def __init__(self, trees: Trees, root: Entry) -> None:
        self.trees = trees
        self.root = LivePlace(self, None, b"")
        self.root.show(root, None)
        self.overlay: Overlay | None = None
        self.lost: PfsError | None = None
        self.half_files: set[StagedFile] = set()
        """Why bytes that were written could not be kept; the first of several reasons."""
        self.writers: set[FileHandle] = set()
        """Handles that are open for writing."""
        self._stored: AbstractContextManager[None] | None = None
        """The hold of bytes that were stored to be sealed, or for a snapshot: they are found when it is sealed."""
        self.links = Links(trees, root)
        """The hard links of what is shown when nothing is staged."""
        self.relinked: set[int] = set()
        """Inodes of hard-linked files whose link count changed, be it that the kernel asked for it or not."""
        self._linked: weakref.WeakValueDictionary[int, LivePlace] = weakref.WeakValueDictionary()
        """Places of hard-linked files that are not staged, by the group of their names."""
        self._closed = trio.Event()
        self.changed_at = time.monotonic()
        self.gate: trio.Event | None = None
        """Set while a finish runs: whoever wants to change something waits for it."""

    @property
    def is_ready(self) -> bool:
        """Whether `begin` would return, or fail, without waiting."""
        return self.overlay is not None and self.gate is None

    def hold_stored(self, store: Store) -> None:
        """Hold what is stored of this home from now on, if it is not held already: the first hold is what counts."""
        if self._stored is None:
            self._stored = store.hold()
            self._stored.__enter__()

    def release_stored(self) -> None:
        """End the hold: what was stored has its record, or is not wanted."""
        held, self._stored = self._stored, None
        if held is not None:
            held.__exit__(None, None, None)

    async def begin(self) -> Overlay:
        """
        Return the overlay to change, when there is one and no finish runs.

        After it the caller must not await before its change is done.  While the home `is_ready` it
        does not wait at all.
        """
        raise AssertionError("a kind of home that cannot be written")

    def lose(self, file: StagedFile, error: PfsError) -> None:
        """
        Note that bytes which were written to *file* could not be kept.

        The kernel had taken them already, so who wrote them may never ask what became of them.
        """
        kind = OutOfSpaceError if isinstance(error, OutOfSpaceError) else StoreError
        # A new error: the traceback of that one would keep the file open.
        self.lost = self.lost or kind(str(error))
        self.half_files.add(file)

    # Looking; never awaits

    def child(self, place: LivePlace, name: bytes, listed: Entry | None = None) -> LivePlace | None:
        """Return the place of *name* in a directory, or None; *listed* is what it stands for, if known."""
        if place.is_detached:
            return None
        found = listed or self.find(place, name)
        known = place.children.get(name)
        if known is not None:
            if found is not None and known.shows(found):
                if isinstance(found, Entry):
                    known.entry = found
                return known
            if isinstance(found, Node) and known.became(found):
                known.show(found, place.overlay)
                return known
            detach(known)
        if found is None:
            return None
        linked = found.tag if isinstance(found, Node) else None
        if isinstance(linked, LivePlace) and linked.node is found and not linked.is_detached:
            # Another name of a file that the kernel knows: a hard link.
            place.add_child(name, linked)
            return linked
        group = group_of(found) if isinstance(found, Entry) and self.links.paths(found) else 0
        same = self._linked.get(group) if group else None
        if same is not None and same.shows(found) and not same.is_detached:
            place.add_child(name, same)
            return same
        made = LivePlace(self, place, name)
        made.show(found, place.overlay)
        place.add_child(name, made)
        if group:
            self._linked[group] = made
        return made

    def _show_linked(self, node: Node) -> None:
        """Have the place of a hard-linked file show the node of its names, and note that they changed."""
        place = node.tag
        if place is None and node.origin is not None:
            place = self._linked.get(group_of(node.origin))
            if place is not None and place.became(node):
                place.show(node, self.overlay)
        if isinstance(place, LivePlace):
            self.relinked.add(place.ino)
        for directory, _ in [(node.parent, node.name), *node.more_names]:
            self._show_directories(directory)

    def _show_directories(self, lowest: StagedDirectory | None) -> None:
        """
        Have the places of a staged directory, and of those above it, show them.

        A name of a hard-linked file was staged here because of another one, not by way of this place,
        which would go on showing what was there before and miss what the commit is finished with.
        """
        way: list[StagedDirectory] = []
        while lowest is not None and lowest.tag is None:
            way.append(lowest)
            lowest = lowest.parent
        place = lowest.tag if lowest is not None else None
        for below in reversed(way):
            known = place.children.get(below.name) if isinstance(place, LivePlace) else None
            if known is None or not known.became(below):
                return
            known.show(below, self.overlay)
            place = known

    def find(self, place: LivePlace, name: bytes) -> Found | None:
        """Return what a name stands for, without a place for it."""
        if place.is_detached:
            return None
        if place.node is not None:
            if not isinstance(place.node, StagedDirectory):
                raise NotADirectoryPathError(f"{name!r} is looked for in something that is no directory")
            assert place.overlay is not None
            return place.overlay.lookup(place.node, name)
        assert place.entry is not None
        if place.entry.kind != Kind.DIRECTORY:
            raise NotADirectoryPathError(f"{name!r} is looked for in something that is no directory")
        return self.trees.lookup(place.entry, name)

    def names(self, place: LivePlace) -> Iterator[tuple[bytes, Entry | None]]:
        """
        Yield the names of a directory, sorted; `child` tells what each stands for now.

        Of a directory of which nothing is staged also the entries, which are true while it has the
        same entry itself.
        """
        if place.is_detached:
            return
        if isinstance(place.node, StagedDirectory):
            assert place.overlay is not None
            for name, _ in place.overlay.entries(place.node):
                yield name, None
        else:
            assert place.entry is not None
            yield from self.trees.list(place.entry)

    def written_by(self, pid: int) -> None:
        """Note which process changes something."""

    # Staging; never awaits

    def stage(self, place: LivePlace, overlay: Overlay) -> Node:
        """Return the staged node of *place*, with its parents; PathNotFoundError for a removed directory."""
        way = [place.current]
        while way[-1].node is None and not way[-1].is_detached and way[-1].parent is not None:
            way.append(way[-1].parent)
        # From the first that is staged already down: paths may be longer than Python may recurse.
        top = way.pop()
        node = self._stage_top(top, overlay)
        above = top
        for below in reversed(way):
            if above.is_detached:
                raise PathNotFoundError(above.name)
            if not isinstance(node, StagedDirectory):
                raise NotADirectoryPathError(f"{_shown(above)} is not a directory")
            node = overlay.promote(node, below.name)
            below.show(node, overlay)
            above = below
        return node

    @staticmethod
    def _stage_top(place: LivePlace, overlay: Overlay) -> Node:
        """Stage a place without staging its parents: it has none, no name, or a node."""
        if place.node is not None:
            return place.node
        if place.is_detached:
            assert place.entry is not None
            if place.entry.kind == Kind.DIRECTORY:
                raise PathNotFoundError(place.name)
            node = overlay.orphan(place.entry)
        else:
            node = overlay.root
        place.show(node, overlay)
        return node

    def stage_directory(self, place: LivePlace, overlay: Overlay) -> StagedDirectory:
        """Return the staged node of a directory that can be changed; PathNotFoundError if it was removed."""
        if place.is_detached:
            raise PathNotFoundError(place.name)
        node = self.stage(place, overlay)
        if not isinstance(node, StagedDirectory):
            raise NotADirectoryPathError(f"{_shown(place)} is not a directory")
        return node

    def stage_file(self, place: LivePlace, overlay: Overlay) -> StagedFile:
        node = self.stage(place, overlay)
        assert isinstance(node, StagedFile)
        return node

    def writer_closed(self, handle: FileHandle) -> None:
        """Note that a handle is open for writing no more."""
        self.writers.discard(handle)
        self._closed.set()

    def at_work(self) -> list[FileHandle]:
        """Return the handles that may still write something that a commit would have."""
        return [handle for handle in self.writers if not handle.is_cut and not _is_unlinked(handle)]

    def is_being_written(self) -> bool:
        """
        Say whether somebody who writes was not done: what the kernel holds of the file may be lost.

        A handle that was closed counts no more, though its RELEASE may still be on the way.
        """
        return any(not handle.is_saved for handle in self.at_work())

    async def writers_gone(self, within_s: float) -> None:
        """Wait, *within_s* at most, until no handle is open for writing: RELEASE comes after close(2) has returned."""
        with trio.move_on_after(within_s):
            while self.at_work():
                self._closed = trio.Event()
                await self._closed.wait()

    def supersede(self, place: LivePlace, found: Found, size: int, count: int) -> None:
        """
        Give the file's name to a new place: *count* bytes were appended to its *size* behind the kernel.

        With the writeback cache the kernel would keep the old size of a known inode, whatever it
        is told, and overwrite them; so old inodes go on with their own counting.
        """
        parent, name = place.parent, place.name
        assert parent is not None
        heir = LivePlace(self, parent, name)
        heir.show(found, self.overlay)
        heir.followers = [*place.followers, place]
        for follower in heir.followers:
            follower.shifts = [*follower.shifts, (follower.to_kernel_size(size), count)]
        place.follows, place.followers = heir, ()
        parent.add_child(name, heir)

    def touch(self) -> None:
        """Note a change."""
        self.changed_at = time.monotonic()

    def unnamed(self, place: LivePlace, parent: LivePlace, name: bytes) -> None:
        """Take a name from a place; without any it is detached."""
        if parent.children.get(name) is place:
            parent.remove_child(name)
        node = place.node
        if node is None or node.parent is None:
            detach(place)
        elif place.parent is parent and place.name == name:
            place.parent, place.name = self.place_of(node.parent), node.name
            place.parent.add_child(place.name, place)

    def place_of(self, directory: StagedDirectory) -> LivePlace:
        """Return the place of a staged directory, making places on the way to it that nobody looked up."""
        names: list[bytes] = []
        while directory.parent is not None:
            names.append(directory.name)
            directory = directory.parent
        place = self.root
        for name in reversed(names):
            found = self.child(place, name)
            assert found is not None
            place = found
        return place

    def moved(
        self, place: LivePlace, old_parent: LivePlace, old_name: bytes, parent: LivePlace, name: bytes
    ) -> None:
        """Give a known place the name that a rename gave its node."""
        if old_parent.children.get(old_name) is place:
            old_parent.remove_child(old_name)
        replaced = parent.children.get(name)
        if replaced is not None and replaced is not place:
            self.unnamed(replaced, parent, name)
        if place.parent is old_parent and place.name == old_name:
            place.parent, place.name = parent, name
        parent.add_child(name, place)


class BranchHome(Home):
    """A branch: committed content, and its open commit."""

    def __init__(
        self,
        owner: Owner,
        ref: BranchRef,
        root: Entry,
        *,
        writable: bool,
        quota: int | None,
        forget_later: Callable[[list[tuple[int, bytes]]], None],
    ) -> None:
        """*forget_later* takes (directory inode, name) pairs that the kernel has to look up again."""
        super().__init__(owner.trees, root)
        self._forget_later = forget_later
        self.owner = owner
        self.ref = ref
        self.writable = writable
        self.quota = quota
        """The most bytes that the branch may have; None: any number."""
        self.committed = root
        """The tree that is shown when nothing is staged."""
        self.opened: OpenCommit | None = None
        self.is_held = False
        """Whether the commit may be half of something, and so waits for a change or an explicit finish."""
        self.processes = Processes()
        """Who changed the open commit."""
        self._starting = trio.Lock()
        self.finish_lock = trio.Lock()

    def adopt(self, opened: OpenCommit) -> None:
        """Show an open commit, and what it is based on: the head may have moved just before it was started."""
        base = opened.overlay.base
        if base is not None and base != self.committed:
            stale, _ = self.advance(base)
            self._forget_later(stale)
        self.opened = opened
        self.overlay = opened.overlay
        self.overlay.links_changed = self._show_linked
        opened.overlay.room.limit = self.quota
        self.root.show(opened.overlay.root, opened.overlay)
        self.is_held = opened.is_recovered
        self.half_files.update(opened.overlay.doubtful_files())
        self.changed_at = time.monotonic()

    @property
    def room(self) -> int | None:
        """How many bytes may be added; None: any number."""
        if self.quota is None:
            return None
        if self.overlay is not None:
            return self.overlay.room.left
        return max(0, self.quota - self.committed.size)

    def set_quota(self, quota: int | None) -> None:
        """Have another quota hold from now on."""
        self.quota = quota
        if self.overlay is not None:
            self.overlay.room.limit = quota

    def written_by(self, pid: int) -> None:
        self.processes.add(pid)

    def has_half_files(self) -> bool:
        """Say whether a file that is still there lacks bytes, and was not written anew since."""
        return any(file.parent is not None for file in self.half_files)

    async def begin(self) -> Overlay:
        if not self.writable:
            raise ReadOnlyError(f"branch {self.ref} is made by a pipeline; only the pipeline writes it")
        while self.gate is not None or self.opened is None:
            if self.gate is not None:
                await self.gate.wait()
            else:
                await self._start()
        self.touch()
        self.is_held = False
        assert self.overlay is not None
        return self.overlay

    async def _start(self) -> None:
        async with self._starting:
            if self.opened is None:
                opened = await trio.to_thread.run_sync(self._find_or_start)
                self.adopt(opened)

    def _find_or_start(self) -> OpenCommit:
        return self.owner.find_or_start(self.ref)

    def settle(self, root: Entry) -> None:
        """Show the commit that was just made of the overlay.  What the kernel holds stays true."""
        overlay = self.overlay
        assert overlay is not None
        for node in [overlay.root, *overlay.root.staged()]:
            place = node.tag
            if isinstance(place, LivePlace) and node.sealed is not None:
                place.show(node.sealed, None)
                if group_of(node.sealed):
                    self._linked[group_of(node.sealed)] = place
        self.root.show(root, None)
        self.committed = root
        self.links = Links(self.trees, root)
        self.half_files.clear()
        self.opened = self.overlay = None
        self.processes.clear()
        self.relinked.clear()
        self.release_stored()

    def _unlinked(self, place: LivePlace) -> list[tuple[int, bytes]]:
        """Take all its names but its own from the place of a hard-linked file; return them."""
        stale: list[tuple[int, bytes]] = []
        for *above, name in self.links.paths(place.entry) if place.entry is not None else ():
            parent = self._known(tuple(above), {})
            if parent is not None and parent.children.get(name) is place:
                parent.remove_child(name)
                stale.append((parent.ino, name))
        return stale

    def dropped(self) -> list[tuple[int, bytes]]:
        """Show the committed tree again after the open commit was thrown away; return names that are stale."""
        overlay = self.overlay
        assert overlay is not None
        stale: list[tuple[int, bytes]] = []
        for node in list(overlay.root.staged()):
            place = node.tag
            if isinstance(place, LivePlace) and place.parent is not None:
                stale.append((place.parent.ino, place.name))
                if not place.is_directory:
                    detach(place)
        for name, place in list(self.root.children.items()):
            stale.append((self.root.ino, name))
            detach(place)
        self.half_files.clear()
        self.opened = self.overlay = None
        self.root.show(self.committed, None)
        self.processes.clear()
        self.release_stored()
        return stale

    def advance(self, root: Entry) -> tuple[list[tuple[int, bytes]], list[int]]:
        """
        Show *root*, a commit that somebody else made; return what the kernel has to forget.

        That are (directory inode, name) pairs, and inodes of directories whose attributes changed.
        Files that are equal keep their inode and their cached pages.
        """
        stale: list[tuple[int, bytes]] = []
        touched: list[int] = []
        outdated: dict[int, LivePlace] = {}
        for change in diff(self.trees, self.committed, root, descend=False):
            if not change.path:
                touched.append(self.root.ino)
                continue
            parent = self._known(change.path[:-1], outdated)
            if parent is None:
                continue
            stale.append((parent.ino, change.path[-1]))
            known = parent.children.get(change.path[-1])
            if known is None:
                continue
            stale += self._unlinked(known)
            if change.new is not None and change.new.kind == Kind.DIRECTORY and known.is_directory:
                outdated[id(known)] = known
                touched.append(known.ino)
            else:
                detach(known)
        self.committed = root
        self.links = Links(self.trees, root)
        self.root.show(root, None)
        for place in outdated.values():
            entry = None if place.is_detached else self.trees.resolve(root, place.path)
            if entry is not None and place.node is None:
                place.entry = entry
        return stale, touched

    def _known(self, path: tuple[bytes, ...], outdated: dict[int, LivePlace]) -> LivePlace | None:
        """Return the known place at *path*, noting the directories on the way: something below them changed."""
        place = self.root
        for name in path:
            below = place.children.get(name)
            if below is None:
                return None
            place = below
            outdated[id(place)] = place
        return place


class ScratchHome(Home):
    """The /pfs/out of one run of a container."""

    def __init__(self, overlay: Overlay) -> None:
        start = overlay.base if overlay.base is not None else overlay.trees.empty_directory()
        super().__init__(overlay.trees, start)
        self.overlay = overlay
        overlay.links_changed = self._show_linked
        self.root.show(overlay.root, overlay)
        self.is_sealed = False

    async def begin(self) -> Overlay:
        if self.is_sealed or self.overlay is None:
            raise StoreError("this output is sealed: what ran here has ended")
        self.touch()
        return self.overlay


def _is_unlinked(handle: FileHandle) -> bool:
    place = handle.place
    return isinstance(place, LivePlace) and place.current.is_detached


def detach(place: LivePlace) -> None:
    """Take a place's name from it; those who have it open go on."""
    place.is_detached = True
    parent = place.parent
    if parent is not None and parent.children.get(place.name) is place:
        parent.remove_child(place.name)


def same_home(one: LivePlace, other: LivePlace) -> Home:
    """Return the home of both; CrossBranchError if they have two."""
    if one.home is not other.home:
        raise CrossBranchError("files cannot be moved or linked from one branch to another; copy them")
    return one.home


def contents_of(place: LivePlace) -> Contents:
    """Return the committed bytes of a place that is not staged."""
    assert place.entry is not None
    return Contents.of(place.entry)


def _shown(place: LivePlace) -> str:
    return "/" + b"/".join(place.path).decode("utf-8", "backslashreplace")
