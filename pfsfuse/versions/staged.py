"""
The nodes of an overlay: what has been touched since the base.

A node stands for a file or directory that was created, written, or had its attributes set.  It
keeps its identity while it is renamed, and when it is unlinked while somebody has it open.
Everything untouched stays an `Entry` of the immutable tree below.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..trees.contents import EMPTY, Contents
from ..trees.entry import Entry, Kind
from .spill import Spill

SMALL = 128 << 10
"""Files up to this many bytes are staged whole, in memory while open and in the journal afterwards."""

LARGEST = (1 << 44) - 4096
"""What a file can have at most: as many bytes as a file of ext4, on which ranges of it are staged."""


class Node:
    """What all staged things have."""

    __slots__ = (
        "atime_ns",
        "ctime_ns",
        "gid",
        "group",
        "kind",
        "mode",
        "more_names",
        "mtime_ns",
        "name",
        "number",
        "origin",
        "parent",
        "sealed",
        "tag",
        "uid",
        "xattrs",
    )

    def __init__(self, number: int, kind: Kind, mode: int, uid: int, gid: int, now_ns: int) -> None:
        self.number = number
        """Names the node in the journal; 0 is the root."""
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime_ns = now_ns
        self.ctime_ns = now_ns
        self.atime_ns = now_ns
        """Kept while the commit is open only: a finished commit is not changed by being read."""
        self.parent: StagedDirectory | None = None
        """None for the root and for what was unlinked."""
        self.name = b""
        self.more_names: tuple[tuple[StagedDirectory, bytes], ...] = ()
        """Hard links: the other (directory, name) pairs."""
        self.xattrs: tuple[tuple[bytes, bytes], ...] = ()
        """Extended attributes, by name."""
        self.group = 0
        """Of a node with several names: what their entries have in common in a finished commit (trees/links.py)."""
        self.origin: Entry | None = None
        """The entry of the base that it was made from, if it was."""
        self.sealed: Entry | None = None
        """What the node became when the overlay was sealed."""
        self.tag: object = None
        """Whatever the owner of the overlay wants to find again (the mount: its inodes)."""

    def add_name(self, directory: StagedDirectory, name: bytes) -> None:
        """Note that the node stands in *directory* as *name*."""
        if self.parent is None:
            self.parent, self.name = directory, name
        else:
            self.more_names = (*self.more_names, (directory, name))

    def take_name(self, directory: StagedDirectory, name: bytes) -> None:
        """Note that the node stands there no more."""
        if self.parent is directory and self.name == name:
            self.parent, self.name = self.more_names[0] if self.more_names else (None, b"")
            self.more_names = self.more_names[1:]
        else:
            self.more_names = tuple(pair for pair in self.more_names if pair != (directory, name))


class StagedDirectory(Node):
    """A directory whose entries changed: an overlay over *base*."""

    __slots__ = ("base", "base_path", "children", "directories")

    def __init__(
        self, number: int, mode: int, uid: int, gid: int, now_ns: int, base: Entry | None = None
    ) -> None:
        super().__init__(number, Kind.DIRECTORY, mode, uid, gid, now_ns)
        self.base = base
        self.base_path: tuple[bytes, ...] | None = None
        """Where it stands in the base of the overlay, wherever it was moved since; None: it is not from there."""
        self.directories = 0 if base is None or base.more is None else base.more.directories
        """How many of the names stand for directories."""
        self.children: dict[bytes, Node | Entry | None] = {}
        """What differs from the base; None for a name that is gone."""

    def staged(self) -> Iterator[Node]:
        """Yield the staged nodes below, parents first; one with several names as often as it has names."""
        pending: list[StagedDirectory] = [self]
        while pending:
            for child in pending.pop().children.values():
                if isinstance(child, Node):
                    yield child
                    if isinstance(child, StagedDirectory):
                        pending.append(child)


class StagedFile(Node):
    """
    A file whose bytes or attributes changed.

    Its bytes are one of: `contents` alone (only attributes changed); `buffer` (small, being
    written); a place in the journal (small, closed); `contents` overlaid by `spill` (large).
    """

    __slots__ = (
        "base_size", "buffer", "contents", "in_journal", "is_doubtful", "journaled", "kept_prefix", "path_base",
        "saved_version", "sealed_contents", "sealed_version", "size", "spill", "version",
    )  # fmt: skip

    def __init__(
        self, number: int, mode: int, uid: int, gid: int, now_ns: int, contents: Contents = EMPTY
    ) -> None:
        super().__init__(number, Kind.FILE, mode, uid, gid, now_ns)
        self.contents = contents
        self.size = contents.size
        self.base_size = contents.size
        self.kept_prefix = contents.size
        """How many of the base's bytes are certainly still there, from the front: tells `>>` from `>`."""
        self.buffer: bytearray | None = None
        self.in_journal: tuple[int, int] | None = None
        """(offset, length) of the bytes in the journal."""
        self.is_doubtful = False
        """A power cut may have taken bytes that were written: they were not synced."""
        self.journaled = 0
        """How many bytes of it were put into the journal, all versions together."""
        self.spill: Spill | None = None
        self.version = 0
        """Counts the changes of the bytes."""
        self.saved_version = 0
        """The version that the journal has."""
        self.sealed_contents: Contents | None = contents
        self.sealed_version = 0
        """The version whose bytes `sealed_contents` are."""
        self.path_base: Entry | None = None
        """The base's entry at the path that the node was promoted from."""

    @property
    def holes(self) -> int:
        """How many bytes take no room: what was committed as holes, or lies behind that and was not written."""
        before = 0 if self.origin is None or self.origin.more is None else self.origin.more.holes
        if self.spill is None:
            return before if self.version == 0 else 0
        written = sum(
            end - max(start, self.contents.size)
            for start, end in self.spill.dirty
            if end > self.contents.size
        )
        return min(before, self.contents.size) + max(self.size - self.contents.size - written, 0)

    @property
    def is_changed(self) -> bool:
        """Whether the bytes may differ from `contents`."""
        return self.version != 0


class StagedLeaf(Node):
    """A symlink, FIFO, socket or device node."""

    __slots__ = ("target",)

    def __init__(
        self, number: int, kind: Kind, mode: int, uid: int, gid: int, now_ns: int, target: bytes
    ) -> None:
        super().__init__(number, kind, mode, uid, gid, now_ns)
        self.target = target
        """A symlink's target; the device number, 8 bytes big-endian, of a device node."""
