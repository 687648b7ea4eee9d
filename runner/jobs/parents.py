"""Which earlier job a job continues: its output is the base, its inputs are what is not new."""

from __future__ import annotations

from collections.abc import Sequence

from pfsfuse.ids import CommitId, RepoName
from pfsfuse.store.index import ReadTxn
from pfsfuse.versions.commits import ancestors, commit, find_commit
from runner.spec.model import Incremental, Input, Job, JobInput, Pipeline

from .model import JobInputRef, JobRecord, JobState
from .records import jobs, output_ref


def find_parent(txn: ReadTxn, job: JobRecord, work: Pipeline | Job) -> JobRecord | None:
    """
    Return the job that *job* continues, or None.

    That is the newest job of the same pipeline version that succeeded on the same inputs or on
    earlier commits of them, provided that every input that moved is incremental.  A one-off job
    continues the job that it names.  Its commits, and those that it read, must still have their content.
    """
    if not job.pipeline:
        named = [
            other
            for other in jobs(txn)
            if other.id == job.parent_job and other.output_repo == job.output_repo
        ]
        return next(
            (other for other in named if other.state is JobState.SUCCESS and _is_whole(txn, other)), None
        )
    others = [
        other
        for other in jobs(txn, pipeline_name=job.pipeline)
        if other.state is JobState.SUCCESS
        and other.version == job.version
        and other.created_ns < job.created_ns
    ]
    lines = {
        each.repo: {c.id for c in ancestors(txn, commit(txn, each.repo, each.commit))} for each in job.inputs
    }
    candidates = sorted(others, key=lambda other: other.created_ns, reverse=True)
    return next(
        (
            other
            for other in candidates
            if _continues(job.inputs, other.inputs, work.inputs, lines) and _is_whole(txn, other)
        ),
        None,
    )


def _is_whole(txn: ReadTxn, job: JobRecord) -> bool:
    """Say whether what a job read and what it made are still there: commits can be taken away, or forgotten."""
    found = [
        find_commit(txn, ref.repo, ref.commit) for ref in (output_ref(job), *(i.ref for i in job.inputs))
    ]
    return all(each is not None and each.root is not None for each in found)


def _continues(
    inputs: tuple[JobInputRef, ...],
    before: tuple[JobInputRef, ...],
    specs: Sequence[Input | JobInput],
    lines: dict[RepoName, set[CommitId]],
) -> bool:
    """Say whether a job on *inputs* can continue one on *before*."""
    if len(inputs) != len(before):
        return False
    for new, old, spec in zip(inputs, before, specs, strict=True):
        if old.repo != new.repo or old.commit not in lines[new.repo]:
            return False
        if old.commit != new.commit and spec.incremental is Incremental.NONE:
            return False
    return True
