"""
The glob language: text → nodes.

    *            any run of characters, also none, but no separator
    **           any run of characters, separators too
    ?            one character, no separator
    [a-z] [!a] [^a] [[:alpha:]] [[:^alpha:]]      one of these; not one of these (a separator counts)
    {a,b}        one of these
    (a|b) @(a|b) one of these, captured
    ?(a|b) *(a|b) +(a|b)                          at most one, any number, at least one of these, captured
    !(a|b)       none of these, captured
    \\c          the character c

A comma separates inside of braces, a bar inside of parentheses; everywhere else they are themselves, as are
@ + ! without a parenthesis.  Groups are numbered by their opening parentheses, from 1.

A negation takes any run of characters without a separator that does not begin with what it forbids; where
neither text nor a star stands behind the first negation, "begins with" becomes "is, to the end of the path".
So `!(foo)` refuses foo only, and `!(foo)*` refuses foobar too.  That is the original's rule, and not bash's.

Limits: MOST_CHARACTERS, MOST_NESTED.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from ..errors import InvalidNameError

MOST_CHARACTERS = 4096
MOST_NESTED = 64
"""Groups in groups; the parser calls itself for each."""

SPECIAL = frozenset("*?\\[]{}()@+^!")
"""What `quote` puts a backslash before."""

_LAST = sys.maxunicode

_POSIX: dict[str, tuple[tuple[int, int], ...]] = {
    name: tuple((ord(each[0]), ord(each[1])) for each in ranges)
    for name, ranges in {
        "alnum": ("09", "AZ", "az"),
        "alpha": ("AZ", "az"),
        "ascii": ("\x00\x7f",),
        "blank": ("\t\t", "  "),
        "cntrl": ("\x00\x1f", "\x7f\x7f"),
        "digit": ("09",),
        "graph": ("!~",),
        "lower": ("az",),
        "print": (" ~",),
        "punct": ("!/", ":@", "[`", "{~"),
        "space": ("\t\r", "  "),
        "upper": ("AZ",),
        "word": ("09", "AZ", "__", "az"),
        "xdigit": ("09", "AF", "af"),
    }.items()
}


class GlobSyntaxError(InvalidNameError):
    """A pattern that makes no sense."""

    def __init__(self, pattern: str, at: int, why: str) -> None:
        super().__init__(f"glob pattern {_shortened(pattern)!r}: at character {at + 1}: {why}")
        self.pattern = pattern
        self.at = at


@dataclass(frozen=True, slots=True)
class Text:
    """These characters."""

    text: str


@dataclass(frozen=True, slots=True)
class Star:
    """A run of characters; of separators too if `crosses`."""

    crosses: bool


@dataclass(frozen=True, slots=True)
class OneOf:
    """One character: in one of the ranges, or in none of them if `negated`."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool = False

    def __contains__(self, character: str) -> bool:
        number = ord(character)
        return any(first <= number <= last for first, last in self.ranges) != self.negated


@dataclass(frozen=True, slots=True)
class Single:
    """One character that is no separator."""


