"""How a row of items becomes a tree."""

from __future__ import annotations

import pytest

from pfsfuse.store.objects import ObjectKind
from pfsfuse.trees.chunk_list import finished_list, list_builder
from pfsfuse.trees.contents import EMPTY, splice
from pfsfuse.versions.staged import LARGEST
from tests.support.objects import MemoryObjects
from tests.support.trees import SMALL_CUTTING


@pytest.mark.parametrize("key", [bytes(32), b"\x01" * 32, b"\x00\x01" * 16, b"\x01\x00" * 16])
@pytest.mark.parametrize("before", [0, 1, 3, 7])
def test_repeating_an_item_gives_the_tree_of_the_single_items(key: bytes, before: int) -> None:
    """Keys that end nodes at every level, at none, at every other; after other items and before more."""
    for count in (0, 1, 2, 5, 6, 7, 36, 37, 100, 1000):
        one, other = (list_builder(MemoryObjects(), SMALL_CUTTING) for _ in range(2))
        for builder in (one, other):
            builder.extend(0, [bytes([n + 2]) * 32 for n in range(before)], [9] * before)
        one.extend(0, [key] * count, [5] * count)
        other.repeat(0, key, 5, count)
        for builder in (one, other):
            builder.extend(0, [b"\xff" * 32], [1])
        assert finished_list(one) == finished_list(other)


def test_a_hole_of_any_length_takes_a_few_objects() -> None:
    """The largest file there is, of which nothing was written but three bytes."""
    objects = MemoryObjects()
    hole = splice(objects, EMPTY, LARGEST, [], lambda _offset, length: bytes(length))
    middle = LARGEST // 3
    written = splice(objects, hole, LARGEST, [(middle, middle + 3)], lambda _offset, _length: b"abc")

    assert (LARGEST, LARGEST) == (hole.size, written.size)
    assert objects.puts[ObjectKind.CHUNK] < 20
    assert objects.puts[ObjectKind.CHUNK_LIST] < 40
