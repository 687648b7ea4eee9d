"""Any sequence of operations on branches and commits leaves records that agree with each other."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pfsfuse.errors import PfsError
from pfsfuse.ids import CommitId, RepoName
from pfsfuse.store.index import Table, WriteTxn
from pfsfuse.store.store import Store
from pfsfuse.trees.entry import Entry
from pfsfuse.trees.tree import empty_directory
from pfsfuse.versions.branches import branches, delete_branch
from pfsfuse.versions.checks import check_records, read_records
from pfsfuse.versions.commits import (
    ancestors,
    drop_open_commit,
    finish_commit,
    head_of,
    list_commits,
    newest_good,
    start_commit,
)
from pfsfuse.versions.model import BranchRef, Commit, Origin
from pfsfuse.versions.records import complete_children
from pfsfuse.versions.removal import drop_commit, drop_set, forget_commit, squash_commit, squash_set
from pfsfuse.versions.repos import create_repo, delete_repo
from pfsfuse.versions.sets import alias, commit_set, list_sets
from pfsfuse.versions.wiring import change_provenance, make_branch, set_head
from tests.support.builders import ref

REPOS = "abcd"
LINES = ("master", "dev")

refs = st.builds(ref, st.sampled_from(REPOS), st.sampled_from(LINES))
few = st.integers(0, 6)
operations = st.one_of(
    st.tuples(st.just("commit"), refs, few),
    st.tuples(st.just("commit"), refs, few),
    st.tuples(st.just("commit"), refs, few),
    st.tuples(st.just("start"), refs, st.sampled_from(Origin)),
    st.tuples(st.just("finish"), refs, st.booleans()),
    st.tuples(st.just("abandon"), refs, few),
    st.tuples(st.just("wire"), refs, st.lists(refs, max_size=3)),
    st.tuples(st.just("wire"), refs, st.lists(refs, max_size=3)),
    st.tuples(st.just("move"), refs, few),
    st.tuples(st.just("squash"), st.sampled_from(REPOS), few, st.booleans()),
    st.tuples(st.just("squash set"), few),
    st.tuples(st.just("drop"), st.sampled_from(REPOS), few, st.booleans()),
    st.tuples(st.just("drop set"), few),
    st.tuples(st.just("forget"), st.sampled_from(REPOS), few),
    st.tuples(st.just("delete branch"), refs, st.booleans()),
    st.tuples(st.just("delete repo"), st.sampled_from(REPOS), st.booleans()),
)


class World:
    """A store that operations are tried on."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.roots: dict[CommitId, Entry | None] = {}

    def do(self, txn: WriteTxn, operation: tuple[object, ...]) -> None:
        match operation:
            case ("commit", BranchRef() as line, int(number)):
                made = start_commit(txn, line.repo, line.branch)
                finish_commit(txn, made.ref, empty_directory(mtime_ns=number))
            case ("start", BranchRef() as line, Origin() as origin):
                start_commit(txn, line.repo, line.branch, origin=origin)
            case ("finish", BranchRef() as line, bool(fails)):
                opened = self.opened(txn, line)
                finish_commit(txn, opened.ref, empty_directory(), error="broken" if fails else "")
            case ("abandon", BranchRef() as line, _):
                drop_open_commit(txn, self.opened(txn, line).ref)
            case ("wire", BranchRef() as line, list(sources)):
                make_branch(txn, line, provenance=sources) if sources else change_provenance(txn, line, [])
            case ("move", BranchRef() as line, int(number)):
                set_head(txn, line, self.commit(txn, line.repo, number).id)
            case ("squash", str(repo), int(number), bool(recursive)):
                squash_commit(txn, self.commit(txn, repo, number).ref, recursive=recursive)
            case ("drop", str(repo), int(number), bool(recursive)):
                drop_commit(txn, self.commit(txn, repo, number).ref, recursive=recursive)
            case ("forget", str(repo), int(number)):
                forget_commit(txn, self.commit(txn, repo, number).ref)
            case ("squash set", int(number)):
                squash_set(txn, self.change(txn, number))
            case ("drop set", int(number)):
                drop_set(txn, self.change(txn, number))
            case ("delete branch", BranchRef() as line, bool(force)):
                delete_branch(txn, line, force=force)
            case ("delete repo", str(repo), bool(force)):
                delete_repo(txn, repo, force=force)
                create_repo(txn, repo)

    def opened(self, txn: WriteTxn, line: BranchRef) -> Commit:
        found = [c for c in list_commits(txn, line.repo, branch_name=line.branch) if not c.is_finished]
        if not found:
            raise PfsError("nothing is open")
        return found[0]

    def commit(self, txn: WriteTxn, repo: str, number: int) -> Commit:
        """Return one of the newest commits of a repo."""
        found = list_commits(txn, RepoName(repo))
        if number >= len(found):
            raise PfsError("there are not so many")
        return found[number]

    def change(self, txn: WriteTxn, number: int) -> CommitId:
        found = list_sets(txn)
        if number >= len(found):
            raise PfsError("there are not so many")
        return found[number]

    def look(self) -> None:
        """Check that everything agrees, and that what people see is there."""
        with self.store.read() as txn:
            assert [] == list(check_records(read_records(txn)))
            for change in list_sets(txn):
                shown = commit_set(txn, change).commits
                at = {commit.ref: number for number, commit in enumerate(shown)}
                for commit in shown:
                    assert all(at[s] < at[commit.ref] for s in commit.provenance if s in at)
                    assert alias(txn, change, commit.repo) is not None
            for line in (line for repo in REPOS for line in branches(txn, RepoName(repo))):
                good = newest_good(txn, line)
                assert good is None or good.root is not None
                assert len(list(ancestors(txn, head_of(txn, line)))) <= txn.count(Table.COMMITS)


@contextmanager
def fresh() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="pfst-") as folder:
        store = Store(Path(folder) / "store")
        with store.write() as txn:
            for name in REPOS:
                create_repo(txn, name)
        try:
            yield World(store)
        finally:
            store.close()


@given(st.lists(operations, max_size=30))
def test_whatever_is_done_to_branches_and_commits_the_records_agree(
    steps: list[tuple[object, ...]],
) -> None:
    """
    Random operations, of which many are refused; after each, everything that fsck asks of records holds.
    """
    with fresh() as world:
        for step in steps:
            try:
                with world.store.write() as txn:
                    world.do(txn, step)
            except PfsError:
                # Refused, with nothing changed: the transaction was taken back.
                continue
            world.look()


@given(st.lists(operations, max_size=20))
def test_the_table_of_children_can_be_made_anew_at_any_moment(steps: list[tuple[object, ...]]) -> None:
    """
    After random operations it is thrown away, as a rebuilt index has it, and completed.
    """
    with fresh() as world:
        for step in steps:
            try:
                with world.store.write() as txn:
                    world.do(txn, step)
            except PfsError:
                continue
        with world.store.write() as txn:
            before = list(txn.scan(Table.CHILDREN))
            for key, _ in before:
                txn.delete(Table.CHILDREN, key)
            txn.delete(Table.META, b"children")
            complete_children(txn)
            assert before == list(txn.scan(Table.CHILDREN))
