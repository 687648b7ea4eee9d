"""
The scheduler: turns news of the store into jobs, and runs them.

Jobs that write the same repo run one after the other, in the order in which they were made;
others side by side.  A failed job never blocks the next.  Everything that matters is in the store:
a runner that is killed and started again goes on where the records say.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

import trio

from pfsfuse.errors import OutOfSpaceError, PfsError
from pfsfuse.ids import CommitId
from pfsfuse.store.index import ReadTxn, Table
from pfsfuse.versions.branches import find_branch
from pfsfuse.versions.changes import LOOK_EVERY_S, Listener
from pfsfuse.versions.commits import find_commit
from pfsfuse.versions.model import BranchRef
from runner.containers import Engine
from runner.errors import RunnerError
from runner.spec.model import Network

from .execution import Context, JobGoneError, JobRun, finish_job
from .logs import remove_log, sweep_logs
from .model import JobInputRef, JobRecord, JobState
from .pool import WorkerPool, open_pool
from .records import STARTING, change, find_job, find_pipeline, jobs, set_cursor, work_of
from .triggers import trigger_all

log = logging.getLogger(__name__)

_IDLE_WORKERS_S = 300.0
"""After so long without a job the warm containers of a pipeline are removed."""

_RETRY_S = 5.0
_FAULT = "a fault of the runner; see its log"


@dataclass(slots=True)
class _Lane:
    """What runs the jobs of one output repo, one at a time."""

    repo: str
    pipeline: str
    """Empty for one-off jobs."""
    todo: trio.MemorySendChannel[JobRecord]
    running: JobRecord | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    """Of the running job."""


class Scheduler:
    """See the module."""

    def __init__(self, context: Context, engine: Engine) -> None:
        self.context = context
        self.store = context.store
        self._engine = engine
        self._waiting: dict[tuple[str, CommitId], JobRecord] = {}
        """Jobs that are not final."""
        self._lanes: dict[str, _Lane] = {}
        """By output repo."""
        self._news: list[tuple[Table, bytes]] = []
        """What changed and was not looked at yet."""

    async def run(self, listener: Listener) -> None:
        """Work until cancelled.  *listener* must listen from the runner's cursor on."""
        with self.store.read() as txn:
            self._waiting = {_key(job): job for job in jobs(txn) if not job.state.is_final}
        sweep_logs(self.store, self._waiting.values())
        async with trio.open_nursery() as nursery:
            while True:
                await self._take_news(listener)
                await self._start_ready(nursery)
                await self._rest()
                with trio.move_on_after(LOOK_EVERY_S):
                    await trio.lowlevel.wait_readable(listener.socket)

    async def _rest(self) -> None:
        """Have gc wait for the jobs that run only: each is a hold."""
        try:
            await trio.to_thread.run_sync(self.store.resting())
        except OutOfSpaceError as error:
            log.warning("gc has to wait for this runner: %s", error)

    # News

    async def _take_news(self, listener: Listener) -> None:
        self._news += listener.news()
        if not self._news:
            return
        try:
            await trio.to_thread.run_sync(self._trigger, self._news, listener.seen)
        except OutOfSpaceError as error:
            log.warning("no jobs are made for now: %s", error)
            await trio.sleep(_RETRY_S)
            return
        touched, self._news = self._news, []
        with self.store.read() as txn:
            for table, key in touched:
                if table is Table.DOCUMENTS and key.startswith(b"job\0"):
                    self._note_job(txn, key)
            for lane in list(self._lanes.values()):
                self._look_at_lane(txn, lane)

    def _trigger(self, touched: list[tuple[Table, bytes]], seen: int) -> None:
        if not any(table in STARTING for table, _ in touched):
            return
        with self.store.write() as txn:
            # Their records are news in turn.
            trigger_all(txn, touched)
            set_cursor(txn, seen)

    def _note_job(self, txn: ReadTxn, key: bytes) -> None:
        _, name, job_id = key.split(b"\0", 2)
        place = (name.decode(), CommitId(job_id))
        found = find_job(txn, *place)
        if found is None or found.state.is_final:
            self._waiting.pop(place, None)
        else:
            self._waiting[place] = found

    def _look_at_lane(self, txn: ReadTxn, lane: _Lane) -> None:
        """Kill a job that was deleted; let go of the workers of a pipeline that was."""
        job = lane.running
        if job is not None and find_job(txn, *_key(job)) is None:
            log.info("job %s was deleted and is killed", job.name)
            lane.scope.cancel()
        elif job is None and lane.pipeline and find_pipeline(txn, lane.pipeline) is None:
            self._give_lane_up(lane)
            lane.todo.close()

    # Starting

    async def _start_ready(self, nursery: trio.Nursery) -> None:
        """Hand the oldest job of every output repo to its lane, if its inputs are there."""
        oldest: dict[str, JobRecord] = {}
        for job in sorted(self._waiting.values(), key=lambda job: job.created_ns):
            oldest.setdefault(job.output_repo, job)
        for repo, job in oldest.items():
            lane = self._lanes.get(repo)
            if lane is not None and lane.running is not None:
                continue
            with self.store.read() as txn:
                missing, broken = inputs_state(txn, job)
            if broken:
                await self._give_up(job, JobState.UNRUNNABLE, broken)
            elif not missing:
                self._hand_over(job, nursery)

    def _hand_over(self, job: JobRecord, nursery: trio.Nursery) -> None:
        lane = self._lanes.get(job.output_repo)
        if lane is None:
            todo, jobs_of_lane = trio.open_memory_channel[JobRecord](1)
            lane = self._lanes[job.output_repo] = _Lane(job.output_repo, job.pipeline, todo)
            nursery.start_soon(self._run_lane, lane, jobs_of_lane)
        lane.running, lane.scope = job, trio.CancelScope()
        lane.todo.send_nowait(job)

    async def _give_up(self, job: JobRecord, state: JobState, reason: str) -> None:
        final = change(job, state=state, reason=reason, finished_ns=time.time_ns())
        try:
            await trio.to_thread.run_sync(finish_job, self.store, final, None)
        except JobGoneError as error:
            log.info("%s", error)
        except PfsError as error:
            log.warning("the end of job %s cannot be recorded yet: %s", job.name, error)
            await trio.sleep(_RETRY_S)
            return
        self._waiting.pop(_key(job), None)

    # Running

    async def _run_lane(self, lane: _Lane, todo: trio.MemoryReceiveChannel[JobRecord]) -> None:
        """Run the jobs of one output repo, keeping its workers warm between them."""
        with todo:
            job: JobRecord | None = await todo.receive()
            while job is not None:
                image, network = self._needs(job)
                async with open_pool(
                    self._engine,
                    self.context.mount,
                    name=job.pipeline or f"job-{job.id.hex()[:8]}",
                    image=image,
                    network=network,
                ) as pool:
                    while job is not None and self._needs(job) == (image, network):
                        await self._run_job(lane, job, pool)
                        job = await self._next_job(lane, todo)

    async def _next_job(self, lane: _Lane, todo: trio.MemoryReceiveChannel[JobRecord]) -> JobRecord | None:
        """Wait for a job; None, with the lane given up, when there will be none soon."""
        if lane.pipeline:
            with trio.move_on_after(_IDLE_WORKERS_S):
                try:
                    return await todo.receive()
                except trio.EndOfChannel:
                    return None
        # No await since the last job ended, or since the wait did: no job can have been handed over.
        self._give_lane_up(lane)
        return None

    def _give_lane_up(self, lane: _Lane) -> None:
        if self._lanes.get(lane.repo) is lane:
            del self._lanes[lane.repo]

    def _needs(self, job: JobRecord) -> tuple[str, Network]:
        """Return what decides whether a warm worker will do."""
        with self.store.read() as txn:
            if job.pipeline and find_pipeline(txn, job.pipeline) is None:
                return "", Network.NONE
            work = work_of(txn, job)
        return work.transform.image, work.network

    async def _run_job(self, lane: _Lane, job: JobRecord, pool: WorkerPool) -> None:
        with lane.scope:
            try:
                final = await JobRun(self.context, job, pool).run()
                log.info("job %s: %s %s", job.name, final.state, final.reason)
            except JobGoneError as error:
                log.info("%s", error)
            except Exception as error:
                # One job must not end the others, whatever is wrong with it.
                log.exception("job %s came to a stop", job.name)
                is_known = isinstance(error, PfsError | RunnerError)
                await self._give_up(job, JobState.FAILURE, str(error) if is_known else _FAULT)
        if lane.scope.cancelled_caught:
            remove_log(self.store, job)
        self._waiting.pop(_key(job), None)
        lane.running = None
        # There may be a next one: have the loop look.
        self.store.poke()


