"""
Identifiers: how they are made, written and read.

Inside the program ids are raw bytes; hexadecimal text is for people, paths and files.
"""

from __future__ import annotations

import os
from typing import NewType

from blake3 import blake3

from .errors import InvalidNameError

ChunkId = NewType("ChunkId", bytes)
"""BLAKE3-256 of the raw (uncompressed) bytes of a chunk or a tree node: 32 bytes."""

CommitId = NewType("CommitId", bytes)
"""16 random bytes.  All commits and jobs that one change causes share one id."""

RepoName = NewType("RepoName", str)
"""`repo` in the project `default`, `project/repo` elsewhere."""

BranchName = NewType("BranchName", str)

CHUNK_ID_BYTES = 32
COMMIT_ID_BYTES = 16


def chunk_id(data: bytes | bytearray | memoryview) -> ChunkId:
    """Return the name of the content *data*."""
    return ChunkId(blake3(data).digest())


def new_commit_id() -> CommitId:
    """
    Return a fresh id.

    The version and variant bits of a random UUID (RFC 9562) are set, as clients of the
    original expect of a commit id.
    """
    raw = bytearray(os.urandom(COMMIT_ID_BYTES))
    raw[6] = (raw[6] & 0x0F) | 0x40
    raw[8] = (raw[8] & 0x3F) | 0x80
    return CommitId(bytes(raw))


def is_commit_id(text: str) -> bool:
    """Say whether *text* has the shape of a full commit id: 32 hexadecimal digits."""
    return len(text) == 2 * COMMIT_ID_BYTES and all(c in "0123456789abcdef" for c in text)


def parse_commit_id(text: str) -> CommitId:
    """Return the id written as 32 hexadecimal digits; InvalidNameError for anything else."""
    if not is_commit_id(text):
        raise InvalidNameError(f"{text!r} is no commit id: 32 hexadecimal digits are needed")
    return CommitId(bytes.fromhex(text))
