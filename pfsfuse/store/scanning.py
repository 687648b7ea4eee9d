"""Reads a pack from front to back, past damage: what is whole, and where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .packs import HEADER, PackFile, Record, TornPackError, find_next_record, read_footer, scan, scan_headers


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes of a pack that are no whole record."""

    start: int
    end: int
    """Where the next whole record begins, or the end of the file."""
    is_tail: bool
    """Nothing whole follows: a crash may have torn it, and then nothing refers to it."""

    def __contains__(self, offset: int) -> bool:
        return self.start <= offset < self.end


def read_past_damage(pack: PackFile, *, size: int | None = None) -> Iterator[tuple[Record, bytes] | Gap]:
    """Yield every whole record with its payload, and a gap where there is none; ends at the footer."""
    total = pack.path.stat().st_size if size is None else size
    start: int | None = HEADER.size
    while start is not None and start < total:
        try:
            yield from scan(pack, start, size=total)
            return
        except TornPackError as error:
            start = find_next_record(pack, error.offset + 1, size=total)
            yield Gap(error.offset, total if start is None else start, start is None)


def headers_past_damage(pack: PackFile, *, size: int | None = None) -> Iterator[Record | Gap]:
    """The same without reading payloads: a record whose header is whole counts."""
    total = pack.path.stat().st_size if size is None else size
    start: int | None = HEADER.size
    while start is not None and start < total:
        try:
            yield from scan_headers(pack, start, size=total)
            return
        except TornPackError as error:
            start = find_next_record(pack, error.offset + 1, size=total)
            yield Gap(error.offset, total if start is None else start, start is None)


def listed_records(pack: PackFile) -> Iterator[Record]:
    """Yield the records of a pack as cheaply as can be: from its footer, else by a scan of headers."""
    if pack.path.stat().st_size < HEADER.size:
        return
    listed = read_footer(pack)
    if listed is not None:
        yield from listed
        return
    for found in headers_past_damage(pack):
        if isinstance(found, Record):
            yield found
