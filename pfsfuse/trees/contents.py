"""
The bytes of files.

`Contents` says what they are, without name, owner or mode.  The law: equal bytes have equal
`Contents`, whether they were written in one go (`ContentsWriter`), cut out of another file
(`slice_of`), put together (`concat`) or changed in places (`splice`).  So one comparison of
`Contents.content` tells whether two files are equal, and what is stored once stays stored once.
"""

from __future__ import annotations

from .assembly import concat, slice_of, splice
from .chunk_list import EMPTY, Contents
from .reader import Reader, chunks, is_prefix, read
from .writer import ContentsWriter, small_most, store_small

__all__ = [
    "EMPTY",
    "Contents",
    "ContentsWriter",
    "Reader",
    "chunks",
    "concat",
    "is_prefix",
    "read",
    "slice_of",
    "small_most",
    "splice",
    "store_small",
]
