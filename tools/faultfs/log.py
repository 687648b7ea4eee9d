"""
The log: what a disk was told, in order.

A file is known by a number that is never used again; 1 is the folder at the top.  A log file is a
sequence of length:u32 and msgpack; what follows the last whole record does not count.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec

TOP = 1

_LENGTH = struct.Struct("<I")


class Record(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """One thing that happened."""


class Made(Record, frozen=True):
    """A file came into being, without a name yet."""

    file: int
    mode: int
    """With the type, as stat(2) has it."""
    target: bytes = b""
    """Of a symlink."""


class Wrote(Record, frozen=True):
    file: int
    offset: int
    data: bytes


class Truncated(Record, frozen=True):
    file: int
    size: int


class Changed(Record, frozen=True):
    """The mode of a file."""

    file: int
    mode: int


class Named(Record, frozen=True):
    """Names changed, all of them at once: that is what journals of file systems promise of one call."""

    changes: list[tuple[int, bytes, int | None]]
    """(folder, name, the file that it stands for, or None)"""


class Synced(Record, frozen=True):
    """fsync or fdatasync of a file or folder has returned."""

    file: int
    ok: bool = True
    """If not, what was not on the disk by then never will be: the kernel forgets it (fsync(2))."""
    path: str = ""
    """Where the file was, from the top."""


class Marked(Record, frozen=True):
    """Something happened outside: a program said, say, that data is safe."""

    text: str


AnyRecord = Made | Wrote | Truncated | Changed | Named | Synced | Marked


class LogWriter:
    """Appends records to a file."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 - closed by `close`
        self._encoder = msgspec.msgpack.Encoder()
        self.position = 0
        """How many records there are."""
        self.syncs = 0
        """How many of them are syncs that went well."""

    def add(self, record: AnyRecord) -> None:
        payload = self._encoder.encode(record)
        self._file.write(_LENGTH.pack(len(payload)) + payload)
        self.position += 1
        if isinstance(record, Synced) and record.ok:
            self.syncs += 1

    def flush(self) -> None:
        """Hand all records to the kernel, so that others can read them."""
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_log(path: Path) -> Iterator[AnyRecord]:
    """Yield the records of a log, in order."""
    decoder = msgspec.msgpack.Decoder(AnyRecord)
    with open(path, "rb") as file:
        while len(head := file.read(_LENGTH.size)) == _LENGTH.size:
            payload = file.read(_LENGTH.unpack(head)[0])
            if len(payload) < _LENGTH.unpack(head)[0]:
                return
            yield decoder.decode(payload)
