"""Taking commits away, and what becomes of the jobs that made them or wait for them; nothing is run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pfsfuse.errors import ConflictError
from pfsfuse.ids import RepoName
from pfsfuse.store.index import WriteTxn
from pfsfuse.trees.tree import Trees
from pfsfuse.versions import fsck
from pfsfuse.versions.branches import branch
from pfsfuse.versions.commits import find_commit
from pfsfuse.versions.model import Commit, CommitRef
from pfsfuse.versions.repos import delete_repo
from pfsfuse.versions.wiring import make_branch
from runner.jobs.execution import JobGoneError, finish_job, open_output
from runner.jobs.model import JobRecord, JobState
from runner.jobs.parents import find_parent
from runner.jobs.records import change as change_record
from runner.jobs.records import jobs, pending_jobs, work_of
from runner.jobs.removal import (
    CommitNeededError,
    drop_commit,
    drop_set,
    forget_commit,
    squash_commit,
    squash_set,
)
from runner.jobs.scheduler import inputs_state
from runner.jobs.triggers import trigger_change
from tests.support.builders import ref
from tests.support.system import reads
from tests.support.versions import Versions


@pytest.fixture
def chain(versions: Versions) -> Versions:
    """data → first → second."""
    versions.repo("data")
    versions.pipeline("first", [reads("data")])
    versions.pipeline("second", [reads("first")])
    return versions


def change(versions: Versions, repo: str = "data") -> tuple[Commit, list[JobRecord]]:
    """Commit, and make the jobs that follow."""
    made = versions.commit(repo)
    with versions.store.write() as txn:
        return made, trigger_change(txn, made.id, made.finished_ns or 0)


def work_through(versions: Versions, repo: str = "data") -> Commit:
    """Commit, and end all jobs well."""
    made, found = change(versions, repo)
    for job in found:
        versions.end(job)
    return made


def job_names(versions: Versions) -> set[str]:
    with versions.store.read() as txn:
        return {job.name for job in jobs(txn)}


def is_sound(versions: Versions) -> bool:
    return fsck.check(versions.store, Trees(versions.store.chunks)) == []


def test_a_dropped_change_takes_its_outputs_and_its_jobs(chain: Versions) -> None:
    """
    Two changes were worked through; the newer is dropped.
    """
    old, new = work_through(chain), work_through(chain)

    with chain.store.write() as txn:
        gone = drop_set(txn, new.id)

    assert {"data", "first", "second"} == {each.repo for each in gone}
    assert {f"{name}@{old.id.hex()}" for name in ("first", "second")} == job_names(chain)
    with chain.store.read() as txn:
        for repo in ("data", "first", "second"):
            assert old.id == branch(txn, RepoName(repo), "master").head
    assert is_sound(chain)


def test_a_running_job_of_a_dropped_change_is_gone_with_its_open_output(chain: Versions) -> None:
    """
    The first job has opened its output, the second waits for it.
    """
    made, (first, _) = change(chain)
    with chain.store.write() as txn:
        open_output(txn, first)

    with chain.store.write() as txn:
        drop_set(txn, made.id)

    assert set() == job_names(chain)
    with pytest.raises(JobGoneError):
        finish_job(chain.store, first, chain.trees.empty_directory())
    with chain.store.read() as txn:
        assert branch(txn, RepoName("first"), "master").open is None
    assert is_sound(chain)


def test_a_commit_that_a_job_has_yet_to_use_is_taken_away_with_the_job_or_not_at_all(chain: Versions) -> None:
    """
    The runner has made the jobs of a commit and begun none.
    """
    made, _ = change(chain)

    with pytest.raises(CommitNeededError), chain.store.write() as txn:
        drop_commit(txn, made.ref)
    with pytest.raises(ConflictError), chain.store.write() as txn:
        squash_set(txn, made.id)
    assert 2 == len(job_names(chain))

    with chain.store.write() as txn:
        drop_commit(txn, made.ref, recursive=True)
    assert set() == job_names(chain)
    assert is_sound(chain)


def test_a_change_whose_commit_a_job_of_another_change_needs_is_not_dropped(versions: Versions) -> None:
    """
    A pipeline reads two repos; the job of a commit to one of them waits, with the newest of the other.
    """
    for name in ("data", "other"):
        versions.repo(name)
    versions.pipeline("both", [reads("data"), reads("other")])
    used, _ = change(versions)
    change(versions, "other")

    with pytest.raises(CommitNeededError), versions.store.write() as txn:
        drop_set(txn, used.id)


def test_a_squashed_change_leaves_the_newer_one_as_it_is(chain: Versions) -> None:
    """
    Its jobs are gone, what they made is in what came later.
    """
    old, new = work_through(chain), work_through(chain)

    with chain.store.write() as txn:
        squash_set(txn, old.id)

    assert {f"{name}@{new.id.hex()}" for name in ("first", "second")} == job_names(chain)
    assert is_sound(chain)


def test_one_output_is_squashed_or_dropped_with_its_job(chain: Versions) -> None:
    """
    The older and the newest commit of the last repo of the chain.
    """
    old, new = work_through(chain), work_through(chain)
    second = RepoName("second")

    with chain.store.write() as txn:
        squash_commit(txn, CommitRef(second, old.id))
        drop_commit(txn, CommitRef(second, new.id))

    assert {f"first@{each.id.hex()}" for each in (old, new)} == job_names(chain)
    assert is_sound(chain)


def forget_output(txn: WriteTxn, old: CommitRef) -> None:
    forget_commit(txn, CommitRef(RepoName("first"), old.commit))


def squash_output(txn: WriteTxn, old: CommitRef) -> None:
    squash_commit(txn, CommitRef(RepoName("first"), old.commit), recursive=True)


@pytest.mark.parametrize("take_away", [forget_output, squash_output])
def test_a_job_whose_output_is_gone_is_continued_by_none(
    versions: Versions, take_away: Callable[[WriteTxn, CommitRef], None]
) -> None:
    """
    An incremental pipeline; the output of its second job is taken away, so the fourth, made for the
    commit after that, continues the third, and one whose third is gone too continues the first.
    """
    versions.repo("data")
    versions.pipeline("first", [{**reads("data"), "method": {"partition": "file", "incremental": "diff"}}])
    done = [work_through(versions) for _ in range(3)]
    with versions.store.write() as txn:
        take_away(txn, done[1].ref)
    _, (job,) = change(versions)

    with versions.store.read() as txn:
        third = find_parent(txn, job, work_of(txn, job))
        assert third is not None
        first = find_parent(txn, third, work_of(txn, third))

    assert (done[2].id, done[0].id) == (third.id, first.id if first is not None else None)


def test_a_job_with_a_forgotten_input_cannot_run(chain: Versions) -> None:
    """
    The input was forgotten after all, by somebody who writes the store directly.
    """
    old = work_through(chain)
    made, found = change(chain)
    chain.end(found[0])
    with pytest.raises(CommitNeededError), chain.store.write() as txn:
        forget_commit(txn, CommitRef(RepoName("first"), made.id))
    with chain.store.write() as txn:
        forget_commit(txn, CommitRef(RepoName("first"), old.id))

    with chain.store.read() as txn:
        forgotten = find_commit(txn, RepoName("first"), old.id)
        assert forgotten is not None
        (job,) = [job for job in jobs(txn, pipeline_name="second") if job.id == old.id]
        assert (False, f"its input {forgotten.ref} was forgotten") == inputs_state(txn, job)


def test_jobs_that_are_not_done_are_told_from_those_that_are(chain: Versions) -> None:
    """
    One change was worked through, one failed, one waits.
    """
    work_through(chain)
    _, (bad, _) = change(chain)
    chain.end(bad, reason="exit code 1")
    _, waiting = change(chain)

    with chain.store.read() as txn:
        assert {"second@" + bad.id.hex(), *(job.name for job in waiting)} == {
            job.name for job in pending_jobs(txn)
        }


def test_a_job_whose_input_is_gone_leaves_an_output_that_names_only_what_is_there(versions: Versions) -> None:
    """
    One of two input repos is deleted by force while the job waits.
    """
    for name in ("data", "other"):
        versions.repo(name)
    versions.pipeline("both", [reads("data"), reads("other")])
    work_through(versions, "other")
    made, (job,) = change(versions)
    with versions.store.write() as txn:
        delete_repo(txn, "other", force=True)
    with versions.store.read() as txn:
        _, broken = inputs_state(txn, job)

    finish_job(versions.store, change_record(job, state=JobState.UNRUNNABLE, reason=broken), None)

    assert "was deleted" in broken
    with versions.store.read() as txn:
        output = find_commit(txn, RepoName("both"), made.id)
    assert output is not None
    assert (made.ref,) == output.provenance
    assert is_sound(versions)


def test_a_job_behind_a_propagated_branch_says_that_what_that_is_made_from_failed(versions: Versions) -> None:
    """
    data → first (a pipeline, which fails) → marks (propagated) → second (a pipeline).
    """
    versions.repo("data")
    versions.pipeline("first", [reads("data")])
    versions.repo("marks")
    with versions.store.write() as txn:
        make_branch(txn, ref("marks"), provenance=[ref("first")])
    versions.pipeline("second", [reads("marks")])
    _, (first, second) = change(versions)

    versions.end(first, reason="exit code 1")

    with versions.store.read() as txn:
        (wanted,) = second.inputs
        assert (False, f"its input {wanted.ref} was not made: what it is made from failed") == inputs_state(
            txn, second
        )
