"""
What a disk may hold after a power cut.

A `Disk` is told what happened, record by record, and knows at each moment two things: what is durable,
and what is on its way.  `survive` writes into a folder what is left if the power fails now: all that
is durable and a random part of the rest.

- Bytes are durable when an fsync of their file has completed after they were written.  Of other writes
  any 4 KiB block may have come to the disk, in any order, and a truncation may be there or not.
- A name is durable when an fsync of its folder has completed, and only then: an fsync of the file does
  not help.  Other changes of names are there or not, one by one, each as a whole (so a rename never
  loses a file that was there).
- A file that no name leads to is gone.
- After a failed fsync the part that did not reach the disk never will.

This is harsher than ext4 or XFS, which keep changes of names in order, and no harsher than POSIX.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from .log import TOP, AnyRecord, Changed, Made, Marked, Named, Synced, Truncated, Wrote

BLOCK = 4096
"""Disks write so many bytes at once or not at all."""

_LUCK = (0.0, 0.5, 0.9, 1.0)
"""How likely a thing that is on its way has arrived; drawn anew for each file."""


@dataclass
class _File:
    mode: int
    target: bytes = b""
    data: bytearray = field(default_factory=bytearray)
    """What is durable."""
    pending: list[Wrote | Truncated] = field(default_factory=list)


class Disk:
    """See the module."""

    def __init__(self, draw: Random) -> None:
        self.draw = draw
        """Decides what was lucky."""
        self._files: dict[int, _File] = {TOP: _File(stat.S_IFDIR | 0o755)}
        self._names: dict[int, dict[bytes, int]] = {TOP: {}}
        """What is durable: of each folder, its names."""
        self._pending: list[Named] = []
        self.marks: list[str] = []

    def apply(self, record: AnyRecord) -> None:
        """Have *record* happen."""
        match record:
            case Made(number, mode, target):
                self._files[number] = _File(mode, target)
                if stat.S_ISDIR(mode):
                    self._names[number] = {}
            case Wrote(number) | Truncated(number):
                self._files[number].pending.append(record)
            case Changed(number, mode):
                file = self._files[number]
                file.mode = stat.S_IFMT(file.mode) | stat.S_IMODE(mode)
            case Named():
                self._pending.append(record)
            case Synced(number, ok):
                self._sync(number, ok=ok)
            case Marked(text):
                self.marks.append(text)

    def _sync(self, number: int, *, ok: bool) -> None:
        luck = 1.0 if ok else self.draw.choice(_LUCK)
        if number in self._names:
            touching = [each for each in self._pending if any(number == f for f, _, _ in each.changes)]
            for each in touching:
                self._pending.remove(each)
                if self.draw.random() < luck:
                    _rename(self._names, each)
        else:
            file = self._files[number]
            self._arrive(file.data, file.pending, luck)
            file.pending = []

    def _arrive(self, data: bytearray, pending: list[Wrote | Truncated], luck: float) -> None:
        """Have some of *pending* happen to *data*."""
        for each in pending:
            if isinstance(each, Truncated):
                if self.draw.random() < luck:
                    _resize(data, each.size)
                continue
            start, end = each.offset, each.offset + len(each.data)
            while start < end:
                upto = end if luck == 1.0 else min(end, start - start % BLOCK + BLOCK)
                if self.draw.random() < luck:
                    _resize(data, max(len(data), upto))
                    data[start:upto] = each.data[start - each.offset : upto - each.offset]
                start = upto

    # The power cut

    def survive(self, folder: Path) -> None:
        """Write what is left after a power cut into the new folder *folder*; the disk itself goes on."""
        names = {number: dict(held) for number, held in self._names.items()}
        luck = self.draw.choice(_LUCK)
        for each in self._pending:
            if self.draw.random() < luck:
                _rename(names, each)
        self._write_out(TOP, folder, names, {})

    def _write_out(
        self, number: int, path: Path, names: dict[int, dict[bytes, int]], written: dict[int, Path]
    ) -> None:
        file = self._files[number]
        if number in written and not stat.S_ISDIR(file.mode):
            os.link(written[number], path, follow_symlinks=False)
            return
        written[number] = path
        if stat.S_ISDIR(file.mode):
            path.mkdir()
            for name, below in sorted(names[number].items()):
                self._write_out(below, path / os.fsdecode(name), names, written)
        elif stat.S_ISLNK(file.mode):
            path.symlink_to(os.fsdecode(file.target))
            return
        elif stat.S_ISREG(file.mode):
            data = bytearray(file.data)
            self._arrive(data, file.pending, self.draw.choice(_LUCK))
            path.write_bytes(data)
        else:
            os.mknod(path, file.mode)
        path.chmod(stat.S_IMODE(file.mode))


def _rename(names: dict[int, dict[bytes, int]], record: Named) -> None:
    for folder, name, file in record.changes:
        if file is None:
            names[folder].pop(name, None)
        else:
            names[folder][name] = file


def _resize(data: bytearray, size: int) -> None:
    if size < len(data):
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))
