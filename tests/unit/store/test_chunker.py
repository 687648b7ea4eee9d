"""Where bytes are cut."""

from __future__ import annotations

import random

from pfsfuse.store.chunker import CUTTING, LOOK_AHEAD, ChunkSizes, Cutter

SIZES = ChunkSizes(least=64, average=256, most=1024)


def test_chunks_cover_the_data_and_keep_their_bounds() -> None:
    """A file is cut in one go."""
    data = random.Random(1).randbytes(100_000)

    lengths = Cutter(SIZES).cut(data, final=True)

    assert len(data) == sum(lengths)
    assert all(SIZES.least <= length <= SIZES.most for length in lengths[:-1])
    assert len(lengths) > 100


def test_cuts_before_the_end_do_not_depend_on_what_follows() -> None:
    """Of a stream the beginning is there, cut at every possible place."""
    data = random.Random(2).randbytes(6_000)
    whole = Cutter(SIZES).cut(data, final=True)

    for length in range(0, len(data), 7):
        known = Cutter(SIZES).cut(data[:length], final=False)

        assert whole[: len(known)] == known


def test_a_chunk_that_ends_before_the_look_ahead_ends_there_in_every_longer_or_shorter_file() -> None:
    """A file is cut off at every byte; this is what lets chunks be taken over unread."""
    data = random.Random(3).randbytes(6_000)
    whole = Cutter(SIZES).cut(data, final=True)

    for length in range(1, len(data)):
        ends, end = [], 0
        for chunk in whole:
            end += chunk
            if end <= length - LOOK_AHEAD:
                ends.append(chunk)
        assert ends == Cutter(SIZES).cut(data[:length], final=True)[: len(ends)]


def test_an_inserted_byte_moves_few_cuts() -> None:
    """A byte is put into the middle of a file."""
    data = random.Random(4).randbytes(100_000)
    changed = data[:50_000] + b"!" + data[50_000:]

    chunks = {data[start:end] for start, end in _spans(data)}
    new_chunks = {changed[start:end] for start, end in _spans(changed)} - chunks

    assert len(new_chunks) <= 8


def test_the_cuts_are_those_of_the_recorded_format() -> None:
    """A known file is cut; other cuts would name everything in every store anew."""
    data = random.Random(5).randbytes(1_000_000)

    assert [114795, 131378, 154096, 93845] == Cutter(CUTTING.sizes).cut(data, final=True)[:4]
    assert "fastcdc-2020" == CUTTING.recorded()["algorithm"]
    assert {"least": 16384, "average": 65536, "most": 262144} == CUTTING.recorded()["sizes"]


def _spans(data: bytes) -> list[tuple[int, int]]:
    spans, start = [], 0
    for length in Cutter(SIZES).cut(data, final=True):
        spans.append((start, start + length))
        start += length
    return spans
