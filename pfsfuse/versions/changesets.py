"""
Change sets: what a process that is not the owner wants done to an open commit.

The bytes are in the store already; a change set carries names and entries only, so it is small,
travels over a socket, and is applied by the owner in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from ..errors import InvalidNameError, IsADirectoryPathError, NotADirectoryPathError
from ..names import check_element
from ..store.objects import Objects
from ..trees import contents as file_contents
from ..trees.contents import EMPTY, Contents
from ..trees.entry import Entry, Kind
from ..trees.links import without_links
from ..trees.tree import Trees
from .overlay import Overlay
from .staged import Node, StagedDirectory, StagedFile
from .staged_tree import Found

Path = tuple[bytes, ...]


class Put(msgspec.Struct, frozen=True, array_like=True, tag="put"):
    """Have *path* be *entry*, replacing a file there, making parents."""

    path: Path
    entry: Entry


class Append(msgspec.Struct, frozen=True, array_like=True, tag="append"):
    """Add the bytes of *entry* to the file at *path*; where there is none, it becomes the file."""

    path: Path
    entry: Entry


class Delete(msgspec.Struct, frozen=True, array_like=True, tag="delete"):
    """Remove *path* with everything below it; absent is fine; () empties the commit."""

    path: Path


class MakeDirectory(msgspec.Struct, frozen=True, array_like=True, tag="dir"):
    """
    Have *path* be a directory with the mode, owners and time of *entry*; what is in it stays.

    Its time is kept if it stands behind the changes below it.
    """

    path: Path
    entry: Entry


class PutTree(msgspec.Struct, frozen=True, array_like=True, tag="tree"):
    """
    Have everything of the directory *entry* be at *path* too, joining a directory that is there.

    What stands at a path of both is replaced; with *append*, files are added to.  By reference: it costs
    what both have in common, not what *entry* has.  () is the root.
    """

    path: Path
    entry: Entry
    append: bool = False


Primitive = Put | Append | Delete | MakeDirectory
Change = Primitive | PutTree
ChangeSet = Sequence[Change]

_decoder = msgspec.msgpack.Decoder(list[Put | Append | Delete | MakeDirectory | PutTree])


def encode_changes(changes: ChangeSet) -> bytes:
    """Return the changes as bytes for a socket."""
    return msgspec.msgpack.encode(list(changes))


def decode_changes(data: bytes) -> list[Change]:
    """Undo `encode_changes`; msgspec.ValidationError for anything else."""
    found: list[Any] = _decoder.decode(data)
    return found


def apply_to_overlay(overlay: Overlay, changes: ChangeSet) -> None:
    """
    Apply *changes* in order.

    One that cannot be made raises InvalidNameError, NotADirectoryPathError or
    IsADirectoryPathError before anything is done.  OutOfSpaceError leaves the first ones done.
    """
    for change in check_changes(overlay, changes):
        apply_one(overlay, change)


def check_changes(overlay: Overlay, changes: ChangeSet) -> list[Primitive]:
    """Return *changes* in single steps for `apply_one`; raise why they cannot be applied, if so."""
    plan = _Plan(overlay.trees, overlay.resolve)
    steps: list[Primitive] = []
    for change in plan.single(changes):
        plan.check(change)
        plan.add(change)
        steps.append(change)
    return steps


def apply_one(overlay: Overlay, change: Primitive) -> None:
    """Apply one of several changes that were checked together."""
    if isinstance(change, Delete):
        _delete(overlay, change.path)
        return
    if isinstance(change, MakeDirectory):
        _make_directory(overlay, change)
        return
    directory = _parent(overlay, change.path)
    name = change.path[-1]
    there = overlay.lookup(directory, name)
    if isinstance(change, Append) and there is not None and there.kind == Kind.FILE:
        file = overlay.promote(directory, name)
        assert isinstance(file, StagedFile)
        overlay.append_contents(file, Contents.of(change.entry))
    else:
        overlay.put_entry(directory, name, change.entry)


def _delete(overlay: Overlay, path: Path) -> None:
    if not path:
        for name, _ in list(overlay.entries(overlay.root)):
            overlay.remove_tree(overlay.root, name)
        return
    found = overlay.resolve(path[:-1])
    if found is not None and found.kind == Kind.DIRECTORY and overlay.resolve(path) is not None:
        overlay.remove_tree(_parent(overlay, path), path[-1])


def _make_directory(overlay: Overlay, change: MakeDirectory) -> None:
    parent, name, wanted = _parent(overlay, change.path), change.path[-1], change.entry
    if overlay.lookup(parent, name) is None:
        node = overlay.create(parent, name, Kind.DIRECTORY, mode=wanted.mode, uid=wanted.uid, gid=wanted.gid)
    else:
        node = overlay.promote(parent, name)
    overlay.set_attributes(node, mode=wanted.mode, uid=wanted.uid, gid=wanted.gid, mtime_ns=wanted.mtime_ns)


def _parent(overlay: Overlay, path: Path) -> StagedDirectory:
    """Return the staged directory that holds *path*, making what is missing."""
    current: Node = overlay.root
    for name in path[:-1]:
        assert isinstance(current, StagedDirectory)
        if overlay.lookup(current, name) is None:
            current = overlay.create(current, name, Kind.DIRECTORY, mode=0o755, uid=0, gid=0)
        else:
            current = overlay.promote(current, name)
    assert isinstance(current, StagedDirectory)
    return current


def apply_to_tree(trees: Trees, objects: Objects, root: Entry, changes: ChangeSet, *, mtime_ns: int) -> Entry:
    """Return *root* with *changes* applied in order: the same as `apply_to_overlay`, where no commit is open."""
    plan = _Plan(trees, lambda path: trees.resolve(root, path))
    for change in plan.single(changes):
        there = plan.check(change)
        if isinstance(change, Append) and isinstance(there, Entry) and there.kind == Kind.FILE:
            joined = file_contents.concat(objects, [Contents.of(there), Contents.of(change.entry)])
            entry = joined.entry(
                mode=there.mode, uid=there.uid, gid=there.gid, mtime_ns=change.entry.mtime_ns
            )
            plan.add(Put(change.path, entry))
        elif isinstance(change, Put):
            plan.add(Put(change.path, without_links(trees, change.entry)))
        else:
            plan.add(change)
    return trees.apply(root, dict(plan.changes(mtime_ns)), mtime_ns=mtime_ns)


class _Step:
    """What is planned for one path and below it."""

    __slots__ = ("attributes", "below", "entry", "is_made", "is_set")

    def __init__(self) -> None:
        self.below: dict[bytes, _Step] = {}
        self.is_set = False
        self.entry: Entry | None = None
        """What will stand here when `is_set`."""
        self.is_made = False
        """A directory that is made because something is put below it."""
        self.attributes: Entry | None = None
        """The directory that stands here gets the mode, owners and time of this one."""


class _Plan:
    """What a tree will look like when the changes so far are made."""

    def __init__(self, trees: Trees, find: Callable[[Path], Found | None]) -> None:
        """*find* tells what is at a path before all changes."""
        self._trees = trees
        self._find = find
        self._top = _Step()

    def at(self, path: Path) -> Found | None:
        """Return what will stand at *path*."""
        step = self._top
        known, rest = (step, path) if step.is_set else (None, path)
        for position, name in enumerate(path, 1):
            below = step.below.get(name)
            if below is None:
                break
            step = below
            if step.is_set or step.is_made:
                known, rest = step, path[position:]
        if known is None:
            return self._find(path)
        start = self._trees.empty_directory() if known.is_made or known is self._top else known.entry
        return self._trees.resolve(start, rest) if start is not None else None

    def single(self, changes: ChangeSet) -> Iterator[Primitive]:
        """Yield *changes* in single steps; each is to be added before the next is asked for."""
        for change in changes:
            if isinstance(change, PutTree):
                yield from self._joined(change)
            else:
                yield change

    def _joined(self, change: PutTree) -> Iterator[Primitive]:
        pending = [(change.path, change.entry)]
        while pending:
            path, entry = pending.pop()
            there = self.at(path)
            both = there is not None and there.kind == Kind.DIRECTORY and entry.kind == Kind.DIRECTORY
            if both or not path:
                below = [((*path, name), child) for name, child in self._trees.list(entry)]
                pending += reversed(below)
            elif change.append and entry.kind == Kind.FILE:
                yield Append(path, entry)
            else:
                yield Put(path, entry)

    def check(self, change: Primitive) -> Found | None:
        """Return what *change* will find at its path; raise why it cannot be made."""
        for name in change.path:
            check_element(name)
        if isinstance(change, Delete):
            return None
        if not change.path:
            raise InvalidNameError("the root of a commit cannot be replaced; put what is in it, path by path")
        for length in range(1, len(change.path)):
            above = self.at(change.path[:length])
            if above is None:
                return None
            if above.kind != Kind.DIRECTORY:
                raise NotADirectoryPathError(
                    f"/{_shown(change.path[:length])} is a file; /{_shown(change.path)} cannot be"
                )
        there = self.at(change.path)
        if isinstance(change, MakeDirectory):
            if there is not None and there.kind != Kind.DIRECTORY:
                raise NotADirectoryPathError(
                    f"/{_shown(change.path)} is a file; a directory cannot replace it"
                )
        elif there is not None and there.kind == Kind.DIRECTORY and change.entry.kind != Kind.DIRECTORY:
            raise IsADirectoryPathError(f"/{_shown(change.path)} is a directory; delete it first")
        return there

    def add(self, change: Primitive) -> None:
        """Plan a change that was checked; an Append counts as a Put."""
        if isinstance(change, Delete):
            self._set(change.path, None)
        elif not isinstance(change, MakeDirectory):
            self._set(change.path, change.entry)
        elif self.at(change.path) is None:
            self._set(change.path, with_attributes(self._trees.empty_directory(), change.entry))
        else:
            self._step(change.path, makes_parents=True).attributes = change.entry

    def _set(self, path: Path, entry: Entry | None) -> None:
        """Plan *entry* for *path*, or nothing; whatever was planned below it is dropped."""
        step = _Step()
        step.is_set, step.entry = True, entry
        if path:
            self._step(path[:-1], makes_parents=entry is not None).below[path[-1]] = step
        else:
            self._top = step

    def _step(self, path: Path, *, makes_parents: bool) -> _Step:
        """Return the step of *path*; what is missing on the way, and there, is planned to be made."""
        step = self._top
        for length, name in enumerate(path, 1):
            step = step.below.setdefault(name, _Step())
            if makes_parents and self.at(path[:length]) is None:
                step.is_made = True
        return step

    def changes(self, mtime_ns: int) -> Iterator[tuple[Path, Entry | None]]:
        """Yield what was set, and the directories that are made, as `Trees.apply` takes it."""
        pending: list[tuple[Path, _Step]] = [((), self._top)]
        while pending:
            path, step = pending.pop()
            entry = step.entry
            if step.is_made:
                entry = self._trees.empty_directory(mtime_ns=mtime_ns)
            if step.attributes is not None:
                base = entry if step.is_made or step.is_set else self.at(path)
                assert isinstance(base, Entry)
                entry = with_attributes(base, step.attributes)
            if step.is_made or step.is_set or step.attributes is not None:
                yield path, entry
            pending += [((*path, name), below) for name, below in step.below.items()]


def with_attributes(directory: Entry, wanted: Entry) -> Entry:
    """Return *directory* with the mode, owners and time of *wanted*."""
    return msgspec.structs.replace(
        directory, mode=wanted.mode, uid=wanted.uid, gid=wanted.gid, mtime_ns=wanted.mtime_ns
    )


def _shown(path: Path) -> str:
    return b"/".join(path).decode("utf-8", "backslashreplace")


__all__ = [
    "EMPTY",
    "Append",
    "Change",
    "ChangeSet",
    "Delete",
    "MakeDirectory",
    "Primitive",
    "Put",
    "PutTree",
    "apply_one",
    "apply_to_overlay",
    "apply_to_tree",
    "check_changes",
    "decode_changes",
    "encode_changes",
]
