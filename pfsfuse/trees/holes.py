"""
Holes: long runs of zero bytes, of which a store keeps one chunk and a few list nodes.

A hole is known by its chunks: all are the one that zeros are cut into.
"""

from __future__ import annotations

from ..ids import ChunkId
from ..store.chunker import CUTTING, Cutting
from ..store.objects import Objects
from .chunk_list import Contents
from .chunk_row import zero_chunk
from .node import decode_list


def hole_bytes(objects: Objects, contents: Contents, *, cutting: Cutting = CUTTING) -> int:
    """Return how many bytes of a file are holes.  Reads the list nodes that differ, no chunk."""
    zero, length = zero_chunk(cutting.sizes)
    if contents.depth <= 1:
        return length if contents.depth == 1 and contents.data == zero else 0
    counted: dict[bytes, int] = {}

    def count(node_id: bytes) -> int:
        if node_id not in counted:
            object_id = ChunkId(node_id)
            node = decode_list(objects.get(object_id), object_id)
            if node.height == 1:
                counted[node_id] = node.keys.count(zero) * length
            else:
                counted[node_id] = sum([count(below) for below in node.keys])
        return counted[node_id]

    return count(contents.data)
