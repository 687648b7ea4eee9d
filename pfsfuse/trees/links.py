"""
Hard links of an immutable tree: which names are one file.

The entries of such names are equal and have a number in common (`More.group`), which also says how
many names there were when the commit was finished.  A group that has more or fewer names by now is
void: names were copied or removed by path, and each of them is a file of its own.

Looking for them costs as much as there are such names: `More.linked` says below which directories.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from .entry import Entry, Kind, with_more
from .tree import Path, Trees


def group_of(entry: Entry) -> int:
    """Return the number that the names of a file have in common; 0 for a file with one name."""
    return 0 if entry.more is None else entry.more.group


def linked_names(trees: Trees, root: Entry) -> Iterator[tuple[Path, Entry]]:
    """Yield path and entry of every name below *root* that has a group."""
    pending: list[tuple[Path, Entry]] = [((), root)]
    while pending:
        above, directory = pending.pop()
        if directory.more is None or not directory.more.linked:
            continue
        for name, entry in trees.list(directory):
            if entry.kind == Kind.DIRECTORY:
                pending.append(((*above, name), entry))
            elif group_of(entry):
                yield (*above, name), entry


def without_links(trees: Trees, entry: Entry) -> Entry:
    """Return *entry*, with all below it, as files of their own: for a copy, which is linked to nothing."""
    if entry.more is None:
        return entry
    if entry.kind != Kind.DIRECTORY:
        return _parted(entry)
    parted = {path: _parted(found) for path, found in linked_names(trees, entry)}
    return trees.apply(entry, parted) if parted else entry


def _parted(entry: Entry) -> Entry:
    assert entry.more is not None
    return with_more(entry, msgspec.structs.replace(entry.more, group=0, names=0))


class Links:
    """The groups of one tree that are whole; looked for when the first is asked for."""

    def __init__(self, trees: Trees, root: Entry) -> None:
        self._trees = trees
        self._root = root
        self._groups: dict[int, list[Path]] | None = None

    def paths(self, entry: Entry) -> list[Path]:
        """Return all names of the file *entry*; none if it has but one."""
        group = group_of(entry)
        return self.groups.get(group, []) if group else []

    @property
    def groups(self) -> dict[int, list[Path]]:
        """The names by the number of the group."""
        if self._groups is None:
            self._groups = self._find()
        return self._groups

    def _find(self) -> dict[int, list[Path]]:
        found: dict[Entry, list[Path]] = {}
        for path, entry in linked_names(self._trees, self._root):
            found.setdefault(entry, []).append(path)
        whole: dict[int, list[Path]] = {}
        for entry, paths in found.items():
            if entry.more is not None and len(paths) == entry.more.names:
                whole[entry.more.group] = paths
        return whole
