"""
Places: what an inode number stands for.

    Place
    ├── GeneratedPlace       a directory that the mount makes up: /, /<repo>, .commits, .workers, …
    ├── TextPlace            a small generated file, such as .pfs/version
    ├── FrozenPlace          something in an immutable tree: a finished commit, an input of a container
    └── LivePlace            something below a branch, or below a container's /pfs/out

A live place keeps its inode number while commits are finished under it.  It shows a staged node
where there is one, and the entry of the newest commit otherwise.  A place that lost its name is
*detached*: it lives on for those who have it open.
"""

from __future__ import annotations

import itertools
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..trees.entry import Entry, Kind, device_number
from ..versions.staged import Node, StagedDirectory, StagedFile, StagedLeaf

if TYPE_CHECKING:
    from ..versions.overlay import Overlay
    from .home import Home

FOREVER = 1e9
"""Seconds that the kernel may keep what never changes, or changes only through it."""

BRIEFLY = 1.0
"""Seconds that the kernel may keep names of repos and branches."""

# A member of an enum costs several times as much as an int.
_FILE, _DIRECTORY, _SYMLINK = int(Kind.FILE), int(Kind.DIRECTORY), int(Kind.SYMLINK)

TYPES: dict[int, int] = {
    Kind.FILE: stat.S_IFREG,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.FIFO: stat.S_IFIFO,
    Kind.SOCKET: stat.S_IFSOCK,
    Kind.CHARACTER: stat.S_IFCHR,
    Kind.BLOCK: stat.S_IFBLK,
}
KINDS = {kind_bits: Kind(kind) for kind, kind_bits in TYPES.items()}


@dataclass(slots=True)
class Attributes:
    """What stat(2) tells, and for how many seconds the kernel may keep it."""

    ino: int
    mode: int
    """With the file type."""
    nlink: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    rdev: int = 0
    atime_ns: int | None = None
    """None: as mtime_ns."""
    entry_s: float = FOREVER
    attr_s: float = FOREVER
    holes: int = 0
    """How many of the bytes take no room."""

    @property
    def blocks(self) -> int:
        """What the file takes, in units of 512 bytes."""
        return (max(self.size - self.holes, 0) + 511) // 512


class Place:
    """An inode."""

    __slots__ = ("__weakref__", "handles", "ino", "is_given", "lookups")

    def __init__(self) -> None:
        self.ino = 0
        """Set when the place is entered into the inode table."""
        self.lookups = 0
        """How often the kernel was told of it; it may be dropped when they are all forgotten."""
        self.handles = 0
        """How often it is open."""
        self.is_given = False
        """Whether the kernel was given its bytes unasked."""

    @property
    def is_directory(self) -> bool:
        return False

    def attributes(self) -> Attributes:
        raise AssertionError("a kind of place without attributes")


class GeneratedPlace(Place):
    """A directory that the mount makes up."""

    __slots__ = ("created_ns", "mode", "parts")

    def __init__(self, *parts: str, created_ns: int, mode: int = 0o755) -> None:
        super().__init__()
        self.parts = parts
        """What it is: its way from the root, in names of ours."""
        self.created_ns = created_ns
        self.mode = mode

    @property
    def is_directory(self) -> bool:
        return True

    def attributes(self) -> Attributes:
        return Attributes(
            self.ino,
            stat.S_IFDIR | self.mode,
            2,
            0,
            0,
            0,
            self.created_ns,
            self.created_ns,
            entry_s=BRIEFLY,
            attr_s=BRIEFLY,
        )


class TextPlace(Place):
    """A generated read-only file."""

    __slots__ = ("created_ns", "text")

    def __init__(self, text: bytes, created_ns: int) -> None:
        super().__init__()
        self.text = text
        self.created_ns = created_ns

    def attributes(self) -> Attributes:
        size, when = len(self.text), self.created_ns
        return Attributes(self.ino, stat.S_IFREG | 0o444, 1, 0, 0, size, when, when, entry_s=0.0, attr_s=0.0)


class FrozenPlace(Place):
    """Something in an immutable tree."""

    __slots__ = ("entry", "label", "parent", "path")

    def __init__(self, label: str, path: tuple[bytes, ...], entry: Entry) -> None:
        super().__init__()
        self.label = label
        """Of the tree; files of equal label, path and entry share an inode, and so the kernel's cached pages."""
        self.path = path
        self.entry = entry
        self.parent = 0
        """A directory in which the kernel knows it by the last element of `path`."""

    @property
    def is_directory(self) -> bool:
        return self.entry.kind == Kind.DIRECTORY

    def attributes(self) -> Attributes:
        return attributes_of(self.ino, self.entry)


_NO_CHILDREN: Mapping[bytes, LivePlace] = MappingProxyType({})


