"""The command line, run inside the test's own process or as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.cli.main import run

SOURCES = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """What a command has left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Pfs:
    """`pfs`, on a store of the test's own, without a process for each command."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured

    def __call__(self, *words: str | Path) -> Done:
        """Run a command and return what came of it."""
        self._captured.readouterr()
        code = run(["pfs", *map(os.fspath, words)])
        printed = self._captured.readouterr()
        return Done(code, printed.out, printed.err)

    def ok(self, *words: str | Path) -> Done:
        """Run a command that must succeed."""
        done = self(*words)
        assert 0 == done.code, done.err
        return done


class PfsProcess:
    """`pfs` as a process for each command."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, *words: str | Path, timeout_s: float = 60.0, input: bytes = b"") -> Done:
        """Run a command and return what came of it."""
        done = subprocess.run(
            self.command(*words),
            cwd="/",
            env=self.environment,
            input=input,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def command(self, *words: str | Path) -> list[str]:
        return [sys.executable, "-m", "runner.cli.main", *map(os.fspath, words)]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PFS_ROOT": os.fspath(self.root), "PYTHONPATH": os.fspath(SOURCES)}

    def ok(self, *words: str | Path, input: bytes = b"") -> Done:
        """Run a command that must succeed."""
        done = self(*words, input=input)
        assert 0 == done.code, f"{words}: {done.err}"
        return done
