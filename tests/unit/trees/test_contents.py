"""The bytes of files."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from pfsfuse.errors import StoreError
from pfsfuse.ids import ChunkId, chunk_id
from pfsfuse.store.chunker import CUTTING
from pfsfuse.store.objects import ObjectKind
from pfsfuse.trees.contents import (
    EMPTY,
    Contents,
    ContentsWriter,
    Reader,
    chunks,
    concat,
    is_prefix,
    read,
    slice_of,
    small_most,
    splice,
    store_small,
)
from pfsfuse.trees.entry import Kind
from pfsfuse.trees.node import CorruptNodeError
from tests.support.objects import MemoryObjects
from tests.support.trees import SMALL_CUTTING, written

MIB = 1024 * 1024


@pytest.fixture
def objects() -> MemoryObjects:
    """A store in memory."""
    return MemoryObjects()


def noise(length: int, seed: int = 1) -> bytes:
    """Return bytes that no one else has."""
    return random.Random(seed).randbytes(length)


def never_read(_offset: int, _length: int) -> bytes:
    """Stand for written bytes where there are none."""
    raise AssertionError("nothing is dirty")


# Writing


def test_a_file_without_bytes_is_empty(objects: MemoryObjects) -> None:
    """A writer is finished at once."""
    assert EMPTY == ContentsWriter(objects).finish()
    assert {} == objects.stored


@pytest.mark.parametrize(
    ("length", "depth"),
    [(1, 0), (CUTTING.inline_most, 0), (CUTTING.inline_most + 1, 1), (16 * 1024, 1), (300 * 1024, 2)],
)
def test_the_depth_follows_the_number_of_chunks(objects: MemoryObjects, length: int, depth: int) -> None:
    """Files stand in their entry, in one chunk, or in a list of chunks."""
    contents = written(objects, noise(length), cutting=CUTTING)

    assert (length, depth) == (contents.size, contents.depth)
    assert noise(length) == read(objects, contents, 0, length)


def test_files_stored_together_are_what_a_writer_makes_of_each(objects: MemoryObjects) -> None:
    """Files of no byte, of a few, of one chunk, and twice the same."""
    files = [b"", b"few", noise(1000), noise(small_most()), b"few", noise(1000)]

    assert [written(objects, data, cutting=CUTTING) for data in files] == store_small(objects, files)


def test_a_file_of_one_chunk_has_the_hash_of_its_bytes(objects: MemoryObjects) -> None:
    """A small and a tiny file are written."""
    single = written(objects, noise(1000), cutting=CUTTING)
    tiny = written(objects, b"tiny", cutting=CUTTING)

    assert (chunk_id(noise(1000)), chunk_id(noise(1000))) == (single.data, single.content)
    assert (b"tiny", chunk_id(b"tiny")) == (tiny.data, tiny.content)


def test_contents_go_into_an_entry_and_back(objects: MemoryObjects) -> None:
    """A file gets a name in a directory."""
    contents = written(objects, noise(5_000))

    entry = contents.entry(mode=0o640, uid=1, gid=2, mtime_ns=3)

    assert contents == Contents.of(entry)
    assert (Kind.FILE, 0o640, 1, 2, 3, 1) == (
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.mtime_ns,
        entry.files,
    )


@pytest.mark.parametrize("length", [0, 20, 33, 3_000, 50_000])
@pytest.mark.parametrize("step", [1000, 1 << 30])
def test_equal_bytes_are_equal_contents_whatever_the_steps(
    objects: MemoryObjects, length: int, step: int
) -> None:
    """A file of no, one and many chunks is written in small and in large steps."""
    expected = written(objects, noise(length))

    assert expected == written(objects, noise(length), step=step)


def test_a_writer_keeps_few_bytes(objects: MemoryObjects) -> None:
    """A long stream is written in small steps."""
    writer = ContentsWriter(objects, cutting=SMALL_CUTTING)
    unwritten = 0
    for seed in range(500):
        writer.write(noise(1000, seed))
        stored = sum(
            len(objects.stored[key]) for key, kind in objects.kinds.items() if kind == ObjectKind.CHUNK
        )
        unwritten = max(unwritten, (seed + 1) * 1000 - stored)

    assert 500_000 == writer.finish().size
    assert unwritten < 8 * SMALL_CUTTING.sizes.most


def test_the_buffer_may_be_reused_after_a_write(objects: MemoryObjects) -> None:
    """A copying program writes from one buffer again and again."""
    writer = ContentsWriter(objects, cutting=SMALL_CUTTING)
    buffer = bytearray()
    for seed in range(20):
        buffer[:] = noise(700, seed)
        with memoryview(buffer) as view:
            writer.write(view)

    assert written(objects, b"".join(noise(700, seed) for seed in range(20))) == writer.finish()


def test_the_format_of_contents_is_that_of_stores_that_exist(objects: MemoryObjects) -> None:
    """A known file is written; other ids would mean that equal files are stored twice in an older store."""
    contents = written(objects, noise(3 * MIB), cutting=CUTTING)

    assert "c325c11fcbdc0370b8086dc602178760c8a1515f02349cc4de50e622de1c1428" == contents.data.hex()
    assert "3cda3ee03423fc8f47f79239fde8789f375eaea0fdcb633b21af19dd21e3ebd7" == contents.content.hex()


def test_chunk_lists_of_different_files_share_nodes(objects: MemoryObjects) -> None:
    """Two large files differ at their beginning."""
    written(objects, noise(400_000))
    lists = objects.puts[ObjectKind.CHUNK_LIST]
    known = len(objects.stored)

    written(objects, b"another beginning" + noise(400_000))

    assert lists > 50
    assert len(objects.stored) - known < 20


# Reading


@pytest.mark.parametrize("length", [20, 500, 5_000, 40_000])
def test_any_range_can_be_read(objects: MemoryObjects, length: int) -> None:
    """Ranges begin and end anywhere, also beyond the end of the file."""
    data = noise(length)
    reader = Reader(objects, written(objects, data))

    for offset in range(0, length + 10, max(length // 40, 1)):
        for count in (0, 1, 300, length):
            assert data[offset : offset + count] == reader.read(offset, count)


def test_sequential_reads_get_no_chunk_twice(objects: MemoryObjects) -> None:
    """A file is read in pieces smaller than its chunks."""
    contents = written(objects, noise(2 * MIB), cutting=CUTTING)
    reader = Reader(objects, contents)

    for offset in range(0, contents.size, 10_000):
        reader.read(offset, 10_000)

    assert {1} == set(objects.gets.values())


def test_a_read_in_a_huge_file_gets_one_path(objects: MemoryObjects) -> None:
    """One byte in the middle of a file of many list nodes is read."""
    contents = written(objects, noise(400_000))

    read(objects, contents, 200_000, 1)

    assert contents.depth == objects.gets.total()
    assert contents.depth >= 4


def test_readers_may_be_shared_between_threads(objects: MemoryObjects) -> None:
    """The kernel asks for many ranges of an open file at once."""
    data = noise(400_000)
    reader = Reader(objects, written(objects, data))
    offsets = random.Random(1).sample(range(len(data)), 2_000)

    with ThreadPoolExecutor(8) as threads:
        parts = list(threads.map(lambda offset: reader.read(offset, 3_000), offsets))

    assert [data[offset : offset + 3_000] for offset in offsets] == parts


def test_the_chunks_of_a_range_are_named_whole_and_in_order(objects: MemoryObjects) -> None:
    """All chunks are asked for, those of a range, and those of a file without any."""
    data = noise(20_000)
    contents = written(objects, data)

    all_chunks = list(chunks(objects, contents))
    some = list(chunks(objects, contents, 5_000, 5_001))

    assert data == b"".join(objects.get(key) for key, _ in all_chunks)
    assert len(data) == sum(length for _, length in all_chunks)
    assert 1 == len(some)
    assert some[0] in all_chunks
    assert [] == list(chunks(objects, written(objects, b"tiny")))


def test_a_missing_chunk_is_a_store_error(objects: MemoryObjects) -> None:
    """A chunk in the middle is lost; what is before it can be read."""
    data = noise(20_000)
    contents = written(objects, data)
    lost, _ = next(chunks(objects, contents, 10_000))
    del objects.stored[lost]

    assert data[:5_000] == read(objects, contents, 0, 5_000)
    with pytest.raises(StoreError, match=lost.hex()):
        read(objects, contents, 0, 20_000)


def test_a_chunk_of_another_length_than_listed_is_named(objects: MemoryObjects) -> None:
    """A chunk lost its end, and the store did not notice."""
    contents = written(objects, noise(20_000))
    cut_off, _ = next(chunks(objects, contents, 10_000))
    objects.stored[cut_off] = objects.stored[cut_off][:-1]

    with pytest.raises(CorruptNodeError, match=cut_off.hex()):
        read(objects, contents, 0, 20_000)


def test_a_chunk_list_that_does_not_fit_its_entry_is_named(objects: MemoryObjects) -> None:
    """An entry says another size than its chunk list."""
    contents = written(objects, noise(20_000))
    wrong = Contents(contents.size + 1, contents.depth, contents.data, contents.content)

    with pytest.raises(CorruptNodeError, match=contents.data.hex()):
        read(objects, wrong, 0, 1)


def test_a_chunk_list_that_is_none_is_named(objects: MemoryObjects) -> None:
    """A list node is overwritten with something else."""
    contents = written(objects, noise(20_000))
    objects.stored[ChunkId(contents.data)] = b"noise"

    with pytest.raises(CorruptNodeError, match=contents.data.hex()):
        Reader(objects, contents)


def test_a_file_can_be_cut_off_and_continued_at_every_byte(objects: MemoryObjects) -> None:
    """Whether a chunk ends depends on what is after it, and where the file ends; every case comes up here."""
    data = noise(4_000)
    contents = written(objects, data)

    for length in range(len(data)):
        beginning = slice_of(objects, contents, 0, length, cutting=SMALL_CUTTING)
        continued = splice(
            objects, beginning, length + 1, [(length, length + 1)], lambda *_: b"?", cutting=SMALL_CUTTING
        )

        assert written(objects, data[:length]) == beginning
        assert written(objects, data[:length] + b"?") == continued


def test_a_file_can_lose_its_first_chunks_whatever_the_shape_of_its_list(objects: MemoryObjects) -> None:
    """All but the last chunks go; what remains of the list must not keep its height."""
    for length in range(300, 12_000, 300):
        data = noise(length)
        contents = written(objects, data)
        start = 0
        for _, chunk_length in chunks(objects, contents):
            start += chunk_length
            ending = slice_of(objects, contents, start, length, cutting=SMALL_CUTTING)

            assert written(objects, data[start:]) == ending


# What slices, joints and splices cost; that they are right is tested in tests/properties/test_contents.py


def test_a_slice_takes_chunks_over_unread(objects: MemoryObjects) -> None:
    """A huge file loses its first byte."""
    data = noise(400_000)
    contents = written(objects, data)
    objects.gets.clear()
    known = len(objects.stored)

    cut_off = slice_of(objects, contents, 1, contents.size, cutting=SMALL_CUTTING)

    assert _chunks_got(objects) < 20
    assert written(MemoryObjects(), data[1:]) == cut_off
    assert len(objects.stored) - known < 30


def test_the_appended_part_of_a_file_is_cheap(objects: MemoryObjects) -> None:
    """A huge file grew, and only what was appended is wanted."""
    data = noise(400_000)
    contents = written(objects, data + b"appended")
    objects.gets.clear()

    appended = slice_of(objects, contents, len(data), contents.size, cutting=SMALL_CUTTING)

    assert b"appended" == appended.data
    assert _chunks_got(objects) <= 2


def test_joining_two_huge_files_reads_the_joint_only(objects: MemoryObjects) -> None:
    """Two files of many chunks become one."""
    one, other = noise(300_000, 1), noise(300_000, 2)
    parts = [written(objects, one), written(objects, other)]
    objects.gets.clear()

    joined = concat(objects, parts, cutting=SMALL_CUTTING)

    assert _chunks_got(objects) < 20
    assert written(MemoryObjects(), one + other) == joined


def test_a_few_dirty_bytes_in_a_huge_file_cost_a_few_chunks(objects: MemoryObjects) -> None:
    """Ten bytes in the middle are written."""
    data = noise(400_000)
    contents = written(objects, data)
    objects.gets.clear()
    objects.puts.clear()

    changed = splice(
        objects,
        contents,
        contents.size,
        [(200_000, 200_010)],
        lambda _offset, length: b"!" * length,
        cutting=SMALL_CUTTING,
    )

    assert _chunks_got(objects) < 10
    assert written(MemoryObjects(), data[:200_000] + b"!" * 10 + data[200_010:]) == changed


def test_a_file_that_nobody_changed_is_the_same_file_unread(objects: MemoryObjects) -> None:
    """A program opened a file for writing and wrote nothing."""
    contents = written(objects, noise(20_000))
    objects.gets.clear()

    assert contents == splice(objects, contents, contents.size, [], never_read, cutting=SMALL_CUTTING)
    assert _chunks_got(objects) == 0


def test_a_hole_of_a_tebibyte_costs_one_chunk(objects: MemoryObjects) -> None:
    """A file is made that long by truncate, and then a few bytes are written into its middle."""
    tebibyte = 1 << 40

    hole = splice(objects, EMPTY, tebibyte, [], never_read)
    stored = len(objects.stored)
    written_into = splice(
        objects, hole, tebibyte, [(1 << 39, (1 << 39) + 3)], lambda _offset, _length: b"abc"
    )

    assert (tebibyte, tebibyte) == (hole.size, written_into.size)
    assert stored < 20
    assert len(objects.stored) - stored < 20
    assert b"\0abc\0" == read(objects, written_into, (1 << 39) - 1, 5)
    assert hole == splice(
        objects, written_into, tebibyte, [(1 << 39, (1 << 39) + 3)], lambda _offset, _length: bytes(3)
    )


def test_dirty_bytes_beyond_the_new_size_are_left_out(objects: MemoryObjects) -> None:
    """A file was written at its end and then truncated."""
    contents = splice(
        objects,
        written(objects, b"0123456789"),
        4,
        [(2, 3), (3, 8), (9, 12)],
        lambda _offset, length: b"x" * length,
        cutting=SMALL_CUTTING,
    )

    assert b"01xx" == contents.data


def test_staged_bytes_that_are_gone_are_an_error(objects: MemoryObjects) -> None:
    """The file with the staged bytes was cut off behind our back."""
    with pytest.raises(StoreError, match="staged"):
        splice(objects, EMPTY, 1000, [(0, 1000)], lambda _offset, _length: b"short", cutting=SMALL_CUTTING)


# Prefixes


@pytest.mark.parametrize("length", [0, 1, 20, 33, 5_000, 39_999, 40_000])
def test_a_file_begins_with_each_of_its_beginnings(objects: MemoryObjects, length: int) -> None:
    """A file grew from any size, over the border of the size classes too."""
    data = noise(40_000)

    assert is_prefix(objects, written(objects, data[:length]), written(objects, data))


def test_a_file_does_not_begin_with_what_it_only_nearly_begins_with(objects: MemoryObjects) -> None:
    """The last byte of the old file differs, the old file is longer, or of equal length."""
    data = noise(10_000)
    grown = written(objects, data)

    assert not is_prefix(objects, written(objects, data[:5_000] + b"?"), grown)
    assert not is_prefix(objects, written(objects, data + b"?"), grown)
    assert not is_prefix(objects, written(objects, data[:-1] + b"\0"), grown)


def test_comparing_with_an_appended_file_reads_its_last_chunk(objects: MemoryObjects) -> None:
    """A huge file grew a little."""
    data = noise(400_000)
    old, new = written(objects, data), written(objects, data + b"appended")
    objects.gets.clear()

    assert is_prefix(objects, old, new)
    assert _chunks_got(objects) <= 3


def _chunks_got(objects: MemoryObjects) -> int:
    return sum(count for key, count in objects.gets.items() if objects.kinds[key] == ObjectKind.CHUNK)
