"""
Waiting for a commit, or a job, and for everything that follows from it.

What follows from a commit: the jobs that have it among their inputs, the jobs that read what those
make, and so on.  The runner makes all jobs of a change at once, when it has read so far in the
change log; so whoever waits first waits for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from pfsfuse.errors import UnavailableError
from pfsfuse.ids import CommitId, RepoName
from pfsfuse.store.index import ReadTxn
from pfsfuse.store.store import Store
from pfsfuse.versions.branches import branches, find_branch
from pfsfuse.versions.branches import downstream as branch_graph
from pfsfuse.versions.changes import LOOK_EVERY_S, Listener
from pfsfuse.versions.commits import CommitNotFoundError, find_commit, resolve
from pfsfuse.versions.model import BranchRef, Commit, CommitRef
from pfsfuse.versions.moves import moves_of
from pfsfuse.versions.removal import with_results
from pfsfuse.versions.sets import commit_set, commits_of_set
from runner.errors import RunnerError

from .model import JobRecord, JobState
from .records import (
    downstream_jobs,
    has_read,
    has_readers,
    is_runner_up,
    is_settled,
    jobs,
    jobs_named,
    output_ref,
    pipelines,
)

_LOOK_SOON_S = 0.1
"""The runner's place in the change log moves without news of its own."""


class TimeIsUpError(RunnerError):
    """It did not happen in the time that was given."""


class JobFailedError(RunnerError):
    """Of the jobs that were waited for some did not succeed; `failed` has them."""

    def __init__(self, failed: Sequence[JobRecord]) -> None:
        lines = [
            f"job {job.name}: {job.state.value}{': ' + job.reason if job.reason else ''}" for job in failed
        ]
        super().__init__("\n".join([*lines, f"`pfs logs --job {failed[0].name}` shows what it printed"]))
        self.failed = tuple(failed)


class CommitFailedError(RunnerError):
    """The commit that was waited for was finished with an error."""


