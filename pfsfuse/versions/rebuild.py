"""
Brings a store back whose index is lost or damaged.

Everything that was ever finished is in the packs: objects, and every change of repos, branches,
commits and documents.  Open commits come back with their journals under staging/.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..store.problems import Problem
from ..store.rebuild import Report as PackReport
from ..store.rebuild import rebuild_store_index
from ..store.store import Store
from ..trees.tree import Trees
from .fsck import Report as FsckReport
from .fsck import examine
from .records import complete_children


@dataclass(frozen=True)
class Report:
    """What a rebuild found, and what is wrong still."""

    packs: PackReport
    found: FsckReport
    """In the rebuilt store: damage in the packs shows as what is missing."""

    @property
    def problems(self) -> list[Problem]:
        return self.found.problems


def rebuild_index(root: Path) -> Report:
    """
    Give the store at *root* a new index made of its packs, and look for what is missing.

    The old index is kept as `index.old`.  StoreInUseError while any process has the store open.
    """
    packs = rebuild_store_index(root)
    store = Store(root)
    try:
        with store.write() as txn:
            complete_children(txn)
        return Report(packs, examine(store, Trees(store.chunks)))
    finally:
        store.close()
