"""
Taking commits away together with the jobs that made them, or that are about to use them.

`pfsfuse/versions/removal.py` has the rules for commits; here is what they mean for jobs.  A job whose
output commit goes is gone as well: it stops running and `list job` does not show it.  A job that has yet
to use a commit keeps it from being taken away by itself; with the whole change, or recursively, both go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pfsfuse.errors import ConflictError
from pfsfuse.ids import CommitId
from pfsfuse.store.index import ReadTxn, WriteTxn
from pfsfuse.versions import removal
from pfsfuse.versions.model import Commit, CommitRef

from .model import JobRecord
from .records import delete_job, find_job, output_ref, pending_jobs


class CommitNeededError(ConflictError):
    """A job has yet to use the commit."""

    def __init__(self, job: JobRecord) -> None:
        super().__init__(
            f"job {job.name} has yet to use it; wait for that, or take it away too (--recursive)"
        )
        self.job = job


def drop_set(txn: WriteTxn, change_id: CommitId) -> list[Commit]:
    """Drop all commits of a change, and its jobs; return the commits."""
    gone = removal.drop_set(txn, change_id)
    waiting = users_to_come(txn, (each.ref for each in gone))
    for job in waiting:
        if job.id != change_id:
            raise CommitNeededError(job)
    _delete_jobs(txn, gone, [*waiting, *(job for job in pending_jobs(txn) if job.id == change_id)])
    return gone


def drop_commit(txn: WriteTxn, ref: CommitRef, *, recursive: bool = False) -> list[Commit]:
    """Drop a commit, with *recursive* and all that follows from it, and the jobs; return the commits."""
    gone = removal.drop_commit(txn, ref, recursive=recursive)
    waiting = users_to_come(txn, (each.ref for each in gone))
    if not recursive:
        _refuse_waiting(waiting, gone)
    _delete_jobs(txn, gone, waiting)
    return gone


def squash_set(txn: WriteTxn, change_id: CommitId) -> list[Commit]:
    """Squash all commits of a change; its jobs must have ended, and go.  Return the commits."""
    for job in pending_jobs(txn):
        if job.id == change_id:
            raise CommitNeededError(job)
    gone = removal.squash_set(txn, change_id)
    _refuse_waiting(users_to_come(txn, (each.ref for each in gone)), gone)
    _delete_jobs(txn, gone, ())
    return gone


def squash_commit(txn: WriteTxn, ref: CommitRef, *, recursive: bool = False) -> list[Commit]:
    """Squash a commit, with *recursive* and all that follows from it; return the commits."""
    gone = removal.squash_commit(txn, ref, recursive=recursive)
    _refuse_waiting(users_to_come(txn, (each.ref for each in gone)), gone)
    _delete_jobs(txn, gone, ())
    return gone


def forget_commit(txn: WriteTxn, ref: CommitRef) -> Commit:
    """Give up the content of a commit that no job has yet to use; return its new record."""
    _refuse_waiting(users_to_come(txn, [ref]), ())
    return removal.forget_commit(txn, ref)


def users_to_come(txn: ReadTxn, refs: Iterable[CommitRef]) -> list[JobRecord]:
    """Return the jobs that are not done and need one of these commits, or what such a job makes."""
    reached = set(refs)
    left = pending_jobs(txn)
    found: list[JobRecord] = []
    while True:
        more = [job for job in left if any(each.ref in reached for each in job.inputs)]
        if not more:
            return found
        found += more
        reached.update(map(output_ref, more))
        left = [job for job in left if job not in more]


def _refuse_waiting(waiting: Sequence[JobRecord], gone: Sequence[Commit]) -> None:
    outputs = {each.ref for each in gone}
    for job in waiting:
        if output_ref(job) not in outputs:
            raise CommitNeededError(job)


def _delete_jobs(txn: WriteTxn, gone: Sequence[Commit], more: Iterable[JobRecord]) -> None:
    """Delete the jobs that made these commits, and *more*; the runner stops those that run."""
    jobs = {job.name: job for job in more}
    for each in gone:
        for pipeline in (each.repo, ""):
            job = find_job(txn, pipeline, each.id)
            if job is not None and output_ref(job) == each.ref:
                jobs[job.name] = job
    for job in jobs.values():
        delete_job(txn, job)
