"""`pfs logs`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
import typer

from pfsfuse.versions.changes import Listener
from runner.jobs import records
from runner.jobs.logs import LogLine, LogReader, Source
from runner.jobs.model import JobRecord

from .screen import shown, when
from .session import Session

_LOOK_EVERY_S = 0.2
"""A log grows without news in the change log."""


class ShownLine(msgspec.Struct):
    """A line of a log, as JSON and YAML have it."""

    time: datetime | None
    job: str
    container: int
    source: str
    text: str


def logs(
    session: Session,
    job: Annotated[
        str | None, typer.Option("--job", "-j", metavar="JOB", help="An id, or PIPELINE@ID.")
    ] = None,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", metavar="PIPELINE", help="All its jobs.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on while there is more to come.")
    ] = False,
    tail: Annotated[int, typer.Option("--tail", "-t", min=0, help="The last lines only; 0: all.")] = 0,
) -> None:
    """
    Print what the containers of jobs printed.

    With --follow and a job: until it ends.  With --follow and a pipeline: until Ctrl-C.
    As JSON it is one array; with --follow an object a line.
    """
    if (job is None) == (pipeline is None):
        raise typer.BadParameter("give either --job or --pipeline")
    printer = _Printer(session, follow=follow, tail=tail)
    with Listener(session.store) as listener:
        while True:
            listener.news()
            found = _jobs(session, job, pipeline)
            printer.take(found)
            if not follow or (job is not None and all(each.state.is_final for each in found)):
                break
            listener.wait(_LOOK_EVERY_S)
    printer.end()


def _jobs(session: Session, job: str | None, pipeline: str | None) -> list[JobRecord]:
    with session.store.read() as txn:
        found = records.jobs_named(txn, job) if job else records.list_jobs(txn, pipeline_name=pipeline)
    return sorted(found, key=lambda each: each.created_ns)


class _Printer:
    """Prints the lines of several jobs as they come."""

    def __init__(self, session: Session, *, follow: bool, tail: int) -> None:
        self._session = session
        self._follow = follow
        self._tail = tail
        self._readers: dict[str, LogReader] = {}
        self._held: list[tuple[JobRecord, LogLine]] = []
        self._is_first = True
        self._several = False
        """Whether lines say whose they are."""

    def take(self, found: Sequence[JobRecord]) -> None:
        """Read what is new in the logs of *found*."""
        self._several = self._several or len(found) > 1
        for job in found:
            reader = self._readers.setdefault(job.name, LogReader(self._session.store, job))
            for line in reader.read(job):
                if self._holds:
                    self._held.append((job, line))
                else:
                    self._print(job, line)
        if self._is_first and self._follow:
            self._release()
        self._is_first = False
        sys.stdout.flush()

    @property
    def _holds(self) -> bool:
        """Whether lines are kept back: the last ones only are wanted, or they go into one array."""
        if self._follow:
            return self._is_first and self._tail > 0
        return self._tail > 0 or not self._session.screen.is_table

    def _release(self) -> None:
        held, self._held = self._held[-self._tail :] if self._tail else self._held, []
        for job, line in held:
            self._print(job, line)

    def end(self) -> None:
        """Print what was kept back."""
        if not self._follow and not self._session.screen.is_table:
            held = self._held[-self._tail :] if self._tail else self._held
            self._session.screen.rows([_shown(job, line) for job, line in held], {})
        else:
            self._release()

    def _print(self, job: JobRecord, line: LogLine) -> None:
        if not self._session.screen.is_table:
            print(msgspec.json.encode(_shown(job, line)).decode())
            return
        prefix = f"{job.name[: len(job.pipeline or 'job') + 9]} " if self._several else ""
        mark = "pfs: " if line.source is Source.RUNNER else ""
        container = f"{line.container} | " if job.containers > 1 else ""
        sys.stdout.flush()
        sys.stdout.buffer.write(f"{prefix}{container}{mark}".encode() + line.text + b"\n")


def _shown(job: JobRecord, line: LogLine) -> ShownLine:
    source = {Source.OUT: "stdout", Source.ERR: "stderr", Source.RUNNER: "runner"}[line.source]
    return ShownLine(when(line.time_ns), job.name, line.container, source, shown(line.text))
