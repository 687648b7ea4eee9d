"""
Running one job: from its input commits to its output commit.

    starting    the output commit is opened, the containers are planned
    running     each container: set the view, run the command, seal the view, record what it left
    finishing   the outputs are merged; output commit and job record are written in one transaction

A container that ended well is recorded at once, so after a crash of the runner the job goes on
with the others.  One that failed is tried up to three times.  What is no fault of the container (the
mount went away, and with it the container's /pfs) does not count as a try, and is waited for.

However a job ends, its end is recorded: where the disk is full, when it is not any more.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import trio

from pfsfuse.errors import OutOfSpaceError, PfsError, UnavailableError
from pfsfuse.ids import RepoName
from pfsfuse.mount.async_client import AsyncMountClient
from pfsfuse.mount.views import ViewNotFoundError, keep_view
from pfsfuse.mount.wire import Sealed, Shown
from pfsfuse.store.index import ReadTxn, WriteTxn
from pfsfuse.store.store import Store
from pfsfuse.trees.entry import Entry
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.commits import commit, find_commit, finish_commit, start_commit
from pfsfuse.versions.model import Commit, Origin
from pfsfuse.versions.quotas import refuse_over_quota
from pfsfuse.versions.removal import ForgottenError
from pfsfuse.versions.repos import repo
from runner.containers import Command, EngineError, Outcome, Stream
from runner.datums.era1 import Container, InputData, Plan, plan
from runner.errors import RunnerError
from runner.spec.model import Input, Job, JobInput, Pipeline, commit_variable

from .crew import Crew
from .logs import LogWriter, Source
from .merge import merge_outputs
from .model import ContainerRecord, JobRecord, JobState
from .parents import find_parent
from .pool import Slot, WorkerPool
from .recorder import Order, Recorder
from .records import (
    change,
    containers,
    find_job,
    forget_containers,
    output_ref,
    put_container,
    put_job,
    work_of,
)

log = logging.getLogger(__name__)

TRIES = 3
PREV = b"prev"
_LOOK_FOR_MOUNT_S = 0.1
_RETRY_S = 1.0

_SOURCES = {Stream.OUT: Source.OUT, Stream.ERR: Source.ERR}


@dataclass(frozen=True, slots=True)
class Context:
    """What every job needs."""

    store: Store
    trees: Trees
    mount: AsyncMountClient
    recorder: Recorder
    slots: trio.CapacityLimiter
    """How many containers may run at a time, of all jobs."""


class JobFailed(RunnerError):  # noqa: N818 - it is what happened, not a fault of the runner
    """A job came to nothing; the message is its reason."""


class JobGoneError(RunnerError):
    """The job, or its pipeline, was deleted while it ran."""

    def __init__(self, job: JobRecord) -> None:
        super().__init__(f"job {job.name} was deleted")


class JobRun:
    """One job, being run."""

    def __init__(self, context: Context, job: JobRecord, pool: WorkerPool) -> None:
        """JobGoneError."""
        self.context = context
        self.job = job
        self.pool = pool
        self.store = context.store
        with self.store.read() as txn:
            refuse_gone(txn, job)
            self.work: Pipeline | Job = work_of(txn, job)
            self.parent = find_parent(txn, job, self.work)
            self.base = _output_of(txn, self.parent)
        self._log = LogWriter(context.store, job)
        self._is_failure_noted = False
        self._orders: list[Order] = []
        """Records of containers, on their way to the store: the next run need not wait for them."""

    async def run(self) -> JobRecord:
        """Run the job to its end and return its final record.  Only cancellation and JobGoneError leave it undone."""
        with self.store.hold():
            return await self._run()

    async def _run(self) -> JobRecord:
        try:
            try:
                root, reason = await self._make_output()
            except JobGoneError:
                raise
            except (PfsError, RunnerError) as error:
                if await trio.to_thread.run_sync(self._is_gone):
                    raise JobGoneError(self.job) from error
                return await self._end(JobState.FAILURE, str(error), None)
            return await self._end(JobState.SUCCESS, reason, root)
        except JobGoneError:
            self._log.remove()
            raise
        finally:
            self._log.close()

    async def _make_output(self) -> tuple[Entry, str]:
        """Return the job's output, and a remark on it."""
        await trio.to_thread.run_sync(self._begin)
        planned = await self._plan_and_check_image()
        if planned is None:
            root = self.base if self.base is not None else self._empty_tree()
            return root, "no new data: nothing was run"
        await self._run_containers(planned)
        await self._set(state=JobState.FINISHING)
        return await trio.to_thread.run_sync(self._merge), ""

    # Starting

    def _begin(self) -> None:
        """Open the output commit, if an earlier runner has not."""
        self.job = change(
            self.job,
            state=JobState.STARTING,
            started_ns=self.job.started_ns or time.time_ns(),
            parent_job=self.parent.id if self.parent is not None else None,
        )
        with self.store.write() as txn:
            self._write_job(txn)
            open_output(txn, self.job)

    async def _plan_and_check_image(self) -> Plan | None:
        """Return the plan, recorded; None if there is nothing to run."""
        made: list[Plan] = []

        async def check() -> None:
            image = await self.pool.check_image()
            self.job = change(self.job, image=image)

        async def make_plan() -> None:
            made.append(await trio.to_thread.run_sync(self._plan))

        await _side_by_side(check, make_plan)
        (planned,) = made
        if self._is_empty(planned):
            return None
        await trio.to_thread.run_sync(self._note_plan, planned)
        return planned

    def _note_plan(self, planned: Plan) -> None:
        """Record the plan's size, and make its trees visible to the mount."""
        count = len(planned.containers)
        with self.store.write() as txn:
            if self.job.containers not in (0, count):
                # The machine has another size now: what an earlier runner did belongs to another plan.
                forget_containers(txn, self.job)
            done = sum(record.ok for record in containers(txn, self.job))
            self.job = change(self.job, state=JobState.RUNNING, containers=count, done=done)
            self._write_job(txn)

    def _is_gone(self) -> bool:
        with self.store.read() as txn:
            return find_job(txn, self.job.pipeline, self.job.id) is None

    async def _set(self, **values: object) -> None:
        self.job = change(self.job, **values)
        await self.context.recorder.write(self._write_job)

    def _write_job(self, txn: WriteTxn) -> None:
        refuse_gone(txn, self.job)
        put_job(txn, self.job)

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
                root = self._root_of(commit(txn, each.repo, each.commit))
                old = before.get(each.repo)
                parent = commit(txn, each.repo, old).root if old is not None and old != each.commit else None
                data.append(InputData(each.repo, root, parent, spec.partition, spec.incremental))
        return plan(self.context.trees, data, parallelism)

    def _root_of(self, source: Commit) -> Entry:
        if source.forgotten:
            raise ForgottenError(source.ref)
        return source.root if source.root is not None else self._empty_tree()

    def _is_empty(self, planned: Plan) -> bool:
        """Say whether an input has nothing to see and its method does not ask to be run on nothing."""
        patient = {each.repo for each in self.work.inputs if not each.run_empty}
        return any(repo in patient for repo in planned.empty)

    # Containers

    async def _run_containers(self, planned: Plan) -> None:
        with self.store.read() as txn:
            done = {record.number for record in containers(txn, self.job) if record.ok}
        failed: list[ContainerRecord] = []

        async def run_one(container: Container, ready: Callable[[], None]) -> bool:
            record = await self._run_container(container, ready)
            if not record.ok:
                failed.append(record)
            return record.ok

        left = [container for container in planned.containers if container.number not in done]
        most = int(self.context.slots.total_tokens)
        await Crew(left, run_one, warm=self.pool.warm, most=most).run()
        for order in self._orders:
            await order.wait()
        if failed:
            first = min(failed, key=lambda record: record.number)
            more = (
                f" ({len(failed)} of {len(planned.containers)} containers failed)" if len(failed) > 1 else ""
            )
            raise JobFailed(f"container {first.number} failed: {first.reason}{more}")

    async def _run_container(self, container: Container, ready: Callable[[], None]) -> ContainerRecord:
        """Run a container until it ends well or has had its tries; have it recorded, and return what became of it."""
        attempt = 1
        while True:
            tried = _Try(self, container, attempt)
            try:
                async with self.context.slots:
                    record, sealed = await tried.run(ready)
            except (UnavailableError, ViewNotFoundError):
                await self._wait_for_mount(container.number)
                continue
            except EngineError as error:
                record, sealed = ContainerRecord(container.number, attempt, ok=False, reason=str(error)), None
            if not record.ok and not await tried.had_its_mount():
                await self._wait_for_mount(container.number)
                continue
            if record.ok or attempt >= TRIES:
                self._orders.append(
                    self.context.recorder.submit(partial(self._record, container, record, sealed))
                )
                return record
            self._log.note(container.number, f"attempt {attempt} failed: {record.reason}")
            attempt += 1

    def view_of(self, container: Container) -> dict[bytes, Shown]:
        """Return what a container sees under /pfs, beside `out`."""
        shown = {repo.encode(): Shown(repo, entry) for repo, entry in container.inputs.items()}
        if self.base is not None:
            shown[PREV] = Shown(self.job.output_repo, self.base)
        return shown

    def command(self, slot: Slot) -> Command:
        """Return what is run in a worker."""
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

    def output_to_log(self, number: int) -> Callable[[Stream, bytes], Awaitable[None]]:
        """Return what takes the output of a container."""

        async def write(stream: Stream, data: bytes) -> None:
            self._log.write(number, _SOURCES[stream], data)

        return write

    def end_output(self, number: int) -> None:
        """Note that a run has ended: what it printed last may lack a newline."""
        self._log.end_lines(number)

    def _record(
        self, container: Container, record: ContainerRecord, sealed: Sealed | None, txn: WriteTxn
    ) -> None:
        refuse_gone(txn, self.job)
        view = self.view_of(container)
        if sealed is not None:
            view[b"out"] = Shown(self.job.output_repo, sealed.root)
        put_container(txn, self.job, record)
        if record.ok:
            self.job = change(self.job, done=self.job.done + 1)
            put_job(txn, self.job)
        keep_view(txn, self.job.name, str(container.number), view)

    async def _wait_for_mount(self, number: int) -> None:
        """Wait until there is a mount: whoever started it starts it again."""
        said = False
        while True:
            try:
                await self.context.mount.status()
            except UnavailableError:
                if not said:
                    self._log.note(number, "the mount went away; waiting for it")
                    said = True
                await trio.sleep(_LOOK_FOR_MOUNT_S)
            else:
                return

    # Ending

    def _merge(self) -> Entry:
        with self.store.read() as txn:
            outputs = [record.changes for record in containers(txn, self.job)]
        root = merge_outputs(
            self.context.trees, self.store.chunks, self.base, outputs, mtime_ns=time.time_ns()
        )
        with self.store.read() as txn:
            refuse_over_quota(repo(txn, self.job.output_repo), self.base, root)
        return msgspec.structs.replace(root, mtime_ns=time.time_ns())

    async def _end(self, state: JobState, reason: str, root: Entry | None) -> JobRecord:
        while True:
            try:
                return await trio.to_thread.run_sync(self._finish, state, reason, root)
            except OutOfSpaceError as error:
                log.warning("the end of job %s cannot be recorded yet: %s", self.job.name, error)
                await trio.sleep(_RETRY_S)

    def _finish(self, state: JobState, reason: str, root: Entry | None) -> JobRecord:
        if state is JobState.FAILURE and not self._is_failure_noted:
            self._log.note(0, f"job failed: {reason}")
            self._is_failure_noted = True
        kept = self._log.keep()
        final = change(self.job, state=state, reason=reason, finished_ns=time.time_ns(), log=kept)
        finish_job(self.store, final, root)
        self._log.remove()
        self.job = final
        return final


