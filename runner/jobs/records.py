"""
Pipelines and jobs in the store: find, list, write, remove.

Everything here works inside a transaction that the caller opens.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from pfsfuse.errors import InvalidNameError, NotFoundError
from pfsfuse.ids import BranchName, CommitId, RepoName
from pfsfuse.mount.views import forget_views
from pfsfuse.store.index import ReadTxn, Table, WriteTxn
from pfsfuse.store.store import Store
from pfsfuse.versions.commits import find_commit
from pfsfuse.versions.model import BranchRef, CommitRef, decode, encode
from runner.spec.model import Job, Pipeline, from_json

from .model import ContainerRecord, JobRecord, JobState, PipelineRecord

CURSOR = b"cursor\0runner"
"""In META: how far in the change log the runner has made jobs of what it saw."""

STARTING = frozenset({Table.COMMITS, Table.MOVES})
"""What is written there may start jobs."""

MASTER = "master"

Record = TypeVar("Record", PipelineRecord, JobRecord, ContainerRecord)


class PipelineNotFoundError(NotFoundError):
    """There is no pipeline of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"pipeline {name} not found; `pfs list pipeline` names those that exist")
        self.name = name


class JobNotFoundError(NotFoundError):
    """There is no such job."""


# Pipelines


def pipeline_key(name: str) -> bytes:
    return b"pipeline\0" + name.encode()


def find_pipeline(txn: ReadTxn, name: str) -> PipelineRecord | None:
    """Return a pipeline, or None."""
    raw = txn.get(Table.DOCUMENTS, pipeline_key(name))
    return decode(raw, PipelineRecord) if raw is not None else None


def pipeline(txn: ReadTxn, name: str) -> PipelineRecord:
    """Return a pipeline; PipelineNotFoundError."""
    found = find_pipeline(txn, name)
    if found is None:
        raise PipelineNotFoundError(name)
    return found


def pipelines(txn: ReadTxn) -> Iterator[PipelineRecord]:
    """Yield all pipelines, by name."""
    for _, raw in txn.scan(Table.DOCUMENTS, b"pipeline\0"):
        yield decode(raw, PipelineRecord)


def spec_of(record: PipelineRecord) -> Pipeline:
    """Return what a pipeline does."""
    return from_json(record.spec, Pipeline)


def output_of(record: PipelineRecord) -> BranchRef:
    """Return the branch that a pipeline writes."""
    return BranchRef(RepoName(record.name), BranchName(MASTER))


def inputs_of(spec: Pipeline) -> list[BranchRef]:
    """Return the branches that a pipeline reads."""
    return [BranchRef(RepoName(each.repo), BranchName(each.branch)) for each in spec.inputs]


def put_pipeline(txn: WriteTxn, record: PipelineRecord) -> None:
    """Write a pipeline's record."""
    txn.put(Table.DOCUMENTS, pipeline_key(record.name), encode(record))


# Jobs


def job_key(pipeline_name: str, job_id: CommitId | bytes = b"") -> bytes:
    return b"job\0%s\0%s" % (pipeline_name.encode(), job_id)


def container_key(job: JobRecord, number: int | None = None) -> bytes:
    suffix = number.to_bytes(4, "big") if number is not None else b""
    return b"container\0%s\0%s%s" % (job.pipeline.encode(), job.id, suffix)


def output_ref(job: JobRecord) -> CommitRef:
    """Return the commit that a job makes."""
    return CommitRef(RepoName(job.output_repo), job.id)


def find_job(txn: ReadTxn, pipeline_name: str, job_id: CommitId) -> JobRecord | None:
    """Return a job, or None."""
    raw = txn.get(Table.DOCUMENTS, job_key(pipeline_name, job_id))
    return decode(raw, JobRecord) if raw is not None else None


def jobs(txn: ReadTxn, *, pipeline_name: str | None = None) -> Iterator[JobRecord]:
    """Yield jobs, of one pipeline or of all, in no order."""
    prefix = b"job\0" if pipeline_name is None else job_key(pipeline_name)
    for _, raw in txn.scan(Table.DOCUMENTS, prefix):
        yield decode(raw, JobRecord)


def pending_jobs(txn: ReadTxn, *, pipeline_name: str | None = None) -> list[JobRecord]:
    """Return the jobs that are not final, in no order, without decoding the many that are."""
    prefix = b"job\0" if pipeline_name is None else job_key(pipeline_name)
    return [
        decode(raw, JobRecord)
        for _, raw in txn.scan(Table.DOCUMENTS, prefix)
        if not any(mark in raw for mark in _FINAL_MARKS)
    ]


_FINAL_MARKS = tuple(
    msgspec.msgpack.encode({"state": state.value})[1:] for state in JobState if state.is_final
)
"""How the state of a final job stands in its record."""


