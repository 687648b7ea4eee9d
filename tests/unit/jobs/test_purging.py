"""What jobs remember of purged content goes with it, once they have ended."""

from __future__ import annotations

from pfsfuse.ids import CommitId, new_commit_id
from pfsfuse.mount.views import Shown, keep_view, kept_view
from pfsfuse.versions.forks import ForkChange, How
from pfsfuse.versions.purge import purge
from runner.jobs.model import ContainerRecord, JobRecord, JobState
from runner.jobs.purging import let_go
from runner.jobs.records import containers, put_container, put_job
from tests.support.builders import World, path_of

SECRET = b"".join(b"Jane Doe %d\n" % n for n in range(3_000))


def job_over(world: World, job_id: CommitId, state: JobState) -> JobRecord:
    """Record a job whose one container saw the head of `images` and copied its file."""
    root = world.head().root
    assert root is not None
    copied = world.entry(SECRET)
    job = JobRecord(job_id, "copy", 1, 1, "copy", (), state=state)
    record = ContainerRecord(0, 1, ok=True, changes=(ForkChange(path_of("jane"), How.REPLACED, copied),))
    with world.store.write() as txn:
        put_job(txn, job)
        put_container(txn, job, record)
        keep_view(txn, job.name, "0", {b"images": Shown("images", root)})
    return job


def test_views_and_outputs_of_ended_jobs_let_go_of_what_is_purged(world: World) -> None:
    """
    The container copied the file; its output commit was deleted since.
    """
    world.commit({"jane": SECRET, "other": b"x" * 2000})
    job = job_over(world, new_commit_id(), JobState.SUCCESS)
    world.store.rest()

    report = purge(world.store, world.trees, "images", path_of("jane"), release=let_go)

    assert (True, {}) == (report.is_done, report.shared)
    with world.store.read() as txn:
        assert {} == kept_view(txn, job.name, "0")
        assert [()] == [each.changes for each in containers(txn, job)]


def test_a_job_that_runs_keeps_what_its_containers_left(world: World) -> None:
    """
    Its output is not put together yet; the purge names it.
    """
    world.commit({"jane": SECRET, "other": b"x" * 2000})
    job = job_over(world, new_commit_id(), JobState.RUNNING)
    world.store.rest()

    report = purge(world.store, world.trees, "images", path_of("jane"), release=let_go)

    assert report.is_done
    assert all("container copy" in who for found in report.shared.values() for who in found)
    assert report.shared
    with world.store.read() as txn:
        assert [1] == [len(each.changes) for each in containers(txn, job)]