class _Try:
    """One attempt to run one container."""

    def __init__(self, run: JobRun, container: Container, attempt: int) -> None:
        self._run = run
        self._container = container
        self._attempt = attempt
        self._mount = run.context.mount
        self._life: int | None = None
        """The life of the mount that the view was set in."""

    async def run(self, ready: Callable[[], None]) -> tuple[ContainerRecord, Sealed | None]:
        """Run the command, and return how it went and what it left."""
        number, run = self._container.number, self._run
        slot = await self._ready_slot()
        # A failure may be that of the container, or have spoiled it: the next try gets a new one.
        is_reusable = False
        try:
            ready()
            outcome = await slot.worker.run(run.command(slot), run.output_to_log(number))
            run.end_output(number)
            ok = outcome.exit_code in (0, *run.work.transform.accept_return_code) and _ended_itself(outcome)
            sealed = await self._mount.seal_view(slot.name) if ok else None
            is_reusable = ok
        finally:
            if is_reusable:
                run.pool.release(slot)
            else:
                run.pool.throw_away(slot)
        return _record_of(number, self._attempt, outcome, ok, sealed), sealed

    async def _ready_slot(self) -> Slot:
        """Return a worker whose /pfs shows what the container is to see."""
        while True:
            slot = await self._run.pool.acquire()
            try:
                self._life = await self._mount.set_view(
                    slot.name, self._run.view_of(self._container), self._out_base()
                )
            except BaseException:
                self._run.pool.throw_away(slot)
                raise
            if slot.life == self._life:
                return slot
            self._run.pool.throw_away(slot)

    def _out_base(self) -> Entry | None:
        return None if self._run.work.transform.overwrite else self._run.base

    async def had_its_mount(self) -> bool:
        """Say whether a failure was the container's own: the mount that it saw is still there."""
        # Where no view was set, the worker did not start; a mount that is gone explains that too.
        return await self._mount.is_alive(self._life)


