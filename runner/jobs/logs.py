"""
Logs of jobs: what the containers print, and what the runner has to say about them.

While a job runs its log is a plain file, <store>/logs/<id>-<pipeline>.log, that can be followed;
when it ends the log becomes a file of the store and the plain one goes.

    line = nanoseconds SPACE container SPACE stream SPACE text NEWLINE

`stream` is o, e or s: standard output, standard error, the runner itself.  Upper case means that
the line is continued: lines above 64 KiB come in pieces.  The text is the bytes as printed.
"""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from pfsfuse.errors import OutOfSpaceError
from pfsfuse.store.store import Store
from pfsfuse.trees.contents import Contents, ContentsWriter, Reader
from pfsfuse.trees.entry import Entry

from .model import JobRecord

_LONGEST = 64 << 10
_STEP = 1 << 20


class Source(enum.StrEnum):
    """Who wrote a line."""

    OUT = "o"
    ERR = "e"
    RUNNER = "s"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a log."""

    time_ns: int
    container: int
    source: Source
    text: bytes
    """Without its newline."""
    continues: bool = False
    """Whether the next line of this container and source belongs to the same line."""


def live_path(store: Store, job: JobRecord) -> Path:
    """Return where the log of a running job is."""
    name = (job.pipeline or "job").replace("/", ".")
    return _folder(store) / f"{job.id.hex()}-{name}.log"


def _folder(store: Store) -> Path:
    return store.root / "logs"


class LogWriter:
    """
    Writes the log of a running job; goes on with one that an earlier runner began.

    OutOfSpaceError where the disk is full; what was to be written is not in the log then.
    """

    def __init__(self, store: Store, job: JobRecord) -> None:
        self._store = store
        self.path = live_path(store, job)
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        self._file: FileIO = open(self.path, "a+b", buffering=0)  # noqa: SIM115 - closed by `close`
        self._partial: dict[tuple[int, Source], bytes] = {}
        self._drop_torn_line()

    def _drop_torn_line(self) -> None:
        """Cut off the half line that a runner leaves that is killed while it writes."""
        size = self._file.seek(0, os.SEEK_END)
        tail_from = max(0, size - 2 * _LONGEST)
        self._file.seek(tail_from)
        tail = self._file.readall()
        self._file.truncate(tail_from + tail.rfind(b"\n") + 1)
        self._file.seek(0, os.SEEK_END)

    def write(self, container: int, source: Source, data: bytes) -> None:
        """Add output; whole lines are written, the rest waits for its end."""
        key = (container, source)
        *whole, rest = (self._partial.pop(key, b"") + data).split(b"\n")
        lines = [_line(container, source, line) for line in whole]
        while len(rest) > _LONGEST:
            lines.append(_line(container, source, rest[:_LONGEST], continues=True))
            rest = rest[_LONGEST:]
        if rest:
            self._partial[key] = rest
        self._append(lines)

    def note(self, container: int, text: str) -> None:
        """Add what the runner has to say."""
        self.end_lines(container)
        self._append([_line(container, Source.RUNNER, line.encode()) for line in text.splitlines()])

    def end_lines(self, container: int) -> None:
        """Write what a container printed without a newline at the end."""
        keys = [key for key in self._partial if key[0] == container]
        self._append([_line(*key, self._partial.pop(key)) for key in keys])

    def _append(self, lines: list[bytes]) -> None:
        data = b"".join(lines)
        before = self._file.tell()
        try:
            while data:
                data = data[self._file.write(data) or 0 :]
        except OSError as error:
            self._file.truncate(before)
            raise OutOfSpaceError(f"the log {self.path} cannot be written: {error.strerror}") from error

    def keep(self) -> Entry:
        """
        Return the log as a file of the store; `remove` the plain one when that is recorded.

        Until then the log can still be added to, and kept again.
        """
        for container, _ in list(self._partial):
            self.end_lines(container)
        writer = ContentsWriter(self._store.chunks)
        with open(self.path, "rb") as file:
            while piece := file.read(_STEP):
                writer.write(piece)
        return writer.finish().entry(mode=0o600, uid=0, gid=0, mtime_ns=time.time_ns())

    def close(self) -> None:
        """Leave the plain file to whoever runs the job next."""
        self._file.close()

    def remove(self) -> None:
        """Remove the plain file: the log is kept in the store, or nobody wants it."""
        self.close()
        self.path.unlink(missing_ok=True)


def remove_log(store: Store, job: JobRecord) -> None:
    """Remove what a job that was deleted had logged so far."""
    live_path(store, job).unlink(missing_ok=True)


def sweep_logs(store: Store, running: Iterable[JobRecord]) -> None:
    """Remove the plain logs of all other jobs: a runner that was killed may leave some."""
    kept = {live_path(store, job) for job in running}
    for path in _folder(store).glob("*.log"):
        if path not in kept:
            path.unlink()


def _line(container: int, source: Source, text: bytes, *, continues: bool = False) -> bytes:
    mark = source.upper() if continues else source.value
    return b"%d %d %s %s\n" % (time.time_ns(), container, mark.encode(), text)


class LogReader:
    """Reads the log of a job from its beginning, and on while it runs."""

    def __init__(self, store: Store, job: JobRecord) -> None:
        self._store = store
        self._path = live_path(store, job)
        self._offset = 0
        """Behind the last whole line: what follows may be half a line, and be written anew."""

    def read(self, job: JobRecord) -> Iterator[LogLine]:
        """Yield the lines that are new since the last call; *job* is its newest record."""
        while lines := self._whole_lines(job):
            yield from map(_parse, lines)

    def _whole_lines(self, job: JobRecord) -> list[bytes]:
        *lines, _ = self._piece(job).split(b"\n")
        self._offset += sum(len(line) + 1 for line in lines)
        return lines

    def _piece(self, job: JobRecord) -> bytes:
        if job.log is not None:
            return Reader(self._store.chunks, Contents.of(job.log)).read(self._offset, _STEP)
        try:
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                return file.read(_STEP)
        except FileNotFoundError:
            # Not begun, or kept in the store since *job* was read.
            return b""


def _parse(line: bytes) -> LogLine:
    when, container, mark, text = line.split(b" ", 3)
    source = Source(mark.decode().lower())
    return LogLine(int(when), int(container), source, text, continues=mark.isupper())
