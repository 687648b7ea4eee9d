"""Waiting for a commit and what follows from it, with no runner and no mount."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from pfsfuse.errors import UnavailableError
from pfsfuse.ids import RepoName
from pfsfuse.store.index import Table
from pfsfuse.versions.changes import poke_after_writes
from pfsfuse.versions.commits import CommitNotFoundError, drop_open_commit
from pfsfuse.versions.model import Commit, CommitRef
from pfsfuse.versions.wiring import set_head
from runner.jobs.model import JobRecord
from runner.jobs.records import LOCK_NAME, set_cursor
from runner.jobs.triggers import trigger_change
from runner.jobs.waiting import CommitFailedError, JobFailedError, TimeIsUpError, Waiting, downstream
from tests.support.builders import ref
from tests.support.system import reads
from tests.support.versions import Versions

DATA = RepoName("data")


class Runner:
    """What a runner writes into the store, one step at a time."""

    def __init__(self, versions: Versions) -> None:
        self.versions = versions

    def take(self, commit: Commit) -> list[JobRecord]:
        """Make the jobs of a commit and note how far the change log was read."""
        with self.versions.store.write() as txn:
            made = trigger_change(txn, commit.id, commit.finished_ns or 0)
        self.look()
        return made

    def look(self) -> None:
        """Note that the change log was read to its end."""
        with self.versions.store.write() as txn:
            set_cursor(txn, txn.sequence())


@pytest.fixture
def chain(versions: Versions) -> Versions:
    """data → first → second."""
    poke_after_writes(versions.store)
    versions.repo("data")
    versions.pipeline("first", [reads("data")])
    versions.pipeline("second", [reads("first")])
    return versions


@pytest.fixture
def alive(chain: Versions) -> Iterator[None]:
    """A runner holds its lock."""
    fd = os.open(chain.store.run / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield
    os.close(fd)


def meanwhile(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_branch_that_nobody_reads_needs_no_runner(versions: Versions) -> None:
    """
    There are no pipelines at all.
    """
    versions.repo("data")
    made = versions.commit("data")

    assert (made, []) == Waiting(versions.store).for_commit(DATA, "master")


def test_a_commit_that_only_another_branch_of_its_repo_would_start_needs_no_runner(chain: Versions) -> None:
    """
    It is on staging, and master, which a pipeline reads, was not moved there yet.
    """
    staged = chain.commit("data", branch="staging")

    assert (staged, []) == Waiting(chain.store).for_commit(DATA, "staging")


def test_a_commit_that_master_was_moved_to_is_waited_for_with_its_jobs(chain: Versions, alive: None) -> None:
    """
    The jobs have the id of the move; waiting for that id waits for the same.
    """
    staged = chain.commit("data", branch="staging")
    with chain.store.write() as txn:
        change_id = set_head(txn, ref("data"), staged.id).moved
        assert change_id is not None

    def run() -> None:
        with chain.store.write() as txn:
            made = trigger_change(txn, change_id, staged.finished_ns or 0)
        Runner(chain).look()
        for job in made:
            chain.end(job)
        Runner(chain).look()

    other = meanwhile(run)
    done, jobs = Waiting(chain.store, timeout_s=30).for_commit(DATA, "master")
    outputs, same = Waiting(chain.store, timeout_s=30).for_set(change_id)
    other.join()

    assert staged == done
    assert ["first", "second"] == [job.pipeline for job in jobs]
    assert {"first", "second"} == {commit.repo for commit in outputs} == {job.pipeline for job in same}


def test_a_change_with_a_failed_job_or_commit_fails_the_wait(chain: Versions, alive: None) -> None:
    """
    A job of the first change fails; the commit of the second has an error itself.
    """
    made = chain.commit("data")
    first, second = Runner(chain).take(made)
    chain.end(first, reason="exit code 1")
    chain.end(second, reason="its input failed")
    broken = chain.finish(chain.start("data").ref, error="half of it is missing")
    Runner(chain).look()

    with pytest.raises(JobFailedError):
        Waiting(chain.store).for_set(made.id)
    with pytest.raises(CommitFailedError, match="half of it"):
        Waiting(chain.store).for_set(broken.id)


def test_the_open_commit_of_a_branch_is_waited_for(versions: Versions) -> None:
    """
    It is finished by another while we wait.
    """
    poke_after_writes(versions.store)
    versions.repo("data")
    versions.commit("data")
    opened = versions.start("data")

    other = meanwhile(lambda: versions.finish(opened.ref))
    done, _ = Waiting(versions.store, timeout_s=30).for_commit(DATA, "master")
    other.join()

    assert opened.id == done.id


def test_the_jobs_that_follow_are_waited_for_to_the_last(chain: Versions, alive: None) -> None:
    """
    The second pipeline reads what the first makes; the runner is slow to look.
    """
    made = chain.commit("data")

    def run() -> None:
        for job in Runner(chain).take(made):
            chain.end(job)
        # As the real one, it looks again after what it wrote itself.
        Runner(chain).look()

    other = meanwhile(run)
    done, jobs = Waiting(chain.store, timeout_s=30).for_commit(DATA, made.id.hex())
    other.join()

    assert made == done
    assert ["first", "second"] == [job.pipeline for job in jobs]


def test_a_job_that_failed_fails_the_wait(chain: Versions, alive: None) -> None:
    """
    The first job fails; the other cannot run.
    """
    made = chain.commit("data")
    first, second = Runner(chain).take(made)
    chain.end(first, reason="exit code 1")
    chain.end(second, reason="its input failed")
    Runner(chain).look()

    with pytest.raises(JobFailedError, match=r"first@[0-9a-f]{32}: failure: exit code 1") as caught:
        Waiting(chain.store).for_commit(DATA, "master")

    assert {"first", "second"} == {job.pipeline for job in caught.value.failed}


def test_without_a_runner_nobody_waits_for_ever(chain: Versions) -> None:
    """
    Pipelines read the branch, and nothing runs them; a supervised runner would be given time.
    """
    chain.commit("data")

    with pytest.raises(UnavailableError, match="no runner runs"):
        Waiting(chain.store).for_commit(DATA, "master")
    with pytest.raises(TimeIsUpError):
        Waiting(chain.store, patience_s=lambda: 60.0, timeout_s=0.05).for_commit(DATA, "master")


def test_a_wait_that_takes_too_long_says_what_for(versions: Versions) -> None:
    """
    The commit was started by name, and nobody finishes it.
    """
    versions.repo("data")
    opened = versions.start("data")
    told: list[str] = []

    with pytest.raises(TimeIsUpError, match=opened.id.hex()):
        Waiting(versions.store, timeout_s=0.05, say=told.append).for_commit(DATA, "master")

    assert [f"waiting for commit {opened.ref} to be finished"] == told


def test_a_commit_that_is_dropped_or_failed_ends_the_wait(versions: Versions) -> None:
    """
    Nothing can come of either.
    """
    poke_after_writes(versions.store)
    versions.repo("data")
    failed = versions.finish(versions.start("data").ref, error="bad data")
    with pytest.raises(CommitFailedError, match="bad data"):
        Waiting(versions.store).for_commit(DATA, failed.id.hex())
    dropped = versions.start("data")

    def drop() -> None:
        with versions.store.write() as txn:
            drop_open_commit(txn, dropped.ref)

    said = threading.Event()
    waiting = Waiting(versions.store, timeout_s=30, say=lambda _: said.set())
    other = meanwhile(lambda: said.wait(30) and drop())
    with pytest.raises(CommitNotFoundError, match="dropped"):
        waiting.for_commit(DATA, "master")
    other.join()


def test_what_follows_is_found_through_all_inputs(chain: Versions) -> None:
    """
    A pipeline that is made later has its first job under another id; it follows all the same.
    """
    made = chain.commit("data")
    Runner(chain).take(made)
    chain.pipeline("third", [reads("data")])

    with chain.store.read() as txn:
        found = list(downstream(txn, made.ref))
        nothing = list(downstream(txn, CommitRef(RepoName("second"), made.id)))

    assert ["first", "second", "third"] == sorted(job.pipeline for job in found)
    assert made.id != next(job.id for job in found if job.pipeline == "third")
    assert [] == nothing


def test_a_job_is_waited_for_by_its_id(chain: Versions, alive: None) -> None:
    """
    Both jobs of a change share the id; one of them is named.
    """
    made = chain.commit("data")
    first, second = Runner(chain).take(made)
    chain.end(first)

    assert ["first"] == [job.pipeline for job in Waiting(chain.store).for_job(first.name)]
    with pytest.raises(TimeIsUpError, match=second.name):
        Waiting(chain.store, timeout_s=0.05).for_job(made.id.hex()[:8])
    chain.end(second)
    assert 2 == len(Waiting(chain.store).for_job(made.id.hex()))


def test_waiting_leaves_no_listener_behind(chain: Versions) -> None:
    """
    Every listener has a socket in the store's run folder.
    """
    chain.commit("data")
    with pytest.raises(UnavailableError):
        Waiting(chain.store).for_commit(DATA, "master")

    assert [] == list((chain.store.run / "wake").iterdir())
    with chain.store.read() as txn:
        assert txn.count(Table.DOCUMENTS) > 0
