"""Which job a job continues, on a real store; nothing is run."""

from __future__ import annotations

from typing import Any

import pytest

from pfsfuse.versions.model import Commit
from runner.jobs.model import JobRecord
from runner.jobs.parents import find_parent
from runner.jobs.records import change, put_job, work_of
from runner.jobs.triggers import trigger_change
from tests.support.system import method, reads
from tests.support.versions import Versions


def job_for(versions: Versions, source: Commit) -> JobRecord:
    """Make the job of a commit."""
    with versions.store.write() as txn:
        (job,) = trigger_change(txn, source.id, source.finished_ns or 0)
    return job


def parent_of(versions: Versions, job: JobRecord) -> JobRecord | None:
    with versions.store.read() as txn:
        return find_parent(txn, job, work_of(txn, job))


def test_the_first_job_continues_none(versions: Versions) -> None:
    """
    There is no other.
    """
    versions.repo("data")
    versions.pipeline("one", [reads("data")])

    assert parent_of(versions, job_for(versions, versions.commit("data"))) is None


@pytest.mark.parametrize(
    ("how", "continues"),
    [
        ("map", True),
        ("incremental_reduce", True),
        ("reduce", False),
        ("global", False),
        ({"partition": "file", "incremental": "FULL"}, True),
    ],
)
def test_a_job_continues_the_last_where_its_input_is_incremental(
    versions: Versions, how: Any, continues: bool
) -> None:
    """
    The input has one more commit.
    """
    versions.repo("data")
    versions.pipeline("one", [reads("data", how)])
    first = versions.end(job_for(versions, versions.commit("data")))

    second = job_for(versions, versions.commit("data"))

    assert (first if continues else None) == parent_of(versions, second)


def test_only_the_inputs_that_moved_must_be_incremental(versions: Versions) -> None:
    """
    The table of the specification: foo moves in job2, bar, which is not incremental, in job3.
    """
    for name in ("foo", "bar"):
        versions.repo(name)
    versions.pipeline("both", [reads("foo", method("file", incremental=True)), reads("bar", "reduce")])
    versions.commit("foo")
    job1 = versions.end(job_for(versions, versions.commit("bar")))
    job2 = versions.end(job_for(versions, versions.commit("foo")))
    job3 = versions.end(job_for(versions, versions.commit("bar")))
    job4 = job_for(versions, versions.commit("foo"))

    assert [None, job1, None, job3] == [parent_of(versions, job) for job in (job1, job2, job3, job4)]


def test_a_failed_job_is_continued_by_none(versions: Versions) -> None:
    """
    The one before it is, whose input is two commits back.
    """
    versions.repo("data")
    versions.pipeline("one", [reads("data")])
    good = versions.end(job_for(versions, versions.commit("data")))
    versions.end(job_for(versions, versions.commit("data")), reason="exit code 1")

    assert good == parent_of(versions, job_for(versions, versions.commit("data")))


def test_a_job_of_another_version_of_the_pipeline_is_not_continued(versions: Versions) -> None:
    """
    Its code was another.
    """
    versions.repo("data")
    versions.pipeline("one", [reads("data")])
    old = versions.end(job_for(versions, versions.commit("data")))
    with versions.store.write() as txn:
        put_job(txn, change(old, version=0))

    assert parent_of(versions, job_for(versions, versions.commit("data"))) is None


def test_a_later_job_is_not_continued(versions: Versions) -> None:
    """
    A job is looked at again after both have ended.
    """
    versions.repo("data")
    versions.pipeline("one", [reads("data")])
    first = versions.end(job_for(versions, versions.commit("data")))
    versions.end(job_for(versions, versions.commit("data")))

    assert parent_of(versions, first) is None
