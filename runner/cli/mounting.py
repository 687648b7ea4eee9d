"""`pfs mount` and `pfs umount`: the mount alone, in the foreground."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import trio
import typer

from pfsfuse.errors import ConflictError, InvalidNameError, UnavailableError
from pfsfuse.mount.client import MountClient
from pfsfuse.mount.mountpoint import FUSE_KIND, find_mount, unmount
from runner.supervisor import live_state

from .servers import Parent, ReadyFd, announce, start_logging
from .session import Session

if TYPE_CHECKING:
    from pfsfuse.mount.mount import Mount

Autocommit = Annotated[
    str,
    typer.Option(
        metavar="SECONDS", help="Finish a commit after so many quiet seconds; `off`: never by itself."
    ),
]
Transport = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        envvar="PFS_TRANSPORT",
        help="How to talk to the kernel: `direct`, or `pyfuse3`, which is slower.",
        show_default="direct",
    ),
]
Xattrs = Annotated[
    bool,
    typer.Option("--xattrs", help="Keep extended attributes (user.*); every write costs a request more."),
]
Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="The mount point: an empty folder, made if absent.")
]


def seconds_of(text: str) -> float:
    """Return --autocommit in seconds; negative for never."""
    if text == "off":
        return -1.0
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"--autocommit: expected seconds or off, got {text!r}") from None


def check_point(root: Path, directory: Path) -> Path:
    """Return the mount point as an absolute path; it and the store may not contain each other."""
    # Of the parent only: the mount point itself may be dead.
    point = directory.absolute()
    point = point.parent.resolve() / point.name
    store = root.resolve()
    if point == store or point in store.parents or store in point.parents:
        raise InvalidNameError(
            f"{point} and the store in {store} cannot be inside each other; choose another folder"
        )
    return point


def mount(
    session: Session,
    directory: Directory,
    autocommit: Autocommit = "2",
    transport: Transport = None,
    xattrs: Xattrs = False,
    ready_fd: ReadyFd = None,
    parent: Parent = None,
) -> None:
    """Mount the repos at DIR and serve them until Ctrl-C.  `pfs up` does that and runs pipelines too."""
    from pfsfuse.mount.mount import Mount

    point = check_point(session.root, directory)
    start_logging(session.screen, parent)
    made = Mount(
        session.store, point, autocommit_s=seconds_of(autocommit), transport=transport, xattrs=xattrs
    )
    trio.run(_serve, made, lambda: announce(ready_fd, session.screen, f"mounted at {point}"))


async def _serve(mount: Mount, ready: Callable[[], None]) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(_stop_on_signal, mount.stop)
        await mount.run(ready=ready)
        nursery.cancel_scope.cancel()


async def _stop_on_signal(
    stop: Callable[[], None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            stop()


def umount(
    session: Session,
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="The mount point; else that of the store.")
    ] = None,
) -> None:
    """Take the mount of `pfs mount` away.  What belongs to `pfs up` is ended by `pfs down`."""
    state = live_state(session.run)
    point = directory.absolute() if directory is not None else point_of(session)
    if point is None:
        session.screen.note("nothing is mounted")
        return
    point = point.parent.resolve() / point.name
    if state is not None and Path(state.mount) == point:
        raise ConflictError(f"{point} belongs to `pfs up`, which would mount it again; use `pfs down`")
    found = find_mount(point)
    if found is None:
        session.screen.note(f"{point} is not mounted")
    elif found.kind != FUSE_KIND:
        raise InvalidNameError(f"{point} is a mount of type {found.kind}, not one of pfs")
    else:
        unmount(point)


def point_of(session: Session) -> Path | None:
    """Return where the store is mounted, if its mount answers."""
    try:
        with MountClient(session.run, timeout_s=10.0) as client:
            return Path(client.status()["mount"])
    except UnavailableError:
        return None
