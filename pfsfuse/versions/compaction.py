"""
A journal that is written anew: the state of an overlay in as few records as it takes.

A commit that stays open for days collects every version of every file in its journal.  The records
here describe each node as it is, instead of how it came to be so; `Replay` (replay.py) reads both.
What is not listed below as kept is either found from other records, or of no use to another process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..trees.contents import EMPTY, Contents
from ..trees.entry import Entry, Kind
from .staged import Node, StagedDirectory, StagedFile, StagedLeaf

KEPT: dict[str, Any] = {
    "mode": int,
    "uid": int,
    "gid": int,
    "mtime_ns": int,
    "ctime_ns": int,
    "atime_ns": int,
    "group": int,
    "origin": Entry | None,
    "xattrs": tuple[tuple[bytes, bytes], ...],
    "base": Entry | None,
    "base_path": tuple[bytes, ...] | None,
    "directories": int,
    "base_size": int,
    "kept_prefix": int,
    "is_doubtful": bool,
    "path_base": Entry | None,
    "target": bytes,
}
"""Attributes of nodes that stand in a record, with what they are."""

LEFT = frozenset(
    {"number", "kind", "contents", "size"}  # stand in the record by themselves
    | {"parent", "name", "more_names", "children"}  # follow from the records of children
    | {"buffer", "in_journal", "spill", "saved_version", "version", "journaled"}  # of the bytes
    | {"sealed", "sealed_contents", "sealed_version", "tag"}  # of this process
)
"""Attributes that do not."""


def slots_of(kind: type[Node]) -> set[str]:
    """Return the attributes of a kind of node."""
    return {slot for each in kind.__mro__ for slot in getattr(each, "__slots__", ())}


def node_record(node: Node) -> tuple[object, ...]:
    """Return the record of a node without its names and its bytes."""
    kept = {slot: getattr(node, slot) for slot in sorted(slots_of(type(node)) & KEPT.keys())}
    contents = None
    if isinstance(node, StagedFile):
        found = node.contents
        contents = (found.size, found.depth, found.data, found.content)
    return ("nd", node.number, int(node.kind), contents, kept)


def children_records(directory: StagedDirectory) -> Iterator[tuple[object, ...]]:
    """Yield the records of what stands in a directory other than in its base."""
    for name, child in directory.children.items():
        yield ("ch", directory.number, name, child.number if isinstance(child, Node) else child)


def restored_node(
    number: int, kind: int, contents: list[object] | None, kept: dict[str, object], root: StagedDirectory
) -> Node:
    """Return the node that `node_record` described; number 0 is the *root*, which is there already."""
    if number == 0:
        node: Node = root
    elif kind == Kind.DIRECTORY:
        node = StagedDirectory(number, 0, 0, 0, 0)
    elif kind == Kind.FILE:
        node = StagedFile(number, 0, 0, 0, 0, restored_contents(contents))
    else:
        node = StagedLeaf(number, Kind(kind), 0, 0, 0, 0, b"")
    for slot in slots_of(type(node)) & kept.keys():
        setattr(node, slot, msgspec.convert(kept[slot], KEPT[slot]))
    return node


def restored_contents(fields: list[object] | None) -> Contents:
    """Return contents by their fields."""
    if fields is None:
        return EMPTY
    return msgspec.convert(dict(zip(("size", "depth", "data", "content"), fields, strict=True)), Contents)
