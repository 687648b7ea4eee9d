"""
The merge of two trees that began as one.

Three-way, by path: what only one side has changed is taken, what both have changed is compared.
Equal subtrees have equal names and are taken over or skipped unread, so the cost is O(changes of the
other side), whatever the size of the trees.

*Changed* means content: kind, bytes, executable bit.  A side that only touched a file has not changed
it.  Modes, owners and times follow whoever changed the content, and field by field where neither did.

A file and a directory can stand at one path on two sides, so each path is merged twice, as a
file (anything that is no directory) and as a directory, and at most one of the results may remain:

    both sides changed the file, differently                        conflict
    one side changed the file, the other deleted it                 conflict
    a file remains, and something below the directory as well       conflict, of the path as a whole
    one side deleted a directory, the other added something to it   it stays, with what was added
    both sides have made the same change                            no conflict

Merging is symmetric: with the sides exchanged the content and the conflicts are the same.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from .diff import differing_names
from .entry import Entry, is_same_content
from .node import EMPTY_CONTENT
from .tree import Path, Trees


class Side(enum.Enum):
    """Of a merge: the tree that is merged into, and the one that is merged."""

    OURS = "ours"
    THEIRS = "theirs"


class ConflictKind(enum.StrEnum):
    """Why a path cannot be merged by itself."""

    CHANGED = "changed in both"
    DELETED_HERE = "deleted here, changed there"
    DELETED_THERE = "changed here, deleted there"
    DIRECTORY_HERE = "a directory here, a file there"
    DIRECTORY_THERE = "a file here, a directory there"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A path at which both sides have made changes that do not agree."""

    path: Path
    base: Entry | None
    ours: Entry | None
    theirs: Entry | None

    @property
    def kind(self) -> ConflictKind:
        if self.ours is None:
            return ConflictKind.DELETED_HERE
        if self.theirs is None:
            return ConflictKind.DELETED_THERE
        if self.ours.is_directory:
            return ConflictKind.DIRECTORY_HERE
        return ConflictKind.DIRECTORY_THERE if self.theirs.is_directory else ConflictKind.CHANGED


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of a merge."""

    root: Entry
    """With one side's version at the path of each conflict."""
    conflicts: list[Conflict]
    """By path; none below another."""


def merge(
    trees: Trees, base: Entry | None, ours: Entry, theirs: Entry, *, favour: Side = Side.OURS
) -> Merged:
    """
    Merge the changes from *base* to *theirs* into the directory *ours*.

    *base* is None where the two have nothing in common.  Where they are in conflict the side
    *favour* wins, with all below the path.
    """
    return _Merge(trees, favour).run(base, ours, theirs)


