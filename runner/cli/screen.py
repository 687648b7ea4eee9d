"""
What a command prints: results to stdout, everything else to stderr.

A result is a list of records or one record, msgspec structs.  As JSON a list is one array and a
record one object; YAML says the same; a table is for people, coloured on a terminal only.
Notes, warnings and progress go to stderr, so a pipe never sees them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

FORMATS = ("table", "json", "yaml")

Row = TypeVar("Row")
Columns = Mapping[str, Callable[[Row], str]]
"""Heading → what stands in the cell."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_AGES = ((86_400 * 365, "year"), (86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


@dataclass
class Screen:
    """How this run prints."""

    format: str = "table"
    quiet: bool = False
    verbose: bool = False

    @property
    def is_table(self) -> bool:
        return self.format == "table"

    def rows(self, records: Sequence[Row], columns: Columns[Row]) -> None:
        """Print a list of records."""
        if not self.is_table:
            self._print_data(list(records))
        elif _is_fancy(sys.stdout):
            _print_fancy([list(columns), *([cell(r) for cell in columns.values()] for r in records)])
        else:
            _print_plain([list(columns), *([cell(r) for cell in columns.values()] for r in records)])

    def stream(self, records: Iterable[Row], columns: Columns[Row]) -> None:
        """Print records one by one as they come: each a line, as YAML a document."""
        for record in records:
            if self.is_table:
                print("  ".join(cell(record) for cell in columns.values()).rstrip(), flush=True)
            elif self.format == "json":
                print(msgspec.json.encode(record).decode(), flush=True)
            else:
                print("---")
                self._print_data(record)
                sys.stdout.flush()

    def record(self, record: Row, fields: Columns[Row]) -> None:
        """Print one record; as a table, a line for each field that is not empty."""
        if not self.is_table:
            self._print_data(record)
            return
        for heading, cell in fields.items():
            text = cell(record)
            if text:
                print(f"{heading}: {text}" if "\n" not in text else f"{heading}:\n{_indented(text)}")

    def _print_data(self, data: object) -> None:
        if self.format == "json":
            print(msgspec.json.format(msgspec.json.encode(data)).decode())
        else:
            import yaml

            yaml.safe_dump(msgspec.to_builtins(data), sys.stdout, sort_keys=False, allow_unicode=True)

    def identifier(self, text: str) -> None:
        """Print the id of what was made: alone on its line, or as an object with it."""
        if self.is_table:
            print(text)
        else:
            self._print_data({"id": text})

    def identifiers(self, texts: Sequence[str]) -> None:
        """Print the ids of several things that were made: a line each, or one array."""
        if self.is_table:
            for text in texts:
                print(text)
        else:
            self._print_data([{"id": text} for text in texts])

    def result(self, text: str) -> None:
        """Print what the command is asked for, as lines for people."""
        print(text)

    def note(self, text: str) -> None:
        """Say what was done or is waited for; --quiet leaves it out."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Say what the person should look at."""
        print(f"warning: {text}", file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, title: str, *, is_wanted: bool = True) -> Iterator[Callable[[int, int, str], None]]:
        """
        Give a function that is told (done, of how many, what else to say) and moves a bar.

        Nothing is shown where stderr is no terminal, or where it is not wanted.
        """
        if self.quiet or not is_wanted or not _is_fancy(sys.stderr):
            yield lambda _done, _total, _text: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        ) as bar:
            task = bar.add_task(title, total=None, text="")
            yield lambda done, total, text: bar.update(task, completed=done, total=total, text=text)


def _is_fancy(stream: Any) -> bool:
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _print_plain(table: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_fancy(table: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, header_style="bold", pad_edge=False)
    for heading in table[0]:
        # A person copies ids and names: they are wrapped rather than cut.
        made.add_column(heading, overflow="fold")
    for row in table[1:]:
        made.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console().print(made)


_STYLES = {
    "success": "green",
    "failure": "red",
    "killed": "red",
    "crashing": "red",
    "unrunnable": "red",
    "open": "yellow",
    "running": "cyan",
}


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


# How things are written


def size(count: int) -> str:
    """Return a number of bytes as people read it: 1.5MiB."""
    amount = float(count)
    for unit in _UNITS[:-1]:
        if amount < 1024:
            return f"{amount:.0f}{unit}" if unit == "B" else f"{amount:.4g}{unit}"
        amount /= 1024
    return f"{amount:.4g}{_UNITS[-1]}"


def when(ns: int | None) -> datetime | None:
    """Return a time in nanoseconds as one that JSON and YAML write as RFC 3339, in UTC."""
    if ns is None:
        return None
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).replace(microsecond=ns // 1000 % 1_000_000)


def ago(moment: datetime | None) -> str:
    """Return how long ago a time was: 3 minutes ago."""
    if moment is None:
        return "-"
    return f"{_span(max(0, int((datetime.now(UTC) - moment).total_seconds())))} ago"


def _span(seconds: int) -> str:
    for length, name in _AGES:
        if seconds >= length:
            count = seconds // length
            return f"{count} {name}{'s' if count > 1 else ''}"
    return "0 seconds"


def took(started: datetime | None, ended: datetime | None) -> str:
    """Return how long something took, or has taken up to now."""
    if started is None:
        return "-"
    seconds = ((ended or datetime.now(UTC)) - started).total_seconds()
    return f"{seconds:.1f}s" if seconds < 60 else _span(int(seconds))


def local_time(moment: datetime | None) -> str:
    """Return a time as a person here reads it, with how long ago that was."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S} ({ago(moment)})" if moment is not None else ""


def shown(name: bytes) -> str:
    """Return bytes of a path as text; what is no UTF-8 is written with backslashes."""
    return name.decode("utf-8", "backslashreplace")
