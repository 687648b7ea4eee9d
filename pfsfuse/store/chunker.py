"""
Where the bytes of a file are cut into chunks.

A cut depends on the bytes from the start of its chunk up to LOOK_AHEAD bytes after it, and on
nothing else; so the same bytes are cut at the same places whatever way they were written, and
after a local change the cuts meet the old ones again within a few chunks.
All files are cut alike, whatever their size (docs/decisions/0039).

The numbers of CUTTING decide the names of everything that is stored.  A store records them
(`Cutting.recorded`) when it is made; a store with other numbers needs a `Cutting` of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from pyfastcdc import FastCDC

ALGORITHM = "fastcdc-2020"
"""Gear hash without seed, normalization level 1; the `v2020` cut points of the fastcdc-rs crate."""

LOOK_AHEAD = 2
"""
A chunk that ends so many bytes before the end of the data, or more, ends there whatever follows.

The algorithm looks at bytes in pairs, counted from the start of the chunk, and may cut before
either byte of a pair; a pair that the end of the data divides is not looked at.
"""

_NORMALIZATION: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """
    Bounds of the length of a chunk, in bytes, and the length that its end is sought around.

    The limits of the algorithm: *least* from 64, *average* from 256, *most* from 1024; *least* is even.
    """

    least: int
    average: int
    most: int


@dataclass(frozen=True, slots=True)
class Cutting:
    """All that decides how the bytes of a file become objects."""

    sizes: ChunkSizes
    inline_most: int
    """Files of at most so many bytes have no chunk: their bytes stand in the directory entry."""
    list_least: int
    """Bounds of the number of items in a node of a chunk list (the last one of a level may have fewer)."""
    list_most: int
    list_spread: int
    """Between these bounds one id in so many ends a node; a power of two, at most 256."""

    def recorded(self) -> dict[str, object]:
        """Return the parameters in the form in which a store remembers them."""
        return {"algorithm": ALGORITHM, "normalization": _NORMALIZATION, **asdict(self)}


CUTTING = Cutting(
    sizes=ChunkSizes(least=16 * 1024, average=64 * 1024, most=256 * 1024),
    inline_most=512,
    list_least=64,
    list_most=256,
    list_spread=64,
)
"""How this program cuts."""


class Cutter:
    """
    Finds the cuts in a stream of bytes.

    Not to be shared between threads: the FastCDC object inside is not safe there.
    """

    __slots__ = ("_fastcdc", "sizes")

    def __init__(self, sizes: ChunkSizes) -> None:
        self.sizes = sizes
        self._fastcdc = FastCDC(
            sizes.average,
            min_size=sizes.least,
            max_size=sizes.most,
            normalized_chunking=_NORMALIZATION,
        )

    def cut(self, data: bytes | bytearray, *, final: bool) -> list[int]:
        """
        Return the lengths of the chunks that *data*, which starts at a cut, begins with.

        Unless *final* says that the file ends with *data*, only those chunks are returned
        that remain the same whatever follows.
        """
        if len(data) <= self.sizes.least:
            return [len(data)] if final and data else []
        lengths = [chunk.length for chunk in self._fastcdc.cut_buf(data)]
        # The last chunk ends where the data ends, by accident or because it cannot be longer.
        if not final and lengths[-1] < self.sizes.most:
            lengths.pop()
        return lengths
