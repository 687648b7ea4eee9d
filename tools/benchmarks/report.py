"""Figures: how they are measured beside a reference, and how they are shown."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HEADING = f"      {'':48} {'ours':>24}   {'reference':>36}   {'ratio':>7}   to reach"


@dataclass(frozen=True)
class Figure:
    """One line of the report."""

    what: str
    ours: str
    reference: str
    ratio: str
    wanted: str
    reached: bool

    def line(self) -> str:
        mark = "  ok " if self.reached else " MISS"
        return (
            f"{mark} {self.what:48} {self.ours:>24}   {self.reference:>36}   {self.ratio:>7}   {self.wanted}"
        )


def seconds(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def paired(rounds: int, ours: Callable[[], float], reference: Callable[[], float]) -> tuple[float, float]:
    """Return the best of each, measured in turns."""
    pairs = [(ours(), reference()) for _ in range(rounds)]
    return min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)


def read_file(path: Path) -> float:
    """Read a file in 1 MiB steps and return the seconds."""
    buffer = bytearray(1 << 20)

    def work() -> None:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    return seconds(work)


def run(*command: str | os.PathLike[str]) -> None:
    subprocess.run([os.fspath(word) for word in command], check=True, stdout=subprocess.DEVNULL)
