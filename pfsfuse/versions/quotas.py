"""
Quotas of repos.

What is counted is the *logical* size of each branch's tree: the bytes of all files as a reader sees
them, of the open commit if there is one, else of the newest.  History does not count, nor does it
matter how well bytes compress or who else has them; so a quota is a promise to users about their
data, and what the disk holds is the business of prune and gc.

A tree above its quota (somebody lowered it) can be read, and made smaller; what would make it larger is
refused.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import QuotaError
from ..trees.entry import Entry, Kind
from .model import Repo
from .staged import Node, StagedDirectory, StagedFile, StagedLeaf
from .staged_tree import StagedTree


def refuse_over_quota(repo: Repo, before: Entry | None, after: Entry) -> None:
    """QuotaError if a commit with the content *after* is larger than *before* and than the quota."""
    size = before.size if before is not None else 0
    if repo.quota_bytes is not None and after.size > max(repo.quota_bytes, size):
        raise QuotaError(
            f"repo {repo.name} would have {after.size} bytes; its quota is {repo.quota_bytes}. "
            "Delete something, or `pfs update repo --quota` gives it more"
        )


class Room:
    """
    How much an open commit may still grow.

    The count of what is added is never too low, so a write costs O(1) until it meets the limit.
    What becomes smaller is found by going through the staged nodes, where something changed since.
    """

    def __init__(self, tree: StagedTree, changes: Callable[[], int], *, limit: int | None = None) -> None:
        """*changes* is another number after every change that may make the tree smaller."""
        self._tree = tree
        self._changes = changes
        self.limit = limit
        self._most = 0
        """The size is at most this."""
        self._summed_at = -1

    def take(self, growth: int) -> None:
        """Note that the commit is about to grow; QuotaError, and nothing noted, if it must not."""
        if self.limit is None or growth <= 0:
            return
        if self._summed_at < 0 or self._most + growth > self.limit:
            self.sum_up()
        if self._most + growth > self.limit:
            raise QuotaError(
                f"this would make {self._most + growth} bytes; the quota of the repo is {self.limit}"
            )
        self._most += growth

    def sum_up(self) -> None:
        """Count anew, if anything may have become smaller since."""
        changes = self._changes()
        if self._summed_at != changes:
            self._most, self._summed_at = logical_size(self._tree), changes

    @property
    def left(self) -> int | None:
        """At least so many bytes may be added; None: any number."""
        if self.limit is None:
            return None
        if self._summed_at < 0:
            self.sum_up()
        return max(0, self.limit - self._most)


def names_of(node: Node) -> int:
    """Return how often a node counts: a finished commit has a file for each of its names."""
    return 1 + len(node.more_names) if node.parent is not None else 0


def logical_size(tree: StagedTree) -> int:
    """Return the size that the tree would have were it sealed now, in time proportional to the changes."""
    total = tree.root.base.size if tree.root.base is not None else 0
    ahead: list[StagedDirectory] = [tree.root]
    while ahead:
        directory = ahead.pop()
        for name, child in directory.children.items():
            below = tree.trees.lookup(directory.base, name) if directory.base is not None else None
            total += _size_of(child) - (below.size if below is not None else 0)
            if isinstance(child, StagedDirectory):
                ahead.append(child)
    return total


def _size_of(found: Node | Entry | None) -> int:
    if isinstance(found, Entry):
        return found.size
    if isinstance(found, StagedFile):
        return found.size
    if isinstance(found, StagedDirectory):
        return found.base.size if found.base is not None else 0
    return len(found.target) if isinstance(found, StagedLeaf) and found.kind is Kind.SYMLINK else 0
