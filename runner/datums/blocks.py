"""
Where one file may be cut so that several containers can share it.

A block is a run of about 8 MB.  It ends after a newline, so that no line is in two blocks; in
a file `*.json` it ends after one of the values that follow one another at the top, so that no
object is.  A line or a value longer than that makes a longer block.  In the 1.0 era every
write to a file `*.bin` was a block of its own, whatever its size; what was one write is not
kept, so such a file is one block: never cut inside a write.

Blocks know nothing of chunks.  Finding the ends of lines reads the bytes around each end;
finding the ends of JSON values reads the whole file once, in bounded memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from pfsfuse.store.objects import Objects
from pfsfuse.trees.contents import Contents, Reader

BLOCK_BYTES = 8 * 1024 * 1024

_WINDOW_BYTES = 256 * 1024

# A whole string, so that brackets inside it are not seen; or the quote of one that goes on
# beyond the window; or a bracket.  Possessive, so that a quote without an end costs no more.
_JSON_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{}]', re.DOTALL)
_STRING_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_BLANKS = re.compile(rb"[ \t\r\n]*")


def blocks(
    objects: Objects, contents: Contents, name: bytes, *, least: int = BLOCK_BYTES
) -> list[tuple[int, int]]:
    """
    Return the [start, end) of the blocks of a file, in order; an empty file has none.

    Every block but the last has at least *least* bytes.
    """
    if contents.size == 0:
        return []
    cuts: list[int] = []
    if contents.size > least and not name.endswith(b".bin"):
        find = _after_values if name.endswith(b".json") else _after_lines
        cuts = [cut for cut in find(Reader(objects, contents), least) if cut < contents.size]
    return list(pairwise([0, *cuts, contents.size]))


def _after_lines(reader: Reader, least: int) -> Iterator[int]:
    start = 0
    while (end := _after_newline(reader, start + least - 1)) is not None:
        yield end
        start = end


def _after_newline(reader: Reader, at: int) -> int | None:
    """Return the place after the first newline at or beyond *at*."""
    while data := reader.read(at, _WINDOW_BYTES):
        found = data.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(data)
    return None


def _after_values(reader: Reader, least: int) -> Iterator[int]:
    """
    Yield places after a bracketed value at the top and the blanks behind it.

    What is no JSON is not complained of: there are only fewer places, or none.
    """
    start = depth = at = 0
    scanner = _StringScanner()
    while data := reader.read(at, _WINDOW_BYTES):
        position = scanner.resume(data)
        for token in _JSON_TOKEN.finditer(data, position):
            sign = data[token.start()]
            if sign in b"[{":
                depth += 1
            elif sign in b"]}":
                depth = max(depth - 1, 0)
                if depth == 0 and at + token.end() - start >= least:
                    start = at + _end_of_blanks(data, token.end())
                    yield start
            elif token.end() - token.start() == 1:  # a quote, and no end of the string in this window
                scanner.resume(data, token.end(), inside=True)
                break
        at += len(data)


def _end_of_blanks(data: bytes, position: int) -> int:
    blanks = _BLANKS.match(data, position)
    return blanks.end() if blanks else position


class _StringScanner:
    """Remembers, from one window to the next, that a string has not ended."""

    def __init__(self) -> None:
        self._inside = False
        self._escaped = False

    def resume(self, data: bytes, position: int = 0, *, inside: bool = False) -> int:
        """Return where in *data* the open string has ended; the end of *data* if it has not."""
        self._inside = self._inside or inside
        if not self._inside:
            return position
        if self._escaped:
            self._escaped = False
            position += 1
        rest = _STRING_REST.match(data, position)
        end = rest.end() if rest else position
        if end < len(data) and data[end] == ord('"'):
            self._inside = False
            return end + 1
        # The window ends inside the string, perhaps between a backslash and what it stands before.
        self._escaped = end < len(data)
        return len(data)
