"""Where one file may be cut."""

from __future__ import annotations

import json

import pytest

from pfsfuse.trees.contents import ContentsWriter
from runner.datums.blocks import BLOCK_BYTES, blocks
from tests.support.objects import MemoryObjects


def cut(data: bytes, *, name: bytes = b"file", least: int = 10) -> list[bytes]:
    """Return the blocks of a file."""
    objects = MemoryObjects()
    writer = ContentsWriter(objects)
    writer.write(data)
    return [data[start:end] for start, end in blocks(objects, writer.finish(), name, least=least)]


def test_a_block_ends_with_the_line_in_which_it_is_long_enough() -> None:
    """
    Lines of six bytes, blocks of at least ten: two lines each, and a rest.
    """
    assert [b"aaaaa\nbbbbb\n", b"ccccc\nddddd\n", b"eeeee"] == cut(b"aaaaa\nbbbbb\nccccc\nddddd\neeeee")


def test_a_newline_exactly_at_the_least_size_ends_the_block() -> None:
    """
    The tenth byte is a newline; the block does not go on to the next one.
    """
    assert [b"123456789\n", b"x\n"] == cut(b"123456789\nx\n")


@pytest.mark.parametrize("data", [b"short\n", b"0123456789", b"x" * 700_000, b"x" * 700_000 + b"\n"])
def test_what_is_short_or_one_line_is_one_block(data: bytes) -> None:
    """
    A long line is longer than several windows of the search.
    """
    assert [data] == cut(data)


def test_an_empty_file_has_no_block() -> None:
    """
    There is nothing to deal out.
    """
    assert [] == cut(b"")


def test_a_bin_file_is_never_cut() -> None:
    """
    One write is one record, and where writes ended is not known.
    """
    data = b"x\n" * 100

    assert [data] == cut(data, name=b"records.bin")


def test_a_json_file_is_cut_after_whole_values_and_not_inside_strings() -> None:
    """
    Brackets, quotes and backslashes in strings, values over several lines, blanks between.
    """
    values = ['{"a": "}\\"{"}', '{\n"b": [1,\n{"c": 2}]\n}', '["]\\\\"]', '{"d": {}}']
    data = " \n".join(values).encode()

    found = cut(data, name=b"x.json", least=1)

    assert [json.loads(value) for value in values] == [json.loads(block) for block in found]
    assert data == b"".join(found)


def test_one_json_array_is_one_block() -> None:
    """
    It is one value; half an array is no JSON.
    """
    data = json.dumps([{"n": n} for n in range(100)]).encode()

    assert [data] == cut(data, name=b"x.json")


def test_json_strings_longer_than_the_window_are_skipped_whole() -> None:
    """
    Strings that go on over several reads, one with a backslash at the very end of a read.
    """
    window = 256 * 1024
    head = b'{"a": "'
    long = head + b"}" * (window - len(head) - 1) + b'\\"' + b"]}" * window + b'"}\n'
    data = long + b'{"b": 1}\n'

    assert [long, b'{"b": 1}\n'] == cut(data, name=b"x.json")


@pytest.mark.parametrize("data", [b'{"a": "never closed' * 100, b"]" * 100, b"}{" * 100, b"\\" * 100])
def test_what_is_no_json_is_cut_somewhere_or_nowhere_but_nothing_is_lost(data: bytes) -> None:
    """
    The name says JSON, the content does not.
    """
    assert data == b"".join(cut(data, name=b"x.json"))


def test_blocks_have_about_eight_megabytes() -> None:
    """
    A 20 MB file of lines of 64 bytes.
    """
    data = (b"x" * 63 + b"\n") * (20 * 1024 * 1024 // 64)

    found = cut(data, least=BLOCK_BYTES)

    assert [BLOCK_BYTES, BLOCK_BYTES, 4 * 1024 * 1024] == [len(block) for block in found]
