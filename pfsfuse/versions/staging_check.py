"""
Looks at what is staged for open commits.

    O1  only the owner changes anything under staging/: what stands there has a name that it gives
    O2  an open commit of origin USER has its staging folder, or has no changes yet: its journal is whole
    T1  what the journal names is in the store
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator

from ..errors import StoreError
from ..ids import ChunkId
from ..store.problems import Problem
from ..store.store import Store
from ..trees.node import entry_references
from .journal import damage_in, entries_in
from .model import Commit, Origin
from .owner import staging_name

NAMES = re.compile(r"owner\.lock|views|[0-9a-f]{32}-.+|orphan-.+\.data|damaged-.+")
"""docs/format.md lists them."""


def check_staging(
    store: Store, commits: Iterable[Commit], unreadable: Collection[ChunkId] = ()
) -> Iterator[Problem]:
    """O1, O2, and T1 for open commits."""
    for entry in os.scandir(store.staging):
        if not NAMES.fullmatch(entry.name):
            yield Problem("O1", f"{entry.path} is nothing that belongs into the staging area")
    for commit in commits:
        journal = store.staging / staging_name(commit) / "journal"
        if not commit.is_finished and commit.origin is Origin.USER and journal.exists():
            yield from _check_journal(store, commit, unreadable)


def _check_journal(store: Store, commit: Commit, unreadable: Collection[ChunkId]) -> Iterator[Problem]:
    journal = store.staging / staging_name(commit) / "journal"
    try:
        damaged_at = damage_in(journal)
        entries = list(entries_in(journal))
    except FileNotFoundError:
        # Finished while this looked.
        return
    except StoreError as error:
        yield Problem("O2", f"the journal of open commit {commit.ref} cannot be read: {error}")
        return
    if damaged_at is not None:
        yield Problem("O2", f"the journal of open commit {commit.ref} is damaged at byte {damaged_at}")
    for entry in entries:
        for object_id, _ in entry_references(entry):
            if not store.chunks.has(object_id) or object_id in unreadable:
                text = f"object {object_id.hex()} of open commit {commit.ref} is missing"
                yield Problem("T1", text, object_id)
