"""
Putting the outputs of a job's containers together, as the 1.0 era means it.

Every container wrote into its own fork of the parent job's output.  For each path, in the order of
the containers:

- a file that any container replaced or removed has the new contents and the appended pieces, in
  order, and nothing of the parent's;
- any other file has the parent's contents and then the appended pieces.

So three containers that say `> file` leave three lines whatever the parent had, three that say
`>> file` add three.  Nothing is copied: files are joined by their chunks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from pfsfuse.store.objects import Objects
from pfsfuse.trees.contents import Contents, concat
from pfsfuse.trees.entry import Entry, Kind
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.forks import ForkChange, How
from runner.errors import RunnerError

Path = tuple[bytes, ...]


class OutputConflictError(RunnerError):
    """Two containers wrote things to one path that cannot be one."""

    def __init__(self, path: Path) -> None:
        shown = b"/".join(path).decode("utf-8", "backslashreplace")
        super().__init__(f"/pfs/out/{shown}: one container wrote a file there, another a directory")
        self.path = path


def merge_outputs(
    trees: Trees,
    objects: Objects,
    base: Entry | None,
    outputs: Sequence[Sequence[ForkChange]],
    *,
    mtime_ns: int,
) -> Entry:
    """
    Return the output of a job: *base*, the parent job's, with what its containers did, in order.

    OutputConflictError where one path would be a file and a directory.
    """
    root = base if base is not None else trees.empty_directory(mtime_ns=mtime_ns)
    by_path: dict[Path, list[ForkChange]] = defaultdict(list)
    for changes in outputs:
        for change in changes:
            by_path[change.path].append(change)
    merged = {path: _merged(trees, objects, root, path, found) for path, found in by_path.items()}
    _refuse_conflicts(trees, root, merged)
    return trees.apply(root, merged, mtime_ns=mtime_ns)


def _merged(
    trees: Trees, objects: Objects, root: Entry, path: Path, changes: list[ForkChange]
) -> Entry | None:
    keeps_parent = all(change.how is How.APPENDED for change in changes)
    # Where the parent's file is gone, an append of nothing (a chmod, say) does not bring it back.
    written = [
        change.entry
        for change in changes
        if change.entry is not None and (keeps_parent or change.how is How.REPLACED or change.entry.size)
    ]
    if not written:
        return None
    kinds = {entry.kind for entry in written}
    newest = written[-1]
    if Kind.DIRECTORY in kinds:
        if len(kinds) > 1:
            raise OutputConflictError(path)
        return _directory(trees, trees.resolve(root, path), newest)
    if kinds != {Kind.FILE}:
        return newest
    before = trees.resolve(root, path)
    parts = [Contents.of(before)] if keeps_parent and before is not None and before.kind == Kind.FILE else []
    parts += [Contents.of(entry) for entry in written]
    joined = parts[0] if len(parts) == 1 else concat(objects, parts)
    return joined.entry(mode=newest.mode, uid=newest.uid, gid=newest.gid, mtime_ns=newest.mtime_ns)


def _directory(trees: Trees, before: Entry | None, made: Entry) -> Entry:
    """Return a directory with the attributes of *made*; what is in it comes path by path."""
    same = before if before is not None and before.kind == Kind.DIRECTORY else trees.empty_directory()
    return msgspec.structs.replace(same, mode=made.mode, uid=made.uid, gid=made.gid, mtime_ns=made.mtime_ns)


def _refuse_conflicts(trees: Trees, root: Entry, merged: dict[Path, Entry | None]) -> None:
    """A path of one container must not lead through a file of another."""
    for path, entry in merged.items():
        for length in range(1, len(path) if entry is not None else 0):
            above = merged.get(path[:length])
            if above is not None and above.kind != Kind.DIRECTORY:
                raise OutputConflictError(path[:length])