def list_jobs(
    txn: ReadTxn, *, pipeline_name: str | None = None, output: CommitRef | None = None
) -> list[JobRecord]:
    """Return jobs, newest first: all, one pipeline's, or the one that made the commit *output*."""
    if pipeline_name is not None:
        pipeline(txn, pipeline_name)
    found = [
        job
        for job in jobs(txn, pipeline_name=pipeline_name)
        if output is None or (job.output_repo == output.repo and job.id == output.commit)
    ]
    return sorted(found, key=lambda job: (job.created_ns, job.pipeline), reverse=True)


def jobs_named(txn: ReadTxn, text: str) -> list[JobRecord]:
    """
    Return the jobs that *text* means: `pipeline@id`, or an id, which several pipelines may share.

    Ids may be shortened to a unique beginning.  JobNotFoundError.
    """
    name, at, digits = text.rpartition("@")
    candidates = jobs(txn, pipeline_name=None if not at else name if name != "job" else "")
    found = [job for job in candidates if len(digits) >= 4 and job.id.hex().startswith(digits.lower())]
    if not found:
        raise JobNotFoundError(f"job {text} not found; `pfs list job` names those that exist")
    if len({job.id for job in found}) > 1:
        raise InvalidNameError(f"{text!r} fits several jobs; give more digits")
    return found


def put_job(txn: WriteTxn, job: JobRecord) -> None:
    """Write a job's record.  Only its first and its last state go into the journal."""
    lasting = job.state.is_final or job.state is JobState.CREATED
    txn.put(Table.DOCUMENTS, job_key(job.pipeline, job.id), encode(job), journal=lasting)


def delete_job(txn: WriteTxn, job: JobRecord) -> None:
    """Remove a job's records, logs and views."""
    forget_containers(txn, job)
    txn.delete(Table.DOCUMENTS, job_key(job.pipeline, job.id))


def forget_containers(txn: WriteTxn, job: JobRecord) -> None:
    """Remove what is known of a job's containers, and their views."""
    for key, _ in list(txn.scan(Table.DOCUMENTS, container_key(job))):
        txn.delete(Table.DOCUMENTS, key)
    forget_views(txn, job.name)


def put_container(txn: WriteTxn, job: JobRecord, record: ContainerRecord) -> None:
    """Write what became of one container of a job."""
    txn.put(Table.DOCUMENTS, container_key(job, record.number), encode(record))


def containers(txn: ReadTxn, job: JobRecord) -> list[ContainerRecord]:
    """Return what is known of a job's containers, by number."""
    return [decode(raw, ContainerRecord) for _, raw in txn.scan(Table.DOCUMENTS, container_key(job))]


def work_of(txn: ReadTxn, job: JobRecord) -> Pipeline | Job:
    """Return what a job runs; PipelineNotFoundError if its pipeline is gone."""
    return from_json(job.spec, Job) if job.spec else spec_of(pipeline(txn, job.pipeline))


# What waiting needs


def downstream_jobs(txn: ReadTxn, commit_id: CommitId) -> list[JobRecord]:
    """Return the jobs that the change *commit_id* caused."""
    return [job for job in jobs(txn) if job.id == commit_id]


def has_readers(txn: ReadTxn, refs: Sequence[BranchRef]) -> bool:
    """Say whether any pipeline reads one of these branches."""
    wanted = set(refs)
    return any(wanted & set(inputs_of(spec_of(record))) for record in pipelines(txn))


def cursor(txn: ReadTxn) -> int:
    """Return how far in the change log the runner is."""
    raw = txn.get(Table.META, CURSOR)
    return int.from_bytes(raw, "big") if raw is not None else 0


def has_read(txn: ReadTxn, sequence: int) -> bool:
    """Say whether the runner has made the jobs of every commit that was finished up to *sequence*."""
    unread = txn.changes(cursor(txn))
    starting = {table.label for table in STARTING}
    return not any(label in starting for number, pairs in unread if number <= sequence for label, _ in pairs)


def set_cursor(txn: WriteTxn, sequence: int) -> None:
    """Note that jobs were made of everything up to *sequence*."""
    txn.put(Table.META, CURSOR, sequence.to_bytes(8, "big"))


LOCK_NAME = "runner.lock"


def is_runner_up(store: Store) -> bool:
    """Say whether a runner of this store is alive."""
    try:
        fd = os.open(store.run / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def change(record: Record, **values: object) -> Record:
    """Return *record* with some values replaced."""
    return msgspec.structs.replace(record, **values)


def is_settled(txn: ReadTxn, job: JobRecord) -> bool:
    """Say whether a job's record and its output commit are both final."""
    found = find_commit(txn, RepoName(job.output_repo), job.id) if job.state is JobState.SUCCESS else None
    return job.state.is_final and (found is None or found.is_finished)
