"""The values used last."""

from __future__ import annotations

from pfsfuse.trees.recent import Recent


def test_the_value_used_longest_ago_goes_first() -> None:
    """Three values come where two have room; the first was asked for in between."""
    recent: Recent[int] = Recent(2)
    recent.put(b"a", 1)
    recent.put(b"b", 2)
    recent.get(b"a")
    recent.put(b"c", 3)

    assert (1, None, 3) == (recent.get(b"a"), recent.get(b"b"), recent.get(b"c"))


def test_weights_count() -> None:
    """A heavy value comes."""
    recent: Recent[int] = Recent(10)
    recent.put(b"a", 1, 4)
    recent.put(b"b", 2, 4)
    recent.put(b"c", 3, 6)

    assert (None, 2, 3) == (recent.get(b"a"), recent.get(b"b"), recent.get(b"c"))


def test_a_value_heavier_than_all_is_kept_alone() -> None:
    """A value alone weighs more than the limit."""
    recent: Recent[int] = Recent(10)
    recent.put(b"a", 1, 4)
    recent.put(b"b", 2, 40)

    assert (None, 2) == (recent.get(b"a"), recent.get(b"b"))


def test_a_replaced_value_weighs_once() -> None:
    """The same value comes again and again."""
    recent: Recent[int] = Recent(10)
    recent.put(b"other", 0, 4)
    for _ in range(5):
        recent.put(b"a", 1, 6)

    assert (0, 1) == (recent.get(b"other"), recent.get(b"a"))
