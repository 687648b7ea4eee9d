"""
What became of a base in an overlay, path by path.

The 1.0-era meaning of /pfs/out needs more than two trees to tell: whether a file was appended to
(`>>`) or replaced (`>`), even where the bytes would look the same.  So the overlay is asked.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from ..store.objects import Objects
from ..trees import contents as file_contents
from ..trees.contents import Contents
from ..trees.diff import diff
from ..trees.entry import Entry, Kind
from .overlay import Overlay
from .staged import StagedDirectory, StagedFile


class How(enum.StrEnum):
    """What was done to a path."""

    APPENDED = "appended"
    """`entry` has the attributes as they are now, and the new bytes only."""
    REPLACED = "replaced"
    """New, or with new bytes from the start."""
    DELETED = "deleted"


class ForkChange(msgspec.Struct, frozen=True, array_like=True):
    """One path of a fork that differs from the base."""

    path: tuple[bytes, ...]
    how: How
    entry: Entry | None


def fork_changes(overlay: Overlay, root: Entry, objects: Objects) -> list[ForkChange]:
    """
    Return what differs between the base of a sealed overlay and its tree *root*, in path order.

    Directories appear when they were made or removed, or when their own attributes changed.
    """
    base = overlay.base
    found = []
    for change in diff(overlay.trees, base, root):
        if not change.path:
            continue
        if change.new is None:
            found.append(ForkChange(change.path, How.DELETED, None))
        elif change.old is not None and _is_appended(overlay, change.path, change.old):
            found.append(ForkChange(change.path, How.APPENDED, _suffix(objects, change.old, change.new)))
        else:
            found.append(ForkChange(change.path, How.REPLACED, change.new))
    found += _rewritten_alike(overlay)
    return sorted(found, key=lambda change: change.path)


def _rewritten_alike(overlay: Overlay) -> Iterator[ForkChange]:
    """Yield the files that were written anew, bytes and times being what they were before."""
    base = overlay.base
    for path, node in _staged_files(overlay.root, ()):
        if base is None or node.sealed is None or node.sealed != overlay.trees.resolve(base, path):
            continue
        if node.path_base != node.sealed or node.kept_prefix < node.sealed.size:
            yield ForkChange(path, How.REPLACED, node.sealed)


def _staged_files(
    directory: StagedDirectory, above: tuple[bytes, ...]
) -> Iterator[tuple[tuple[bytes, ...], StagedFile]]:
    for name, child in directory.children.items():
        if isinstance(child, StagedFile):
            yield (*above, name), child
        elif isinstance(child, StagedDirectory):
            yield from _staged_files(child, (*above, name))


def _is_appended(overlay: Overlay, path: tuple[bytes, ...], old: Entry) -> bool:
    node = overlay.resolve(path)
    return (
        old.kind == Kind.FILE
        and isinstance(node, StagedFile)
        and node.path_base == old
        and node.kept_prefix == old.size
    )


def _suffix(objects: Objects, old: Entry, new: Entry) -> Entry:
    added = file_contents.slice_of(objects, Contents.of(new), old.size, new.size)
    return added.entry(mode=new.mode, uid=new.uid, gid=new.gid, mtime_ns=new.mtime_ns)
