"""
Change sets: what a process that is not the owner wants done to an open commit.

The bytes are in the store already; a change set carries names and entries only, so it is small,
travels over a socket, and is applied by the owner in one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors import IsADirectoryPathError, NotADirectoryPathError
from ..store.objects import Objects
from ..trees import contents as file_contents
from ..trees.contents import EMPTY, Contents
from ..trees.entry import Entry, Kind
from ..trees.tree import Trees
from .overlay import Overlay
from .staged import Node, StagedDirectory, StagedFile

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


Change = Put | Append | Delete | MakeDirectory
ChangeSet = Sequence[Change]

_decoder = msgspec.msgpack.Decoder(list[Put | Append | Delete | MakeDirectory])


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

    A change that cannot be made (a file where a directory is needed) raises
    NotADirectoryPathError or IsADirectoryPathError before anything of it is done.
    """
    for change in changes:
        if isinstance(change, Delete):
            _delete(overlay, change.path)
            continue
        if isinstance(change, MakeDirectory):
            _make_directory(overlay, change)
            continue
        directory = _parent(overlay, change.path)
        name = change.path[-1]
        there = overlay.lookup(directory, name)
        if there is not None and there.kind == Kind.DIRECTORY and change.entry.kind != Kind.DIRECTORY:
            raise IsADirectoryPathError(f"/{_shown(change.path)} is a directory; delete it first")
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
    there = overlay.lookup(parent, name)
    if there is None:
        node = overlay.create(parent, name, Kind.DIRECTORY, mode=wanted.mode, uid=wanted.uid, gid=wanted.gid)
    elif there.kind != Kind.DIRECTORY:
        raise NotADirectoryPathError(f"/{_shown(change.path)} is a file; a directory cannot replace it")
    else:
        node = overlay.promote(parent, name)
    overlay.set_attributes(node, mode=wanted.mode, uid=wanted.uid, gid=wanted.gid, mtime_ns=wanted.mtime_ns)


def _parent(overlay: Overlay, path: Path) -> StagedDirectory:
    """Return the staged directory that holds *path*, making what is missing."""
    current: Node = overlay.root
    for position, name in enumerate(path[:-1]):
        assert isinstance(current, StagedDirectory)
        if overlay.lookup(current, name) is None:
            current = overlay.create(current, name, Kind.DIRECTORY, mode=0o755, uid=0, gid=0)
        else:
            current = overlay.promote(current, name)
        if not isinstance(current, StagedDirectory):
            raise NotADirectoryPathError(
                f"/{_shown(path[: position + 1])} is a file; /{_shown(path)} cannot be"
            )
    assert isinstance(current, StagedDirectory)
    return current


def apply_to_tree(trees: Trees, objects: Objects, root: Entry, changes: ChangeSet, *, mtime_ns: int) -> Entry:
    """Return *root* with *changes* applied in order: the same as `apply_to_overlay`, where no commit is open."""
    pending: dict[Path, Entry | None] = {}
    for change in changes:
        if isinstance(change, Delete) and not change.path:
            root, pending = trees.empty_directory(mtime_ns=mtime_ns), {}
            continue
        if isinstance(change, MakeDirectory):
            pending[change.path] = _directory(trees, root, pending, change)
            continue
        if isinstance(change, Append):
            root, pending = trees.apply(root, pending, mtime_ns=mtime_ns), {}
            before = trees.resolve(root, change.path)
            if before is not None and before.kind == Kind.FILE:
                joined = file_contents.concat(objects, [Contents.of(before), Contents.of(change.entry)])
                entry = joined.entry(
                    mode=before.mode, uid=before.uid, gid=before.gid, mtime_ns=change.entry.mtime_ns
                )
                pending[change.path] = entry
                continue
        if not isinstance(change, Delete):
            _check_fits(trees, root, pending, change.path, change.entry)
        if isinstance(change, Delete) and any(path[: len(change.path)] == change.path for path in pending):
            root, pending = trees.apply(root, pending, mtime_ns=mtime_ns), {}
        pending[change.path] = None if isinstance(change, Delete) else change.entry
    return trees.apply(root, pending, mtime_ns=mtime_ns) if pending else root


def _directory(trees: Trees, root: Entry, pending: dict[Path, Entry | None], change: MakeDirectory) -> Entry:
    """Return the directory that *change* makes of what is at its path; changes below it are pending still."""
    path, wanted = change.path, change.entry
    there = pending[path] if path in pending else trees.resolve(root, path)
    if there is None:
        _check_fits(trees, root, pending, path, wanted)
        there = trees.empty_directory()
    elif there.kind != Kind.DIRECTORY:
        raise NotADirectoryPathError(f"/{_shown(path)} is a file; a directory cannot replace it")
    return msgspec.structs.replace(
        there, mode=wanted.mode, uid=wanted.uid, gid=wanted.gid, mtime_ns=wanted.mtime_ns
    )


def _check_fits(
    trees: Trees, root: Entry, pending: dict[Path, Entry | None], path: Path, entry: Entry
) -> None:
    for length in range(1, len(path)):
        above = path[:length]
        found = pending[above] if above in pending else trees.resolve(root, above)
        if found is not None and found.kind != Kind.DIRECTORY:
            raise NotADirectoryPathError(f"/{_shown(above)} is a file; /{_shown(path)} cannot be")
        if found is None:
            return
    there = pending[path] if path in pending else trees.resolve(root, path)
    if there is not None and there.kind == Kind.DIRECTORY and entry.kind != Kind.DIRECTORY:
        raise IsADirectoryPathError(f"/{_shown(path)} is a directory; delete it first")


def _shown(path: Path) -> str:
    return b"/".join(path).decode("utf-8", "backslashreplace")


__all__ = [
    "EMPTY",
    "Append",
    "Change",
    "ChangeSet",
    "Delete",
    "MakeDirectory",
    "Put",
    "apply_to_overlay",
    "apply_to_tree",
    "decode_changes",
    "encode_changes",
]
