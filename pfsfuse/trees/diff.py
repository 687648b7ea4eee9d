"""
What differs between two trees.

Equal subtrees have equal names and are skipped unread, inside a directory too, so the cost is
O(changes), not O(names).  Memory is bounded by one reference for each changed leaf of one
directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from .entry import Entry, marks, with_more
from .node import Child, Interior, Leaf
from .tree import Path, Trees

_Pair = tuple[bytes, Entry | None, Entry | None]


@dataclass(frozen=True, slots=True)
class Change:
    """One path that is not as it was; None where there is nothing."""

    path: Path
    old: Entry | None
    new: Entry | None


def diff(
    trees: Trees,
    old: Entry | None,
    new: Entry | None,
    *,
    by_content: bool = False,
    descend: bool = True,
) -> Iterator[Change]:
    """
    Yield what leads from the directory *old* to the directory *new*, in the order of the paths.

    A directory that is there before and after is named if its own attributes differ, not
    because something below it does; the root (path ()) follows that rule, too, and is not named
    when *old* or *new* is None.  With *descend* all below an added, removed or replaced
    directory is named after it, without it only the directory.  *by_content* looks at names,
    kinds, bytes and executable bits only.
    """
    comparison = _Comparison(trees, by_content=by_content)
    if old is not None and new is not None and comparison.differ(old, new):
        yield Change((), old, new)
    ahead: list[tuple[Path, Iterator[_Pair]]] = [((), comparison.pairs(old, new))]
    while ahead:
        parent, pairs = ahead[-1]
        for name, before, after in pairs:
            path = (*parent, name)
            if before is None or after is None or comparison.differ(before, after):
                yield Change(path, before, after)
            if comparison.goes_below(before, after, descend=descend):
                ahead.append((path, comparison.pairs(before, after)))
                break
        else:
            ahead.pop()


def differing_names(
    trees: Trees, old: Entry | None, new: Entry | None
) -> Iterator[tuple[bytes, Entry | None, Entry | None]]:
    """Yield the names whose entries differ in any way in two directories, in order; None has no names."""
    return _Comparison(trees, by_content=False).pairs(old, new)


class _Comparison:
    def __init__(self, trees: Trees, *, by_content: bool) -> None:
        self._trees = trees
        self._by_content = by_content

    def differ(self, old: Entry, new: Entry) -> bool:
        """Say whether the two entries differ by themselves, whatever is below them."""
        if marks((old,)) != marks((new,)):
            return True
        if old.is_directory:
            return not self._by_content and _own_attributes(old) != _own_attributes(new)
        if self._by_content:
            return old.content != new.content
        return old != new

    def goes_below(self, old: Entry | None, new: Entry | None, *, descend: bool) -> bool:
        """Say whether there is something to be named below a path."""
        was = old is not None and old.is_directory
        is_now = new is not None and new.is_directory
        return (was and is_now) or (descend and (was or is_now))

    def pairs(self, old: Entry | None, new: Entry | None) -> Iterator[_Pair]:
        """Yield the names whose entries are not the same in two directories; None and files have no names."""
        olds, old_height = _root(old)
        news, new_height = _root(new)
        while True:
            if old_height == new_height:
                olds, news = self._without_shared(olds, news)
                if old_height <= 1:
                    break
            # Only nodes of one height can be compared, so the higher tree goes down first.
            expand_old, expand_new = old_height >= new_height, new_height >= old_height
            if expand_old:
                olds, old_height = self._expanded(olds), old_height - 1
            if expand_new:
                news, new_height = self._expanded(news), new_height - 1
        return self._merged(olds, news)

    def _without_shared(self, olds: list[Child], news: list[Child]) -> tuple[list[Child], list[Child]]:
        """
        Drop the nodes that both sides have.

        A node holds all names of its range, and names decide where nodes end; so a node of both
        sides is the same run of entries in both, and no other node holds one of its names.
        """
        shared = {self._identity(node) for node in olds} & {self._identity(node) for node in news}
        if not shared:
            return olds, news
        return (
            [node for node in olds if self._identity(node) not in shared],
            [node for node in news if self._identity(node) not in shared],
        )

    def _identity(self, node: Child) -> bytes:
        return node.content if self._by_content else node.id

    def _expanded(self, nodes: list[Child]) -> list[Child]:
        below: list[Child] = []
        for child in nodes:
            node = self._trees.node(child.id)
            if isinstance(node, Interior):
                below += node.items
        return below

    def _merged(self, olds: list[Child], news: list[Child]) -> Iterator[_Pair]:
        old_entries, new_entries = self._entries(olds), self._entries(news)
        old, new = next(old_entries, None), next(new_entries, None)
        while old is not None or new is not None:
            if new is None or (old is not None and old[0] < new[0]):
                assert old is not None  # the loop goes on while one of them is there
                yield old[0], old[1], None
                old = next(old_entries, None)
            elif old is None or new[0] < old[0]:
                yield new[0], None, new[1]
                new = next(new_entries, None)
            else:
                if old[1] != new[1]:
                    yield old[0], old[1], new[1]
                old, new = next(old_entries, None), next(new_entries, None)

    def _entries(self, leaves: list[Child]) -> Iterator[tuple[bytes, Entry]]:
        for child in leaves:
            node = self._trees.node(child.id)
            if isinstance(node, Leaf):
                yield from zip(node.keys, node.items, strict=True)


def _root(directory: Entry | None) -> tuple[list[Child], int]:
    """Return the nodes at the top of *directory*, one or none, and their height (of none: that of leaves)."""
    if directory is None or not directory.is_directory or directory.depth == 0:
        return [], 1
    root = Child(directory.data, directory.content, 0, directory.size, directory.files)
    return [root], directory.depth


def _own_attributes(directory: Entry) -> Entry:
    bare = msgspec.structs.replace(directory, size=0, files=0, depth=0, data=b"", content=b"")
    if bare.more is None:
        return bare
    return with_more(bare, msgspec.structs.replace(bare.more, directories=0, linked=0))
