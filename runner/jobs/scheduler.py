"""
The scheduler: turns news of the store into jobs, and runs them.

Jobs that write the same repo run one after the other, in the order in which they were made;
others side by side.  A failed job never blocks the next.  Everything that matters is in the store:
a runner that is killed and started again goes on where the records say.
"""

from __future__ import annotations

import logging
import time

import trio

from pfsfuse.errors import PfsError
from pfsfuse.store.index import ReadTxn, Table
from pfsfuse.versions.changes import LOOK_EVERY_S, Listener
from pfsfuse.versions.commits import find_commit
from runner.containers import EngineError
from runner.spec.model import Network

from .execution import Context, JobGoneError, JobRun, finish_job
from .model import JobRecord, JobState
from .pool import WorkerPool, open_pool
from .records import change, cursor, find_pipeline, jobs, set_cursor, spec_of, work_of
from .triggers import trigger_all

log = logging.getLogger(__name__)

_IDLE_WORKERS_S = 300.0
"""After so long without a job the warm containers of a pipeline are removed."""


class Scheduler:
    """See the module."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.store = context.store
        self._waiting: dict[tuple[str, bytes], JobRecord] = {}
        """Jobs that are not final."""
        self._lanes: dict[str, trio.MemorySendChannel[JobRecord]] = {}
        """By output repo: what runs its jobs, one at a time."""
        self._running: dict[str, tuple[JobRecord, trio.CancelScope]] = {}
        """By output repo."""

    async def run(self, listener: Listener) -> None:
        """Work until cancelled.  *listener* must listen from the runner's cursor on."""
        with self.store.read() as txn:
            self._waiting = {_key(job): job for job in jobs(txn) if not job.state.is_final}
        async with trio.open_nursery() as nursery:
            while True:
                await self._take_news(listener)
                self._start_ready(nursery)
                with trio.move_on_after(LOOK_EVERY_S):
                    await trio.lowlevel.wait_readable(listener.socket)

    async def _take_news(self, listener: Listener) -> None:
        touched = listener.news()
        if not touched:
            return
        seen = listener.seen
        await trio.to_thread.run_sync(self._trigger, touched, seen)
        with self.store.read() as txn:
            for table, key in touched:
                if table is Table.DOCUMENTS and key.startswith(b"job\0"):
                    self._note_job(txn, key)
            for repo, (job, scope) in self._running.items():
                if job.pipeline and find_pipeline(txn, job.pipeline) is None:
                    log.info("pipeline %s was deleted; its job on %s is killed", job.pipeline, repo)
                    scope.cancel()

    def _trigger(self, touched: list[tuple[Table, bytes]], seen: int) -> None:
        with self.store.read() as txn:
            if cursor(txn) >= seen:
                return
        with self.store.write() as txn:
            for job in trigger_all(txn, touched):
                self._waiting[_key(job)] = job
            set_cursor(txn, seen)

    def _note_job(self, txn: ReadTxn, key: bytes) -> None:
        _, pipeline_name, job_id = key.split(b"\0", 2)
        found = next((j for j in jobs(txn, pipeline_name=pipeline_name.decode()) if j.id == job_id), None)
        place = (pipeline_name.decode(), job_id)
        if found is None or found.state.is_final:
            self._waiting.pop(place, None)
        else:
            self._waiting[place] = found

    def _start_ready(self, nursery: trio.Nursery) -> None:
        """Hand the oldest job of every output repo to its lane, if its inputs are there."""
        by_repo: dict[str, JobRecord] = {}
        for job in sorted(self._waiting.values(), key=lambda job: job.created_ns):
            by_repo.setdefault(job.output_repo, job)
        for repo, job in by_repo.items():
            if repo in self._running:
                continue
            with self.store.read() as txn:
                missing, broken = inputs_state(txn, job)
            if broken:
                self._give_up(job, f"its input {broken} failed")
            elif not missing:
                scope = trio.CancelScope()
                self._running[repo] = (job, scope)
                self._lane(job, nursery).send_nowait(job)

    def _give_up(self, job: JobRecord, reason: str) -> None:
        final = change(job, state=JobState.UNRUNNABLE, reason=reason, finished_ns=time.time_ns())
        self._waiting.pop(_key(job), None)
        try:
            finish_job(self.store, final, None)
        except JobGoneError:
            log.info("job %s was deleted", job.name)

    def _lane(self, job: JobRecord, nursery: trio.Nursery) -> trio.MemorySendChannel[JobRecord]:
        lane = self._lanes.get(job.output_repo)
        if lane is None:
            lane, jobs_of_lane = trio.open_memory_channel[JobRecord](1)
            self._lanes[job.output_repo] = lane
            nursery.start_soon(self._run_lane, job.output_repo, jobs_of_lane)
        return lane

    async def _run_lane(self, repo: str, jobs_of_lane: trio.MemoryReceiveChannel[JobRecord]) -> None:
        """Run the jobs of one output repo, keeping its workers warm between them."""
        job: JobRecord | None = await jobs_of_lane.receive()
        while job is not None:
            image, network = self._needs(job)
            async with open_pool(
                self.context.engine,
                self.context.mount,
                self.context.point,
                name=job.pipeline or f"job-{job.id.hex()[:8]}",
                image=image,
                network=network,
            ) as pool:
                while job is not None and self._needs(job) == (image, network):
                    await self._run_job(repo, job, pool)
                    job = await self._next_job(repo, jobs_of_lane, pool)

    async def _next_job(
        self, repo: str, jobs_of_lane: trio.MemoryReceiveChannel[JobRecord], pool: WorkerPool
    ) -> JobRecord | None:
        with trio.move_on_after(_IDLE_WORKERS_S):
            return await jobs_of_lane.receive()
        pool.end_idle()
        return await jobs_of_lane.receive()

    def _needs(self, job: JobRecord) -> tuple[str, Network]:
        with self.store.read() as txn:
            record = find_pipeline(txn, job.pipeline) if job.pipeline else None
            if job.pipeline and record is None:
                return "", Network.NONE
            work = spec_of(record) if record is not None else work_of(txn, job)
        return work.transform.image, work.network

    async def _run_job(self, repo: str, job: JobRecord, pool: WorkerPool) -> None:
        scope = self._running[repo][1]
        with scope:
            try:
                final = await JobRun(self.context, job, pool).run()
                log.info("job %s: %s %s", job.name, final.state, final.reason)
            except JobGoneError as error:
                log.info("%s", error)
            except (PfsError, EngineError):
                log.exception("job %s could not be ended", job.name)
                self._give_up(job, "the runner could not end it; see the runner's log")
        self._waiting.pop(_key(job), None)
        del self._running[repo]
        # There may be a next one: have the loop look.
        self._poke()

    def _poke(self) -> None:
        self.store.poke()


def inputs_state(txn: ReadTxn, job: JobRecord) -> tuple[bool, str]:
    """Return (whether an input commit is still to come, the first one that has an error or "")."""
    missing = False
    for each in job.inputs:
        found = find_commit(txn, each.repo, each.commit)
        if found is None or not found.is_finished:
            missing = True
        elif found.error:
            return False, str(each.ref)
    return missing, ""


def _key(job: JobRecord) -> tuple[str, bytes]:
    return job.pipeline, job.id
