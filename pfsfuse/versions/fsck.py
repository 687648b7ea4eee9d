"""
Looks for damage in a store: one function for each invariant, see `check`.

    S1 S2 S3 P1 D1  packs, objects, journal, gc           (store/fsck.py)
    F1  every record decodes and stands under its own key
    T1  every node and chunk that a finished commit, or the journal of an open one, needs is in the store
    T2  size, number of files and content hash of a directory agree with what is below it, at every node
    T3  size and content hash of a file agree with its bytes or its list of chunks
    R1 R2        repos                                    (repos.py)
    H1 H3 H4 H5  branches                                 (branches.py)
    G1 G2 G3     triggers                                 (triggers.py)
    C1 C2 C3 C4 C5  commits                               (commits.py)
    C6 C7        provenance and forgotten commits         (removal.py)
    C8           children                                 (records.py)
    O1 O2        staging of open commits                  (owner.py)
    X1 X2        transactions                             (transaction_check.py)

Cheap by default: every node of every tree is read, each once, but no chunk of a file;
`verify_data` reads those, too.  H2 speaks of a moment and O1 of processes: neither leaves a trace
that could be looked for.  Others may go on writing: all records are read in one transaction, and
what is written later is not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..store.fsck import examine_store
from ..store.layout import packs_stay
from ..store.problems import Problem
from ..store.store import Store
from ..trees.tree import Trees
from .checks import check_records, read_records
from .losses import Loss, find_losses
from .staging_check import check_staging
from .transaction_check import check_transactions
from .tree_check import check_trees


@dataclass
class Report:
    """All that fsck found."""

    problems: list[Problem]
    losses: list[Loss] = field(default_factory=list)
    """What of the finished commits cannot be read because of the problems."""
    read_bytes: int = 0
    """Stored bytes that --verify-data read, and how long that took."""
    seconds: float = 0.0

    @property
    def bytes_per_second(self) -> float:
        return self.read_bytes / self.seconds if self.seconds else 0.0


def check(store: Store, trees: Trees, *, verify_data: bool = False) -> list[Problem]:
    """Return all that is wrong with the store; empty when all is well.  Changes nothing."""
    return examine(store, trees, verify_data=verify_data).problems


def examine(store: Store, trees: Trees, *, verify_data: bool = False) -> Report:
    """Look for all that is wrong with the store, and for what is lost by it.  Changes nothing; waits for a gc."""
    with packs_stay(store):
        return _examine(store, trees, verify_data=verify_data)


def _examine(store: Store, trees: Trees, *, verify_data: bool) -> Report:
    with store.read() as txn:
        records = read_records(txn)
        transactions = list(check_transactions(txn, records.commits))
    commits = list(records.commits.values())
    below = examine_store(store, verify_data=verify_data)
    of_trees = list(check_trees(store, trees, commits))
    problems = [
        *below.problems,
        *check_records(records),
        *check_staging(store, commits, below.unreadable),
        *transactions,
        *of_trees,
    ]
    unreadable = below.unreadable | {p.object_id for p in of_trees if p.object_id is not None}
    losses = find_losses(store, trees, commits, unreadable) if unreadable else []
    return Report(problems, losses, below.read_bytes, below.seconds)
