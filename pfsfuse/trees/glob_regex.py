"""
Glob patterns that Python's `re` may match, because it cannot be slow for them.

`re` tries one way after the other.  For most patterns that people write this is tens of times faster than
the bounded matcher; for some it would take for ever.  Taken are patterns without negations and without repeated
groups, with at most MOST_STARS stars that can trade characters with each other, and at most MOST_WAYS
combinations of alternatives: then a name of 255 bytes costs some milliseconds at worst.
"""

from __future__ import annotations

import re

from .glob_syntax import Braces, Group, Node, Nodes, OneOf, Parsed, Single, Star, Text

MOST_STARS = 2
MOST_WAYS = 32


def regex_for(parsed: Parsed, separators: str) -> re.Pattern[str] | None:
    """Return the same pattern for `re`, or None if that might be slow."""
    cost = _Cost(separators)
    cost.add(parsed.nodes)
    if not cost.is_simple or cost.stars_that_trade > MOST_STARS:
        return None
    inner = f"[^{re.escape(separators)}]" if separators else "."
    return re.compile(_sequence(parsed.nodes, inner), re.DOTALL)


class _Cost:
    """How many ways a back-tracking matcher may have to try."""

    def __init__(self, separators: str) -> None:
        self._separators = frozenset(separators)
        self.is_simple = True
        self._stars = [0]
        """How many there are before, between and behind the separators of the pattern."""
        self._has_crossing = False
        self._ways = 1

    @property
    def stars_that_trade(self) -> int:
        """How many stars there may be that take what another one gives up."""
        return sum(self._stars) if self._has_crossing else max(self._stars)

    def add(self, nodes: Nodes, *, is_top: bool = True) -> None:
        for node in nodes:
            match node:
                case Star(crosses):
                    self._has_crossing |= crosses
                    self._stars[-1] += 1
                case OneOf():
                    self._has_crossing |= any(each in node for each in self._separators)
                case Text(text) if is_top and self._separators & set(text):
                    self._stars.append(0)
                case Braces(alternatives) | Group(alternatives=alternatives):
                    optional = isinstance(node, Group) and node.quantifier == "?"
                    self.is_simple &= not (isinstance(node, Group) and node.quantifier in "*+!")
                    self._ways *= len(alternatives) + optional
                    self.is_simple &= self._ways <= MOST_WAYS
                    for each in alternatives:
                        self.add(each, is_top=False)


def _sequence(nodes: Nodes, inner: str) -> str:
    return "".join(_node(node, inner) for node in nodes)


def _node(node: Node, inner: str) -> str:
    match node:
        case Text(text):
            return re.escape(text)
        case Single():
            return inner
        case Star(crosses):
            return ".*" if crosses else f"{inner}*"
        case OneOf(ranges, negated):
            inside = "".join(f"{re.escape(chr(a))}-{re.escape(chr(b))}" for a, b in ranges)
            return f"[{'^' if negated else ''}{inside}]"
        case Braces(alternatives):
            return f"(?:{'|'.join(_sequence(each, inner) for each in alternatives)})"
        case Group(quantifier, _, alternatives):
            ways = "|".join(_sequence(each, inner) for each in alternatives)
            return f"((?:{ways})?)" if quantifier == "?" else f"({ways})"
