"""
Who takes how many bytes of the disk.

*Stored* is what trees take in packs, compressed, each object once; *unique* the part of it that goes
when they go (with the next gc, as far as packs are rewritten), the rest is *shared*.  *Logical* is
what a reader would count: the sizes of all files.

Cost: a look at every object's place, and of each repo a walk through all trees that differ; of
commits one walk and what differs between neighbours.  About 5 s and 20 MB for a million objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..ids import RepoName
from ..store.census import Census
from ..store.layout import packs_stay
from ..store.store import Store
from ..trees.entry import Entry
from ..trees.marking import Marker
from ..trees.node import entry_references
from ..trees.tally import Tally
from .branches import branches
from .gc import mark_needed, packed_bytes
from .model import Commit, Repo
from .records import all_commits, newest_good
from .repos import repo, repos


@dataclass
class RepoUsage:
    repo: Repo
    logical_bytes: int
    """Of what the branches show, each content once."""
    stored_bytes: int
    unique_bytes: int
    commits: int

    @property
    def shared_bytes(self) -> int:
        return self.stored_bytes - self.unique_bytes


@dataclass
class CommitUsage:
    commit: Commit
    logical_bytes: int
    stored_bytes: int
    added_bytes: int
    """What no older commit of the repo has."""
    unique_bytes: int
    """What no other commit of the repo has."""

    @property
    def shared_bytes(self) -> int:
        return self.stored_bytes - self.unique_bytes


@dataclass
class StoreUsage:
    """All packs together."""

    packed_bytes: int
    """Of the files."""
    objects: int
    stored_bytes: int
    """Of all objects, with the headers of their records."""
    raw_bytes: int
    """Of the same, before compression."""
    needed_bytes: int
    garbage_bytes: int
    """What nothing needs: the most that a gc could free."""

    @property
    def compression(self) -> float:
        """How many bytes one stored byte stands for."""
        return self.raw_bytes / self.stored_bytes if self.stored_bytes else 1.0


def usage_of_repos(store: Store) -> list[RepoUsage]:
    """Return what each repo takes, by name."""
    with packs_stay(store):
        with store.read() as txn:
            found = list(repos(txn))
        # Commits that are made from here on are not in the census, and not counted.
        tally = Tally(store, Census(store))
        made = []
        for owner, each in enumerate(found, 1):
            with store.read() as txn:
                commits = list(all_commits(txn, each.name))
                shown = {root.data: root.size for root in _shown(store, each.name)}
            roots = _roots(commits)
            tally.claim(tally.enter(roots), owner)
            made.append((each, sum(shown.values()), tally.bytes, len(commits)))
            tally.leave(roots)
        return [
            RepoUsage(each, logical, stored, tally.unique.get(owner, 0), count)
            for owner, (each, logical, stored, count) in enumerate(made, 1)
        ]


def usage_of_commits(store: Store, name: str) -> list[CommitUsage]:
    """Return what each commit of a repo takes, newest first."""
    with packs_stay(store):
        with store.read() as txn:
            commits = sorted(
                all_commits(txn, repo(txn, name).name), key=lambda each: (each.started_ns, each.id)
            )
        tally = Tally(store, Census(store))
        made: list[tuple[Commit, int, int]] = []
        before: list[bytes] = []
        fresh: list[int] = []
        for owner, each in enumerate(commits, 1):
            roots = _roots([each])
            fresh, older = tally.enter(roots), fresh
            tally.leave(before)
            # What the commit before had brought and is still there is not its own.
            tally.share(number for number in older if tally.is_entered(number))
            # What an older commit had, and one between had not, comes back and belongs to several.
            new = [number for number in fresh if tally.is_free(number)]
            tally.claim(fresh, owner)
            made.append((each, tally.bytes, tally.size(new)))
            before = roots
        return [
            CommitUsage(each, each.root.size if each.root else 0, stored, added, tally.unique.get(owner, 0))
            for owner, (each, stored, added) in reversed(list(enumerate(made, 1)))
        ]


def usage_of_store(store: Store) -> StoreUsage:
    """Return what all of it takes."""
    with packs_stay(store):
        census = Census(store)
        mark_needed(store, Marker(store, census))
        return StoreUsage(
            packed_bytes(store),
            census.objects,
            census.bytes,
            census.raw_bytes,
            census.needed_bytes,
            census.bytes - census.needed_bytes,
        )


def _shown(store: Store, name: RepoName) -> Iterator[Entry]:
    with store.read() as txn:
        for line in branches(txn, name):
            good = newest_good(txn, line)
            if good is not None and good.root is not None:
                yield good.root


def _roots(commits: list[Commit]) -> list[bytes]:
    return [
        object_id for each in commits if each.root is not None for object_id, _ in entry_references(each.root)
    ]
