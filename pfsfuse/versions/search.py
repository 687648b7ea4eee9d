"""
Looking for the commits that changed a path.

From a commit back, newest first, each compared with its parent: a look-up in each, not a comparison of
trees, and none where the tree is the same.  So it costs O(history x log files), however much a commit
changed elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import ConflictError
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
    ConflictError for an open commit.
    """
    if not start.is_finished:
        raise ConflictError(f"commit {start.ref} is open: what it changes is not known before it is finished")
    skipped: list[Commit] = []
    newer: Commit | None = None
    there: Entry | None = None
    for commit in _line(store, start):
        if not commit.is_good:
            skipped.append(commit)
            continue
        found = there if _is_same_tree(newer, commit) else _at(trees, commit, path)
        if newer is not None:
            yield Step(newer, not is_same_content(found, there), there)
        yield from (Step(each, changed=False, entry=None) for each in skipped)
        skipped.clear()
        newer, there = commit, found
    if newer is not None:
        yield Step(newer, there is not None, there)
    yield from (Step(each, changed=False, entry=None) for each in skipped)


def _is_same_tree(one: Commit | None, other: Commit) -> bool:
    return one is not None and is_same_content(one.root, other.root)


def _at(trees: Trees, commit: Commit, path: Path) -> Entry | None:
    return trees.resolve(commit.root, path) if commit.root is not None else None


def _line(store: Store, start: Commit) -> Iterator[Commit]:
    """Yield a commit and its ancestors, some in each transaction."""
    following: Commit | None = start
    while following is not None:
        with store.read() as txn:
            found = [each for _, each in zip(range(_AT_A_TIME), ancestors(txn, following), strict=False)]
            parent = found[-1].parent
            following = find_commit(txn, start.repo, parent) if parent is not None else None
        yield from found
