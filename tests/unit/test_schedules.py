"""Cron expressions, `@every`, and numbers of bytes, as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pfsfuse.schedules import InvalidScheduleError, parse_schedule
from pfsfuse.sizes import InvalidSizeError, parse_size


def at(text: str) -> int:
    """Return a time of UTC in nanoseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("30 4 * * *", "2024-02-28T04:30:00", "2024-02-29T04:30:00"),
        ("*/5 * * * *", "2024-01-01T00:04:59", "2024-01-01T00:05:00"),
        ("0 0 * * 1", "2024-01-01T00:00:00", "2024-01-08T00:00:00"),
        ("@hourly", "2024-01-01T00:00:01", "2024-01-01T01:00:00"),
        ("@daily", "2024-12-31T12:00:00", "2025-01-01T00:00:00"),
        ("@midnight", "2024-12-31T12:00:00", "2025-01-01T00:00:00"),
        ("@weekly", "2024-01-01T00:00:00", "2024-01-07T00:00:00"),
        ("@monthly", "2024-01-01T00:00:00", "2024-02-01T00:00:00"),
        ("@yearly", "2024-01-01T00:00:00", "2025-01-01T00:00:00"),
        ("@annually", "2024-01-01T00:00:00", "2025-01-01T00:00:00"),
        ("@every 10s", "2024-01-01T00:00:00", "2024-01-01T00:00:10"),
        ("@every 1h30m", "2024-01-01T00:00:00", "2024-01-01T01:30:00"),
        ("@every 1.5h", "2024-01-01T00:00:00", "2024-01-01T01:30:00"),
    ],
)
def test_a_schedule_has_a_next_time(text: str, after: str, expected: str) -> None:
    """
    Five fields, a word, or a distance; the time that is given does not count itself.
    """
    assert at(expected) == parse_schedule(text).next_ns(at(after))


def test_a_schedule_does_not_skip_a_time_for_a_fraction_of_a_second() -> None:
    """
    The last time was a nanosecond before the full hour.
    """
    hour = at("2024-01-01T01:00:00")

    assert hour == parse_schedule("@hourly").next_ns(hour - 1)


def test_a_schedule_can_be_never() -> None:
    """
    Something that is only ever started by hand.
    """
    assert parse_schedule("@never").next_ns(0) is None


@pytest.mark.parametrize(
    "text",
    [
        *["", "@", "@every", "@every 10", "@every -5s", "@every 1ms", "@sometimes", "@every 9999999999h"],
        *["* * * *", "* * * * * *", "60 * * * *", "a b c d e", "0 0 31 2 *"],
    ],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    """
    Too few fields, seconds, nonsense, a day that never comes.
    """
    with pytest.raises(InvalidScheduleError):
        parse_schedule(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("100", 100),
        ("100B", 100),
        ("1K", 1000),
        ("1k", 1000),
        ("1.5kB", 1500),
        ("100M", 100_000_000),
        ("2 GB", 2_000_000_000),
        ("1T", 10**12),
        ("1KiB", 1024),
        ("64MiB", 64 << 20),
    ],
)
def test_a_size_is_decimal_unless_it_says_otherwise(text: str, expected: int) -> None:
    """
    The original counts 1 K as 1000; KiB is what it always is.
    """
    assert expected == parse_size(text)


@pytest.mark.parametrize("text", ["", "-1", "ten", "1X", "1iB", "1 2", "K", "1.M"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """
    Negative numbers, units that do not exist.
    """
    with pytest.raises(InvalidSizeError):
        parse_size(text)
