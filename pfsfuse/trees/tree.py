"""
Immutable directories.

A directory is an `Entry` whose `data` names the root of a tree of nodes, keyed by name
(levels.py says how a tree gets its shape).  Changing a directory makes a new entry; what both
share is stored once.

Promises: the same set of entries gives the same root, whatever the order of the changes that
led to it.  k changes among n names read and write O(k log n) nodes; a look-up reads O(log n).
A `Trees` may be shared between threads.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from xxhash import xxh3_64_intdigest

from ..errors import NotADirectoryPathError
from ..ids import ChunkId
from ..store.objects import ObjectKind, Objects
from .entry import NO_MORE, Entry, Kind, directories_in, linked_in, with_more
from .levels import Builder, Shape
from .node import (
    EMPTY_CONTENT,
    Child,
    Interior,
    Leaf,
    decode_directory,
    encode_directory,
    interior_content,
    leaf_content,
)
from .recent import Recent

SHAPE = Shape(least=32, most=64, spread=16)
"""Part of the stored format: another shape gives the same directories other names."""

Path = tuple[bytes, ...]
Changes = Mapping[bytes, Entry | None]
_Item = Entry | Child
_Names = list[bytes]
_Items = list[_Item]

_NO_CHANGES: Changes = {}

_CACHED_UNIT = 2048
"""
Stored bytes of a node that count as one node in the cache.

