"""`pfs up`, `pfs down`, `pfs runner`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import trio
import typer

import runner
from runner.logfiles import MOST_BYTES, rotate
from runner.supervisor import (
    MOUNT,
    RUNNER,
    ProcessFailedError,
    Program,
    Supervisor,
    UpElsewhereError,
    UpState,
    bring_down,
    live_state,
)

from .mounting import Autocommit, Directory, Transport, Xattrs, check_point, point_of, seconds_of
from .servers import Parent, ReadyFd, announce, start_logging
from .session import ROOT_VARIABLE, Session

_PFS = (sys.executable, "-P", "-m", "runner.cli.main")


def up(
    session: Session,
    directory: Directory,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when everything is ready.")] = False,
    autocommit: Autocommit = "2",
    transport: Transport = None,
    xattrs: Xattrs = False,
    no_runner: Annotated[bool, typer.Option("--no-runner", help="The mount only; no pipelines run.")] = False,
    ready_fd: ReadyFd = None,
) -> None:
    """Mount the repos at DIR, run the pipelines, and keep both running until Ctrl-C or `pfs down`."""
    point = check_point(session.root, directory)
    seconds_of(autocommit)
    mounting = [os.fspath(point), "--autocommit", autocommit]
    mounting += ["--transport", transport] if transport is not None else []
    mounting += ["--xattrs"] if xattrs else []
    # Makes the store where there is none, and refuses one that cannot be used, before anything is started.
    session.close()
    state = live_state(session.run)
    if state is not None:
        _say_up_already(session, state, point)
        return
    if detach:
        _detach(session, [*mounting, *(["--no-runner"] if no_runner else [])])
        session.screen.note(f"up: mounted at {point}; `pfs down` ends it")
        return
    start_logging(session.screen, None)
    names = [MOUNT] if no_runner else [MOUNT, RUNNER]
    arguments = {MOUNT: mounting, RUNNER: []}
    supervisor = Supervisor(
        session.run,
        point,
        [Program(name, [*_PFS, name, *arguments[name]]) for name in names],
        environment=_environment(session),
    )
    told = f"up: mounted at {point}; Ctrl-C ends it"
    trio.run(lambda: supervisor.run(ready=lambda: announce(ready_fd, session.screen, told)))


def _say_up_already(session: Session, state: UpState, point: Path) -> None:
    if Path(state.mount) != point:
        raise UpElsewhereError(
            f"this store is up at {state.mount} already; `pfs down` first, or another PFS_ROOT for {point}"
        )
    session.screen.note(f"up already: mounted at {point}")


def _environment(session: Session) -> dict[str, str]:
    """Return the environment of the children: the same store and the same program, whatever the working directory."""
    sources = str(Path(runner.__file__).parent.parent)
    others = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each and each != sources]
    return {
        **os.environ,
        ROOT_VARIABLE: os.fspath(session.root),
        "PYTHONPATH": os.pathsep.join([sources, *others]),
    }


def _detach(session: Session, arguments: list[str]) -> None:
    """Start the supervisor in a session of its own, and return when it is ready; ProcessFailedError."""
    path = session.run / "up.log"
    if path.exists() and path.stat().st_size > MOST_BYTES:
        rotate(path)
    ready, ready_child = os.pipe2(os.O_CLOEXEC)
    with open(path, "ab") as log:
        begins = log.tell()
        process = subprocess.Popen(
            [*_PFS, "up", *arguments, "--ready-fd", str(ready_child)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[ready_child],
            env=_environment(session),
            cwd="/",
            start_new_session=True,
        )
    os.close(ready_child)
    try:
        is_ready = os.read(ready, 1) != b""
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise
    finally:
        os.close(ready)
    if not is_ready:
        status = process.wait()
        with open(path, "rb") as log:
            log.seek(begins)
            said = log.read().decode("utf-8", "replace")
        raise ProcessFailedError("supervisor", status, said[-4000:])


def down(session: Session) -> None:
    """End what `pfs up` began: the runner with its containers, then the mount."""
    if bring_down(session.run):
        session.screen.note("down")
        return
    alone = point_of(session)
    session.screen.note(
        f"not up; the mount at {alone} runs alone, `pfs umount` ends it" if alone else "not up"
    )


def run_jobs(session: Session, ready_fd: ReadyFd = None, parent: Parent = None) -> None:
    """Run the pipelines until Ctrl-C.  `pfs up` does that and mounts too."""
    start_logging(session.screen, parent)
    trio.run(_run_jobs, session, lambda: announce(ready_fd, session.screen, "running pipelines"))


async def _run_jobs(session: Session, ready: Callable[[], None]) -> None:
    from runner.jobs.main import run

    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_on_signal, nursery.cancel_scope)
        await run(session.store, ready=ready)
        nursery.cancel_scope.cancel()


async def _cancel_on_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
