"""
Glob patterns over trees (the language: glob_syntax.py).

A pattern is about whole paths, `/a/b`: a slash at its beginning is implied, one at its end makes no
difference, and `/` is the root and nothing else.  Files and directories are matched alike; a directory stands
for all below it.  Names are bytes; they are matched as UTF-8, what is no UTF-8 byte by byte.

`walk` looks at no more of a tree than it must: names that the pattern spells out are looked up, a common
beginning of names narrows the listing, and a directory below which nothing can match is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .entry import Entry
from .glob_matcher import Captures, Matcher, Scan, States
from .glob_syntax import GlobSyntaxError, quote
from .order import in_path_order, path_key
from .tree import Path, Trees

_MOST_DIGITS = 8
_REFERENCE = re.compile(r"\$(?:(\$)|([0-9]+)|\{([0-9]+)\})")


class Glob:
    """A pattern.  Belongs to one thread."""

    def __init__(self, pattern: str) -> None:
        """GlobSyntaxError if *pattern* makes no sense."""
        self.pattern = "/" + pattern.strip("/")
        self._matcher = Matcher(self.pattern)

    @property
    def groups(self) -> int:
        """How many captures there are beside the path itself."""
        return self._matcher.groups

    def match(self, path: Path) -> Captures | None:
        """Return the path and what the groups take, or None where it does not match."""
        if not path:
            return ("/",) + ("",) * self.groups if self.pattern == "/" else None
        return self._matcher.match("/" + _text(b"/".join(path)))

    def walk(
        self, trees: Trees, root: Entry, *, lower: bytes = b"", upper: bytes | None = None
    ) -> Iterator[tuple[Path, Entry, Captures]]:
        """
        Yield what matches below the directory *root*, in the order of paths (order.py).

        *lower* and *upper* keep it to a range of that order: from *lower* on, before *upper*.
        """
        whole = self.match(())
        if whole is not None:
            if lower <= b"/" and (upper is None or upper > b"/"):
                yield (), root, whole
            return
        scan = Scan(self._matcher)
        ahead = [self._children(trees, scan, root, (), scan.advance(scan.start, "/"))]
        while ahead:
            for path, entry, states in ahead[-1]:
                key = path_key(path, entry) if lower or upper is not None else b""
                if upper is not None and key >= upper:
                    return
                captures = self._captures(path) if key >= lower and scan.accepts(states) else None
                if captures is not None:
                    yield path, entry, captures
                below = scan.advance(states, "/") if entry.is_directory else None
                if below and (key >= lower or lower.startswith(key)):
                    ahead.append(self._children(trees, scan, entry, path, below))
                    break
            else:
                ahead.pop()

    def _captures(self, path: Path) -> Captures | None:
        if self._matcher.is_filter_exact and not self.groups:
            return ("/" + _text(b"/".join(path)),)
        return self.match(path)

    def _children(
        self, trees: Trees, scan: Scan, directory: Entry, parent: Path, states: States
    ) -> Iterator[tuple[Path, Entry, States]]:
        """Yield the entries of *directory* that a match can go on with."""
        for name, entry in in_path_order(_candidates(trees, scan, directory, states)):
            after = scan.advance(states, _text(name))
            if after:
                yield (*parent, name), entry, after


def _candidates(trees: Trees, scan: Scan, directory: Entry, states: States) -> Iterator[tuple[bytes, Entry]]:
    words = scan.words(states, "/")
    if words is not None:
        for name in sorted(_bytes(word) for word in words):
            entry = trees.lookup(directory, name)
            if entry is not None:
                yield name, entry
        return
    prefix = _bytes(scan.prefix(states, "/"))
    if not prefix:
        yield from trees.list(directory)
        return
    entry = trees.lookup(directory, prefix)
    if entry is not None:
        yield prefix, entry
    for name, entry in trees.list(directory, after=prefix):
        if not name.startswith(prefix):
            return
        yield name, entry


def replace(template: str, captures: Captures) -> str:
    """
    Fill *template* in: `$1` or `${1}` is what group 1 took, `$0` the path, `$$` a dollar sign.

    A group that there is not is empty; a dollar sign before anything else stays.
    """

    def filled(reference: re.Match[str]) -> str:
        if reference[1]:
            return "$"
        digits: str = reference[2] or reference[3]
        if (digits != "0" and digits.startswith("0")) or len(digits) > _MOST_DIGITS:
            return ""
        number = int(digits)
        return captures[number] if number < len(captures) else ""

    return _REFERENCE.sub(filled, template)


def has_glob(text: str) -> bool:
    """Say whether *text* means anything but itself as a pattern."""
    return text != quote(text)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


__all__ = ["Captures", "Glob", "GlobSyntaxError", "has_glob", "quote", "replace"]
