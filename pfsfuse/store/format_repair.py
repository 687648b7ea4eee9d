"""
Mends `format.json`, from which everything else begins.

The id of the store stands in the header of every pack, and the rest of the file is the same for all
stores of a format.  A file that says another format, or other parameters of cutting, is left alone:
it may be right, and the store one of another version of pfs.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from . import chunker
from .packs import id_in_packs, sync_folder
from .problems import Mending
from .store import FORMAT, PACKS, Format, UnknownFormatError, read_or_make_format, store_id


def mend_format(root: Path, *, dry_run: bool = False) -> list[Mending]:
    """Write the file anew if it makes no sense; UnknownFormatError if nothing tells how it was."""
    try:
        found = read_or_make_format(root)
        store_id(root, found)
    except UnknownFormatError as error:
        in_packs = id_in_packs(root / PACKS)
        if in_packs is None or not _is_garbage(root / "format.json"):
            raise
        if not dry_run:
            _write(root, Format(FORMAT, in_packs.hex(), chunker.CUTTING.recorded()))
        return [Mending("F1", f"format.json was written anew, with the id that the packs have: {error}")]
    return []


def _is_garbage(path: Path) -> bool:
    """Say whether the file cannot be that of another version: no JSON, or nothing wrong but the id."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Format)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True
    return found.format == FORMAT and found.chunking == chunker.CUTTING.recorded()


def _write(root: Path, made: Format) -> None:
    draft = root / f".format-{os.getpid()}"
    with open(draft, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(made)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(root / "format.json")
    sync_folder(root)