@dataclass(frozen=True, slots=True)
class Braces:
    """One of several."""

    alternatives: tuple[Nodes, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A captured group; `quantifier` is one of @ ? * + !"""

    quantifier: str
    number: int
    alternatives: tuple[Nodes, ...]


Node = Text | Star | OneOf | Single | Braces | Group
Nodes = tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A pattern, taken apart."""

    nodes: Nodes
    groups: int
    looks_to_end: bool
    """What a negation forbids is the whole rest of the path, not a beginning of it."""


def parse(pattern: str) -> Parsed:
    """Take *pattern* apart; GlobSyntaxError."""
    return _Parser(pattern).run()


def quote(text: str) -> str:
    """Return the pattern that matches *text* and nothing else."""
    return "".join(f"\\{c}" if c in SPECIAL else c for c in text)


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._groups = 0
        self._depth = 0
        self._first_negation_end: int | None = None
        self._is_bounded = False

    def run(self) -> Parsed:
        if len(self._text) > MOST_CHARACTERS:
            self._fail(MOST_CHARACTERS, f"it is longer than {MOST_CHARACTERS} characters")
        nodes = self._sequence("")
        return Parsed(nodes, self._groups, not self._is_bounded)

    def _fail(self, at: int, why: str) -> NoReturn:
        raise GlobSyntaxError(self._text, at, why)

    def _ahead(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _sequence(self, stops: str) -> Nodes:
        nodes: list[Node] = []
        while self._at < len(self._text) and self._text[self._at] not in stops:
            start = self._at
            node = self._node()
            if isinstance(node, Text | Star) and self._first_negation_end is not None:
                self._is_bounded |= start >= self._first_negation_end
            if isinstance(node, Text) and nodes and isinstance(nodes[-1], Text):
                node = Text(nodes.pop().text + node.text)  # type: ignore[union-attr]  # looked at above
            nodes.append(node)
        return tuple(nodes)

    def _node(self) -> Node:
        if self._ahead("^("):
            self._fail(self._at, "^( is no group; a negation is written !(")
        if self._text[self._at] in "@+!?*" and self._text.startswith("(", self._at + 1):
            return self._group(self._text[self._at], 2)
        match self._text[self._at]:
            case "(":
                return self._group("@", 1)
            case "{":
                return Braces(self._alternatives(self._at, 1, "}", ","))
            case "[":
                return self._class()
            case "?":
                self._at += 1
                return Single()
            case "*":
                # `**(` is a star and the group *(, as the original reads it.
                crosses = self._ahead("**") and not self._ahead("**(")
                self._at += 2 if crosses else 1
                return Star(crosses)
            case _:
                return Text(self._character())

    def _character(self) -> str:
        start = self._at
        if self._ahead("\\"):
            self._at += 1
            if self._at == len(self._text):
                self._fail(start, "a backslash at the end; \\\\ means one")
        self._at += 1
        return self._text[self._at - 1]

    def _group(self, quantifier: str, width: int) -> Group:
        self._groups += 1
        number = self._groups
        alternatives = self._alternatives(self._at, width, ")", "|")
        if quantifier == "!" and self._first_negation_end is None:
            self._first_negation_end = self._at
        return Group(quantifier, number, alternatives)

    def _alternatives(self, opened: int, width: int, closer: str, separator: str) -> tuple[Nodes, ...]:
        self._depth += 1
        if self._depth > MOST_NESTED:
            self._fail(opened, f"more than {MOST_NESTED} groups in each other")
        self._at += width
        found = [self._sequence(closer + separator)]
        while self._ahead(separator):
            self._at += 1
            found.append(self._sequence(closer + separator))
        if not self._ahead(closer):
            mark = self._text[opened : opened + width]
            self._fail(opened, f"{mark} is not closed; write \\{mark[-1]} for the character itself")
        self._at += 1
        self._depth -= 1
        return tuple(found)

    def _class(self) -> OneOf:
        opened = self._at
        self._at += 1
        negated = self._at < len(self._text) and self._text[self._at] in "!^"
        self._at += negated
        ranges: list[tuple[int, int]] = []
        while not self._ahead("]"):
            if self._at == len(self._text):
                self._fail(opened, "[ is not closed; write \\[ for the character itself")
            ranges += self._named_class() if self._ahead("[:") else [self._range()]
        if not ranges:
            self._fail(opened, "no characters between [ and ]; write \\] for the character itself")
        self._at += 1
        return OneOf(tuple(ranges), negated)

    def _range(self) -> tuple[int, int]:
        start = self._at
        first = ord(self._character())
        if not self._ahead("-") or self._text.startswith("-]", self._at) or self._at + 1 == len(self._text):
            return first, first
        self._at += 1
        last = ord(self._character())
        if last < first:
            self._fail(start, f"the range {chr(first)}-{chr(last)} ends before it begins")
        return first, last

    def _named_class(self) -> list[tuple[int, int]]:
        start = self._at
        end = self._text.find(":]", start + 2)
        name = self._text[start + 2 : end] if end > 0 else ""
        ranges = _POSIX.get(name.removeprefix("^"))
        if ranges is None:
            known = ", ".join(_POSIX)
            self._fail(start, f"no class [:{name}:]; there are {known}")
        self._at = end + 2
        return _others(ranges) if name.startswith("^") else list(ranges)


def _others(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges of all characters that are in none of *ranges*, which are in order."""
    ends = [-1, *(last for _, last in ranges)]
    starts = [*(first for first, _ in ranges), _LAST + 1]
    return [(a + 1, b - 1) for a, b in itertools.zip_longest(ends, starts) if a + 1 < b]


def _shortened(pattern: str) -> str:
    return pattern if len(pattern) <= 80 else pattern[:77] + "…"
