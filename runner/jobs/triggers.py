"""
What starts jobs.

A finished commit of people (origin USER) starts one job in every pipeline downstream of its
branch, all with the commit's id, all at once: those whose inputs are still to be made wait for
them.  So a diamond runs once for a change, and every job of the change sees consistent inputs.

An input that the change does not touch gives its newest commit, or the one that is being made.
A pipeline runs only when every input has data; the empty first commit of an output branch is none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from pfsfuse.ids import CommitId, new_commit_id
from pfsfuse.store.index import ReadTxn, Table, WriteTxn
from pfsfuse.versions.branches import find_branch
from pfsfuse.versions.commits import newest_data
from pfsfuse.versions.model import BranchRef, Commit, Origin, decode

from .model import JobInputRef, JobRecord, PipelineRecord, PipelineState
from .records import find_job, inputs_of, jobs, output_of, pipelines, put_job, spec_of


def trigger_all(txn: WriteTxn, touched: Sequence[tuple[Table, bytes]]) -> list[JobRecord]:
    """Make the jobs that the commits among *touched* keys of the change log start; return them."""
    made: list[JobRecord] = []
    for table, key in touched:
        raw = txn.get(table, key) if table is Table.COMMITS else None
        if raw is not None:
            made += trigger_commit(txn, decode(raw, Commit))
    return made


def trigger_commit(txn: WriteTxn, source: Commit) -> list[JobRecord]:
    """Make the jobs that a finished commit starts; jobs that exist already are left alone."""
    if not source.is_data or source.origin is not Origin.USER:
        return []
    return _propagate(txn, source.id, {BranchRef(source.repo, source.branch)})


def trigger_pipeline(txn: WriteTxn, record: PipelineRecord) -> list[JobRecord]:
    """Make one job for the data that is there already, with an id of its own, and what follows from it."""
    made = _make_job(txn, record, new_commit_id(), set())
    return [made, *_propagate(txn, made.id, {output_of(record)})] if made is not None else []


def _propagate(txn: WriteTxn, change_id: CommitId, changed: set[BranchRef]) -> list[JobRecord]:
    made: list[JobRecord] = []
    for record in in_order(list(pipelines(txn))):
        if record.state is PipelineState.STOPPED or not changed & set(inputs_of(spec_of(record))):
            continue
        job = _make_job(txn, record, change_id, changed)
        if job is not None:
            made.append(job)
            changed.add(output_of(record))
    return made


def _make_job(
    txn: WriteTxn, record: PipelineRecord, change_id: CommitId, changed: set[BranchRef]
) -> JobRecord | None:
    """Make a pipeline's job; None if an input has no data, or if the job was made before."""
    refs = inputs_of(spec_of(record))
    if not refs or find_job(txn, record.name, change_id) is not None:
        return None
    inputs = []
    for ref in refs:
        commit_id = change_id if ref in changed else newest_input(txn, ref)
        if commit_id is None:
            return None
        inputs.append(JobInputRef(ref.repo, ref.branch, commit_id))
    made = JobRecord(change_id, record.name, record.version, time.time_ns(), record.name, tuple(inputs))
    put_job(txn, made)
    return made


def newest_input(txn: ReadTxn, ref: BranchRef) -> CommitId | None:
    """Return the newest data of a branch, counting what a job is about to make; None if there is none."""
    waiting = [job for job in jobs(txn, pipeline_name=ref.repo) if not job.state.is_final]
    if waiting:
        return max(waiting, key=lambda job: job.created_ns).id
    line = find_branch(txn, ref.repo, ref.branch)
    found = newest_data(txn, line) if line is not None else None
    return found.id if found is not None else None


def in_order(records: Sequence[PipelineRecord]) -> Iterator[PipelineRecord]:
    """Yield pipelines so that each comes behind those whose output it reads."""
    by_output = {output_of(record): record for record in records}
    done: set[str] = set()

    def visit(record: PipelineRecord) -> Iterator[PipelineRecord]:
        if record.name in done:
            return
        done.add(record.name)
        for ref in inputs_of(spec_of(record)):
            if ref in by_output:
                yield from visit(by_output[ref])
        yield record

    for record in records:
        yield from visit(record)
