"""`pfs create|list|inspect|delete pipeline`."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer

from pfsfuse.store.index import ReadTxn
from runner.jobs import creation, records
from runner.jobs.model import PipelineRecord
from runner.jobs.requests import creating
from runner.spec.era1 import load_pipelines

from .screen import ago, local_time, when
from .session import Session
from .specs import SpecFile, read_spec

Name = Annotated[str, typer.Argument(metavar="PIPELINE", help="The name of the pipeline.")]


class ShownPipeline(msgspec.Struct):
    """A pipeline, as JSON and YAML have it."""

    name: str
    version: int
    state: str
    reason: str
    created: datetime | None
    inputs: list[str]
    jobs: dict[str, int]
    """How many are in which state."""
    spec: dict[str, Any]


def shown_pipeline(txn: ReadTxn, record: PipelineRecord) -> ShownPipeline:
    spec = records.spec_of(record)
    counted = Counter(job.state.value for job in records.jobs(txn, pipeline_name=record.name))
    return ShownPipeline(
        record.name,
        record.version,
        record.state.value,
        record.reason,
        when(record.created_ns),
        [str(ref) for ref in records.inputs_of(spec)],
        dict(counted),
        msgspec.to_builtins(spec),
    )


def create_pipeline(session: Session, file: SpecFile) -> None:
    """Create the pipelines of a file: all of them, or none if one cannot be."""
    text, source = read_spec(file)
    specs = load_pipelines(text, source=source)
    session.change(*(creating(spec) for spec in specs))
    for spec in specs:
        session.screen.note(f"created pipeline {spec.name}")


def list_pipeline(session: Session) -> None:
    """List the pipelines."""
    with session.store.read() as txn:
        found = [shown_pipeline(txn, record) for record in records.pipelines(txn)]
    session.screen.rows(
        found,
        {
            "NAME": lambda pipeline: pipeline.name,
            "VERSION": lambda pipeline: str(pipeline.version),
            "INPUT": lambda pipeline: ", ".join(pipeline.inputs),
            "CREATED": lambda pipeline: ago(pipeline.created),
            "STATE": lambda pipeline: pipeline.state,
            "JOBS": lambda pipeline: _counts(pipeline),
            "REASON": lambda pipeline: pipeline.reason.partition("\n")[0],
        },
    )


def _counts(pipeline: ShownPipeline) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(pipeline.jobs.items())) or "-"


def inspect_pipeline(session: Session, name: Name) -> None:
    """Show a pipeline."""
    with session.store.read() as txn:
        found = shown_pipeline(txn, records.pipeline(txn, name))
    session.screen.record(
        found,
        {
            "Name": lambda pipeline: pipeline.name,
            "Version": lambda pipeline: str(pipeline.version),
            "State": lambda pipeline: pipeline.state,
            "Reason": lambda pipeline: pipeline.reason,
            "Created": lambda pipeline: local_time(pipeline.created),
            "Jobs": _counts,
            "Inputs": lambda pipeline: "\n".join(_input(each) for each in pipeline.spec["inputs"]),
            "Image": lambda pipeline: pipeline.spec["transform"]["image"],
            "Command": lambda pipeline: " ".join(pipeline.spec["transform"]["cmd"]),
            "Standard input": lambda pipeline: "\n".join(pipeline.spec["transform"]["stdin"]),
        },
    )


def _input(spec: dict[str, Any]) -> str:
    return (
        f"{spec['repo']}@{spec['branch']}, partition {spec['partition']}, incremental {spec['incremental']}"
    )


def delete_pipeline(
    session: Session,
    name: Name,
    force: Annotated[bool, typer.Option("--force", "-f", help="Also if others read its output.")] = False,
    keep_repo: Annotated[bool, typer.Option("--keep-repo", help="Keep its output.")] = False,
) -> None:
    """Delete a pipeline with its jobs and its output repo."""
    with session.store.write() as txn:
        creation.delete_pipeline(txn, name, force=force, keep_repo=keep_repo)
