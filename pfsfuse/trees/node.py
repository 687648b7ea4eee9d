"""
The nodes of trees, as they are stored.

A directory is a tree of nodes by name, a file of several chunks a tree of nodes by position.
Each node is a msgpack array whose first element names its kind and format version, so that a
node of an unknown version is refused and never misread.  All nodes have two columns: `keys`
and `items`.

    LEAF       names           entries                               of a directory
    INTERIOR   last names      what is below each (`Child`)          of a directory
    CHUNK_LIST ids             bytes below each                      of a file

A chunk list of height 1 names chunks; one of height n > 1 names chunk lists of height n - 1.
Nothing here is ever changed once it is made: nodes are shared between trees and caches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from operator import attrgetter

import msgspec

from ..errors import StoreError
from ..ids import CHUNK_ID_BYTES, ChunkId, chunk_id
from ..store.objects import ObjectKind
from .entry import Entry, Kind, marks


class CorruptNodeError(StoreError):
    """An object that should be a node of a tree is none, or not one that fits its parent."""

    def __init__(self, object_id: ChunkId, reason: str) -> None:
        super().__init__(
            f"object {object_id.hex()} is not the tree node that it should be ({reason}); "
            "run fsck to see what is damaged"
        )
        self.object_id = object_id


class Child(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A node of a directory as its parent knows it."""

    id: bytes
    content: bytes
    """Content hash of all below: see `leaf_content` and `interior_content`."""
    entries: int
    """Names of this directory below the node (directories below them count once)."""
    size: int
    files: int
    directories: int = 0
    """How many of the names are directories."""
    linked: int = 0
    """See `More.linked`."""


class Leaf(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="leaf.1"):
    """A run of the entries of a directory, by name."""

    keys: list[bytes]
    items: list[Entry]

    @property
    def height(self) -> int:
        """Leaves are at height 1."""
        return 1


class Interior(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="interior.1"):
    """A run of nodes of the height below; each key is the last name below the node."""

    height: int
    keys: list[bytes]
    items: list[Child]


class ChunkList(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="chunks.1"):
    """A run of the chunks of a file, or of chunk lists of the height below."""

    height: int
    keys: list[bytes]
    items: list[int]


_encoder = msgspec.msgpack.Encoder()
_directory_decoder: msgspec.msgpack.Decoder[Leaf | Interior] = msgspec.msgpack.Decoder(Leaf | Interior)
_list_decoder = msgspec.msgpack.Decoder(ChunkList)

encode = _encoder.encode

_ENTRY_WITHOUT_MORE = attrgetter(
    *[field.name for field in msgspec.structs.fields(Entry) if field.name != "more"]
)
_CHILD_WITHOUT_MORE = attrgetter("id", "content", "entries", "size", "files")


def encode_directory(node: Leaf | Interior) -> bytes:
    """
    Return the node as it is stored: what has a default at its end stands without it.

    So a directory has the name that it had before there were such fields.
    """
    if isinstance(node, Leaf):
        entries = [_ENTRY_WITHOUT_MORE(entry) if entry.more is None else entry for entry in node.items]
        return encode(("leaf.1", node.keys, entries))
    children = [
        child if child.directories or child.linked else _CHILD_WITHOUT_MORE(child) for child in node.items
    ]
    return encode(("interior.1", node.height, node.keys, children))


def decode_directory(data: bytes, object_id: ChunkId) -> Leaf | Interior:
    """Return the node of a directory that was stored as *data*."""
    try:
        node = _directory_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise CorruptNodeError(object_id, str(error)) from error
    _check_columns(node.keys, node.items, object_id)
    return node


def decode_list(data: bytes, object_id: ChunkId) -> ChunkList:
    """Return the chunk list node that was stored as *data*."""
    try:
        node = _list_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise CorruptNodeError(object_id, str(error)) from error
    _check_columns(node.keys, node.items, object_id)
    if any(len(key) != CHUNK_ID_BYTES for key in node.keys):
        raise CorruptNodeError(object_id, "a chunk id has a wrong length")
    return node


def _check_columns(keys: Sized, items: Sized, object_id: ChunkId) -> None:
    if not len(keys) or len(keys) != len(items):
        raise CorruptNodeError(object_id, f"{len(keys)} keys for {len(items)} items")


def leaf_content(keys: list[bytes], items: list[Entry]) -> bytes:
    """Return the content hash of a leaf: its names, kinds, executable bits and contents."""
    return chunk_id(encode(("leaf", keys, marks(items), _joined([entry.content for entry in items]))))


def interior_content(height: int, items: list[Child]) -> bytes:
    """Return the content hash of an interior node: the content hashes of its children."""
    return chunk_id(encode(("interior", height, _joined([child.content for child in items]))))


def _joined(contents: list[bytes]) -> bytes:
    joined = b"".join(contents)
    assert len(joined) == CHUNK_ID_BYTES * len(contents)  # else two directories could look alike
    return joined


EMPTY_CONTENT = leaf_content([], [])
"""The content hash of a directory without entries."""


def list_content(list_id: ChunkId) -> bytes:
    """
    Return the content hash of a file whose root chunk list is *list_id*: the id with all bits inverted.

    The content hash of a file of one chunk is the id of the chunk.  Without the inversion a
    file whose bytes are those of a chunk list would have the content hash of the listed file.
    """
    return bytes(255 - byte for byte in list_id)


def references(data: bytes, kind: ObjectKind, object_id: ChunkId) -> Iterator[tuple[ChunkId, ObjectKind]]:
    """Yield the objects that the object *object_id* with the bytes *data* names."""
    if kind == ObjectKind.DIRECTORY_NODE:
        directory_node = decode_directory(data, object_id)
        if isinstance(directory_node, Leaf):
            for entry in directory_node.items:
                yield from entry_references(entry)
        else:
            for child in directory_node.items:
                yield ChunkId(child.id), ObjectKind.DIRECTORY_NODE
    elif kind == ObjectKind.CHUNK_LIST:
        list_node = decode_list(data, object_id)
        below = ObjectKind.CHUNK if list_node.height == 1 else ObjectKind.CHUNK_LIST
        for key in list_node.keys:
            yield ChunkId(key), below


def named_ids(data: bytes, kind: ObjectKind, object_id: ChunkId) -> list[bytes]:
    """Return the ids that `references` yields, without kinds: for who goes through millions."""
    if kind == ObjectKind.CHUNK_LIST:
        return [*decode_list(data, object_id).keys]
    if kind != ObjectKind.DIRECTORY_NODE:
        return []
    node = decode_directory(data, object_id)
    if isinstance(node, Interior):
        return [child.id for child in node.items]
    return [entry.data for entry in node.items if entry.depth]


def entry_references(entry: Entry) -> Iterator[tuple[ChunkId, ObjectKind]]:
    """Yield the object that *entry* names, if it names one."""
    if entry.depth == 0:
        return
    if entry.kind == Kind.DIRECTORY:
        yield ChunkId(entry.data), ObjectKind.DIRECTORY_NODE
    elif entry.kind == Kind.FILE:
        yield ChunkId(entry.data), ObjectKind.CHUNK if entry.depth == 1 else ObjectKind.CHUNK_LIST
