"""One stream cut into many files."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfsfuse.errors import InvalidNameError
from pfsfuse.transfer.split import (
    Format,
    MalformedRecordError,
    Splitting,
    number_of,
    numbered,
    split,
)
from pfsfuse.trees.contents import Contents, read
from tests.support.objects import MemoryObjects

DUMP = b"""-- PostgreSQL database dump
SET client_encoding = 'UTF8';
COPY public.cars (id, name) FROM stdin;
0\tTesla\tRoadster
1\tToyota\tCorolla
2\tVW\tKaefer
\\.
-- PostgreSQL database dump complete
"""


def files(data: bytes, how: Splitting, *, step: int = 7) -> list[bytes]:
    """Split *data*, which comes in parts of *step* bytes."""
    objects = MemoryObjects()
    parts = [data[start : start + step] for start in range(0, len(data), step)]
    return [read(objects, Contents.of(e), 0, e.size) for e in split(objects, parts, how)]


def test_every_line_is_a_file_when_no_target_is_given() -> None:
    """
    The last one needs no newline.
    """
    assert [b"foo\n", b"\n", b"bar"] == files(b"foo\n\nbar", Splitting(Format.LINE))
    assert [] == files(b"", Splitting(Format.LINE))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Splitting(Format.LINE, target_records=2), [b"a\nbb\n", b"ccc\ndddd\n", b"e\n"]),
        (Splitting(Format.LINE, target_bytes=4), [b"a\nbb\n", b"ccc\n", b"dddd\n", b"e\n"]),
        (Splitting(Format.LINE, target_records=3, target_bytes=5), [b"a\nbb\n", b"ccc\ndddd\n", b"e\n"]),
    ],
)
def test_a_file_is_full_at_the_target(how: Splitting, expected: list[bytes]) -> None:
    """
    Of records, of bytes, or of whichever comes first; records are never cut.
    """
    assert expected == files(b"a\nbb\nccc\ndddd\ne\n", how)


def test_json_values_follow_each_other_with_or_without_blanks() -> None:
    """
    Brackets and quotes inside of strings mean nothing; numbers stay apart.
    """
    data = b'{"a": "}\\"{"}[1, [2]]\n  "x" 12 3\n\ntrue{}'

    assert [b'{"a": "}\\"{"}', b"[1, [2]]", b'"x"', b"12", b"3", b"true", b"{}"] == files(
        data, Splitting(Format.JSON)
    )
    assert [b'{"a": "}\\"{"}[1, [2]]"x"', b"12\n3\ntrue", b"{}"] == files(
        data, Splitting(Format.JSON, target_records=3)
    )


json_values = st.recursive(
    st.one_of(st.integers(), st.text('ab"\\{}[] \n'), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text("a]}"), inner, max_size=3)),
)


@settings(max_examples=100)
@given(st.lists(json_values, max_size=6), st.integers(1, 9), st.sampled_from(["\n", " ", "\n\n\t"]))
def test_json_values_come_out_as_they_went_in(values: list[object], step: int, between: str) -> None:
    """
    Wherever the parts of the stream are cut.
    """
    data = between.join(json.dumps(value) for value in values).encode()

    assert values == [json.loads(each) for each in files(data, Splitting(Format.JSON), step=step)]


def test_a_newline_in_quotes_does_not_end_a_csv_record() -> None:
    """
    Nor does a doubled quote end the quotes.
    """
    data = b'id,text\r\n1,"two\nlines"\n2,"a ""quote"",\n"\n3,plain\n'

    found = files(data, Splitting(Format.CSV, header_records=1))

    head = b"id,text\r\n"
    assert [head + b'1,"two\nlines"\n', head + b'2,"a ""quote"",\n"\n', head + b"3,plain\n"] == found


def test_header_records_begin_every_file() -> None:
    """
    They do not count for the targets.
    """
    assert [b"h1\nh2\na\nb\n", b"h1\nh2\nc\n"] == files(
        b"h1\nh2\na\nb\nc\n", Splitting(Format.LINE, target_records=2, header_records=2)
    )


def test_a_dump_keeps_what_stands_around_its_table_in_every_file() -> None:
    """
    So each can be loaded by itself.
    """
    head, _, rest = DUMP.partition(b"0\t")
    foot = rest[rest.index(b"\\.") :]

    found = files(DUMP, Splitting(Format.SQL, target_records=2))

    assert [
        head + b"0\tTesla\tRoadster\n1\tToyota\tCorolla\n" + foot,
        head + b"2\tVW\tKaefer\n" + foot,
    ] == found


@pytest.mark.parametrize(
    ("format", "data", "why"),
    [
        (Format.JSON, b'{"a": 1', "not whole"),
        (Format.JSON, b'{"a": tru}', "no JSON value"),
        (Format.JSON, b"{} ] {}", "no JSON value"),
        (Format.JSON, b'{} "open', "not whole"),
        (Format.JSON, b"{} \x0b", "no JSON value"),
        (Format.CSV, b'a,"b\n', "quote that is not closed"),
        (Format.SQL, b"INSERT INTO cars VALUES (1);\n", "FROM stdin;"),
        (Format.SQL, DUMP[: DUMP.index(b"\\.")], "ends in the middle"),
        (Format.SQL, DUMP + DUMP, "more than one table"),
    ],
)
def test_a_stream_of_another_format_is_an_error(format: Format, data: bytes, why: str) -> None:
    """
    It is not split into something else.
    """
    with pytest.raises(MalformedRecordError, match=why):
        files(data, Splitting(format))


def test_header_records_are_for_lines_and_csv() -> None:
    """
    SQL finds its own, JSON has none.
    """
    for format in (Format.JSON, Format.SQL):
        with pytest.raises(InvalidNameError, match="header"):
            Splitting(format, header_records=1)


def test_files_are_numbered_with_sixteen_digits() -> None:
    """
    So the order of names is that of numbers; other names are no numbers.
    """
    assert b"0000000000000010" == numbered(16)
    assert 16 == number_of(numbered(16))
    assert [None, None] == [number_of(b"10"), number_of(b"000000000000001G")]
