"""Streams of bytes, brought into the store."""

from __future__ import annotations

import io
import os
import tracemalloc
from collections.abc import Iterator

import pytest

from pfsfuse.errors import OutOfSpaceError
from pfsfuse.transfer.streams import Stream, ingest_streams, parts_of, store
from pfsfuse.trees.contents import Contents, read
from pfsfuse.versions.changesets import Append, Put
from pfsfuse.versions.ingest import Progress
from tests.support.objects import MemoryObjects


def test_a_stream_of_unknown_length_becomes_a_file() -> None:
    """
    What is piped in, with the time that it is given.
    """
    objects, data = MemoryObjects(), os.urandom(3 << 20)

    entry = store(objects, Stream((b"f",), lambda: parts_of(io.BytesIO(data)), mtime_ns=7))

    assert (data, 7, 0o644) == (
        read(objects, Contents.of(entry), 0, entry.size),
        entry.mtime_ns,
        entry.mode,
    )


def test_streams_are_put_or_appended_in_their_order() -> None:
    """
    Several at a time; progress tells how far it is.
    """
    objects, told = MemoryObjects(), list[tuple[int, int, int]]()

    def tell(state: Progress) -> None:
        told.append((state.files, state.bytes, state.found_files))

    streams = [Stream((b"%d" % n,), lambda n=n: iter([b"x" * n]), n) for n in range(20)]  # type: ignore[misc]
    put = ingest_streams(objects, streams, threads=3, progress=tell)
    append = ingest_streams(objects, streams[:2], threads=3, append=True)

    assert [(Put, (b"%d" % n,), n) for n in range(20)] == [(type(c), c.path, c.entry.size) for c in put]
    assert [Append, Append] == [type(change) for change in append]
    assert (20, sum(range(20)), 20) == told[-1]


def test_a_stream_that_fails_ends_all_with_its_error() -> None:
    """
    Those that wait are not begun.
    """
    begun: list[int] = []

    def failing(number: int) -> Iterator[bytes]:
        begun.append(number)
        yield b"some"
        if number == 1:
            raise OutOfSpaceError("full")

    streams = [Stream((b"x",), lambda n=n: failing(n)) for n in range(100)]  # type: ignore[misc]
    with pytest.raises(OutOfSpaceError):
        ingest_streams(MemoryObjects(), streams, threads=1)

    assert len(begun) < 10


class Forgetful(MemoryObjects):
    """Takes everything and keeps nothing, so that memory shows what others keep."""

    def put(self, data: bytes | memoryview, kind: object) -> bytes:  # type: ignore[override]
        return os.urandom(32)


def test_memory_does_not_grow_with_a_stream() -> None:
    """
    A hundred MiB through a few.
    """
    part = os.urandom(1 << 20)
    tracemalloc.start()
    try:
        store(Forgetful(), Stream((b"f",), lambda: (part for _ in range(100))))  # type: ignore[arg-type]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 20 << 20
