"""Commits, pipelines and jobs in a real store, without a mount and without a runner."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pfsfuse.ids import CommitId, RepoName
from pfsfuse.store.store import Store
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.branches import create_branch
from pfsfuse.versions.commits import finish_commit, start_commit
from pfsfuse.versions.model import Commit, CommitRef
from pfsfuse.versions.repos import create_repo
from runner.jobs.creation import create_pipeline
from runner.jobs.execution import finish_job
from runner.jobs.model import JobRecord, JobState, PipelineRecord
from runner.jobs.records import change
from runner.spec.era1 import load_pipelines

from .files import directory

MASTER = "master"


class Versions:
    """What people and the runner do, one step at a time."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.trees = Trees(store.chunks)

    def repo(self, name: str) -> None:
        """Create a repo with the branch master."""
        with self.store.write() as txn:
            create_repo(txn, name)
            create_branch(txn, RepoName(name), MASTER)

    def start(self, repo: str, *, branch: str = MASTER) -> Commit:
        """Open a commit."""
        with self.store.write() as txn:
            return start_commit(txn, RepoName(repo), branch)

    def finish(self, ref: CommitRef, files: Mapping[str, bytes] | None = None, *, error: str = "") -> Commit:
        """Finish a commit with exactly these files."""
        root = directory(self.trees, files or {"f": b"data"})
        with self.store.write() as txn:
            return finish_commit(txn, ref, root, error=error)

    def commit(self, repo: str, files: Mapping[str, bytes] | None = None, *, branch: str = MASTER) -> Commit:
        """Start and finish a commit."""
        return self.finish(self.start(repo, branch=branch).ref, files)

    def pipeline(self, name: str, inputs: Sequence[Mapping[str, Any]], **more: Any) -> PipelineRecord:
        """Create a pipeline that would run `true`."""
        document = {
            "pipeline": {"name": name},
            "transform": {"image": "none", "cmd": ["true"]},
            "inputs": list(inputs),
            **more,
        }
        (spec,) = load_pipelines(json.dumps(document))
        with self.store.write() as txn:
            return create_pipeline(txn, self.trees, spec)

    def end(self, job: JobRecord, *, reason: str = "") -> JobRecord:
        """End a job: well, or with a *reason* badly."""
        state = JobState.FAILURE if reason else JobState.SUCCESS
        final = change(job, state=state, reason=reason)
        finish_job(self.store, final, None if reason else self.trees.empty_directory())
        return final


def inputs_of(job: JobRecord) -> dict[str, CommitId]:
    """Return the input commits of a job by repo."""
    return {ref.repo: ref.commit for ref in job.inputs}