def inputs_state(txn: ReadTxn, job: JobRecord) -> tuple[bool, str]:
    """Return (whether an input commit is still to come, why the job can never run or "")."""
    missing = False
    for each in job.inputs:
        found = find_commit(txn, each.repo, each.commit)
        is_to_come = _is_to_come(txn, each)
        if found is None and not is_to_come:
            return False, f"its input {each.ref} {_why_missing(txn, each)}"
        if found is None or not found.is_finished or is_to_come:
            missing = True
        elif found.error:
            return False, f"its input {each.ref} failed"
        elif found.forgotten:
            return False, f"its input {each.ref} was forgotten"
    return missing, ""


def _why_missing(txn: ReadTxn, wanted: JobInputRef) -> str:
    line = find_branch(txn, wanted.repo, wanted.branch)
    if line is not None and line.propagated:
        return "was not made: what it is made from failed"
    return "was deleted"


def _is_to_come(txn: ReadTxn, wanted: JobInputRef) -> bool:
    """Say whether a job, or what follows from one, is yet to make the commit, or to make it whole."""
    pending, seen = [BranchRef(wanted.repo, wanted.branch)], set[BranchRef]()
    while pending:
        ref = pending.pop()
        maker = find_job(txn, ref.repo, wanted.commit)
        if maker is not None and not maker.state.is_final:
            return True
        line = find_branch(txn, ref.repo, ref.branch)
        if line is not None and line.propagated and ref not in seen:
            seen.add(ref)
            pending += line.provenance
    return False


def _key(job: JobRecord) -> tuple[str, CommitId]:
    return job.pipeline, job.id