Decoded, a full leaf takes 20 KiB; 8192 of them would be 160 MiB, in each process.
"""


def empty_directory(*, mode: int = 0o755, uid: int = 0, gid: int = 0, mtime_ns: int = 0) -> Entry:
    """Return a directory without entries; nothing is stored for it."""
    return Entry(
        kind=Kind.DIRECTORY,
        mode=mode,
        uid=uid,
        gid=gid,
        mtime_ns=mtime_ns,
        size=0,
        files=0,
        depth=0,
        data=b"",
        content=EMPTY_CONTENT,
    )


class Trees:
    """
    Reads and makes directories.

    Keeps about *cached_nodes* decoded nodes, fewer where they are large.
    """

    def __init__(self, objects: Objects, *, cached_nodes: int = 8192, shape: Shape = SHAPE) -> None:
        self.objects = objects
        self._shape = shape
        self._nodes: Recent[Leaf | Interior] = Recent(cached_nodes)

    def empty_directory(self, *, mode: int = 0o755, uid: int = 0, gid: int = 0, mtime_ns: int = 0) -> Entry:
        """Return a directory without entries; nothing is stored for it."""
        return empty_directory(mode=mode, uid=uid, gid=gid, mtime_ns=mtime_ns)

    def node(self, node_id: bytes) -> Leaf | Interior:
        """Return the node of a directory with this id; CorruptNodeError if it is none."""
        node = self._nodes.get(node_id)
        if node is None:
            object_id = ChunkId(node_id)
            stored = self.objects.get(object_id)
            node = decode_directory(stored, object_id)
            self._nodes.put(node_id, node, 1 + len(stored) // _CACHED_UNIT)
        return node

    def lookup(self, directory: Entry, name: bytes) -> Entry | None:
        """Return the entry of *name*, if there is one."""
        _check_directory(directory)
        if directory.depth == 0:
            return None
        node = self.node(directory.data)
        while True:
            at = bisect_left(node.keys, name)
            if at == len(node.keys):
                return None
            if isinstance(node, Leaf):
                return node.items[at] if node.keys[at] == name else None
            node = self.node(node.items[at].id)

    def list(self, directory: Entry, *, after: bytes | None = None) -> Iterator[tuple[bytes, Entry]]:
        """Yield names and entries in the order of the names' bytes, from the first name beyond *after*."""
        _check_directory(directory)
        if directory.depth == 0:
            return
        ahead = [directory.data]
        while ahead:
            node = self.node(ahead.pop())
            start = 0 if after is None else bisect_right(node.keys, after)
            if isinstance(node, Leaf):
                yield from zip(node.keys[start:], node.items[start:], strict=True)
            else:
                ahead.extend(child.id for child in reversed(node.items[start:]))

    def update(self, directory: Entry, changes: Changes) -> Entry:
        """
        Return *directory* with *changes* made: an entry is set, None removes the name.

        Removing a name that is absent does nothing.  Mode, owner and time remain.
        """
        _check_directory(directory)
        if not changes:
            return directory
        names = sorted(changes)
        builder = Builder[_Item](self._shape, _first_end, self._close)
        if directory.depth == 0:
            self._merge_leaf(builder, [], [], names, changes)
        else:
            self._merge(builder, self.node(directory.data), names, changes, is_last=True)
        root = builder.finish(least_level=1)
        if root is None:
            return _emptied(directory)
        height, _, child = root
        assert isinstance(child, Child)  # least_level=1: the root is a node
        return _with_tree(directory, height, child)

    def resolve(self, root: Entry, path: Sequence[bytes]) -> Entry | None:
        """Return the entry at *path* below *root*, if there is one; no elements mean *root* itself."""
        entry: Entry | None = root
        for name in path:
            if entry is None or not entry.is_directory:
                return None
            entry = self.lookup(entry, name)
        return entry

    def walk(self, root: Entry) -> Iterator[tuple[Path, Entry]]:
        """Yield all below *root*, depth first by name, each directory before what is in it."""
        ahead: list[tuple[Path, Iterator[tuple[bytes, Entry]]]] = [((), self.list(root))]
        while ahead:
            parent, entries = ahead[-1]
            for name, entry in entries:
                path = (*parent, name)
                yield path, entry
                if entry.is_directory:
                    ahead.append((path, self.list(entry)))
                    break
            else:
                ahead.pop()

    def apply(self, root: Entry, changes: Mapping[Path, Entry | None], *, mtime_ns: int = 0) -> Entry:
        """
        Return *root* with *changes* by path made, in O(k log n).

        A removed or replaced path drops all below it.  Changes below a path that is itself in
        *changes* are made on top of that.  Missing parents are made with mode 0o755, the owner
        of the directory above and *mtime_ns*; NotADirectoryPathError if a file stands there.
        The path () sets the root itself; removing it empties it.
        """
        top = _plan(changes)
        plans: list[_Plan] = [top]
        top.base = root
        if top.is_set:
            top.base = _emptied(root) if top.entry is None else top.entry
        _check_directory(top.base)
        for plan in plans:  # grows while it runs: parents before children
            self._find_bases(plan, mtime_ns)
            plans += [below for below in plan.below.values() if below.below]
        for plan in reversed(plans):
            plan.entry = self._carry_out(plan)
        assert top.entry is not None  # the root has a base
        return top.entry

    def _find_bases(self, plan: _Plan, mtime_ns: int) -> None:
        """Find what the children of *plan* that have children themselves start from."""
        for name, below in plan.below.items():
            if not below.below:
                continue
            if below.is_set:
                below.base = below.entry
            elif plan.base is not None and plan.base.is_directory:
                below.base = self.lookup(plan.base, name)
            owner = plan.base or plan.made
            below.made = (
                self.empty_directory(uid=owner.uid, gid=owner.gid, mtime_ns=mtime_ns) if owner else None
            )

    def _carry_out(self, plan: _Plan) -> Entry | None:
        """Return what stands at the path of *plan* once all below it is done."""
        changes = {name: below.entry for name, below in plan.below.items()}
        directory = plan.base
        if directory is None or not directory.is_directory:
            if all(entry is None for entry in changes.values()):
                return directory  # nothing can be removed below nothing or below a file
            if directory is not None:
                raise NotADirectoryPathError(
                    f"{_shown(plan.path)} is a file, so nothing can be put below it; remove it first"
                )
            directory = plan.made
            assert directory is not None  # only the root has no parent, and it has a base
        return self.update(directory, changes)

    def _merge(
        self,
        builder: Builder[_Item],
        node: Leaf | Interior,
        names: Sequence[bytes],
        changes: Changes,
        *,
        is_last: bool,
    ) -> None:
        """Append all below *node* with *changes* to *names* made.  *is_last*: the node ends its level."""
        if isinstance(node, Leaf):
            self._merge_leaf(builder, node.keys, node.items, names, changes)
            return
        position = at = 0
        final = len(node.keys) - 1
        while at < len(names):
            # A name beyond the last one of the whole tree goes into the last node.
            child = min(bisect_left(node.keys, names[at], position), final)
            after = len(names) if child == final else bisect_right(names, node.keys[child], at)
            self._take_over(builder, node, position, child, is_last=is_last)
            self._merge(
                builder,
                self.node(node.items[child].id),
                names[at:after],
                changes,
                is_last=is_last and child == final,
            )
            position, at = child + 1, after
        self._take_over(builder, node, position, len(node.keys), is_last=is_last)

    def _take_over(
        self, builder: Builder[_Item], node: Interior, start: int, stop: int, *, is_last: bool
    ) -> None:
        """Append the unchanged children [start, stop) of *node*, whole where that is possible."""
        level = node.height - 1
        # The last node of a level was closed by its end, which need not be an end in the new tree.
        open_from = stop - 1 if is_last and stop == len(node.keys) else stop
        while start < open_from and not builder.is_clean(level):
            self._merge(builder, self.node(node.items[start].id), (), _NO_CHANGES, is_last=False)
            start += 1
        if start < open_from:
            builder.extend(level, node.keys[start:open_from], [*node.items[start:open_from]])
        if max(start, open_from) < stop:
            self._merge(builder, self.node(node.items[stop - 1].id), (), _NO_CHANGES, is_last=True)

    def _merge_leaf(
        self,
        builder: Builder[_Item],
        keys: Sequence[bytes],
        items: Sequence[Entry],
        names: Sequence[bytes],
        changes: Changes,
    ) -> None:
        if not names:
            builder.extend(0, [*keys], [*items])
            return
        merged: Mapping[bytes, Entry | None] = changes
        if keys:
            merged = dict(zip(keys, items, strict=True))
            merged.update((name, changes[name]) for name in names)
            names = sorted(merged)
        builder.extend(
            0,
            [name for name in names if merged[name] is not None],
            [entry for name in names if (entry := merged[name]) is not None],
        )

    def _close(self, level: int, keys: _Names, items: _Items) -> tuple[bytes, _Item]:
        """Store a node and return it as its parent knows it."""
        node: Leaf | Interior
        if level == 0:
            entries: list[Entry] = items  # type: ignore[assignment]  # level 0 holds entries, the others children
            node = Leaf(keys, entries)
            content = leaf_content(keys, entries)
            count = len(keys)
            directories, linked = directories_in(entries), linked_in(entries)
        else:
            children: list[Child] = items  # type: ignore[assignment]
            node = Interior(level + 1, keys, children)
            content = interior_content(level + 1, children)
            count = sum([child.entries for child in children])
            directories = sum([child.directories for child in children])
            linked = sum([child.linked for child in children])
        stored = encode_directory(node)
        node_id = self.objects.put(stored, ObjectKind.DIRECTORY_NODE)
        self._nodes.put(node_id, node, 1 + len(stored) // _CACHED_UNIT)
        size, files = sum([item.size for item in items]), sum([item.files for item in items])
        return keys[-1], Child(node_id, content, count, size, files, directories, linked)


class _Plan:
    """What is to happen at one path and below it."""

    __slots__ = ("base", "below", "entry", "is_set", "made", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_set = False
        self.entry: Entry | None = None
        """What the caller sets here; once carried out, what stands here."""
        self.below: dict[bytes, _Plan] = {}
        self.base: Entry | None = None
        """What the changes below are made on."""
        self.made: Entry | None = None
        """What is made if there is no base but something is put below."""


def _plan(changes: Mapping[Path, Entry | None]) -> _Plan:
    top = _Plan(())
    for path, entry in changes.items():
        plan = top
        for length, name in enumerate(path, 1):
            below = plan.below.get(name)
            if below is None:
                below = plan.below[name] = _Plan(path[:length])
            plan = below
        plan.entry = entry
        plan.is_set = True
    return top


def _first_end(keys: list[bytes], start: int, stop: int, level: int, spread: int) -> int:
    mask = spread - 1
    for at in range(start, stop):
        if not xxh3_64_intdigest(keys[at], level) & mask:
            return at
    return stop


def _with_tree(directory: Entry, height: int, root: Child) -> Entry:
    made = msgspec.structs.replace(
        directory, depth=height, data=root.id, content=root.content, size=root.size, files=root.files
    )
    if directory.more is None and not root.directories and not root.linked:
        return made
    more = directory.more or NO_MORE
    return with_more(made, msgspec.structs.replace(more, directories=root.directories, linked=root.linked))


def _emptied(directory: Entry) -> Entry:
    return _with_tree(directory, 0, Child(b"", EMPTY_CONTENT, 0, 0, 0))


def _check_directory(entry: Entry) -> None:
    if not entry.is_directory:
        raise NotADirectoryPathError("names can be looked up in directories only, and this is none")


def _shown(path: Path) -> str:
    return "/" + b"/".join(path).decode("utf-8", "backslashreplace")
