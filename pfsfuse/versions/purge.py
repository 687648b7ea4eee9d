"""
Truly removing the content of a path: from every commit of a repo, and from the disk.

Commits keep their ids, parents and times; their trees lose the path, and a mark says that they were
purged, not of what.  This is the one exception to the law that a finished commit never changes.

1. Nothing of the repo is open (OpenCommitsError): an open commit is built on the trees that change.
2. Every commit gets a tree without the path.
3. Records of the floors above that only remember the content let go of it (*release*).
4. gc removes the packs that hold it, copying the rest of them.
5. The proof: no object of it is in the index or in any pack, but those that others need, which are
   named with who needs them.

A crash on the way leaves commits without the path whose content is garbage; `gc --threshold 0` ends it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from ..errors import ConflictError, PathNotFoundError
from ..ids import RepoName
from ..store.batches import journal_records, read_journal_record
from ..store.census import Census
from ..store.gc import Sweep, Swept, condemn, wait_for_others
from ..store.holds import Holder
from ..store.index import Batch, Table, WriteTxn, decode_batch, encode_batch
from ..store.layout import alone_with_packs
from ..store.packs import LOCATION, packs_in
from ..store.scanning import listed_records
from ..store.store import Store
from ..trees.entry import Entry
from ..trees.marking import Marker
from ..trees.tree import Path, Trees
from .branches import branches, put_branch
from .gc import collect_garbage, mark_needed
from .model import Commit, CommitRef
from .purge_targets import Targets, add_garbage, holders
from .records import all_commits, existing_commit, replace_commit
from .removal import with_results
from .repos import repo

_COMMITS_TOGETHER = 20
_ROUNDS = 3
"""A commit that was on its way while the others were rewritten may have the path again."""

Release = Callable[[WriteTxn, Iterable[bytes]], None]
"""(transaction, keys of DOCUMENTS that hold the content): drop what only remembers it."""


class OpenCommitsError(ConflictError):
    """The repo has open commits."""


class PurgeHeldUpError(ConflictError):
    """An operation that began before does not end."""


@dataclass
class PurgeReport:
    """What a purge did."""

    commits: list[CommitRef] = field(default_factory=list)
    """Which have another tree now."""
    files: int = 0
    results: list[CommitRef] = field(default_factory=list)
    """Commits that were made from these: what they took of the content is theirs, and stays."""
    objects: int = 0
    """How many objects held the content."""
    removed_objects: int = 0
    freed_bytes: int = 0
    shared: dict[bytes, list[str]] = field(default_factory=dict)
    """Objects that stay because others need them, with who that is."""
    waits_for: list[Holder] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Where content was found that should be gone: the proof failed."""
    damage: list[str] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return not (self.waits_for or self.left or self.damage)


def forget_nothing(txn: WriteTxn, keys: Iterable[bytes]) -> None:
    """The release of a store without floors above."""


def what_would_go(store: Store, trees: Trees, name: str, path: Path) -> PurgeReport:
    """Return which commits and results a purge would be about; PathNotFoundError if none."""
    found = _with_path(store, trees, name, path)
    targets = Targets()
    for each in found:
        assert each.root is not None
        targets.add(trees, each.root, path)
    if not found:
        raise PathNotFoundError(b"/".join(path), f"any commit of {name}")
    report = PurgeReport([each.ref for each in found], targets.files, objects=len(targets.objects))
    report.results = _results(store, report.commits)
    return report


def purge(
    store: Store,
    trees: Trees,
    name: str,
    path: Path,
    *,
    release: Release = forget_nothing,
    wait_s: float = 30.0,
) -> PurgeReport:
    """
    Remove what is at *path* from all commits of the repo *name*, and its content from the disk.

    PathNotFoundError, OpenCommitsError, PurgeHeldUpError, GcAtWorkError.  When an operation that
    began before goes on for longer than *wait_s*, `waits_for` says so, and the next gc goes on.
    """
    _clear_the_way(store, wait_s)
    report = what_would_go(store, trees, name, path)
    targets = Targets()
    for _ in range(_ROUNDS):
        _rewrite_all(store, trees, name, path, targets, report)
        _release(store, targets, release)
        with alone_with_packs(store):
            _remove(store, targets, wait_s, report)
        if not _with_path(store, trees, name, path):
            return report
    report.left.append(f"commits of {name} that were made meanwhile; purge again")
    return report


def _clear_the_way(store: Store, wait_s: float) -> None:
    """Have an earlier gc come to its end: while packs are condemned, what is deleted counts as needed."""
    with store.read() as txn:
        condemned = txn.condemned().packs
    if condemned:
        held = collect_garbage(store, threshold=1.0, wait_s=wait_s)
        if held.waiting_packs:
            who = ", ".join(map(str, held.waits_for)) or "somebody who writes"
            raise PurgeHeldUpError(f"an earlier gc waits for {who}; try again when that has ended")


# Commits


def _with_path(store: Store, trees: Trees, name: str, path: Path) -> list[Commit]:
    with store.read() as txn:
        commits = list(all_commits(txn, repo(txn, name).name))
    return [each for each in commits if each.root is not None and trees.resolve(each.root, path) is not None]


def _results(store: Store, refs: Iterable[CommitRef]) -> list[CommitRef]:
    with store.read() as txn:
        found = [each.ref for ref in refs for each in with_results(txn, ref)]
    return [ref for ref in dict.fromkeys(found) if ref not in set(refs)]


