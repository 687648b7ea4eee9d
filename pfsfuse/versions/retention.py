"""
Which commits of a branch a policy keeps, and why: pure functions, without a store.

A rule counts periods: `daily 7` keeps the newest commit of each of the last seven days that have
one.  A commit is kept if any rule keeps it.  While a rule has room left, it keeps the oldest commit as
well, so that a young history does not lose its beginning.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Generic, TypeVar

from ..errors import InvalidNameError

UNLIMITED = -1

Name = TypeVar("Name")


class Rule(enum.StrEnum):
    """What is counted."""

    LAST = "last"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


_PERIOD_OF: dict[Rule, Callable[[datetime], object]] = {
    Rule.HOURLY: lambda t: (t.year, t.month, t.day, t.hour),
    Rule.DAILY: lambda t: (t.year, t.month, t.day),
    Rule.WEEKLY: lambda t: t.isocalendar()[:2],
    Rule.MONTHLY: lambda t: (t.year, t.month),
    Rule.YEARLY: lambda t: t.year,
}


@dataclass(frozen=True)
class Policy:
    """What to keep; nothing of it is nothing kept."""

    counts: dict[Rule, int] = field(default_factory=dict)
    """How many of each; UNLIMITED keeps one of every period."""
    within_ns: int | None = None
    """Keep what is younger than this, seen from the newest commit."""

    @property
    def is_empty(self) -> bool:
        return self.within_ns is None and not any(self.counts.values())


@dataclass(frozen=True)
class Dated(Generic[Name]):
    """A commit, as policies see it."""

    name: Name
    time_ns: int


def reasons(policy: Policy, line: Sequence[Dated[Name]], zone: tzinfo | None = None) -> list[list[str]]:
    """
    Return, for each of *line*, why it is kept; nothing means that it is not.

    *line* goes from the newest to the oldest.  Days and hours are those of *zone*; None is this machine's.
    """
    found: list[list[str]] = [[] for _ in line]
    for rule, count in policy.counts.items():
        for position, text in _kept_by(rule, count, line, zone):
            found[position].append(text)
    if policy.within_ns is not None and line:
        newest = line[0].time_ns
        for position, each in enumerate(line):
            if newest - each.time_ns <= policy.within_ns:
                found[position].append("within")
    return found


def _kept_by(
    rule: Rule, count: int, line: Sequence[Dated[Name]], zone: tzinfo | None
) -> list[tuple[int, str]]:
    kept: list[tuple[int, str]] = []
    before: object = None
    for position, each in enumerate(line):
        if count != UNLIMITED and len(kept) >= count:
            break
        period: object = position
        if rule in _PERIOD_OF:
            period = _PERIOD_OF[rule](datetime.fromtimestamp(each.time_ns / 1e9).astimezone(zone))
        if position == 0 or period != before:
            kept.append((position, rule.value))
        elif position == len(line) - 1:
            kept.append((position, f"oldest, {rule.value}"))
        before = period
    return kept


_SPAN = re.compile(r"(?:(\d+)y)?(?:(\d+)m)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?\Z")
_HOURS = (365 * 24, 30 * 24, 7 * 24, 24, 1)


def parse_span(text: str) -> int:
    """Return a time such as 30d, 1y6m or 12h in nanoseconds: a year has 365 days, a month 30."""
    match = _SPAN.match(text)
    if not text or match is None:
        raise InvalidNameError(
            f"{text!r} is no span of time: write years, months, weeks, days, hours, as in 1y6m or 30d"
        )
    hours = sum(int(count) * each for count, each in zip(match.groups(), _HOURS, strict=True) if count)
    return hours * 3600 * 1_000_000_000
