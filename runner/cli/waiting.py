"""`pfs wait commit|job`."""

from __future__ import annotations

from typing import Annotated

import typer

from pfsfuse.versions.commits import find_commit
from runner.jobs.records import output_ref
from runner.jobs.waiting import Waiting
from runner.supervisor import keeps_runner

from .commits import Name, show_commits, shown_commit
from .jobs import JobName, show_jobs, shown_job
from .names import change_name, commit_name
from .session import Session

_SUPERVISED_S = 60.0
_ALONE_S = 3.0
"""How long a runner may be away: one that is supervised comes back."""

_SILENT_S = 4.0
"""Who waits longer is told what for: a commit that nobody finishes would keep them for ever."""

Timeout = Annotated[
    float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help="Give up after so long.")
]


def wait_commit(session: Session, name: Name, timeout: Timeout = None) -> None:
    """
    Wait until a commit is finished and every job that follows from it has ended.

    For a branch: its open commit, if it has one.  The id of a change means all that it made.  The
    mount shows the results when this returns.
    """
    with session.store.read() as txn:
        change = change_name(txn, name)
    if change is not None:
        members, _ = _waiting(session, timeout).for_set(change)
        session.writing.barrier()
        show_commits(session.screen, [shown_commit(each) for each in members])
        return
    repo, text = commit_name(name)
    done, jobs = _waiting(session, timeout).for_commit(repo, text)
    session.writing.barrier()
    with session.store.read() as txn:
        made = [find_commit(txn, ref.repo, ref.commit) for ref in map(output_ref, jobs)]
    show_commits(session.screen, [shown_commit(each) for each in (done, *made) if each is not None])


def wait_job(session: Session, name: JobName, timeout: Timeout = None) -> None:
    """Wait until a job, or all jobs of an id, have ended."""
    jobs = _waiting(session, timeout).for_job(name)
    session.writing.barrier()
    show_jobs(session.screen, [shown_job(job) for job in jobs])


def _waiting(session: Session, timeout: float | None) -> Waiting:
    return Waiting(
        session.store,
        timeout_s=timeout,
        patience_s=lambda: _SUPERVISED_S if keeps_runner(session.run) else _ALONE_S,
        say=session.screen.note,
        say_after_s=0.0 if session.screen.verbose else _SILENT_S,
    )