class LivePlace(Place):
    """Something below a branch or below a container's /pfs/out."""

    __slots__ = (
        "children", "entry", "followers", "follows", "home", "is_detached", "name", "node", "overlay", "parent",
        "shifts",
    )  # fmt: skip

    children: Mapping[bytes, LivePlace]

    def __init__(self, home: Home, parent: LivePlace | None, name: bytes) -> None:
        # Millions of these may be there, most of them of files that nobody writes.
        super().__init__()
        self.home = home
        self.parent = parent
        self.name = name
        self.node: Node | None = None
        """The staged node, when there is one; it lives in `overlay`."""
        self.overlay: Overlay | None = None
        self.entry: Entry | None = None
        """What the newest commit has, when nothing is staged."""
        self.children = _NO_CHILDREN
        """The places below that the kernel knows; a dictionary of its own from the first one on."""
        self.is_detached = False
        self.follows: LivePlace | None = None
        """The place that took over the name when another process changed the file under this inode."""
        self.followers: Sequence[LivePlace] = ()
        self.shifts: Sequence[tuple[int, int]] = ()
        """
        (size, count): `count` bytes were appended by another process when the kernel knew `size`.

        The kernel goes on counting from its own size; what it writes there belongs behind them.
        """

    @property
    def current(self) -> LivePlace:
        """The place that knows the file's bytes: this one, or the one that it follows."""
        place = self
        while place.follows is not None:
            place = place.follows
        return place

    def overlay_of_node(self) -> Overlay:
        """Return the overlay that the staged node lives in."""
        assert self.overlay is not None
        return self.overlay

    @property
    def kind(self) -> int:
        found = self.node if self.node is not None else self.entry
        assert found is not None
        return found.kind

    @property
    def is_directory(self) -> bool:
        return self.kind == Kind.DIRECTORY

    @property
    def path(self) -> tuple[bytes, ...]:
        """The way from the root of the branch; of a detached place the last it had."""
        names: list[bytes] = []
        place: LivePlace | None = self
        while place is not None and place.parent is not None:
            names.append(place.name)
            place = place.parent
        return tuple(reversed(names))

    def add_child(self, name: bytes, place: LivePlace) -> None:
        """Have *name* in this directory stand for *place*."""
        if not isinstance(self.children, dict):
            self.children = {}
        self.children[name] = place

    def remove_child(self, name: bytes) -> None:
        """Forget what *name* stands for."""
        if isinstance(self.children, dict):
            self.children.pop(name, None)

    def show(self, found: Node | Entry, overlay: Overlay | None) -> None:
        """Have the place stand for *found*, which is staged in *overlay* or committed."""
        if isinstance(found, Node):
            self.node, self.overlay, self.entry = found, overlay, None
            found.tag = self
        else:
            self.node, self.overlay, self.entry = None, None, found

    def shows(self, found: Node | Entry) -> bool:
        """Say whether the place can go on standing for *found*: the same node, or the same file."""
        if isinstance(found, Node):
            return self.node is found
        if self.node is not None or self.entry is None:
            return False
        return self.entry == found or (found.kind == Kind.DIRECTORY and self.entry.kind == Kind.DIRECTORY)

    def became(self, node: Node) -> bool:
        """Say whether *node* was made of what this place shows, and shows it is not told of yet."""
        return self.node is None and not self.is_detached and node.tag is None and node.origin == self.entry

    def attributes(self) -> Attributes:
        shown = self.current
        if shown.node is not None:
            made = attributes_of_node(self.ino, shown.node)
        else:
            assert shown.entry is not None
            made = attributes_of(self.ino, shown.entry)
        if self.follows is not None:
            made.size = self.to_kernel_size(made.size)
        if shown.is_detached:
            made.nlink = 0
        return made

    def to_file_ranges(self, offset: int, length: int) -> list[tuple[int, int, int]]:
        """Translate [offset, offset + length) as the kernel counts to (file offset, start, end within it)."""
        cuts = [0, *sorted({min(max(size - offset, 0), length) for size, _ in self.shifts}), length]
        ranges = []
        for start, end in itertools.pairwise(cuts):
            if start < end:
                shift = sum(count for size, count in self.shifts if offset + start >= size)
                ranges.append((offset + start + shift, start, end))
        return ranges

    def cut(self, size: int) -> None:
        """Forget of `shifts` what is gone because the file was cut to *size* bytes."""
        left: list[tuple[int, int]] = []
        before = 0
        for kernel_size, count in sorted(self.shifts):
            start = kernel_size + before
            kept = max(0, min(count, size - start))
            if kept:
                left.append((kernel_size, kept))
            before += kept
        self.shifts = left

    def to_kernel_size(self, size: int) -> int:
        """Return the file's size as the kernel counts it for this inode."""
        return size - sum(count for _, count in self.shifts)


def attributes_of(ino: int, entry: Entry) -> Attributes:
    """Return the attributes of something committed."""
    kind, size, rdev, links = entry.kind, entry.size, 0, 1
    if kind != _FILE:
        rdev = device_number(entry)
        if kind != _SYMLINK:
            size = 0
        if kind == _DIRECTORY:
            links = 2
    if entry.more is not None:
        # A directory has its own name, its `.`, and the `..` of those in it.
        links = 2 + entry.more.directories if kind == _DIRECTORY else max(entry.more.names, 1)
    mtime_ns = entry.mtime_ns
    made = Attributes(
        ino, TYPES[kind] | entry.mode, links, entry.uid, entry.gid, size, mtime_ns, mtime_ns, rdev
    )
    if entry.more is not None:
        made.holes = entry.more.holes
    return made


def attributes_of_node(ino: int, node: Node) -> Attributes:
    """Return the attributes of something staged."""
    size, rdev = 0, 0
    if isinstance(node, StagedFile):
        size = node.size
    elif isinstance(node, StagedLeaf):
        if node.kind in (Kind.CHARACTER, Kind.BLOCK):
            rdev = int.from_bytes(node.target, "big")
        else:
            size = len(node.target)
    links = 2 + node.directories if isinstance(node, StagedDirectory) else 1 + len(node.more_names)
    return Attributes(
        ino,
        TYPES[node.kind] | node.mode,
        links,
        node.uid,
        node.gid,
        size,
        node.mtime_ns,
        node.ctime_ns,
        rdev,
        node.atime_ns,
        holes=node.holes if isinstance(node, StagedFile) else 0,
    )
