"""What the commands that move many bytes have in common."""

from __future__ import annotations

from typing import Annotated

import typer

from pfsfuse.versions.ingest import Progress

from .screen import size

Parallel = Annotated[int, typer.Option("--parallelism", "-p", min=1, help="Threads.")]
ShowProgress = Annotated[bool, typer.Option("--progress/--no-progress", help="A bar on a terminal.")]


def counted(state: Progress) -> str:
    """Return how far a transfer is, for beside its bar."""
    return f"{state.files}/{state.found_files} files, {size(state.bytes)}"
