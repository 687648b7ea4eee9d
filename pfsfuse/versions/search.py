"""
Looking for the commits that changed a path.

From a commit back, newest first, each compared with its parent: two look-ups, not a comparison of
trees, and none where both have the same tree.  So it costs O(history x log files), however much a commit
changed elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..store.store import Store
from ..trees.entry import Entry, is_same_content
from ..trees.tree import Path, Trees
from .model import Commit
from .records import ancestors, find_commit

_AT_A_TIME = 256
"""Commits that are read in one transaction: reading trees meanwhile would keep it open for long."""


@dataclass(frozen=True)
class Step:
    """One commit that was looked at."""

    commit: Commit
    changed: bool
    """Whether it added, changed or deleted the path."""
    entry: Entry | None
    """What it has there; None: nothing."""


def search(store: Store, trees: Trees, start: Commit, path: Path) -> Iterator[Step]:
    """
    Yield *start* and its ancestors, and whether each changed what stands at *path*.

    *Changed* means content, of a directory that of everything below it.  A commit whose content does
    not count (an error, forgotten) changed nothing, and its children are compared with what was before.
    """
    skipped: list[Commit] = []
    current: Commit | None = None
    for older in _line(store, start):
        if not older.is_good:
            skipped.append(older)
            continue
        if current is not None:
            yield _step(trees, current, older, path)
        yield from (Step(each, changed=False, entry=None) for each in skipped)
        skipped.clear()
        current = older
    if current is not None:
        yield _step(trees, current, None, path)
    yield from (Step(each, changed=False, entry=None) for each in skipped)


def _line(store: Store, start: Commit) -> Iterator[Commit]:
    """Yield a commit and its ancestors, some in each transaction."""
    following: Commit | None = start
    while following is not None:
        with store.read() as txn:
            found = [each for _, each in zip(range(_AT_A_TIME), ancestors(txn, following), strict=False)]
            parent = found[-1].parent
            following = find_commit(txn, start.repo, parent) if parent is not None else None
        yield from found


def _step(trees: Trees, commit: Commit, older: Commit | None, path: Path) -> Step:
    before = older.root if older is not None else None
    after = commit.root
    entry = trees.resolve(after, path) if after is not None else None
    if before is not None and after is not None and before.content == after.content:
        return Step(commit, changed=False, entry=entry)
    was = trees.resolve(before, path) if before is not None else None
    return Step(commit, not is_same_content(was, entry), entry)
