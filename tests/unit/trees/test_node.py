"""Nodes as they are stored."""

from __future__ import annotations

import random

import msgspec
import pytest

from pfsfuse.ids import ChunkId, chunk_id
from pfsfuse.store.objects import ObjectKind
from pfsfuse.trees.entry import Entry, symlink
from pfsfuse.trees.node import (
    ChunkList,
    CorruptNodeError,
    Leaf,
    decode_directory,
    decode_list,
    encode,
    entry_references,
    leaf_content,
    list_content,
    references,
)
from pfsfuse.trees.tree import Trees
from tests.support.objects import MemoryObjects
from tests.support.trees import SMALL_SHAPE, a_file, written

ID = chunk_id(b"some node")


def test_a_leaf_survives_its_encoding() -> None:
    """A leaf is stored and read back."""
    leaf = Leaf([b"a", b"b"], [a_file("1"), a_file("2")])

    assert leaf == decode_directory(encode(leaf), ID)


def test_a_node_names_its_kind_and_version() -> None:
    """Someone looks at a stored node without knowing what it is."""
    assert "leaf.1" == msgspec.msgpack.decode(encode(Leaf([b"a"], [a_file()])))[0]
    assert "chunks.1" == msgspec.msgpack.decode(encode(ChunkList(1, [ID], [5])))[0]


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"not msgpack",
        encode(Leaf([b"a"], [a_file()]))[:-1],
        encode(["leaf.2", [b"a"], []]),
        encode(["leaf.1", [b"a"], []]),
        encode(["leaf.1", [], []]),
        encode(["chunks.1", 1, [ID], [5]]),
    ],
    ids=["empty", "noise", "cut off", "unknown version", "columns of two lengths", "no names", "other kind"],
)
def test_what_is_no_directory_node_is_named(stored: bytes) -> None:
    """A directory node is damaged, or of a version that this program does not know."""
    with pytest.raises(CorruptNodeError, match=ID.hex()) as caught:
        decode_directory(stored, ID)

    assert ID == caught.value.object_id


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        encode(["chunks.2", 1, [ID], [5]]),
        encode(["chunks.1", 1, [b"short"], [5]]),
        encode(["chunks.1", 1, [ID], []]),
    ],
    ids=["empty", "unknown version", "short id", "columns of two lengths"],
)
def test_what_is_no_chunk_list_is_named(stored: bytes) -> None:
    """A chunk list is damaged, or of a version that this program does not know."""
    with pytest.raises(CorruptNodeError, match=ID.hex()):
        decode_list(stored, ID)


def test_the_content_of_a_leaf_knows_names_kinds_bytes_and_executable_bit_only() -> None:
    """A directory with one file is changed in every way."""
    content = leaf_content([b"name"], [a_file("x")])

    assert content == leaf_content([b"name"], [a_file("x", mode=0o600, mtime_ns=9)])
    assert content != leaf_content([b"other"], [a_file("x")])
    assert content != leaf_content([b"name"], [a_file("y")])
    assert content != leaf_content([b"name"], [a_file("x", mode=0o744)])
    assert content != leaf_content([b"name"], [symlink(b"x", uid=0, gid=0, mtime_ns=0)])


def test_a_file_with_the_bytes_of_a_chunk_list_is_not_the_listed_file() -> None:
    """Someone writes the bytes of a stored chunk list into a file."""
    list_bytes = encode(ChunkList(1, [ID, ID], [5, 5]))

    assert chunk_id(list_bytes) != list_content(chunk_id(list_bytes))


def test_following_references_finds_every_object_of_a_tree() -> None:
    """A tree with large and small files, links and directories is walked object by object."""
    objects = MemoryObjects()
    trees = Trees(objects, shape=SMALL_SHAPE)
    large = written(objects, random.Random(1).randbytes(9_000))
    attributes = {"mode": 0o644, "uid": 0, "gid": 0, "mtime_ns": 0}
    changes: dict[tuple[bytes, ...], Entry | None] = {
        (b"large",): large.entry(**attributes),
        (b"link",): symlink(b"large", uid=0, gid=0, mtime_ns=0),
        (b"below", b"single"): written(objects, b"x" * 60).entry(**attributes),
    }
    changes |= {(b"many", b"%d" % number): a_file() for number in range(50)}
    objects_of_files = set(objects.stored)
    root = trees.apply(trees.empty_directory(), changes)

    found: dict[ChunkId, ObjectKind] = {}
    ahead = list(entry_references(root))
    while ahead:
        object_id, kind = ahead.pop()
        found[object_id] = kind
        ahead += references(objects.get(object_id), kind, object_id)

    assert objects_of_files <= set(found)
    assert {entry.data for _, entry in trees.walk(root) if entry.depth} <= set(found)
    assert {object_id: objects.kinds[object_id] for object_id in found} == found
