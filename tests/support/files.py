"""Directories from dictionaries and back, for tests that care about paths and bytes."""

from __future__ import annotations

from collections.abc import Mapping

from pfsfuse.trees.contents import Contents, ContentsWriter, read
from pfsfuse.trees.entry import Entry, Kind
from pfsfuse.trees.tree import Trees


def file(trees: Trees, data: bytes, *, mode: int = 0o644, mtime_ns: int = 0) -> Entry:
    """Return a file with these bytes."""
    writer = ContentsWriter(trees.objects)
    writer.write(data)
    return writer.finish().entry(mode=mode, uid=0, gid=0, mtime_ns=mtime_ns)


def directory(trees: Trees, files: Mapping[str, bytes | Entry]) -> Entry:
    """Return a directory with these files, by path; a path that ends with a slash is a directory."""
    changes: dict[tuple[bytes, ...], Entry | None] = {}
    for path, what in files.items():
        elements = tuple(element.encode() for element in path.split("/") if element)
        if isinstance(what, Entry):
            changes[elements] = what
        else:
            changes[elements] = trees.empty_directory() if path.endswith("/") else file(trees, what)
    return trees.apply(trees.empty_directory(), changes)


def files_of(trees: Trees, root: Entry) -> dict[str, bytes]:
    """Return the bytes of all files below *root*, by path."""
    return {
        b"/".join(path).decode(): read(trees.objects, Contents.of(entry), 0, entry.size)
        for path, entry in trees.walk(root)
        if entry.kind == Kind.FILE
    }
