"""Any sequence of changes, jobs and removals leaves jobs that can be run, or that are over."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from hypothesis import example, given
from hypothesis import strategies as st

from pfsfuse.errors import PfsError
from pfsfuse.ids import BranchName, CommitId, RepoName
from pfsfuse.store.index import Table, WriteTxn
from pfsfuse.store.store import Store
from pfsfuse.versions.checks import check_records, read_records
from pfsfuse.versions.commits import commit, find_commit, list_commits
from pfsfuse.versions.model import BranchRef, Commit
from pfsfuse.versions.sets import list_sets
from pfsfuse.versions.wiring import make_branch, set_head
from runner.jobs import removal
from runner.jobs.execution import finish_job, open_output
from runner.jobs.model import JobRecord, JobState
from runner.jobs.parents import find_parent
from runner.jobs.records import change, is_settled, jobs, output_ref, pending_jobs, work_of
from runner.jobs.scheduler import inputs_state
from runner.jobs.triggers import trigger_all
from tests.support.builders import ref
from tests.support.system import reads
from tests.support.versions import Versions

SOURCES = ("data", "other")
REPOS = (*SOURCES, "left", "right", "marks", "end")

Item = TypeVar("Item", Commit, CommitId)

few = st.integers(0, 5)
operations = st.one_of(
    st.tuples(st.just("commit"), st.sampled_from(SOURCES), few),
    st.tuples(st.just("commit"), st.sampled_from(SOURCES), few),
    st.tuples(st.just("move"), st.sampled_from(SOURCES), few),
    st.tuples(st.just("look"), st.just(""), few),
    st.tuples(st.just("look"), st.just(""), few),
    st.tuples(st.just("open"), st.just(""), few),
    st.tuples(st.just("end"), st.just(""), few),
    st.tuples(st.just("end"), st.just(""), few),
    st.tuples(st.just("end"), st.just(""), few),
    st.tuples(st.just("fail"), st.just(""), few),
    st.tuples(
        st.sampled_from(["squash", "squash -r", "drop", "drop -r", "forget"]), st.sampled_from(REPOS), few
    ),
    st.tuples(st.sampled_from(["squash set", "drop set"]), st.just(""), few),
)


class World:
    """data, other → left, right (pipelines) → marks (propagated) → end (pipeline, which reads data as well)."""

    def __init__(self, store: Store) -> None:
        self.versions = Versions(store)
        self.store = store
        self.seen = 0
        for name in SOURCES:
            self.versions.repo(name)
        method = {"partition": "file", "incremental": "diff"}
        self.versions.pipeline("left", [{**reads("data"), "method": method}])
        self.versions.pipeline("right", [reads("data"), reads("other")])
        self.versions.repo("marks")
        with store.write() as txn:
            make_branch(txn, ref("marks"), provenance=[ref("left"), ref("right")])
        self.versions.pipeline("end", [reads("marks"), reads("data")])

    def do(self, what: str, repo: str, number: int) -> None:
        if what == "commit":
            self.versions.commit(repo, {"f": b"%d" % number})
        elif what == "look":
            self.take_news()
        elif what in ("open", "end", "fail"):
            self.work(what, number)
        else:
            with self.store.write() as txn:
                self.take_away(txn, what, repo, number)

    def take_news(self) -> None:
        """Make jobs of what changed, as the runner does."""
        with self.store.read() as txn:
            latest = txn.sequence()
            pairs = [pair for _, pairs in txn.changes(self.seen) for pair in pairs]
        self.seen = latest
        touched = list(dict.fromkeys((Table[label.upper()], key) for label, key in pairs))
        with self.store.write() as txn:
            trigger_all(txn, touched)

    def runnable(self) -> list[JobRecord]:
        """Return the oldest job of each output repo, if nothing is missing for it."""
        with self.store.read() as txn:
            oldest: dict[str, JobRecord] = {}
            for job in sorted(pending_jobs(txn), key=lambda job: job.created_ns):
                oldest.setdefault(job.output_repo, job)
            return [job for job in oldest.values() if not inputs_state(txn, job)[0]]

    def work(self, what: str, number: int) -> None:
        found = self.runnable()
        if number >= len(found):
            return
        job = found[number]
        with self.store.read() as txn:
            _, broken = inputs_state(txn, job)
        if broken:
            finish_job(self.store, change(job, state=JobState.UNRUNNABLE, reason=broken), None)
        elif what == "open":
            with self.store.write() as txn:
                open_output(txn, job)
        else:
            self.versions.end(job, reason="exit code 1" if what == "fail" else "")

    def take_away(self, txn: WriteTxn, what: str, repo: str, number: int) -> None:
        if what.endswith("set"):
            of_set = removal.squash_set if what == "squash set" else removal.drop_set
            of_set(txn, self.nth(list_sets(txn), number))
            return
        found = self.nth(list_commits(txn, RepoName(repo)), number)
        match what.split():
            case ["move"]:
                set_head(txn, BranchRef(RepoName(repo), BranchName("master")), found.id)
            case ["squash", *more]:
                removal.squash_commit(txn, found.ref, recursive=bool(more))
            case ["drop", *more]:
                removal.drop_commit(txn, found.ref, recursive=bool(more))
            case ["forget"]:
                removal.forget_commit(txn, found.ref)

    def nth(self, found: Sequence[Item], number: int) -> Item:
        if number >= len(found):
            raise PfsError("there are not so many")
        return found[number]

    def look(self) -> None:
        """Check that records agree, and that no job is left without what it needs."""
        with self.store.read() as txn:
            assert [] == list(check_records(read_records(txn)))
            for job in jobs(txn):
                if job.state is JobState.SUCCESS:
                    assert is_settled(txn, job)
                    made = output_ref(job)
                    assert commit(txn, made.repo, made.commit).is_finished
                if not job.state.is_final:
                    _, broken = inputs_state(txn, job)
                    assert "deleted" not in broken
                    assert "forgotten" not in broken
                    if all(find_commit(txn, i.repo, i.commit) is not None for i in job.inputs):
                        find_parent(txn, job, work_of(txn, job))

    def finish(self) -> None:
        """Work everything through: nothing waits for ever."""
        self.take_news()
        for _ in range(200):
            if not self.runnable():
                break
            self.work("end", 0)
            self.take_news()
        with self.store.read() as txn:
            assert [] == pending_jobs(txn)


@contextmanager
def fresh() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="pfst-") as folder:
        store = Store(Path(folder) / "store")
        try:
            yield World(store)
        finally:
            store.close()


@given(st.lists(operations, max_size=30))
@example([("commit", "data", 0), ("look", "", 0), ("end", "", 0), ("drop set", "", 0)])
def test_jobs_are_over_or_have_what_they_need_whatever_is_taken_away(
    steps: list[tuple[str, str, int]],
) -> None:
    """
    Random changes, jobs that end well or badly, and removals, of which many are refused.
    """
    with fresh() as world:
        for what, repo, number in steps:
            try:
                world.do(what, repo, number)
            except PfsError:
                continue
            world.look()
        world.finish()
        world.look()