class Waiting:
    """Waits on one store for one thing."""

    def __init__(
        self,
        store: Store,
        *,
        timeout_s: float | None = None,
        patience_s: Callable[[], float] = lambda: 0.0,
        say: Callable[[str], None] = lambda _: None,
        say_after_s: float = 0.0,
    ) -> None:
        """
        After *timeout_s* TimeIsUpError.  While there are jobs to run and no runner for longer than
        *patience_s* says, UnavailableError.  *say* is told what is waited for if that has not
        happened after *say_after_s*.
        """
        self._store = store
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._patience_s = patience_s
        self._say = say
        self._runner_seen = time.monotonic()
        self._say_after_s = say_after_s
        self._waits_for = ""
        self._since = 0.0
        self._is_said = False

    def for_commit(self, repo: RepoName, text: str) -> tuple[Commit, list[JobRecord]]:
        """
        Return the commit that *text* means and the jobs that followed, when all has ended.

        For a branch that is its open commit, if it has one.  JobFailedError if a job failed,
        CommitFailedError, CommitNotFoundError if the commit is dropped meanwhile.
        """
        with Listener(self._store) as listener:
            done, sequence = self._until_finished(listener, self._target(repo, text))
            if done.error:
                raise CommitFailedError(f"commit {done.ref} failed: {done.error}")
            found: list[JobRecord] = []
            for _ in self._looks(listener, _LOOK_SOON_S):
                with self._store.read() as txn:
                    is_read = has_read(txn, sequence) or not has_readers(txn, _lines_of(txn, done))
                    found = list(downstream(txn, done.ref))
                    left = [job for job in found if not is_settled(txn, job)]
                if is_read and not left:
                    break
                self._expect_runner(_names(left) or f"the runner to look at {done.ref}")
        _raise_for(found)
        return done, found

    def for_set(self, change_id: CommitId) -> tuple[list[Commit], list[JobRecord]]:
        """
        Return the commits of a change and its jobs, when all has ended.

        CommitSetNotFoundError; JobFailedError if a job failed, CommitFailedError if a commit of people did.
        """
        with Listener(self._store) as listener:
            with self._store.read() as txn:
                commit_set(txn, change_id)
                sequence = txn.sequence()
            members: list[Commit] = []
            found: list[JobRecord] = []
            for _ in self._looks(listener, _LOOK_SOON_S):
                with self._store.read() as txn:
                    is_read = has_read(txn, sequence) or next(pipelines(txn), None) is None
                    members = commits_of_set(txn, change_id)
                    found = downstream_jobs(txn, change_id)
                    left = [job for job in found if not is_settled(txn, job)]
                opened = [commit for commit in members if not commit.is_finished]
                if is_read and not left and not opened:
                    break
                if left or not opened:
                    self._expect_runner(_names(left) or f"the runner to look at {change_id.hex()}")
                else:
                    self._tell(f"waiting for commit {opened[0].ref} to be finished")
        _raise_for(found)
        for commit in members:
            if commit.error:
                raise CommitFailedError(f"commit {commit.ref} failed: {commit.error}")
        return members, found

    def for_job(self, text: str) -> list[JobRecord]:
        """Return the jobs that *text* means when they have ended; JobNotFoundError, JobFailedError."""
        with Listener(self._store) as listener:
            found: list[JobRecord] = []
            for _ in self._looks(listener, LOOK_EVERY_S):
                with self._store.read() as txn:
                    found = jobs_named(txn, text)
                    left = [job for job in found if not is_settled(txn, job)]
                if not left:
                    break
                self._expect_runner(_names(left))
        _raise_for(found)
        return found

    def _target(self, repo: RepoName, text: str) -> CommitRef:
        with self._store.read() as txn:
            line = find_branch(txn, repo, text)
            if line is not None and line.open is not None:
                return CommitRef(repo, line.open)
            return resolve(txn, repo, text).ref

    def _until_finished(self, listener: Listener, ref: CommitRef) -> tuple[Commit, int]:
        """Return the finished commit, and how far the change log was then."""
        for _ in self._looks(listener, LOOK_EVERY_S):
            with self._store.read() as txn:
                found = find_commit(txn, ref.repo, ref.commit)
                sequence = txn.sequence()
            if found is None:
                raise CommitNotFoundError(f"commit {ref} was dropped")
            if found.is_finished:
                return found, sequence
            by_name = f"; it was started by name: `pfs finish commit {ref.repo}@{found.branch}`"
            self._tell(f"waiting for commit {ref} to be finished{by_name if found.explicit else ''}")
        raise AssertionError("looking never ends by itself")

    def _looks(self, listener: Listener, every_s: float) -> Iterator[None]:
        """Yield now, after every change, and every so often; TimeIsUpError."""
        while True:
            listener.news()
            yield
            left = LOOK_EVERY_S if self._deadline is None else self._deadline - time.monotonic()
            if left <= 0:
                raise TimeIsUpError(f"the time is up{': ' + self._waits_for if self._waits_for else ''}")
            listener.wait(min(every_s, left))

    def _expect_runner(self, waits_for: str) -> None:
        self._tell(f"waiting for {waits_for}")
        now = time.monotonic()
        if is_runner_up(self._store):
            self._runner_seen = now
        elif now - self._runner_seen > self._patience_s():
            raise UnavailableError(
                f"no runner runs, and there is {waits_for}; `pfs up` or `pfs runner` starts one"
            )

    def _tell(self, text: str) -> None:
        now = time.monotonic()
        if text != self._waits_for:
            self._waits_for, self._since, self._is_said = text, now, False
        if not self._is_said and now - self._since >= self._say_after_s:
            self._is_said = True
            self._say(text)


def downstream(txn: ReadTxn, start: CommitRef) -> Iterator[JobRecord]:
    """Yield the jobs that follow from a commit, each behind those whose output it reads."""
    left = sorted(jobs(txn), key=lambda job: job.created_ns)
    reached = _results(txn, start)
    while True:
        found = [job for job in left if any(each.ref in reached for each in job.inputs)]
        if not found:
            return
        yield from found
        for job in found:
            reached |= _results(txn, output_ref(job))
        left = [job for job in left if job not in found]


def _results(txn: ReadTxn, ref: CommitRef) -> set[CommitRef]:
    """Return a commit, which may be still to come, and all that was made from it."""
    if find_commit(txn, ref.repo, ref.commit) is None:
        return {ref}
    return {result.ref for result in with_results(txn, ref)}


def _lines_of(txn: ReadTxn, done: Commit) -> list[BranchRef]:
    """Return the branches that a commit was started on, was moved to, or reaches by propagation."""
    names = {done.branch, *(move.branch for move in moves_of(txn, done.id, done.repo))}
    own = [line.ref for line in branches(txn, done.repo) if line.name in names or line.head == done.id]
    return [*own, *(line.ref for line in branch_graph(txn, own, propagated_only=True))]


def _names(left: Sequence[JobRecord]) -> str:
    return f"job {', '.join(job.name for job in left)}" if left else ""


def _raise_for(found: Sequence[JobRecord]) -> None:
    failed = [job for job in found if job.state is not JobState.SUCCESS]
    if failed:
        raise JobFailedError(failed)
