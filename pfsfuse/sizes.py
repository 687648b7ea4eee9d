"""
Numbers of bytes as people write them.

`100`, `100B`, `1.5K`, `100MB`: decimal, 1 K = 1000, as the original counts; `KiB`, `MiB` and so on
are powers of 1024, because that is what they are called everywhere else.
"""

from __future__ import annotations

import re

from .errors import InvalidNameError

_SIZE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?) ?(?P<unit>[kmgtp]?)(?P<binary>i?)b?\Z", re.IGNORECASE)
_POWERS = "kmgtp"


class InvalidSizeError(InvalidNameError):
    """The text is no number of bytes."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is no size: write a number and a unit, such as 100M, 1.5G or 64KiB")


def parse_size(text: str) -> int:
    """Return the number of bytes that *text* means; InvalidSizeError."""
    match = _SIZE.match(text.strip())
    if match is None or (match["binary"] and not match["unit"]):
        raise InvalidSizeError(text)
    unit = match["unit"].lower()
    base = 1024 if match["binary"] else 1000
    return int(float(match["number"]) * base ** (_POWERS.index(unit) + 1 if unit else 0))
