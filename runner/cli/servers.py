"""What the commands that serve in the foreground have in common: logging, and what a supervisor is told."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from .screen import Screen

ReadyFd = Annotated[int | None, typer.Option("--ready-fd", hidden=True)]
Parent = Annotated[int | None, typer.Option("--parent", hidden=True)]


def start_logging(screen: Screen, parent: int | None) -> None:
    """Log to stderr.  With a *parent*, end when it ends."""
    level = logging.DEBUG if screen.verbose else logging.WARNING if screen.quiet else logging.INFO
    logging.basicConfig(
        level=level,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for name in ("urllib3", "podman"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if parent is not None:
        from runner.processes import die_with

        die_with(parent)


def announce(ready_fd: int | None, screen: Screen, text: str) -> None:
    """Say that the process is ready: to who waits at the other end of *ready_fd*, or to the person."""
    if ready_fd is None:
        screen.note(text)
        return
    os.write(ready_fd, b"1")
    os.close(ready_fd)
