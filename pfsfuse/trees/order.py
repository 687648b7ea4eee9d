"""
The order of paths: bytewise, a directory counting as its name with a slash behind it.

So `dir.txt` stands before `dir/`, and that before `dir/x` and `dir0`.  It is the order in which the
original (2.x) lists, walks, globs and concatenates.  Directories are stored by bare name, where `dir` stands
before `dir.txt`; so a directory is held back here until its turn comes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from .entry import Entry
from .tree import Path, Trees


def path_key(path: Path, entry: Entry) -> bytes:
    """Return what a path is ordered by; equal keys are equal paths."""
    return b"/" + b"/".join(path) + (b"/" if path and entry.is_directory else b"")


def in_path_order(entries: Iterable[tuple[bytes, Entry]]) -> Iterator[tuple[bytes, Entry]]:
    """Put the entries of one directory, given by bare name, into the order of paths."""
    held: list[tuple[bytes, bytes, Entry]] = []
    for name, entry in entries:
        while held and held[0][0] < name:
            _, earlier, directory = heapq.heappop(held)
            yield earlier, directory
        if entry.is_directory:
            heapq.heappush(held, (name + b"/", name, entry))
        else:
            yield name, entry
    while held:
        _, earlier, directory = heapq.heappop(held)
        yield earlier, directory


def walk_in_order(trees: Trees, root: Entry, path: Path = ()) -> Iterator[tuple[Path, Entry]]:
    """Yield all below the directory *root*, which stands at *path*; each directory before what is in it."""
    ahead = [(path, in_path_order(trees.list(root)))]
    while ahead:
        parent, entries = ahead[-1]
        for name, entry in entries:
            found = (*parent, name)
            yield found, entry
            if entry.is_directory:
                ahead.append((found, in_path_order(trees.list(entry))))
                break
        else:
            ahead.pop()
