"""
One stream cut into many files: `put file --split` of the 1.x era.

What is split becomes a directory of files with numbers for names (16 hexadecimal digits), each with one or
more *records*:

    line   a line with its newline
    json   one of the JSON values that follow each other
    csv    a line of RFC 4180; a newline in quotes does not end it
    sql    a line of the table in a dump by pg_dump

A file is full when it has the target number of records or at least the target number of bytes; without
targets each record is a file.  Header records (of lines and CSV: as many as asked for; of SQL: all up
to the table) begin every file, and a footer (of SQL: all behind the table) ends it.

Promise: memory does not grow with the stream, but with its longest record and with the number of files.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import msgspec

from ..errors import InvalidNameError
from ..store.objects import Objects
from ..trees import contents as file_contents
from ..trees.contents import Contents, ContentsWriter
from ..trees.entry import Entry
from .streams import file_entry


class MalformedRecordError(InvalidNameError):
    """A stream that is not of the format that it is to be split by."""


class Format(enum.StrEnum):
    """What a stream is split by."""

    LINE = "line"
    JSON = "json"
    CSV = "csv"
    SQL = "sql"


@dataclass(frozen=True)
class Splitting:
    """How to split."""

    format: Format
    target_records: int = 0
    target_bytes: int = 0
    header_records: int = 0

    def __post_init__(self) -> None:
        if self.header_records and self.format in (Format.JSON, Format.SQL):
            raise InvalidNameError(
                f"header records go with lines and CSV; {self.format} "
                + ("finds its header by itself" if self.format is Format.SQL else "has none")
            )

    def is_full(self, records: int, size: int) -> bool:
        if not self.target_records and not self.target_bytes:
            return records > 0
        return bool(
            (self.target_records and records >= self.target_records)
            or (self.target_bytes and size >= self.target_bytes)
        )


@dataclass
class _Records:
    """What a stream is made of; the footer is known when all records were taken."""

    records: Iterator[bytes]
    header: bytes = b""
    footer: bytes = b""


def split(objects: Objects, parts: Iterable[bytes], how: Splitting) -> list[Entry]:
    """Store the files that *parts* are split into and return them in order; MalformedRecordError."""
    found = _FORMATS[how.format](parts, how.header_records)
    made: list[Entry] = []
    records = iter(found.records)
    while (first := next(records, None)) is not None:
        made.append(_one_file(objects, how, found.header, first, records))
    if found.footer:
        footer = ContentsWriter(objects)
        footer.write(found.footer)
        ending = footer.finish()
        made = [_with_footer(objects, entry, ending) for entry in made]
    return made


def numbered(number: int) -> bytes:
    """Return the name of the file with this number."""
    return b"%016x" % number


def number_of(name: bytes) -> int | None:
    """Undo `numbered`; None for a name that is none of these."""
    return int(name, 16) if re.fullmatch(rb"[0-9a-f]{16}", name) else None


def _one_file(
    objects: Objects, how: Splitting, header: bytes, first: bytes, records: Iterator[bytes]
) -> Entry:
    writer = ContentsWriter(objects)
    writer.write(header)
    size = 0
    before = b""
    for count, record in enumerate(chain([first], records), 1):
        if how.format is Format.JSON and before and not before.endswith((b"}", b"]", b'"')):
            # Two numbers would become one.
            writer.write(b"\n")
        writer.write(record)
        before = record
        size += len(record)
        if how.is_full(count, size):
            break
    return file_entry(writer)


def _with_footer(objects: Objects, entry: Entry, footer: Contents) -> Entry:
    joined = file_contents.concat(objects, [Contents.of(entry), footer])
    return joined.entry(mode=entry.mode, uid=entry.uid, gid=entry.gid, mtime_ns=entry.mtime_ns)


# Finding records


def _lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    rest = bytearray()
    for part in parts:
        *whole, last = part.split(b"\n")
        for line in whole:
            yield bytes(rest) + line + b"\n"
            rest.clear()
        rest += last
    if rest:
        yield bytes(rest)


def _with_header(records: Iterator[bytes], count: int) -> _Records:
    header = list(islice(records, count))
    return _Records(records, b"".join(header))


def _by_line(parts: Iterable[bytes], header_records: int) -> _Records:
    return _with_header(_lines(parts), header_records)


def _by_csv(parts: Iterable[bytes], header_records: int) -> _Records:
    return _with_header(_csv_records(parts), header_records)


def _csv_records(parts: Iterable[bytes]) -> Iterator[bytes]:
    record = bytearray()
    is_quoted = False
    for line in _lines(parts):
        # A doubled quote inside of quotes ends them and begins them again.
        is_quoted ^= line.count(b'"') % 2 == 1
        record += line
        if not is_quoted:
            yield bytes(record)
            record.clear()
    if record:
        raise MalformedRecordError(f"the last CSV record has a quote that is not closed: {_shown(record)}")


def _by_sql(parts: Iterable[bytes], _: int) -> _Records:
    lines = _lines(parts)
    header = bytearray()
    for line in lines:
        header += line
        if line.startswith(b"COPY ") and line.rstrip().endswith(b"FROM stdin;"):
            break
    else:
        raise MalformedRecordError(
            "no `COPY … FROM stdin;` in it; only dumps by pg_dump of one table can be split by sql"
        )
    found = _Records(iter(()), bytes(header))

    def rows() -> Iterator[bytes]:
        for line in lines:
            if line.rstrip(b"\r\n") == b"\\.":
                footer = line + b"".join(lines)
                if b"\nCOPY " in footer:
                    raise MalformedRecordError("more than one table in it; dump and put them one by one")
                found.footer = footer
                return
            yield line
        raise MalformedRecordError("the dump ends in the middle of its table")

    found.records = rows()
    return found


_JSON_TOKEN = re.compile(
    rb"""
      (?P<blank>   [ \t\r\n]++ )
    | (?P<string>  "[^"\\]*+ (?: \\. [^"\\]*+ )*+ " )
    | (?P<cut>     " )
    | (?P<open>    [\[{] )
    | (?P<close>   [\]}] )
    | (?P<between> [,:] )
    | (?P<scalar>  [^\s"\[\]{},:]++ )
    """,
    re.DOTALL | re.VERBOSE,
)


def _by_json(parts: Iterable[bytes], _: int) -> _Records:
    return _Records(_json_values(parts))


def _json_values(parts: Iterable[bytes]) -> Iterator[bytes]:
    buffer = b""
    start = at = depth = 0
    for part in chain(parts, [None]):
        buffer, at, start = buffer[start:] + (part or b""), at - start, 0
        while at < len(buffer):
            found = _JSON_TOKEN.match(buffer, at)
            if found is None:
                raise MalformedRecordError(f"this is no JSON value: {_shown(buffer[start:])}")
            kind = found.lastgroup
            if kind == "cut" or (kind == "scalar" and found.end() == len(buffer) and part is not None):
                break  # it goes on, or may go on, in the next part
            at = found.end()
            depth += (kind == "open") - (kind == "close")
            if depth <= 0:
                if kind != "blank":
                    yield _checked(buffer[start:at])
                start, depth = at, 0
    if start < len(buffer):
        raise MalformedRecordError(f"the last JSON value is not whole: {_shown(buffer[start:])}")


def _checked(value: bytes) -> bytes:
    try:
        msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        raise MalformedRecordError(f"this is no JSON value: {_shown(value)}: {error}") from error
    return value


def _shown(data: bytes | bytearray) -> str:
    text = bytes(data[:60]).decode("utf-8", "backslashreplace")
    return text + ("…" if len(data) > 60 else "")


_FORMATS: dict[Format, Callable[[Iterable[bytes], int], _Records]] = {
    Format.LINE: _by_line,
    Format.JSON: _by_json,
    Format.CSV: _by_csv,
    Format.SQL: _by_sql,
}