def _rewrite_all(
    store: Store, trees: Trees, name: str, path: Path, targets: Targets, report: PurgeReport
) -> None:
    while found := _with_path(store, trees, name, path):
        some = found[:_COMMITS_TOGETHER]
        with store.hold():
            roots: dict[CommitRef, tuple[Entry, Entry]] = {}
            for each in some:
                assert each.root is not None
                targets.add(trees, each.root, path)
                roots[each.ref] = (each.root, trees.apply(each.root, {path: None}))
            with store.write() as txn:
                _refuse_open(txn, RepoName(name))
                _rewrite(txn, roots)
        report.commits += [ref for ref in roots if ref not in report.commits]


def _rewrite(txn: WriteTxn, roots: dict[CommitRef, tuple[Entry, Entry]]) -> None:
    for ref, (old, new) in roots.items():
        record = existing_commit(txn, ref.repo, ref.commit)
        if record.root == old:
            replace_commit(txn, record, msgspec.structs.replace(record, root=new, purged_ns=time.time_ns()))
    for line in branches(txn, next(iter(roots)).repo):
        # The mount looks at a branch again when its record was written.
        put_branch(txn, line)


def _refuse_open(txn: WriteTxn, name: RepoName) -> None:
    opened = [str(line.ref) for line in branches(txn, name) if line.open is not None]
    if opened:
        raise OpenCommitsError(
            f"{', '.join(opened)} has an open commit, which is built on what is to be purged; "
            "finish or drop it, then purge again"
        )


def _release(store: Store, targets: Targets, release: Release) -> None:
    keys = {key for (table, key) in holders(store, targets.objects) if table is Table.DOCUMENTS}
    with store.read() as txn:
        # Small contents stand in the records themselves.
        keys |= {key for key, record in txn.scan(Table.DOCUMENTS) if _stands_in(record, targets.inline)}
    if keys:
        with store.write() as txn:
            release(txn, keys)


# The disk


def _remove(store: Store, targets: Targets, wait_s: float, report: PurgeReport) -> None:
    store.rest()
    census = Census(store)
    marker = Marker(store, census)
    mark_needed(store, marker)
    add_garbage(store, census, targets)
    needed = _needed(store, census, targets.objects)
    chosen = _packs_with(store, targets.objects - needed) | _packs_with_batches_of(store, targets)
    if chosen:
        condemn(store, chosen)
        report.waits_for = wait_for_others(store, wait_s)
        if report.waits_for:
            return
        mark_needed(store, marker)
        swept = Swept()
        Sweep(store, census, swept, thin=_Thinner(store, targets)).run(chosen)
        report.removed_objects += swept.objects
        report.freed_bytes += swept.bytes - swept.copied_bytes
        report.damage = swept.damage
    needed = _needed(store, census, targets.objects)
    report.objects = len(targets.objects)
    if needed:
        who = sorted(set(holders(store, needed).values()))
        report.shared = dict.fromkeys(sorted(needed), who)
    report.left = prove_gone(store, targets.objects - needed)


def _needed(store: Store, census: Census, objects: Iterable[bytes]) -> set[bytes]:
    found = set()
    with store.read() as txn:
        for object_id in objects:
            place = txn.get(Table.OBJECTS, object_id)
            if place is not None:
                pack, offset, *_ = LOCATION.unpack(place)
                if census.is_needed(pack, offset):
                    found.add(object_id)
    return found


def _packs_with(store: Store, objects: set[bytes]) -> set[int]:
    """Return the packs that have a record of one of *objects*, whether the index knows it or not."""
    return {
        pack.number
        for pack in packs_in(store.packs, store.id)
        if any(record.object_id in objects for record in listed_records(pack))
    }


def prove_gone(store: Store, objects: set[bytes]) -> list[str]:
    """Return where any of *objects* is still: in the index, or in a record of a pack."""
    with store.read() as txn:
        left = [f"the index knows object {each.hex()}" for each in objects if txn.get(Table.OBJECTS, each)]
    for pack in packs_in(store.packs, store.id):
        left += [
            f"pack {pack.path.name} has object {record.object_id.hex()} at byte {record.offset}"
            for record in listed_records(pack)
            if record.object_id in objects
        ]
    return left


# The journal of refs


def _packs_with_batches_of(store: Store, targets: Targets) -> set[int]:
    """Return the packs with batches in which small contents stand."""
    if not targets.inline:
        return set()
    return {
        pack.number
        for pack in packs_in(store.packs, store.id)
        for record in journal_records(pack)
        if _stands_in(read_journal_record(pack, record), targets.inline)
    }


def _stands_in(batch: bytes, contents: Iterable[bytes]) -> bool:
    return any(each in batch for each in contents)


class _Thinner:
    """Takes small contents out of batches whose records were replaced since."""

    def __init__(self, store: Store, targets: Targets) -> None:
        self._inline = targets.inline
        self._newest: dict[tuple[str, bytes], int] = {}
        """Of the keys whose records had them: the number of the newest batch that sets them."""
        keys: set[tuple[str, bytes]] = set()
        batches: list[tuple[int, Batch]] = []
        for pack in packs_in(store.packs, store.id) if targets.inline else ():
            for record in journal_records(pack):
                sequence, batch = decode_batch(read_journal_record(pack, record))
                batches.append((sequence, [(label, key, None) for label, key, _ in batch]))
                keys |= {
                    (label, key) for label, key, value in batch if value and _stands_in(value, self._inline)
                }
        for sequence, batch in batches:
            for label, key, _ in batch:
                if (label, key) in keys:
                    self._newest[label, key] = max(sequence, self._newest.get((label, key), 0))

    def __call__(self, data: bytes) -> bytes:
        """Return a batch without what is superseded and has such contents."""
        if not self._newest:
            return data
        sequence, batch = decode_batch(data)
        left = [
            (label, key, value)
            for label, key, value in batch
            if not (
                value and self._newest.get((label, key), 0) > sequence and _stands_in(value, self._inline)
            )
        ]
        return encode_batch(sequence, left) if len(left) < len(batch) else data
