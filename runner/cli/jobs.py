"""`pfs create|list|inspect job`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer

from pfsfuse.store.index import ReadTxn
from pfsfuse.versions.commits import resolve
from runner.jobs import records
from runner.jobs.creation import create_job as create
from runner.jobs.model import ContainerRecord, JobRecord, JobState
from runner.spec.era1 import load_jobs

from .names import commit_name
from .screen import FORMATS, Screen, ago, local_time, size, took, when
from .session import Session
from .specs import SpecFile, read_spec

JobName = Annotated[str, typer.Argument(metavar="JOB", help="An id, or PIPELINE@ID; ids may be shortened.")]


class ShownJob(msgspec.Struct):
    """A job, as JSON and YAML have it."""

    name: str
    id: str
    pipeline: str | None
    """None for a one-off job."""
    state: str
    reason: str
    created: datetime | None
    started: datetime | None
    finished: datetime | None
    containers: int
    done: int
    inputs: list[str]
    output: str
    parent_job: str | None
    pipeline_version: int
    image: str


class ShownContainer(msgspec.Struct):
    """What became of one container of a job."""

    number: int
    ok: bool
    attempts: int
    exit_code: int | None
    signal: int | None
    reason: str
    started: datetime | None
    finished: datetime | None
    cpu_s: float
    max_rss_bytes: int


class InspectedJob(ShownJob):
    """A job with all about it."""

    transform: dict[str, Any]
    container_runs: list[ShownContainer]


def shown_job(job: JobRecord) -> ShownJob:
    return ShownJob(**_fields(job))


def _fields(job: JobRecord) -> dict[str, Any]:
    return {
        "name": job.name,
        "id": job.id.hex(),
        "pipeline": job.pipeline or None,
        "state": job.state.value,
        "reason": job.reason,
        "created": when(job.created_ns),
        "started": when(job.started_ns),
        "finished": when(job.finished_ns),
        "containers": job.containers,
        "done": job.done,
        "inputs": [str(each.ref) for each in job.inputs],
        "output": str(records.output_ref(job)),
        "parent_job": job.parent_job.hex() if job.parent_job else None,
        "pipeline_version": job.version,
        "image": job.image,
    }


def _shown_container(run: ContainerRecord) -> ShownContainer:
    return ShownContainer(
        run.number,
        run.ok,
        run.attempts,
        run.exit_code,
        run.signal,
        run.reason,
        when(run.started_ns or None),
        when(run.finished_ns or None),
        round(run.user_s + run.system_s, 3),
        run.max_rss_bytes,
    )


def create_job(session: Session, file: SpecFile) -> None:
    """Run something once, over commits that exist; print the id of each job."""
    text, source = read_spec(file)
    specs = load_jobs(text, source=source)
    with session.store.write() as txn:
        made = [create(txn, spec) for spec in specs]
    session.screen.identifiers([job.id.hex() for job in made])


def show_jobs(screen: Screen, found: Sequence[ShownJob]) -> None:
    screen.rows(
        found,
        {
            "JOB": lambda job: job.name,
            "STATE": lambda job: job.state,
            "CREATED": lambda job: ago(job.created),
            "TOOK": lambda job: took(job.started, job.finished),
            "CONTAINERS": lambda job: f"{job.done}/{job.containers}" if job.containers else "-",
            "REASON": lambda job: job.reason.partition("\n")[0],
        },
    )


def _format_or_output(value: str | None) -> str | None:
    if value is not None and "@" not in value and value not in FORMATS:
        raise typer.BadParameter(f"expected {', '.join(FORMATS)} or REPO@COMMIT, got {value!r}")
    return value


def list_job(
    session: Session,
    name: Annotated[str | None, typer.Argument(metavar="JOB", help="Those of an id.")] = None,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", metavar="PIPELINE", help="Those of it.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="REPO@COMMIT", help="Those that read it; repeatable."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FORMAT|REPO@COMMIT",
            help="table, json or yaml; or the commit that the job made.",
            callback=_format_or_output,
        ),
    ] = None,
    output_commit: Annotated[
        str | None, typer.Option("--output-commit", metavar="REPO@COMMIT", help="The one that made it.")
    ] = None,
    states: Annotated[
        list[JobState] | None, typer.Option("--state", help="Those in this state; repeatable.")
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", min=0, help="At most so many; 0: all.")] = 0,
) -> None:
    """List jobs, newest first."""
    if output is not None and "@" in output:
        output_commit = output
    elif output is not None:
        session.screen.format = output
    with session.store.read() as txn:
        made = resolve(txn, *commit_name(output_commit)).ref if output_commit else None
        found = records.list_jobs(txn, pipeline_name=pipeline, output=made)
        if name is not None:
            wanted = {job.name for job in records.jobs_named(txn, name)}
            found = [job for job in found if job.name in wanted]
        for text in inputs or ():
            found = _that_read(txn, found, text)
    chosen = [job for job in found if not states or job.state in states]
    show_jobs(session.screen, [shown_job(job) for job in (chosen[:number] if number else chosen)])


def _that_read(txn: ReadTxn, found: Sequence[JobRecord], text: str) -> list[JobRecord]:
    wanted = resolve(txn, *commit_name(text)).ref
    return [job for job in found if wanted in [each.ref for each in job.inputs]]


def inspect_job(session: Session, name: JobName) -> None:
    """Show a job with its containers; all jobs of the id, if several pipelines share it."""
    with session.store.read() as txn:
        found = [_inspected(txn, job) for job in records.jobs_named(txn, name)]
    if len(found) > 1 and not session.screen.is_table:
        session.screen.rows(found, {})
        return
    for each in found:
        session.screen.record(each, _INSPECTED)


def _inspected(txn: ReadTxn, job: JobRecord) -> InspectedJob:
    work = records.work_of(txn, job)
    return InspectedJob(
        **_fields(job),
        transform=msgspec.to_builtins(work.transform),
        container_runs=[_shown_container(run) for run in records.containers(txn, job)],
    )


def _describe(run: ShownContainer) -> str:
    if run.ok:
        end = "ok"
    elif run.signal is not None:
        end = f"ended by signal {run.signal}"
    else:
        end = f"exit code {run.exit_code}" if run.exit_code is not None else "failed"
    facts = [end, f"{run.attempts} tries" if run.attempts > 1 else "", took(run.started, run.finished)]
    facts += [f"cpu {run.cpu_s:g}s", f"memory {size(run.max_rss_bytes)}", run.reason]
    return f"{run.number}: " + ", ".join(fact for fact in facts if fact)


_INSPECTED = {
    "Job": lambda job: job.name,
    "Pipeline version": lambda job: str(job.pipeline_version) if job.pipeline else "",
    "State": lambda job: job.state,
    "Reason": lambda job: job.reason,
    "Parent job": lambda job: job.parent_job or "",
    "Created": lambda job: local_time(job.created),
    "Started": lambda job: local_time(job.started),
    "Finished": lambda job: local_time(job.finished),
    "Took": lambda job: took(job.started, job.finished) if job.started else "",
    "Inputs": lambda job: "\n".join(job.inputs),
    "Output": lambda job: job.output,
    "Image": lambda job: job.image or job.transform["image"],
    "Command": lambda job: " ".join(job.transform["cmd"]),
    "Standard input": lambda job: "\n".join(job.transform["stdin"]),
    "Containers": lambda job: f"{job.done} of {job.containers} done" if job.containers else "",
    "Runs": lambda job: "\n".join(map(_describe, job.container_runs)),
}
