"""
Mends a store as far as what is left allows, and says what was done and what stays lost.

From below upwards: format.json, the index, packs, objects, tables, then repos, branches and commits,
then what is staged for open commits.  Nothing that could be of use to a person is deleted: packs and
staging folders that nobody can use are moved to `damaged/`.

The store must not be in use.  A repair that was interrupted is done again from the start.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ..errors import StoreError
from ..ids import CommitId
from ..store.format_repair import mend_format
from ..store.index import IndexDamagedError, Table
from ..store.packs import sync_folder
from ..store.problems import Mending
from ..store.rebuild import rebuild_store_index
from ..store.repair import StoreRepair
from ..store.store import LostIndexError, Store
from ..trees.tree import Trees
from .checks import read_records
from .fsck import Report, examine
from .journal import Journal, damage_in
from .model import (
    Branch,
    Commit,
    CommitRef,
    Move,
    Project,
    Repo,
    branch_key,
    commit_key,
    decode,
    move_key,
    project_key,
    repo_key,
)
from .owner import staging_name
from .ref_repair import RefRepair
from .staging_check import NAMES
from .transaction_check import check_transactions
from .transactions import NAMESPACE, Transaction, transaction_key
from .tree_check import check_trees


@dataclass
class RepairReport:
    """What a repair did, or would do, and what is wrong then."""

    mendings: list[Mending] = field(default_factory=list)
    after: Report | None = None
    """What fsck finds then; None after a dry run."""


def repair(root: Path, *, dry_run: bool = False) -> RepairReport:
    """
    Mend the store at *root*; with *dry_run* say what would be done first, and change nothing.

    StoreInUseError if any process has it open; StoreError if it is no store, or one of another version.
    """
    if not (root / "format.json").exists():
        raise StoreError(f"{root} is no store: format.json is missing")
    report = RepairReport(mend_format(root, dry_run=dry_run))
    if report.mendings and dry_run:
        return report
    try:
        _mend_all(root, report, dry_run=dry_run)
    except (IndexDamagedError, LostIndexError) as error:
        report.mendings.append(Mending("D1", f"the index was made anew from the packs: {error}"))
        if not dry_run:
            rebuilt = rebuild_store_index(root)
            report.mendings += [Mending("D1", text) for text in rebuilt.damage]
            _mend_all(root, report, dry_run=False)
    return report


def _mend_all(root: Path, report: RepairReport, *, dry_run: bool) -> None:
    store = Store(root, alone=True)
    try:
        with store.read() as txn:
            txn.check_order()
        _mend(store, report, dry_run=dry_run)
    finally:
        store.close()


def _mend(store: Store, report: RepairReport, *, dry_run: bool) -> None:
    below = StoreRepair(store, is_sound=is_sound, dry_run=dry_run)
    below.run()
    _restore_nodes(store, below, dry_run=dry_run)
    report.mendings += below.mendings
    with store.read() as txn:
        records = read_records(txn)
    refs = RefRepair(records, Trees(store.chunks), lambda c: (store.staging / staging_name(c)).is_dir())
    refs.run()
    report.mendings += refs.mendings
    if refs.mendings and not dry_run:
        with store.write() as txn:
            refs.write(txn)
    report.mendings += _mend_transactions(store, records.commits, dry_run=dry_run)
    report.mendings += _mend_staging(store, records.commits.values(), dry_run=dry_run)
    if not dry_run:
        report.after = examine(store, Trees(store.chunks))


def _restore_nodes(store: Store, below: StoreRepair, *, dry_run: bool) -> None:
    """T1: look in all packs for what trees name and the index does not know, level by level."""
    while True:
        with store.read() as txn:
            commits = list(read_records(txn).commits.values())
        missing = {
            problem.object_id
            for problem in check_trees(store, Trees(store.chunks), commits)
            if problem.object_id is not None and not store.chunks.has(problem.object_id)
        }
        if not missing or not below.restore_objects(missing) or dry_run:
            return


_RECORDS: dict[Table, tuple[type[msgspec.Struct], Callable[..., bytes]]] = {
    Table.REPOS: (Repo, lambda r: repo_key(r.name)),
    Table.BRANCHES: (Branch, lambda b: branch_key(b.repo, b.name)),
    Table.COMMITS: (Commit, lambda c: commit_key(c.repo, c.id)),
    Table.PROJECTS: (Project, lambda p: project_key(p.name)),
    Table.MOVES: (Move, lambda m: move_key(m.change, m.ref)),
}


def is_sound(table: Table, key: bytes, value: bytes) -> bool:
    """Say whether a record decodes and stands under its own key; of documents, whether it is msgpack."""
    try:
        if table in _RECORDS:
            kind, key_of = _RECORDS[table]
            return key_of(decode(value, kind)) == key
        if table is Table.DOCUMENTS and key.startswith(NAMESPACE):
            return transaction_key(decode(value, Transaction).id) == key
        if table is Table.DOCUMENTS:
            msgspec.msgpack.decode(value)
    except (StoreError, msgspec.DecodeError, UnicodeDecodeError):
        return False
    return value == b"" if table in (Table.COMMIT_SETS, Table.SUBVENANCE) else True


def _mend_transactions(store: Store, commits: Collection[CommitRef], *, dry_run: bool) -> list[Mending]:
    """X1 and X2: a transaction that makes no sense, or that was done already, is given up."""
    mendings = []
    ids = {ref.commit for ref in commits}
    with store.read() as txn:
        named = list(check_transactions(txn, commits))
        bad = [key for key, raw in txn.scan(Table.DOCUMENTS, NAMESPACE) if _is_hopeless(key, raw, ids)]
    if bad:
        mendings = [Mending(problem.invariant, f"{problem.message}; it was given up") for problem in named]
    if bad and not dry_run:
        with store.write() as txn:
            for key in bad:
                txn.delete(Table.DOCUMENTS, key)
    return mendings


def _is_hopeless(key: bytes, raw: bytes, ids: Collection[CommitId]) -> bool:
    if not is_sound(Table.DOCUMENTS, key, raw):
        return True
    record = decode(raw, Transaction)
    return len(record.requests) != len(record.responses) or record.id in ids


# Staging


def _mend_staging(store: Store, commits: Iterable[Commit], *, dry_run: bool) -> list[Mending]:
    """O1 and O2: take away what belongs to no open commit, and cut journals where they are damaged."""
    mendings: list[Mending] = []
    wanted = {staging_name(c) for c in commits if not c.is_finished}
    for entry in sorted(os.scandir(store.staging), key=lambda each: each.name):
        path = Path(entry.path)
        is_known = NAMES.fullmatch(entry.name) is not None
        if entry.name in wanted:
            mendings += _mend_journal(path / "journal", dry_run=dry_run)
        elif not is_known or (entry.is_dir() and entry.name != "views"):
            mendings.append(Mending("O1", f"{entry.path} belongs to no open commit; it is in damaged/ now"))
            if not dry_run:
                _set_aside(store.root / "damaged", path)
    return mendings


def _mend_journal(path: Path, *, dry_run: bool) -> list[Mending]:
    damaged_at = damage_in(path) if path.exists() else None
    if damaged_at is None:
        return []
    if not dry_run:
        journal = Journal(path)
        for _ in journal.replay():
            continue
        journal.sync()
        journal.close()
    return [Mending("O2", f"{path} was cut at byte {damaged_at}; a copy is beside it, as damaged-…")]


def _set_aside(folder: Path, path: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / path.name
    number = 1
    while target.exists():
        target, number = folder / f"{path.name}.{number}", number + 1
    path.rename(target)
    sync_folder(folder)
    sync_folder(path.parent)
