"""
The values used last, bounded by weight.

Holds what is immutable and can be had again, such as decoded nodes.  May be shared between
threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Values by id; the least recently used ones go when all together weigh more than *limit*."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._weight = 0
        self._lock = threading.Lock()
        self._values: OrderedDict[bytes, tuple[Value, int]] = OrderedDict()
        # Changes of _values and _weight are protected by _lock.  Reading takes no lock: each single
        # operation of a dictionary is atomic in CPython, and a look-up is the hottest path of all.

    def get(self, key: bytes) -> Value | None:
        """Return the value kept for *key*, if it is still there."""
        found = self._values.get(key)
        if found is None:
            return None
        try:
            self._values.move_to_end(key)
        except KeyError:  # another thread dropped it just now
            return found[0]
        return found[0]

    def put(self, key: bytes, value: Value, weight: int = 1) -> None:
        """Keep *value*; it is kept even if it alone weighs more than the limit."""
        with self._lock:
            replaced = self._values.pop(key, None)
            if replaced is not None:
                self._weight -= replaced[1]
            self._values[key] = (value, weight)
            self._weight += weight
            while self._weight > self._limit and len(self._values) > 1:
                _, (_, dropped) = self._values.popitem(last=False)
                self._weight -= dropped
