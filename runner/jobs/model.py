"""
The records of pipelines and jobs, as the store keeps them.

They are documents of the versioned store (table DOCUMENTS), msgpack maps with defaults for what
is absent.  A job has the id of the change that caused it, as have its output commit and everything
else that the change causes.

    pipeline NUL name                       PipelineRecord
    job NUL pipeline NUL id                 JobRecord      (a one-off job's "pipeline" is empty)
    container NUL pipeline NUL id number    ContainerRecord
"""

from __future__ import annotations

import enum

import msgspec

from pfsfuse.ids import BranchName, CommitId, RepoName
from pfsfuse.trees.entry import Entry
from pfsfuse.versions.forks import ForkChange
from pfsfuse.versions.model import CommitRef


class PipelineState(enum.StrEnum):
    """What a pipeline is up to."""

    RUNNING = "running"
    """New commits start jobs."""
    CRASHING = "crashing"
    """Its jobs cannot start; the reason says why (an image that is missing).  It is tried again."""
    STOPPED = "stopped"


class JobState(enum.StrEnum):
    """How far a job is.  It only ever goes down this list."""

    CREATED = "created"
    """Waits for its input commits, or for an earlier job of the pipeline."""
    STARTING = "starting"
    RUNNING = "running"
    FINISHING = "finishing"
    """Every container has ended well; the output is put together."""
    SUCCESS = "success"
    FAILURE = "failure"
    KILLED = "killed"
    UNRUNNABLE = "unrunnable"
    """An input commit has an error, so there is nothing to run on."""

    @property
    def is_final(self) -> bool:
        return self in FINAL


FINAL = frozenset({JobState.SUCCESS, JobState.FAILURE, JobState.KILLED, JobState.UNRUNNABLE})


class PipelineRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A pipeline and its present state."""

    name: str
    version: int
    created_ns: int
    spec: bytes
    """`runner.spec.model.to_json` of the Pipeline."""
    state: PipelineState = PipelineState.RUNNING
    reason: str = ""


class JobInputRef(msgspec.Struct, frozen=True, array_like=True):
    """An input commit of a job; it may still be in the making."""

    repo: RepoName
    branch: BranchName
    commit: CommitId

    @property
    def ref(self) -> CommitRef:
        return CommitRef(self.repo, self.commit)


class JobRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job."""

    id: CommitId
    pipeline: str
    """Empty for a one-off job."""
    version: int
    """Of the pipeline."""
    created_ns: int
    output_repo: str
    inputs: tuple[JobInputRef, ...]
    spec: bytes = b""
    """The Job of a one-off job; a pipeline's jobs find theirs in the pipeline's record."""
    output_branch: str = "master"
    state: JobState = JobState.CREATED
    reason: str = ""
    parent_job: CommitId | None = None
    """The job whose output this one continues, once it is known."""
    started_ns: int | None = None
    finished_ns: int | None = None
    containers: int = 0
    done: int = 0
    image: str = ""
    """Name and id of the image that ran."""
    log: Entry | None = None
    """The log as a file of the store, once the job has ended (logs.py)."""

    @property
    def name(self) -> str:
        """How people and logs call it."""
        return f"{self.pipeline or 'job'}@{self.id.hex()}"


class ContainerRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One run of the transform, of one job."""

    number: int
    attempts: int
    ok: bool
    """Only such runs are kept when the job is run again after a crash."""
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    started_ns: int = 0
    finished_ns: int = 0
    user_s: float = 0.0
    system_s: float = 0.0
    max_rss_bytes: int = 0
    changes: tuple[ForkChange, ...] = ()
    """What it left in /pfs/out, against what it found there."""
