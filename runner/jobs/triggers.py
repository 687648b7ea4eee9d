"""
What starts jobs.

A finished commit of people (origin USER) starts one job in every pipeline downstream of its
branch and of the branches that it triggered, all with the commit's id, all at once: those whose
inputs are still to be made wait for them.  So a diamond runs once for a change, and every job
of the change sees consistent inputs.

An input that the change does not touch gives its newest commit, or the one that is being made.
A pipeline runs only when every input has data; the empty first commit of an output branch is none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from pfsfuse.ids import CommitId, new_commit_id
from pfsfuse.store.index import ReadTxn, Table, WriteTxn
from pfsfuse.versions.branches import find_branch
from pfsfuse.versions.commits import ancestors, head_of, newest_data
from pfsfuse.versions.model import BranchRef, Commit, Origin, decode

from .model import JobInputRef, JobRecord, PipelineRecord, PipelineState
from .records import find_job, inputs_of, jobs, output_of, pipelines, put_job, spec_of


def trigger_all(txn: WriteTxn, touched: Sequence[tuple[Table, bytes]]) -> list[JobRecord]:
    """
    Make the jobs that the commits among *touched* keys of the change log start; return them.

    However late the runner looks, the jobs are those that it would have made by looking at once.
    """
    found = (txn.get(table, key) for table, key in touched if table is Table.COMMITS)
    commits = [decode(raw, Commit) for raw in found if raw is not None]
    made: list[JobRecord] = []
    # The change log names a commit when it is started; what counts is when it was finished.
    for source in sorted(commits, key=lambda commit: commit.finished_ns or 0):
        made += trigger_commit(txn, source)
    return made


def trigger_commit(txn: WriteTxn, source: Commit) -> list[JobRecord]:
    """Make the jobs that a finished commit starts; jobs that exist already are left alone."""
    if not source.is_data or source.origin is not Origin.USER or source.finished_ns is None:
        return []
    changed = {BranchRef(source.repo, name) for name in (source.branch, *source.triggered)}
    by_people = frozenset(changed)
    made: list[JobRecord] = []
    for record in _readers(txn):
        touched = changed & set(inputs_of(spec_of(record)))
        if touched <= by_people and record.created_ns > source.finished_ns:
            # The first job of a new pipeline saw this commit already.
            continue
        made += _follow(txn, record, source.id, changed, before_ns=source.finished_ns)
    return made


def trigger_pipeline(txn: WriteTxn, record: PipelineRecord) -> list[JobRecord]:
    """Make one job for the data that is there already, with an id of its own, and what follows from it."""
    first = _make_job(txn, record, new_commit_id(), set(), None)
    if first is None:
        return []
    made = [first]
    changed = {output_of(record)}
    for reader in _readers(txn):
        made += _follow(txn, reader, first.id, changed)
    return made


def _readers(txn: ReadTxn) -> list[PipelineRecord]:
    """Return the pipelines that run, each behind those whose output it reads."""
    return list(in_order([record for record in pipelines(txn) if record.state is not PipelineState.STOPPED]))


def _follow(
    txn: WriteTxn,
    record: PipelineRecord,
    change_id: CommitId,
    changed: set[BranchRef],
    *,
    before_ns: int | None = None,
) -> list[JobRecord]:
    """Make the job of one pipeline, if it reads what *changed*, and note that its output changes too."""
    if not changed & set(inputs_of(spec_of(record))):
        return []
    job = _make_job(txn, record, change_id, changed, before_ns)
    if job is None:
        return []
    changed.add(output_of(record))
    return [job]


def _make_job(
    txn: WriteTxn, record: PipelineRecord, change_id: CommitId, changed: set[BranchRef], before_ns: int | None
) -> JobRecord | None:
    """Make a pipeline's job for a change; None if it has one, or if an input has no data yet."""
    refs = inputs_of(spec_of(record))
    if not refs or find_job(txn, record.name, change_id) is not None:
        return None
    inputs = []
    for ref in refs:
        commit_id = change_id if ref in changed else newest_input(txn, ref, before_ns=before_ns)
        if commit_id is None:
            return None
        inputs.append(JobInputRef(ref.repo, ref.branch, commit_id))
    made = JobRecord(change_id, record.name, record.version, time.time_ns(), record.name, tuple(inputs))
    put_job(txn, made)
    return made


def newest_input(txn: ReadTxn, ref: BranchRef, *, before_ns: int | None = None) -> CommitId | None:
    """
    Return the newest data of a branch, counting what a job is about to make; None if there is none.

    Of a branch that people write, only what was finished up to *before_ns*, if that is given.
    """
    line = find_branch(txn, ref.repo, ref.branch)
    if line is None:
        return None
    if not line.provenance:
        return next(
            (
                commit.id
                for commit in ancestors(txn, head_of(txn, line))
                if commit.is_data and (before_ns is None or (commit.finished_ns or 0) <= before_ns)
            ),
            None,
        )
    waiting = [job for job in jobs(txn, pipeline_name=ref.repo) if not job.state.is_final]
    if waiting:
        return max(waiting, key=lambda job: job.created_ns).id
    found = newest_data(txn, line)
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
