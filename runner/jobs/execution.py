"""
Running one job: from its input commits to its output commit.

    starting    the output commit is opened, the containers are planned
    running     each container: set the view, run the command, seal the view, record what it left
    finishing   the outputs are merged; output commit and job record are written in one transaction

A container that ended well is recorded at once, so after a crash of the runner the job goes on
with the others.  One that failed is tried up to three times.  What is no fault of the container (the
mount went away, and with it the container's /pfs) does not count as a try.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trio

from pfsfuse.errors import OutOfSpaceError, PfsError, UnavailableError
from pfsfuse.ids import CommitId, RepoName
from pfsfuse.mount.client import AsyncMountClient
from pfsfuse.mount.views import Sealed, Shown, ViewNotFoundError, keep_view
from pfsfuse.store.store import Store
from pfsfuse.trees.entry import Entry
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.commits import ancestors, commit, find_commit, finish_commit, start_commit
from pfsfuse.versions.model import Origin
from runner.containers import (
    Command,
    ContainerDiedError,
    Engine,
    EngineError,
    Outcome,
    Stream,
)
from runner.datums.era1 import Container, InputData, Plan, plan
from runner.errors import RunnerError
from runner.spec.model import Incremental, Input, Job, JobInput, Pipeline, commit_variable

from .logs import LogWriter, Source
from .merge import merge_outputs
from .model import ContainerRecord, JobInputRef, JobRecord, JobState
from .pool import Slot, WorkerPool
from .records import change, containers, find_job, jobs, output_ref, put_container, put_job, work_of

log = logging.getLogger(__name__)

TRIES = 3
PREV = b"prev"
_MOUNT_BACK_S = 60.0

_SOURCES = {Stream.OUT: Source.OUT, Stream.ERR: Source.ERR}


@dataclass(frozen=True, slots=True)
class Context:
    """What every job needs."""

    store: Store
    trees: Trees
    engine: Engine
    mount: AsyncMountClient
    point: Path
    slots: trio.CapacityLimiter
    """How many containers may run at a time, of all jobs."""


class JobFailed(RunnerError):  # noqa: N818 - it is what happened, not a fault of the runner
    """A job came to nothing; the message is its reason."""


class JobGoneError(RunnerError):
    """The job, or its pipeline, was deleted while it ran."""


class JobRun:
    """One job, being run."""

    def __init__(self, context: Context, job: JobRecord, pool: WorkerPool) -> None:
        self.context = context
        self.job = job
        self.pool = pool
        self.store = context.store
        self._log = LogWriter(context.store, job)
        with self.store.read() as txn:
            self.work: Pipeline | Job = work_of(txn, job)
            self.parent = find_parent(self.store, job, self.work)
        self.base = self._output_of_parent()

    async def run(self) -> JobRecord:
        """Run the job to its end and return its final record.  Only cancellation and JobGoneError leave it undone."""
        try:
            await self._start()
            planned = await trio.to_thread.run_sync(self._plan)
            if self._is_empty(planned):
                root = self.base if self.base is not None else self._empty_tree()
                return await self._succeed(root, "no new data: nothing was run")
            await self._run_containers(planned)
            await self._set(state=JobState.FINISHING)
            root = await trio.to_thread.run_sync(self._merge)
            return await self._succeed(root)
        except (JobFailed, EngineError, OutOfSpaceError) as error:
            return await self._fail(str(error))
        except RunnerError as error:
            if isinstance(error, JobGoneError):
                raise
            return await self._fail(str(error))
        except PfsError as error:
            if await trio.to_thread.run_sync(self._is_gone):
                raise JobGoneError(f"job {self.job.name} was deleted") from error
            return await self._fail(str(error))

    # Starting

    async def _start(self) -> None:
        await trio.to_thread.run_sync(self._open_output)
        self.job = await self._set(
            state=JobState.RUNNING,
            started_ns=self.job.started_ns or time.time_ns(),
            parent_job=self.parent.id if self.parent is not None else None,
        )
        image = await self.context.engine.ensure_image(self.pool.image)
        await self._set(image=f"{image.name}@{image.id}")

    def _open_output(self) -> None:
        ref = output_ref(self.job)
        with self.store.write() as txn:
            if find_job(txn, self.job.pipeline, self.job.id) is None:
                raise JobGoneError(f"job {self.job.name} was deleted")
            if find_commit(txn, ref.repo, ref.commit) is None:
                start_commit(
                    txn,
                    ref.repo,
                    self.job.output_branch,
                    commit_id=ref.commit,
                    origin=Origin.AUTO,
                    provenance=[each.ref for each in self.job.inputs],
                )

    def _is_gone(self) -> bool:
        with self.store.read() as txn:
            return find_job(txn, self.job.pipeline, self.job.id) is None

    async def _set(self, **values: object) -> JobRecord:
        self.job = change(self.job, **values)
        await trio.to_thread.run_sync(self._write_job)
        return self.job

    def _write_job(self) -> None:
        with self.store.write() as txn:
            if find_job(txn, self.job.pipeline, self.job.id) is None:
                raise JobGoneError(f"job {self.job.name} was deleted")
            put_job(txn, self.job)

    def _output_of_parent(self) -> Entry | None:
        if self.parent is None:
            return None
        with self.store.read() as txn:
            return commit(txn, RepoName(self.parent.output_repo), self.parent.id).root

    def _empty_tree(self) -> Entry:
        return self.context.trees.empty_directory(mtime_ns=time.time_ns())

    # Planning

    def _plan(self) -> Plan:
        parallelism = self.work.parallelism.containers(os.cpu_count() or 1)
        before = {each.repo: each.commit for each in self.parent.inputs} if self.parent is not None else {}
        data = []
        with self.store.read() as txn:
            specs: Sequence[Input | JobInput] = self.work.inputs
            for each, spec in zip(self.job.inputs, specs, strict=True):
                root = self._root_of(commit(txn, each.repo, each.commit).root)
                old = before.get(each.repo)
                parent = commit(txn, each.repo, old).root if old is not None and old != each.commit else None
                data.append(InputData(each.repo, root, parent, spec.partition, spec.incremental))
        planned = plan(self.context.trees, data, parallelism)
        self.store.flush()
        return planned

    def _root_of(self, root: Entry | None) -> Entry:
        return root if root is not None else self._empty_tree()

    def _is_empty(self, planned: Plan) -> bool:
        """Say whether an input has nothing to see and its method does not ask to be run on nothing."""
        patient = {each.repo for each in self.work.inputs if not each.run_empty}
        return any(repo in patient for repo in planned.empty)

    # Containers

    async def _run_containers(self, planned: Plan) -> None:
        with self.store.read() as txn:
            done = {record.number for record in containers(txn, self.job) if record.ok}
        await self._set(containers=len(planned.containers), done=len(done))
        failures: dict[int, str] = {}
        # As many tasks as can run at once take the containers in order.
        waiting = [container for container in planned.containers if container.number not in done][::-1]
        tasks = min(len(waiting), int(self.context.slots.total_tokens))

        async def take() -> None:
            while waiting:
                container = waiting.pop()
                record = await self._run_container(container)
                if record.ok:
                    self.job = change(self.job, done=self.job.done + 1)
                else:
                    failures[container.number] = record.reason

        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(take)
        if failures:
            number, reason = min(failures.items())
            more = (
                f" ({len(failures)} of {len(planned.containers)} containers failed)"
                if len(failures) > 1
                else ""
            )
            raise JobFailed(f"container {number} failed: {reason}{more}")

    async def _run_container(self, container: Container) -> ContainerRecord:
        """Run a container until it ends well or has had its tries; record and return what became of it."""
        attempt = 0
        while True:
            attempt += 1
            try:
                record, sealed = await self._attempt(container, attempt)
            except (UnavailableError, ViewNotFoundError):
                await self._wait_for_mount()
                attempt -= 1
                continue
            except ContainerDiedError as error:
                record, sealed = ContainerRecord(container.number, attempt, ok=False, reason=str(error)), None
            if not record.ok and await self._mount_changed():
                attempt -= 1
                continue
            if record.ok or attempt >= TRIES:
                await trio.to_thread.run_sync(self._record, container, record, sealed)
                return record
            self._log.note(container.number, f"attempt {attempt} failed: {record.reason}")

    async def _attempt(self, container: Container, attempt: int) -> tuple[ContainerRecord, Sealed | None]:
        async with self.context.slots:
            slot = await self._ready_slot(container)
            returned = False
            try:
                outcome = await slot.worker.run(self._command(slot), self._output_to_log(container.number))
                self._log.end_lines(container.number)
                ok = outcome.exit_code in (0, *self.work.transform.accept_return_code) and _ended_itself(
                    outcome
                )
                sealed = await self.context.mount.seal_view(slot.name) if ok else None
                self.pool.release(slot)
                returned = True
            finally:
                if not returned:
                    self.pool.throw_away(slot)
        return _record_of(container.number, attempt, outcome, ok, sealed), sealed

    async def _ready_slot(self, container: Container) -> Slot:
        """Return a worker whose /pfs shows what *container* is to see."""
        while True:
            slot = await self.pool.acquire()
            try:
                await self.context.mount.set_view(slot.name, self._view(container), self._out_base())
            except BaseException:
                self.pool.throw_away(slot)
                raise
            if slot.life == self.context.mount.life:
                return slot
            self.pool.throw_away(slot)

    def _view(self, container: Container) -> dict[bytes, Shown]:
        shown = {repo.encode(): Shown(repo, entry) for repo, entry in container.inputs.items()}
        if self.base is not None:
            shown[PREV] = Shown(self.job.output_repo, self.base)
        return shown

    def _out_base(self) -> Entry | None:
        return None if self.work.transform.overwrite else self.base

    def _command(self, slot: Slot) -> Command:
        transform = self.work.transform
        env = {
            "PACH_JOB_ID": self.job.id.hex(),
            "PACH_OUTPUT_COMMIT_ID": self.job.id.hex(),
            "PPS_PIPELINE_NAME": self.job.pipeline,
            "PPS_POD_NAME": slot.name,
            **{commit_variable(each.repo): each.commit.hex() for each in self.job.inputs},
            **transform.env,
        }
        return Command(list(transform.cmd), stdin=transform.stdin_bytes(), env=env)

    def _output_to_log(self, number: int) -> Callable[[Stream, bytes], Awaitable[None]]:
        async def write(stream: Stream, data: bytes) -> None:
            self._log.write(number, _SOURCES[stream], data)

        return write

    def _record(self, container: Container, record: ContainerRecord, sealed: Sealed | None) -> None:
        view = self._view(container)
        if sealed is not None:
            view[b"out"] = Shown(self.job.output_repo, sealed.root)
        with self.store.write() as txn:
            if find_job(txn, self.job.pipeline, self.job.id) is None:
                raise JobGoneError(f"job {self.job.name} was deleted")
            put_container(txn, self.job, record)
            keep_view(txn, self.job.name, str(container.number), view)

    async def _wait_for_mount(self) -> None:
        self._log.note(0, "the mount went away; waiting for it")
        with trio.move_on_after(_MOUNT_BACK_S):
            while True:
                try:
                    await self.context.mount.status()
                except UnavailableError:
                    await trio.sleep(0.1)
                else:
                    return
        raise JobFailed("the mount did not come back")

    async def _mount_changed(self) -> bool:
        """Say whether the mount is not the one that the last view was set in."""
        try:
            status = await self.context.mount.status()
        except UnavailableError:
            await self._wait_for_mount()
            return True
        return bool(status["pid"] != self.context.mount.life)

    # Ending

    def _merge(self) -> Entry:
        with self.store.read() as txn:
            outputs = [record.changes for record in containers(txn, self.job)]
        root = merge_outputs(
            self.context.trees, self.store.chunks, self.base, outputs, mtime_ns=time.time_ns()
        )
        return msgspec.structs.replace(root, mtime_ns=time.time_ns())

    async def _succeed(self, root: Entry, reason: str = "") -> JobRecord:
        return await trio.to_thread.run_sync(lambda: self._finish(JobState.SUCCESS, reason, root))

    async def _fail(self, reason: str) -> JobRecord:
        self._log.note(0, f"job failed: {reason}")
        return await trio.to_thread.run_sync(lambda: self._finish(JobState.FAILURE, reason, None))

    def _finish(self, state: JobState, reason: str, root: Entry | None) -> JobRecord:
        kept = self._log.keep()
        final = change(self.job, state=state, reason=reason, finished_ns=time.time_ns(), log=kept)
        finish_job(self.store, final, root)
        self._log.remove()
        self.job = final
        return final


def finish_job(store: Store, final: JobRecord, root: Entry | None) -> None:
    """
    Write a job's last state and finish its output commit, in one transaction.

    Without *root* the commit gets the job's reason as its error.  JobGoneError.
    """
    ref = output_ref(final)
    with store.write() as txn:
        if find_job(txn, final.pipeline, final.id) is None:
            raise JobGoneError(f"job {final.name} was deleted")
        opened = find_commit(txn, ref.repo, ref.commit)
        if opened is None:
            start_commit(
                txn,
                ref.repo,
                final.output_branch,
                commit_id=ref.commit,
                origin=Origin.AUTO,
                provenance=[each.ref for each in final.inputs],
            )
        if opened is None or not opened.is_finished:
            finish_commit(txn, ref, root, error="" if root is not None else final.reason)
        put_job(txn, final)


def _ended_itself(outcome: Outcome) -> bool:
    return not (outcome.timed_out or outcome.cancelled or outcome.out_of_memory or outcome.exec_error)


def _record_of(
    number: int, attempt: int, outcome: Outcome, ok: bool, sealed: Sealed | None
) -> ContainerRecord:
    return ContainerRecord(
        number,
        attempt,
        ok=ok,
        reason="" if ok else str(outcome),
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        started_ns=outcome.started_ns,
        finished_ns=outcome.finished_ns,
        user_s=outcome.user_s,
        system_s=outcome.system_s,
        max_rss_bytes=outcome.max_rss_bytes,
        changes=tuple(sealed.changes) if sealed is not None else (),
    )


def find_parent(store: Store, job: JobRecord, work: Pipeline | Job) -> JobRecord | None:
    """
    Return the job that *job* continues, or None.

    That is the newest job of the same pipeline version that succeeded on the same inputs or on
    earlier commits of them, provided that every input that moved is incremental.
    """
    with store.read() as txn:
        if not job.pipeline:
            wanted = job.parent_job
            found = [
                other for other in jobs(txn) if other.id == wanted and other.output_repo == job.output_repo
            ]
            return found[0] if found and found[0].state is JobState.SUCCESS else None
        others = sorted(
            (
                other
                for other in jobs(txn, pipeline_name=job.pipeline)
                if other.state is JobState.SUCCESS
                and other.version == job.version
                and other.created_ns < job.created_ns
            ),
            key=lambda other: other.created_ns,
            reverse=True,
        )
        lines = {
            each.repo: [c.id for c in ancestors(txn, commit(txn, each.repo, each.commit))]
            for each in job.inputs
        }
    return next((other for other in others if _continues(job.inputs, other.inputs, work.inputs, lines)), None)


def _continues(
    inputs: tuple[JobInputRef, ...],
    before: tuple[JobInputRef, ...],
    specs: Sequence[Input | JobInput],
    lines: dict[RepoName, list[CommitId]],
) -> bool:
    """Say whether a job on *inputs* can continue one on *before*."""
    if len(inputs) != len(before):
        return False
    for new, old, spec in zip(inputs, before, specs, strict=True):
        if old.repo != new.repo or old.commit not in lines[new.repo]:
            return False
        if old.commit != new.commit and spec.incremental is Incremental.NONE:
            return False
    return True
