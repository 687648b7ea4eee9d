"""
How a long row of items becomes a tree whose shape depends on the items alone.

Items come in order, each with a key.  A level is cut into nodes; each node is one item of the
level above, until a level has one item: the root.  A node ends after the first item, from the
`least`-th on, whose key says so (a cheap hash of key and level), at the latest after the
`most`-th.  Where a node ends thus depends on its own items only, so after a change the ends
meet the old ones within a few nodes, and the rest of an old tree can be taken over whole.

The law: the same items give the same root, whether they come one by one or as nodes of an
older tree.  A node of an older tree may stand for its items if nothing is pending below its
level (`Builder.is_clean`) and if it was closed by an item, not by the end of its level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Shape:
    """
    How many items a node has.

    From *least* (at least 2) to *most*; from the *least*-th on, one key in *spread* ends it.
    """

    least: int
    most: int
    spread: int
    """A power of two, at most 256."""


FirstEnd = Callable[[list[bytes], int, int, int, int], int]
"""(keys, start, stop, level, spread) -> index of the first key in [start, stop) that ends a node, or stop."""

Close = Callable[[int, list[bytes], list[Item]], tuple[bytes, Item]]
"""(level, keys, items) -> the node of these items as (key, item) of the level above."""


class _Level(Generic[Item]):
    __slots__ = ("items", "keys", "seen")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.items: list[Item] = []
        self.seen = 0
        """So many of the pending keys are known not to end the node."""


class Builder(Generic[Item]):
    """Builds one tree from left to right.  For one thread."""

    def __init__(self, shape: Shape, first_end: FirstEnd, close: Close[Item]) -> None:
        self._shape = shape
        self._first_end = first_end
        self._close = close
        self._levels: list[_Level[Item]] = [_Level()]

    def extend(self, level: int, keys: list[bytes], items: list[Item]) -> None:
        """
        Append *items* at *level*: 0 for the row itself, n for nodes of height n.

        Nothing may be pending below *level*.
        """
        if not keys:
            return
        while len(self._levels) <= level:
            self._levels.append(_Level())
        pending = self._levels[level]
        pending.keys += keys
        pending.items += items
        self._cut(level, pending)

    def repeat(self, level: int, key: bytes, item: Item, count: int) -> None:
        """
        Append the same item *count* times at *level*, in time that grows with the logarithm of *count*.

        The same rules as for `extend`.  Full nodes of equal items are equal: one is made for all.
        """
        while count and (len(self._levels) <= level or self._levels[level].keys):
            self.extend(level, [key], [item])
            count -= 1
        ends = self._first_end([key], 0, 1, level, self._shape.spread) == 0
        width = self._shape.least if ends else self._shape.most
        nodes, rest = divmod(count, width)
        if nodes:
            above_key, above = self._close(level, [key] * width, [item] * width)
            self.repeat(level + 1, above_key, above, nodes)
        self.extend(level, [key] * rest, [item] * rest)

    def is_clean(self, level: int) -> bool:
        """Say whether a node of the height *level* may be appended: nothing is pending below."""
        return not any(pending.keys for pending in self._levels[:level])

    def finish(self, *, least_level: int) -> tuple[int, bytes, Item] | None:
        """Close what is pending and return (height, key, item) of the root; None if nothing was appended."""
        level = 0
        while level < len(self._levels):
            pending = self._levels[level]
            is_top = level == len(self._levels) - 1
            if is_top and len(pending.keys) == 1 and level >= least_level:
                return level, pending.keys[0], pending.items[0]
            if pending.keys:
                keys, items = pending.keys, pending.items
                self._levels[level] = _Level()
                key, item = self._close(level, keys, items)
                self.extend(level + 1, [key], [item])
            level += 1
        return None

    def _cut(self, level: int, pending: _Level[Item]) -> None:
        """Close all nodes of *level* whose end is known."""
        keys, items = pending.keys, pending.items
        least, most, spread = self._shape.least, self._shape.most, self._shape.spread
        start = 0
        above_keys: list[bytes] = []
        above_items: list[Item] = []
        while True:
            first = max(start + least - 1, pending.seen)
            stop = min(start + most, len(keys))
            end = self._first_end(keys, first, stop, level, spread)
            if end < stop:
                end += 1
            elif stop - start < most:
                pending.seen = max(stop, first)
                break
            key, item = self._close(level, keys[start:end], items[start:end])
            above_keys.append(key)
            above_items.append(item)
            start = end
        if start:
            pending.keys, pending.items = keys[start:], items[start:]
            pending.seen = max(pending.seen - start, 0)
            self.extend(level + 1, above_keys, above_items)