@dataclass(slots=True)
class _Level:
    """A directory that is being merged."""

    path: Path
    base: Entry | None
    ours: Entry | None
    theirs: Entry | None
    names: Iterator[tuple[bytes, Entry | None, Entry | None]]
    """What the other side has changed."""
    as_file: _File
    """What comes of the same path as a file."""
    conflicts_before: int
    changes: dict[bytes, Entry | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _File:
    """The three versions of a path, and what comes of it as a file."""

    base: Entry | None
    ours: Entry | None
    theirs: Entry | None
    result: Entry | None = None
    is_conflict: bool = False


class _Merge:
    """One merge.  Goes down without recursion: trees may be as deep as paths are long."""

    def __init__(self, trees: Trees, favour: Side) -> None:
        self._trees = trees
        self._favour = favour
        self._conflicts: list[Conflict] = []

    def run(self, base: Entry | None, ours: Entry, theirs: Entry) -> Merged:
        levels = [self._level((), base, ours, theirs, _File(None, None, None))]
        while True:
            level = levels[-1]
            deeper = self._go_on(level)
            if deeper is not None:
                levels.append(deeper)
                continue
            levels.pop()
            done = self._directory(level)
            if not levels:
                assert done is not None  # the root is there on both sides
                return Merged(done, sorted(self._conflicts, key=lambda conflict: conflict.path))
            result = self._together(level, done)
            if result != level.as_file.ours:
                levels[-1].changes[level.path[-1]] = result

    def _level(
        self, path: Path, base: Entry | None, ours: Entry | None, theirs: Entry | None, as_file: _File
    ) -> _Level:
        names = differing_names(self._trees, base, theirs)
        return _Level(path, base, ours, theirs, names, as_file, len(self._conflicts))

    def _go_on(self, level: _Level) -> _Level | None:
        """Merge the next names of a directory; return the one that has to be looked into, None at the end."""
        for name, base, theirs in level.names:
            ours = self._trees.lookup(level.ours, name) if level.ours is not None else None
            if ours == theirs:
                continue
            if ours == base:
                level.changes[name] = theirs
                continue
            path = (*level.path, name)
            as_file = _merge_files(base, ours, theirs)
            here, there = _directory_only(ours), _directory_only(theirs)
            if here is None and there is None:
                result = self._decide(path, as_file) if as_file.is_conflict else as_file.result
                if result != ours:
                    level.changes[name] = result
                continue
            return self._level(path, _directory_only(base), here, there, as_file)
        return None

    def _directory(self, level: _Level) -> Entry | None:
        """Return what comes of a path as a directory, when all below it is done."""
        start = level.ours
        if start is None:
            assert level.theirs is not None  # else there is nothing to look into
            start = _emptied(level.theirs)
        start = self._trees.update(start, level.changes)
        if level.ours is not None and level.theirs is not None:
            return _with_attributes(start, level.base, level.ours, level.theirs)
        was_deleted = level.base is not None
        return None if was_deleted and start.depth == 0 else start

    def _together(self, level: _Level, as_directory: Entry | None) -> Entry | None:
        """Return what comes of a path of which a version is a directory, as a file and as a directory."""
        as_file = level.as_file
        is_file = as_file.result is not None or as_file.is_conflict
        is_directory = as_directory is not None or len(self._conflicts) > level.conflicts_before
        if is_file and is_directory:
            # One conflict says it all.
            del self._conflicts[level.conflicts_before :]
            return self._decide(level.path, as_file)
        # Who changes a file against one that was deleted for a directory is in conflict with that.
        assert not as_file.is_conflict
        return as_directory if as_directory is not None else as_file.result

    def _decide(self, path: Path, versions: _File) -> Entry | None:
        """Note a conflict and return the version of the side that is favoured."""
        self._conflicts.append(Conflict(path, versions.base, versions.ours, versions.theirs))
        return versions.ours if self._favour is Side.OURS else versions.theirs


def _merge_files(base: Entry | None, ours: Entry | None, theirs: Entry | None) -> _File:
    """Merge the three versions of a path as far as they are files."""
    was, here, there = _file_only(base), _file_only(ours), _file_only(theirs)
    if is_same_content(here, there):
        result = here if here != was else there
    elif is_same_content(here, was):
        result = there
    elif is_same_content(there, was):
        result = here
    else:
        return _File(base, ours, theirs, is_conflict=True)
    return _File(base, ours, theirs, result)


def _file_only(entry: Entry | None) -> Entry | None:
    return None if entry is None or entry.is_directory else entry


def _directory_only(entry: Entry | None) -> Entry | None:
    return entry if entry is not None and entry.is_directory else None


_SUMS = frozenset({"kind", "size", "files", "depth", "data", "content"})
"""The fields of a directory's entry that say what is below it; all others are its own."""


def _with_attributes(merged: Entry, base: Entry | None, ours: Entry, theirs: Entry) -> Entry:
    """Return *merged* with each attribute of the side that has changed it."""
    if base is None:
        return merged
    taken = {
        name: getattr(theirs, name)
        for name in Entry.__struct_fields__
        if name not in _SUMS and getattr(ours, name) == getattr(base, name)
    }
    return msgspec.structs.replace(merged, **taken)


def _emptied(directory: Entry) -> Entry:
    return msgspec.structs.replace(directory, size=0, files=0, depth=0, data=b"", content=EMPTY_CONTENT)
