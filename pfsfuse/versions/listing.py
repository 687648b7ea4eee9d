"""
Looking at the files of a commit: pages of a directory, and what differs between two.

Everything here reads immutable trees; that of an open commit is a snapshot of it (`mount/writing.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

from ..errors import InvalidNameError, PathNotFoundError
from ..trees.diff import diff
from ..trees.entry import Entry, is_same_content
from ..trees.order import in_path_order, path_key
from ..trees.tree import Path, Trees

MOST_PER_PAGE = 100_000


@dataclass(frozen=True, slots=True)
class Pair:
    """A path that differs between two trees; None where there is nothing."""

    path: Path
    old: Entry | None
    new: Entry | None


def find(trees: Trees, root: Entry, path: Path, where: str) -> Entry:
    """Return what stands at *path*; PathNotFoundError that names the commit *where*."""
    found = trees.resolve(root, path)
    if found is None:
        raise PathNotFoundError(b"/".join(path), where)
    return found


def page(
    trees: Trees,
    directory: Entry,
    parent: Path,
    *,
    marker: bytes = b"",
    number: int = 0,
    reverse: bool = False,
) -> list[tuple[Path, Entry]]:
    """
    Return entries of the directory that stands at *parent*, in the order of paths (trees/order.py).

    Those behind the path *marker*, which is itself left out; with *reverse* those before it, the last
    one first.  At most *number* of them, and never more than MOST_PER_PAGE.  *reverse* needs
    *number* (InvalidNameError), because a directory can be read forwards only.
    """
    if reverse and not number:
        raise InvalidNameError("a listing in reverse needs a number of entries")
    most = min(number or MOST_PER_PAGE, MOST_PER_PAGE)
    if not reverse:
        return list(islice(entries_after(trees, directory, parent, marker), most))
    before = ((p, e) for p, e in _ordered(trees.list(directory), parent))
    kept: deque[tuple[Path, Entry]] = deque(maxlen=most)
    for path, entry in before:
        if marker and path_key(path, entry) >= marker:
            break
        kept.append((path, entry))
    return list(reversed(kept))


def entries_after(
    trees: Trees, directory: Entry, parent: Path, marker: bytes = b""
) -> Iterator[tuple[Path, Entry]]:
    """Yield the entries of the directory at *parent* that stand behind the path *marker*."""
    start = b"".join(b"/" + name for name in parent) + b"/"
    if marker < start:
        yield from _ordered(trees.list(directory), parent)
        return
    if not marker.startswith(start):
        return
    name = marker[len(start) :].split(b"/")[0]
    # `dir/` stands behind `dir.txt`, though `dir` is the smaller name.
    shorter = ((name[:end], trees.lookup(directory, name[:end])) for end in range(1, len(name) + 1))
    held = [(each, entry) for each, entry in shorter if entry is not None]
    for path, entry in _ordered(chain(held, trees.list(directory, after=name)), parent):
        if path_key(path, entry) > marker:
            yield path, entry


def _ordered(entries: Iterator[tuple[bytes, Entry]], parent: Path) -> Iterator[tuple[Path, Entry]]:
    for name, entry in in_path_order(entries):
        yield (*parent, name), entry


def pairs(
    trees: Trees, old: Entry | None, new: Entry | None, path: Path = (), *, shallow: bool = False
) -> list[Pair]:
    """
    Return what differs in content between what stands at *path* before and after, in the order of paths.

    A directory is named if anything below it differs.  *shallow*: not below the names directly in it.
    """
    found: dict[Path, Pair] = {}
    if not _is_directory(old) and not _is_directory(new):
        return [Pair(path, old, new)] if not is_same_content(old, new) else []
    below_old, below_new = (each if _is_directory(each) else None for each in (old, new))
    if not is_same_content(old, new):
        found[()] = Pair(path, old, new)
    for change in _changes(trees, below_old, below_new, shallow=shallow):
        for length in range(1, len(change.path)):
            above = change.path[:length]
            if above not in found:
                found[above] = Pair(
                    (*path, *above), _at(trees, below_old, above), _at(trees, below_new, above)
                )
        found[change.path] = Pair((*path, *change.path), change.old, change.new)
    return sorted(found.values(), key=_pair_key)


def _changes(trees: Trees, old: Entry | None, new: Entry | None, *, shallow: bool) -> Iterator[Pair]:
    if not shallow:
        for change in diff(trees, old, new, by_content=True):
            if change.path:
                yield Pair(change.path, change.old, change.new)
        return
    names = {name for each in (old, new) if each is not None for name, _ in trees.list(each)}
    for name in names:
        before, after = _at(trees, old, (name,)), _at(trees, new, (name,))
        if not is_same_content(before, after):
            yield Pair((name,), before, after)


def _pair_key(pair: Pair) -> bytes:
    entry = pair.new or pair.old
    assert entry is not None  # a pair names something that there is or was
    return path_key(pair.path, entry)


def _at(trees: Trees, root: Entry | None, path: Path) -> Entry | None:
    return trees.resolve(root, path) if root is not None else None


def _is_directory(entry: Entry | None) -> bool:
    return entry is not None and entry.is_directory
