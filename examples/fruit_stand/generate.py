#!/usr/bin/env python3
"""
Write the sales of two days, set1.txt and set2.txt: the same bytes on every machine.

Usage: generate.py [DIRECTORY]     (default: the current directory)

Each line is a fruit, a tab and how many were sold.  The shop also sells fruit that nobody
asked about, so that the filter has something to leave out.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

SEED = 1406
FRUITS = ("apple", "banana", "orange", "cherry", "melon")
DAYS = {"set1.txt": 400, "set2.txt": 300}
MOST_SOLD = 9


def sales(numbers: random.Random, lines: int) -> str:
    """Return *lines* lines of sales."""
    # Only random() is promised to give the same numbers in every version of Python.
    return "".join(
        f"{FRUITS[int(numbers.random() * len(FRUITS))]}\t{1 + int(numbers.random() * MOST_SOLD)}\n"
        for _ in range(lines)
    )


def main() -> None:
    """Write both files."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    numbers = random.Random(SEED)
    for name, lines in DAYS.items():
        (directory / name).write_text(sales(numbers, lines))


if __name__ == "__main__":
    main()
