"""Contents against bytes: everything that makes a file equals writing its bytes anew."""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from pfsfuse.trees.contents import Contents, Reader, concat, is_prefix, read, slice_of, splice
from tests.support.objects import MemoryObjects
from tests.support.trees import SMALL_CUTTING, written

LENGTHS = st.one_of(
    st.integers(0, 200),
    st.integers(0, 5_000),
    st.integers(SMALL_CUTTING.sizes.most - 3, SMALL_CUTTING.sizes.most + 3),
    st.integers(0, 40_000),
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Return the bytes of a file: runs of noise, of zeros and of a text that repeats itself."""
    kinds = draw(st.lists(st.sampled_from(["noise", "zeros", "text"]), min_size=1, max_size=4))
    parts = []
    for kind in kinds:
        length = draw(LENGTHS) // len(kinds)
        if kind == "noise":
            parts.append(random.Random(draw(st.integers(0, 5))).randbytes(length))
        else:
            parts.append((b"\0" if kind == "zeros" else b"apple 1\n" * 50) * (length + 1))
            parts[-1] = parts[-1][:length]
    return b"".join(parts)


@st.composite
def ranges(draw: st.DrawFn, end: int) -> tuple[int, int]:
    """Return a range of bytes before *end*."""
    start = draw(st.integers(0, end))
    return start, draw(st.integers(start, end))


@given(files(), st.integers(100, 20_000))
def test_a_file_is_the_same_whatever_way_it_is_written(data: bytes, step: int) -> None:
    """Two programs write equal bytes, one at once, the other in steps."""
    objects = MemoryObjects()

    contents = written(objects, data, step=step)

    assert written(MemoryObjects(), data) == contents
    assert data == read(objects, contents, 0, len(data) + 1)


@given(files(), st.data())
def test_reading_a_range_gives_its_bytes(data: bytes, draws: st.DataObject) -> None:
    """A few ranges of a file are read with one reader."""
    objects = MemoryObjects()
    reader = Reader(objects, written(objects, data))

    for _ in range(3):
        start, end = draws.draw(ranges(len(data)))
        assert data[start:end] == reader.read(start, end - start)


@given(files(), st.data())
def test_a_slice_equals_writing_its_bytes(data: bytes, draws: st.DataObject) -> None:
    """A range of a file becomes a file, and a range of that as well."""
    objects = MemoryObjects()
    contents = written(objects, data)
    for _ in range(2):
        start, end = draws.draw(ranges(len(data)))
        contents = slice_of(objects, contents, start, end, cutting=SMALL_CUTTING)
        data = data[start:end]

        _check(objects, data, contents)


@given(st.lists(files(), max_size=4))
def test_a_concatenation_equals_writing_its_bytes(parts: list[bytes]) -> None:
    """Files are put one after the other."""
    objects = MemoryObjects()

    joined = concat(objects, [written(objects, part) for part in parts], cutting=SMALL_CUTTING)

    _check(objects, b"".join(parts), joined)


@given(files(), st.data())
def test_a_splice_equals_writing_its_bytes(data: bytes, draws: st.DataObject) -> None:
    """A file is cut or extended, and some ranges are written over, twice in a row."""
    objects = MemoryObjects()
    contents = written(objects, data)
    for _ in range(2):
        size = draws.draw(st.one_of(st.just(len(data)), st.integers(0, len(data) + 10_000)))
        edges = sorted(draws.draw(st.lists(st.integers(0, size + 10), max_size=6, unique=True)))
        dirty = list(zip(edges[::2], edges[1::2], strict=False))
        fresh = random.Random(draws.draw(st.integers(0, 5))).randbytes(size + 10)

        contents = splice(objects, contents, size, dirty, _reading(fresh), cutting=SMALL_CUTTING)
        data = _spliced(data, size, dirty, fresh)

        _check(objects, data, contents)


@given(files(), files(), st.integers(0, 40_000))
def test_a_prefix_is_a_prefix_of_the_bytes(data: bytes, other: bytes, length: int) -> None:
    """A file is compared with its beginning, with another file, and with itself continued as that."""
    objects = MemoryObjects()
    whole, strange = written(objects, data), written(objects, other)
    beginning = written(objects, data[:length])
    continued = concat(objects, [beginning, strange], cutting=SMALL_CUTTING)

    assert is_prefix(objects, beginning, whole)
    assert is_prefix(objects, beginning, continued)
    assert data.startswith(other) == is_prefix(objects, strange, whole)
    assert (data[:length] + other).startswith(data) == is_prefix(objects, whole, continued)


def _reading(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, length: data[offset : offset + length]


def _spliced(data: bytes, size: int, dirty: list[tuple[int, int]], fresh: bytes) -> bytes:
    spliced = bytearray(data[:size].ljust(size, b"\0"))
    for start, end in dirty:
        spliced[start:end] = fresh[start:end]
    return bytes(spliced[:size])


def _check(objects: MemoryObjects, data: bytes, contents: Contents) -> None:
    assert written(MemoryObjects(), data) == contents
    assert data == read(objects, contents, 0, len(data) + 1)
