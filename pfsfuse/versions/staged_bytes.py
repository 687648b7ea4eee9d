"""
Reading, writing and ingesting the bytes of staged files.

Small files are rewritten whole; large ones keep what is committed and stage the written ranges.
`ingest` may run in another thread while the file is written: it works on what it captured and its
result counts only if the file did not change meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import FileTooLargeError
from ..store.objects import Objects
from ..trees import contents as file_contents
from ..trees.contents import EMPTY, Contents, ContentsWriter
from .journal import Journal
from .spill import Spill
from .staged import LARGEST, SMALL, StagedFile

_COMPARED = 2 << 20
"""
How much of a write that overlaps the kept prefix is compared with what is there.

The kernel writes whole pages back, so an append arrives with the old tail in front of it.
"""


class StagedBytes:
    """Does the byte work of one overlay."""

    def __init__(self, objects: Objects, journal: Journal, scratch: Path) -> None:
        self._objects = objects
        self.journal = journal
        self._scratch = scratch
        self._left = False

    def read(self, file: StagedFile, offset: int, length: int) -> bytes:
        """Return bytes of the file as it is now; short at its end."""
        end = min(offset + length, file.size)
        if offset >= end:
            return b""
        # Another thread reads when a commit is sealed: each attribute is looked at once.
        buffer, place, spill = file.buffer, file.in_journal, file.spill
        if buffer is not None:
            return bytes(buffer[offset:end])
        if place is not None:
            return self.journal.read(place[0] + offset, end - offset)
        if spill is None:
            return file_contents.read(self._objects, file.contents, offset, end - offset)
        return self._read_overlaid(file, spill, offset, end)

    def _read_overlaid(self, file: StagedFile, spill: Spill, offset: int, end: int) -> bytes:
        pieces: list[bytes] = []
        position = offset
        for start, stop in spill.dirty:
            if stop <= position:
                continue
            if start >= end:
                break
            if start > position:
                pieces.append(self._committed(file, position, start))
                position = start
            upto = min(stop, end)
            pieces.append(spill.read(position, upto - position))
            position = upto
        if position < end:
            pieces.append(self._committed(file, position, end))
        return b"".join(pieces)

    def _committed(self, file: StagedFile, start: int, end: int) -> bytes:
        """Return committed bytes; zeros behind them, for a file that was made longer."""
        data = file_contents.read(self._objects, file.contents, start, end - start)
        return data + bytes(end - start - len(data))

    def write(self, file: StagedFile, offset: int, data: bytes | memoryview, now_ns: int) -> None:
        """Put *data* at *offset*, making the file longer if needed.  OutOfSpaceError changes nothing."""
        end = offset + len(data)
        _check_size(end)
        if offset < file.kept_prefix:
            self._note_overwrite(file, offset, data)
        if self._is_small(file) and max(end, file.size) <= SMALL:
            buffer = self._load(file)
            if len(buffer) < end:
                buffer.extend(bytes(end - len(buffer)))
            buffer[offset:end] = data
        else:
            self._spilled(file).write(offset, data)
        file.size = max(file.size, end)
        self._touched(file, now_ns)

    def _note_overwrite(self, file: StagedFile, offset: int, data: bytes | memoryview) -> None:
        overlap = min(file.kept_prefix - offset, len(data))
        if overlap > _COMPARED or self.read(file, offset, overlap) != bytes(data[:overlap]):
            file.kept_prefix = offset

    def _is_small(self, file: StagedFile) -> bool:
        return file.spill is None and file.size <= SMALL

    def _load(self, file: StagedFile) -> bytearray:
        """Return the whole file in memory, to be changed there."""
        if file.buffer is None:
            file.buffer = bytearray(self.read(file, 0, file.size))
            file.in_journal = None
            file.contents = EMPTY
        return file.buffer

    def _spilled(self, file: StagedFile) -> Spill:
        """Return the file's spill, moving what is in memory into it."""
        if file.spill is None:
            has_own_bytes = file.buffer is not None or file.in_journal is not None
            spill = Spill(self._scratch / self._spill_name(file))
            if has_own_bytes and file.size:
                spill.write(0, self.read(file, 0, file.size))
            if has_own_bytes:
                file.buffer = None
                file.in_journal = None
                file.contents = EMPTY
            file.spill = spill
        return file.spill

    def _spill_name(self, file: StagedFile) -> str:
        return f"orphan-{id(self):x}-{file.number}.data" if self._left else f"{file.number}.data"

    def detach(self, file: StagedFile) -> None:
        """Make an unlinked file independent of the journal and of names."""
        if file.in_journal is not None and file.buffer is None:
            file.buffer = bytearray(self.read(file, 0, file.size))
        file.in_journal = None
        if file.spill is not None:
            file.spill.keep_open()

    def leave(self, elsewhere: Path) -> None:
        """Stage what is still to come, of unlinked files that are open, in *elsewhere*."""
        self._scratch = elsewhere
        self._left = True

    def truncate(self, file: StagedFile, size: int, now_ns: int) -> None:
        """Make the file *size* bytes long; what is added reads as zeros."""
        _check_size(size)
        file.kept_prefix = min(file.kept_prefix, size)
        if size == 0:
            self.release(file)
            file.buffer = bytearray()
            file.in_journal = None
            file.contents = EMPTY
        elif self._is_small(file) and size <= SMALL:
            buffer = self._load(file)
            del buffer[size:]
            buffer.extend(bytes(size - len(buffer)))
        else:
            if size < file.contents.size and file.buffer is None and file.in_journal is None:
                file.contents = file_contents.slice_of(self._objects, file.contents, 0, size)
            self._spilled(file).truncate(size)
        file.size = size
        self._touched(file, now_ns)

    def append_contents(self, file: StagedFile, more: Contents, now_ns: int) -> None:
        """Add the bytes of *more* at the end; all or, after an exception, none."""
        before, reader, step = file.size, file_contents.Reader(self._objects, more), 1 << 20
        try:
            for start in range(0, more.size, step):
                self.write(file, file.size, reader.read(start, step), now_ns)
        except BaseException:
            self.truncate(file, before, now_ns)
            raise

    @staticmethod
    def _touched(file: StagedFile, now_ns: int) -> None:
        file.version += 1
        file.mtime_ns = file.ctime_ns = now_ns

    def rest(self, file: StagedFile) -> None:
        """Give back the memory and the descriptor of a file that is saved; the next write takes them again."""
        if file.saved_version != file.version or self._left:
            return
        if file.in_journal is not None:
            file.buffer = None
        if file.spill is not None:
            file.spill.rest()

    def release(self, file: StagedFile) -> None:
        """Remove the spill of a file that needs it no more."""
        if file.spill is not None:
            file.spill.remove()
            file.spill = None

    def spill_out(self, file: StagedFile) -> None:
        """Have a small file staged like a large one from now on."""
        self._spilled(file)

    # Ingesting

    def ingest(self, file: StagedFile) -> Callable[[], Contents]:
        """
        Return a function that stores the bytes as they are now and returns their contents.

        The function may run in any thread.  Give its result to `ingested` together with the
        version that the file had when this was called.
        """
        buffer, place = file.buffer, file.in_journal
        if buffer is not None:
            data = bytes(buffer)
            return lambda: self._store(data)
        if place is not None:
            data = self.journal.read(*place)
            return lambda: self._store(data)
        if file.spill is None:
            committed = file.contents
            return lambda: committed
        base, size, spill = file.contents, file.size, file.spill
        dirty, read = list(spill.dirty), spill.reader()
        if base.size == 0 and dirty == [(0, size)]:
            return lambda: self._store_all(read, size)
        return lambda: file_contents.splice(self._objects, base, size, dirty, read)

    def _store(self, data: bytes) -> Contents:
        writer = ContentsWriter(self._objects)
        writer.write(data)
        return writer.finish()

    def _store_all(self, read: Callable[[int, int], bytes], size: int) -> Contents:
        writer = ContentsWriter(self._objects)
        step = 4 << 20
        for start in range(0, size, step):
            writer.write(read(start, min(step, size - start)))
        return writer.finish()

    @staticmethod
    def ingested(file: StagedFile, version: int, contents: Contents) -> bool:
        """Accept an ingest result; False if the file changed since."""
        if file.version != version:
            return False
        file.sealed_contents = contents
        file.sealed_version = version
        return True


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise FileTooLargeError(f"a file cannot have {size} bytes; at most {LARGEST} are possible")


def remove_scratch(scratch: Path) -> None:
    """Remove a staging folder with everything in it."""
    for entry in os.scandir(scratch):
        os.unlink(entry.path)
    os.rmdir(scratch)