async def _side_by_side(*works: Callable[[], Awaitable[None]]) -> None:
    """Do several things at a time; the first error ends the others and is raised as it is."""
    errors: list[Exception] = []

    async with trio.open_nursery() as nursery:

        async def guard(work: Callable[[], Awaitable[None]]) -> None:
            try:
                await work()
            except (PfsError, RunnerError) as error:
                errors.append(error)
                nursery.cancel_scope.cancel()

        for work in works:
            nursery.start_soon(guard, work)
    if errors:
        raise errors[0]


def refuse_gone(txn: ReadTxn, job: JobRecord) -> None:
    """JobGoneError if the job was deleted."""
    if find_job(txn, job.pipeline, job.id) is None:
        raise JobGoneError(job)


def _output_of(txn: ReadTxn, job: JobRecord | None) -> Entry | None:
    return commit(txn, RepoName(job.output_repo), job.id).root if job is not None else None


def open_output(txn: WriteTxn, job: JobRecord) -> bool:
    """Start a job's output commit if it is not there; say whether it can still be finished."""
    ref = output_ref(job)
    found = find_commit(txn, ref.repo, ref.commit)
    if found is None:
        found = start_commit(
            txn,
            ref.repo,
            job.output_branch,
            commit_id=ref.commit,
            origin=Origin.AUTO,
            # An input that was deleted, or never made, is why the job fails, and nothing to be made from.
            provenance=[
                each.ref for each in job.inputs if find_commit(txn, each.repo, each.commit) is not None
            ],
        )
    return not found.is_finished


def finish_job(store: Store, final: JobRecord, root: Entry | None) -> None:
    """
    Write a job's last state and finish its output commit, in one transaction.

    Without *root* the commit gets the job's reason as its error.  JobGoneError.
    """
    with store.write() as txn:
        refuse_gone(txn, final)
        if open_output(txn, final):
            finish_commit(txn, output_ref(final), root, error="" if root is not None else final.reason)
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
