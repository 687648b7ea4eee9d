"""
A mutable tree of staged nodes over an immutable one: who stands where.

It holds nodes (staged.py) for what was touched and looks everything else up in the base.  The
`do_` methods change it without asking and without a trace; overlay.py asks first and keeps the
journal, replay.py does again what a journal says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from ..errors import IsADirectoryPathError, NotADirectoryPathError, NotEmptyError
from ..trees.contents import Contents
from ..trees.entry import Entry, Kind
from ..trees.links import Links
from ..trees.tree import Trees
from .staged import Node, StagedDirectory, StagedFile, StagedLeaf

_CLOCK_REALTIME_COARSE = 5
"""linux/time.h; the module `time` has no name for it."""

Found = Node | Entry
"""What a name stands for: something staged, or something of the base."""


class StagedTree:
    """See the module."""

    def __init__(self, trees: Trees, base: Entry | None) -> None:
        self.trees = trees
        self.base = base
        start = base if base is not None else trees.empty_directory(mtime_ns=now_ns())
        self.root = StagedDirectory(0, start.mode, start.uid, start.gid, start.mtime_ns, start)
        self.root.base_path = ()
        self.root.xattrs = () if start.more is None else start.more.xattrs
        self.nodes: dict[int, Node] = {0: self.root}
        """By number, also those that lost their name."""
        self.links = Links(trees, start)
        """The hard links of the base."""
        self.links_changed: Callable[[Node], None] = lambda node: None
        """Told of a file with several names that is staged by all of them, or has lost one and has others."""
        self._of_base: dict[tuple[bytes, ...], StagedDirectory] = {(): self.root}
        """Staged directories by where they stand in the base."""
        self.next_number = 1

    # Looking

    def lookup(self, directory: StagedDirectory, name: bytes) -> Found | None:
        """Return what *name* stands for in *directory*, or None."""
        if name in directory.children:
            return directory.children[name]
        return self.trees.lookup(directory.base, name) if directory.base is not None else None

    def entries(
        self, directory: StagedDirectory, *, after: bytes | None = None
    ) -> Iterator[tuple[bytes, Found]]:
        """Yield the names and what they stand for, bytewise sorted, behind *after*."""
        changed = sorted(name for name in directory.children if after is None or name > after)
        below = self.trees.list(directory.base, after=after) if directory.base is not None else iter(())
        position = 0
        for name, entry in below:
            while position < len(changed) and changed[position] < name:
                yield from self._staged_name(directory, changed[position])
                position += 1
            if position < len(changed) and changed[position] == name:
                yield from self._staged_name(directory, name)
                position += 1
            elif name not in directory.children:
                yield name, entry
        for name in changed[position:]:
            yield from self._staged_name(directory, name)

    @staticmethod
    def _staged_name(directory: StagedDirectory, name: bytes) -> Iterator[tuple[bytes, Found]]:
        found = directory.children.get(name)
        if found is not None:
            yield name, found

    def resolve(self, path: tuple[bytes, ...]) -> Found | None:
        """Return what is at *path*, or None."""
        current: Found = self.root
        for position, name in enumerate(path):
            if isinstance(current, StagedDirectory):
                found = self.lookup(current, name)
                if found is None:
                    return None
                current = found
            elif isinstance(current, Entry):
                return self.trees.resolve(current, path[position:])
            else:
                return None
        return current

    def is_empty(self, found: Found) -> bool:
        """Say whether a directory has no entries."""
        if isinstance(found, StagedDirectory):
            return next(self.entries(found), None) is None
        assert isinstance(found, Entry)
        return next(self.trees.list(found), None) is None

    # Changing

    def make_node(self, entry: Entry) -> Node:
        number = self.next_number
        if entry.kind == Kind.DIRECTORY:
            node: Node = StagedDirectory(number, entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry)
        elif entry.kind == Kind.FILE:
            node = file = StagedFile(
                number, entry.mode, entry.uid, entry.gid, entry.mtime_ns, Contents.of(entry)
            )
            file.path_base = entry
        else:
            node = StagedLeaf(
                number, Kind(entry.kind), entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.data
            )
        node.origin = entry
        node.xattrs = () if entry.more is None else entry.more.xattrs
        self._register(node)
        return node

    def do_promote(self, directory: StagedDirectory, name: bytes, entry: Entry) -> Node:
        """Put a node in the place of the base's entry *name*."""
        node = self.make_node(entry)
        self._attach(directory, name, node)
        if isinstance(node, StagedDirectory) and directory.base_path is not None:
            node.base_path = (*directory.base_path, name)
            self.note_of_base(node)
        return node

    def note_of_base(self, directory: StagedDirectory) -> None:
        """Have `from_base` find a staged directory that stands in the base."""
        if directory.base_path is not None:
            self._of_base.setdefault(directory.base_path, directory)

    def do_join(self, node: Node, directory: StagedDirectory, name: bytes) -> None:
        """Put *node*, which was promoted by another of its names, in the place of the base's entry *name* too."""
        self._attach(directory, name, node)

    def from_base(self, path: tuple[bytes, ...]) -> tuple[StagedDirectory, tuple[bytes, ...]]:
        """Return (staged directory, way from it) of what stands at *path* in the base, wherever it is now."""
        length = len(path) - 1
        while path[:length] not in self._of_base:
            length -= 1
        return self._of_base[path[:length]], path[length:]

    @staticmethod
    def do_set_attributes(node: Node, mode: int, uid: int, gid: int, mtime_ns: int, atime_ns: int) -> None:
        node.mode, node.uid, node.gid = mode, uid, gid
        node.mtime_ns, node.atime_ns, node.ctime_ns = mtime_ns, atime_ns, now_ns()

    @staticmethod
    def do_set_xattrs(node: Node, xattrs: tuple[tuple[bytes, bytes], ...], now: int) -> None:
        node.xattrs, node.ctime_ns = xattrs, now

    def _register(self, node: Node) -> None:
        self.nodes[node.number] = node
        self.next_number = node.number + 1

    @staticmethod
    def _attach(directory: StagedDirectory, name: bytes, node: Node) -> None:
        directory.children[name] = node
        node.add_name(directory, name)

    @staticmethod
    def _changed(directory: StagedDirectory, now_ns: int) -> None:
        directory.mtime_ns = directory.ctime_ns = now_ns

    def do_create(
        self,
        directory: StagedDirectory,
        name: bytes,
        kind: Kind,
        mode: int,
        uid: int,
        gid: int,
        now: int,
        target: bytes,
    ) -> Node:
        number = self.next_number
        if kind == Kind.DIRECTORY:
            node: Node = StagedDirectory(number, mode, uid, gid, now)
        elif kind == Kind.FILE:
            node = StagedFile(number, mode, uid, gid, now)
        else:
            node = StagedLeaf(number, kind, mode, uid, gid, now, target)
        self._register(node)
        self._attach(directory, name, node)
        directory.directories += kind == Kind.DIRECTORY
        self._changed(directory, now)
        return node

    def do_remove(self, directory: StagedDirectory, name: bytes, now: int) -> None:
        """Take a name away, with all that is below it."""
        found = self._take_away(directory, name, now)
        pending = [found] if isinstance(found, StagedDirectory) else []
        for above in pending:  # grows while it runs
            for each, child in above.children.items():
                if isinstance(child, StagedDirectory):
                    pending.append(child)
                elif isinstance(child, Node) and child.more_names:
                    child.take_name(above, each)
                    self.links_changed(child)

    def _take_away(self, directory: StagedDirectory, name: bytes, now: int) -> Found | None:
        below = self.trees.lookup(directory.base, name) if directory.base is not None else None
        found = directory.children.get(name, below)
        if isinstance(found, Node):
            found.take_name(directory, name)
            found.ctime_ns = now
            if found.parent is not None:
                self.links_changed(found)
        if found is not None:
            directory.directories -= found.kind == Kind.DIRECTORY
        if below is not None:
            directory.children[name] = None
        else:
            directory.children.pop(name, None)
        self._changed(directory, now)
        return found

    def check_replaceable(self, moving: Found, replaced: Found, new_name: bytes) -> None:
        if moving.kind == Kind.DIRECTORY:
            if replaced.kind != Kind.DIRECTORY:
                raise NotADirectoryPathError(f"{shown(new_name)} is not a directory")
            if not self.is_empty(replaced):
                raise NotEmptyError(f"directory {shown(new_name)} is not empty")
        elif replaced.kind == Kind.DIRECTORY:
            raise IsADirectoryPathError(f"{shown(new_name)} is a directory")

    def do_rename(
        self, source: StagedDirectory, name: bytes, target: StagedDirectory, new_name: bytes, now: int
    ) -> None:
        node = source.children[name]
        assert isinstance(node, Node)
        self._take_away(source, name, now)
        self.do_remove(target, new_name, now)
        self._attach(target, new_name, node)
        target.directories += node.kind == Kind.DIRECTORY
        node.ctime_ns = now

    def do_link(self, node: Node, directory: StagedDirectory, name: bytes, now: int) -> None:
        self._attach(directory, name, node)
        node.ctime_ns = now
        self._changed(directory, now)

    def do_exchange(
        self, source: StagedDirectory, name: bytes, target: StagedDirectory, new_name: bytes, now: int
    ) -> None:
        one, other = source.children[name], target.children[new_name]
        assert isinstance(one, Node)
        assert isinstance(other, Node)
        one.take_name(source, name)
        other.take_name(target, new_name)
        self._attach(source, name, other)
        self._attach(target, new_name, one)
        moved = (one.kind == Kind.DIRECTORY) - (other.kind == Kind.DIRECTORY)
        source.directories -= moved
        target.directories += moved
        one.ctime_ns = other.ctime_ns = now
        self._changed(source, now)
        self._changed(target, now)

    def do_put_entry(self, directory: StagedDirectory, name: bytes, entry: Entry, now: int) -> None:
        self.do_remove(directory, name, now)
        directory.children[name] = entry
        directory.directories += entry.kind == Kind.DIRECTORY


def now_ns() -> int:
    """Return the time as the kernel stamps files: its coarse clock, so that no stamp is later than the next."""
    return time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)


def shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
