"""Specification files, as they are named on the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from runner.spec.errors import Problem, SpecError

SpecFile = Annotated[str, typer.Option("--file", "-f", metavar="FILE", help="JSON or YAML; - is stdin.")]


def read_spec(file: str) -> tuple[str, str]:
    """Return the text of a specification file, and what errors call it."""
    data, source = (sys.stdin.buffer.read(), "stdin") if file == "-" else (Path(file).read_bytes(), file)
    try:
        return data.decode(), source
    except UnicodeDecodeError as error:
        raise SpecError([Problem(f"byte {error.start}", "this is no UTF-8 text")], source=source) from None
