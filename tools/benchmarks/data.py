"""
The data sets that everything is measured with; the same bytes each time.

    A   one file of 1 GiB: random bytes and text in turns, so that a good half of it remains after zstd
    B   20,000 files of 1 to 16 KiB in 200 directories: text and random bytes, by turns
    C   a source tree: 10,000 text files, most of a few KiB, in nested directories

Run as a program it writes them into a folder: `python -m tools.benchmarks.data FOLDER [A] [B] [C]`.
"""

from __future__ import annotations

import random
import sys
from array import array
from collections.abc import Callable
from pathlib import Path

A_BYTES = 1 << 30
B_FILES, B_DIRECTORIES = 20_000, 200
C_FILES = 10_000

_BLOCK = 512 << 10


class Text:
    """Text without end: phrases of words drawn from a vocabulary, some more often than others."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        vocabulary = [draw.randbytes(draw.randrange(1, 6)).hex().encode() for _ in range(5000)]
        picks = [int(5000 * draw.random() ** 2) for _ in range(4 << 16)]
        ends = [b" ", b" ", b" ", b"\n"]
        self._phrases = [
            b" ".join(vocabulary[pick] for pick in picks[at : at + 4]) + ends[at // 4 % 4]
            for at in range(0, len(picks), 4)
        ]

    def take(self, length: int) -> bytes:
        """Return the next *length* bytes."""
        parts: list[bytes] = []
        missing = length
        while missing > 0:
            numbers = array("H", self._draw.randbytes(2 * (missing // 24 + 1)))
            parts.append(b"".join([self._phrases[number] for number in numbers]))
            missing -= len(parts[-1])
        return b"".join(parts)[:length]


def make_a(path: Path, size: int = A_BYTES) -> Path:
    """Write data set A to the file *path*."""
    draw = random.Random(20261121)
    text = Text(draw)
    with open(path, "wb") as file:
        while file.tell() < size:
            file.write(draw.randbytes(_BLOCK))
            file.write(text.take(_BLOCK))
    return path


def make_b(folder: Path, files: int = B_FILES, directories: int = B_DIRECTORIES) -> Path:
    """Write data set B into the new directory *folder*."""
    draw = random.Random(20261122)
    text = Text(draw)
    for number in range(directories):
        path = folder / f"d{number:03}"
        path.mkdir(parents=True)
        for name in range(files // directories):
            size = draw.randrange(1024, 16 * 1024 + 1)
            data = draw.randbytes(size) if name % 2 else text.take(size)
            (path / f"f{name:03}").write_bytes(data)
    return folder


def make_c(folder: Path, files: int = C_FILES) -> Path:
    """Write data set C into the new directory *folder*."""
    draw = random.Random(20261123)
    text = Text(draw)
    folder.mkdir(parents=True)
    directories = [folder]
    for number in range(files):
        if number % 14 == 0:
            above = draw.choice(directories[-80:])
            # No deeper than real trees are.
            above = above if len(above.relative_to(folder).parts) < 7 else folder
            directories.append(above / f"part{len(directories):03}")
            directories[-1].mkdir()
        size = min(int(draw.lognormvariate(8.3, 1.2)), 512 << 10)
        (draw.choice(directories[-20:]) / f"unit_{number:05}.py").write_bytes(text.take(size))
    return folder


SETS: dict[str, Callable[[Path], Path]] = {"A": make_a, "B": make_b, "C": make_c}

if __name__ == "__main__":
    into = Path(sys.argv[1])
    into.mkdir(parents=True, exist_ok=True)
    for wanted in sys.argv[2:] or SETS:
        print(SETS[wanted](into / wanted))
