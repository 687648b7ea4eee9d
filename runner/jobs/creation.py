"""
Creating and deleting pipelines and one-off jobs.

Each works inside one transaction, so a pipeline, its output repo and its first job appear
together or not at all.
"""

from __future__ import annotations

from pfsfuse.errors import ConflictError, ExistsError, InvalidNameError
from pfsfuse.ids import CommitId, RepoName, new_commit_id
from pfsfuse.store.index import ReadTxn, Table, WriteTxn
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.branches import create_branch, find_branch, subvenance
from pfsfuse.versions.commits import drop_open_commit, finish_commit, resolve, start_commit
from pfsfuse.versions.model import BranchRef, Origin
from pfsfuse.versions.repos import create_repo, delete_repo, find_repo, repo
from runner.spec.model import Job, Pipeline, to_json

from .model import JobInputRef, JobRecord, PipelineRecord
from .records import (
    MASTER,
    delete_job,
    find_pipeline,
    inputs_of,
    jobs,
    jobs_named,
    output_of,
    output_ref,
    pipeline,
    pipeline_key,
    put_job,
    put_pipeline,
)
from .triggers import trigger_pipeline


class PipelineExistsError(ExistsError):
    """The name of the pipeline is taken."""

    def __init__(self, name: str) -> None:
        super().__init__(f"pipeline {name} already exists")
        self.name = name


class PipelineInUseError(ConflictError):
    """Other pipelines read the output of this one."""


def create_pipeline(
    txn: WriteTxn, trees: Trees, spec: Pipeline, *, change_id: CommitId | None = None
) -> PipelineRecord:
    """
    Create a pipeline, its output repo and, for data that is there already, its first job.

    That has the id of the change which the pipeline is part of, if one is given.

    PipelineExistsError; RepoNotFoundError for an input that does not exist; RepoExistsError if the
    name is taken by a repo.
    """
    if find_pipeline(txn, spec.name) is not None:
        raise PipelineExistsError(spec.name)
    for ref in inputs_of(spec):
        repo(txn, ref.repo)
        if find_branch(txn, ref.repo, ref.branch) is None:
            create_branch(txn, ref.repo, ref.branch)
    create_repo(txn, spec.name, description=f"Output of the pipeline {spec.name}")
    output = create_branch(txn, RepoName(spec.name), MASTER, provenance=inputs_of(spec)).ref
    _add_placeholder(txn, trees, output)
    record = PipelineRecord(spec.name, 1, txn.now_ns(), to_json(spec))
    put_pipeline(txn, record)
    trigger_pipeline(txn, record, change_id=change_id)
    return record


def _add_placeholder(txn: WriteTxn, trees: Trees, output: BranchRef) -> None:
    """Give an output branch its empty first commit, as the original does."""
    started = start_commit(
        txn,
        output.repo,
        output.branch,
        origin=Origin.AUTO,
        placeholder=True,
        description="empty, until the first job",
    )
    finish_commit(txn, started.ref, trees.empty_directory(mtime_ns=started.started_ns))


def delete_pipeline(txn: WriteTxn, name: str, *, force: bool = False, keep_repo: bool = False) -> None:
    """
    Delete a pipeline with its jobs and, unless *keep_repo*, its output repo.

    PipelineInUseError if another pipeline reads that, unless *force*.  A job that runs is
    killed by the runner when it sees that the pipeline is gone.
    """
    record = pipeline(txn, name)
    users = subvenance(txn, output_of(record))
    if users and not force:
        names = ", ".join(user.repo for user in users)
        raise PipelineInUseError(f"pipeline {name} cannot be deleted: {names} reads its output; use --force")
    for job in list(jobs(txn, pipeline_name=name)):
        if not job.state.is_final:
            _drop_output(txn, job)
        delete_job(txn, job)
    txn.delete(Table.DOCUMENTS, pipeline_key(name))
    if not keep_repo and find_repo(txn, RepoName(name)) is not None:
        delete_repo(txn, name, force=force)


def _drop_output(txn: WriteTxn, job: JobRecord) -> None:
    ref = output_ref(job)
    line = find_branch(txn, RepoName(job.output_repo), job.output_branch)
    if line is not None and line.open == ref.commit:
        drop_open_commit(txn, ref)


def refuse_output(txn: ReadTxn, ref: BranchRef) -> None:
    """PipelineInUseError if a branch is the output of a pipeline, which would go on without it."""
    record = find_pipeline(txn, ref.repo)
    if record is not None and output_of(record) == ref:
        raise PipelineInUseError(
            f"{ref} is the output of pipeline {record.name}; `pfs delete pipeline {record.name}` deletes both"
        )


def create_job(txn: WriteTxn, spec: Job) -> JobRecord:
    """
    Create a one-off job.

    Its output goes to a repo of its own, `job_<id>`, or to that of the parent job.  Its inputs are
    commits that exist: CommitNotFoundError, RepoNotFoundError.
    """
    job_id = new_commit_id()
    inputs = []
    for each in spec.inputs:
        found = resolve(txn, RepoName(each.repo), each.commit)
        inputs.append(JobInputRef(found.repo, found.branch, found.id))
    parent = _one_job(txn, spec.parent_job) if spec.parent_job else None
    if parent is not None:
        output = parent.output_repo
    else:
        output = f"job_{job_id.hex()}"
        create_repo(txn, output, description="Output of a one-off job")
        sources = [BranchRef(each.repo, each.branch) for each in inputs]
        create_branch(
            txn,
            RepoName(output),
            MASTER,
            provenance=[ref for ref in sources if find_branch(txn, ref.repo, ref.branch) is not None],
        )
    made = JobRecord(
        job_id,
        "",
        1,
        txn.now_ns(),
        output,
        tuple(inputs),
        spec=to_json(spec),
        parent_job=parent.id if parent is not None else None,
    )
    put_job(txn, made)
    return made


def _one_job(txn: ReadTxn, text: str) -> JobRecord:
    found = jobs_named(txn, text)
    if len(found) > 1:
        names = ", ".join(job.name for job in found)
        raise InvalidNameError(f"several jobs have the id {text}: {names}; name one of them")
    return found[0]
