"""Entries."""

from __future__ import annotations

import msgspec
import pytest

from pfsfuse.trees.entry import Entry, Kind, device_number, special, symlink
from tests.support.trees import a_file


def test_an_entry_survives_its_encoding() -> None:
    """An entry is stored and read back."""
    entry = a_file("text", mode=0o4755, mtime_ns=-1)

    assert entry == msgspec.msgpack.decode(msgspec.msgpack.encode(entry), type=Entry)


def test_an_entry_is_encoded_without_names_of_fields() -> None:
    """Millions of entries are stored; the order of the fields is the format."""
    raw = msgspec.msgpack.decode(msgspec.msgpack.encode(a_file("text")))

    assert [1, 0o644, 0, 0, 0, 4, 1, 0, b"text"] == raw[:9]


def test_the_content_of_a_file_is_not_that_of_its_attributes() -> None:
    """The same bytes stand in files of another mode and time."""
    assert a_file("x").content == a_file("x", mode=0o755, mtime_ns=5).content


def test_a_symlink_has_the_size_of_its_target() -> None:
    """A link is made."""
    entry = symlink(b"../target", uid=1, gid=2, mtime_ns=3)

    assert (Kind.SYMLINK, 9, b"../target", 1) == (entry.kind, entry.size, entry.data, entry.files)


@pytest.mark.parametrize("kind", [Kind.CHARACTER, Kind.BLOCK])
def test_a_device_keeps_its_number(kind: Kind) -> None:
    """A device node is made."""
    entry = special(kind, mode=0o600, uid=0, gid=0, mtime_ns=0, device=0x0801)

    assert 0x0801 == device_number(entry)


def test_a_fifo_has_no_number() -> None:
    """A FIFO is made."""
    assert 0 == device_number(special(Kind.FIFO, mode=0o600, uid=0, gid=0, mtime_ns=0))
