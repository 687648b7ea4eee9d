"""
Times that come again, as people write them: cron expressions and `@every`.

    30 4 * * 1-5                     minute, hour, day of month, month, day of week
    @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually
    @every 1h30m                     so long after the last time; units ns, us, ms, s, m, h
    @never                           for who is only ever started by hand

Times are UTC, so no hour is missing or comes twice.  `cronsim` reads the five fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from .errors import InvalidNameError

_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_EVERY = "@every"
_NEVER = "@never"

_SECOND_NS = 1_000_000_000
_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": _SECOND_NS,
    "m": 60 * _SECOND_NS,
    "h": 3600 * _SECOND_NS,
}
_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)"
_DURATION = re.compile(rf"(?:{_PART})+\Z")
_DURATION_PART = re.compile(_PART)
_MAX_DURATION_NS = (1 << 63) - 1


class InvalidScheduleError(InvalidNameError):
    """The text is neither a cron expression nor one of the words that stand for one."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(
            f"{text!r} is no schedule: {why}; write five fields such as '0 4 * * *', @daily, or @every 10s"
        )


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something happens again."""

    text: str
    _next: Callable[[int], int | None]

    def next_ns(self, after_ns: int) -> int | None:
        """Return the first time later than *after_ns*, in nanoseconds since 1970; None: never."""
        return self._next(after_ns)


def parse_schedule(text: str) -> Schedule:
    """Return what *text* means; InvalidScheduleError."""
    words = text.split()
    if words == [_NEVER]:
        return Schedule(text, lambda after_ns: None)
    if words and words[0] == _EVERY:
        step = _duration_ns(text, "".join(words[1:]))
        return Schedule(text, lambda after_ns: after_ns + step)
    fields = _NAMED.get(text.strip(), text)
    if len(fields.split()) != 5:
        raise InvalidScheduleError(text, "a cron expression has five fields")
    try:
        CronSim(fields, datetime.fromtimestamp(0, UTC))
    except CronSimError as error:
        raise InvalidScheduleError(text, str(error)) from error
    return Schedule(text, lambda after_ns: _next_by_fields(fields, after_ns))


def _next_by_fields(fields: str, after_ns: int) -> int | None:
    # Whole seconds only: a date has no nanoseconds, and rounding up could skip a time.
    start = datetime.fromtimestamp(after_ns // _SECOND_NS, UTC)
    found = next(CronSim(fields, start), None)
    return int(found.timestamp()) * _SECOND_NS if found is not None else None


def _duration_ns(text: str, duration: str) -> int:
    if _DURATION.match(duration) is None:
        raise InvalidScheduleError(text, "@every wants a duration such as 10s or 1h30m")
    total = sum(float(number) * _UNITS_NS[unit] for number, unit in _DURATION_PART.findall(duration))
    if total > _MAX_DURATION_NS:
        raise InvalidScheduleError(text, "the duration is too long")
    if total < _SECOND_NS:
        raise InvalidScheduleError(text, "the duration must be at least a second")
    return round(total)
