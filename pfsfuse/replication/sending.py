"""
The side of a copy that has the repo.

It asks for whole batches of objects which of them the other side lacks, and goes below only those:
where the other has a node, it has all below it, for a node is sent after what it names.  So a second
copy costs in proportion to what has changed, and one that was cut off goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from ..errors import ConflictError
from ..ids import RepoName
from ..store import chunker
from ..store.id_set import IdSet
from ..store.objects import ObjectKind
from ..store.store import Store
from ..trees.node import entry_references, references
from . import messages
from .dump import RepoRecords, read_repo
from .frames import BadStreamError, Frame, FrameReader, FrameWriter
from .install import renamed
from .messages import Count, Done, Failed, Hello, RepoBegin, Welcome
from .objects import Named

_BATCH = 4096
"""Ids that are asked for at a time: 128 KiB, a round trip for each."""


class OtherSideError(ConflictError):
    """The receiver of a copy gave up; `kind` is the name of the class of its error."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(f"the other store refuses: {failed.message}")
        self.kind = failed.kind


@dataclass
class CopyReport:
    """What a copy did."""

    commits: int = 0
    """New there."""
    branches: int = 0
    objects: int = 0
    """Sent."""
    sent_bytes: int = 0
    received_bytes: int = 0
    left_out: int = 0
    """Commits of which the provenance is not there."""


class Sending:
    """One copy of one repo."""

    def __init__(
        self, store: Store, to_other: BinaryIO, from_other: BinaryIO, *, whole: bool = False
    ) -> None:
        """*whole*: go below what the other side has, too, and bring what it has lost."""
        self._store = store
        self._pipe = to_other
        self._out = FrameWriter(to_other.write)
        self._in = FrameReader(from_other.read)
        self._whole = whole
        self._objects = 0

    def run(self, repo: RepoName, *, name: RepoName | None = None, force: bool = False) -> CopyReport:
        """Copy *repo*, under another *name* if given; OtherSideError, BadStreamError, OSError."""
        with self._store.read() as txn:
            found = read_repo(txn, repo)
        if name is not None:
            found = renamed(found, {repo: name})
        try:
            done = self._talk(found, force=force)
        except BrokenPipeError:
            # It has said why, or died.
            self._answer(messages.DONE)
            raise
        return CopyReport(
            done.commits, done.branches, self._objects, self._out.bytes, self._in.bytes, done.left_out
        )

    def _talk(self, found: RepoRecords, *, force: bool) -> Done:
        ids = tuple(commit.id for commit in found.commits)
        hello = Hello(messages.FORMAT, found.repo.name, ids, chunker.CUTTING.recorded(), force)
        self._out.message(messages.HELLO, hello)
        there = set(self._answer(messages.WELCOME).message(Welcome).commits)
        new = [commit for commit in found.commits if commit.id not in there]
        wanted = found.commits if self._whole else new
        with IdSet(self._store.run) as seen:
            for commit in wanted:
                if commit.root is not None:
                    self._send_below(entry_references(commit.root), seen)
        self._out.message(messages.REPO, RepoBegin(found.repo, ids))
        for commit in new:
            self._out.message(messages.COMMIT, commit)
        for move in found.moves:
            self._out.message(messages.MOVE, move)
        for line in found.branches:
            self._out.message(messages.BRANCH, line)
        self._out.message(messages.REPO_END, Count(len(new), len(found.branches), self._objects))
        return self._answer(messages.DONE).message(Done)

    def _answer(self, kind: int) -> Frame:
        try:
            self._pipe.flush()
        except BrokenPipeError:
            # What it said before it went can still be read.
            pass
        frame = self._in.next()
        if frame.kind == messages.FAILED:
            raise OtherSideError(frame.message(Failed))
        if frame.kind != kind:
            raise BadStreamError(f"the other store answers with a frame of kind {frame.kind}, not {kind}")
        return frame

    # Objects

    def _send_below(self, roots: Iterable[Named], seen: IdSet) -> None:
        """Send what the other side lacks of *roots* and of all below: a batch after what it names."""
        pending: list[tuple[list[Named], Iterator[list[Named]]]] = [([], self._batches([roots], seen))]
        while pending:
            lacked, below = pending[-1]
            batch = next(below, None)
            if batch is None:
                pending.pop()
                self._send(lacked)
                continue
            missing = self._lacked(batch)
            inner = batch if self._whole else missing
            nodes = (self._named_by(each) for each in inner if each[1] is not ObjectKind.CHUNK)
            pending.append((missing, self._batches(nodes, seen)))

    @staticmethod
    def _batches(named: Iterable[Iterable[Named]], seen: IdSet) -> Iterator[list[Named]]:
        """Yield what was not seen, many at a time."""
        fresh = (each for part in named for each in part if seen.add(each[0]))
        while batch := list(islice(fresh, _BATCH)):
            yield batch

    def _named_by(self, node: Named) -> Iterator[Named]:
        object_id, kind = node
        return references(self._store.chunks.get(object_id), kind, object_id)

    def _lacked(self, batch: list[Named]) -> list[Named]:
        self._out.message(messages.ASK, [object_id for object_id, _ in batch])
        answer = self._answer(messages.LACKS).message(bytes)
        if len(answer) != len(batch):
            raise BadStreamError(f"the other store answers for {len(answer)} objects of {len(batch)}")
        return [named for named, lacks in zip(batch, answer, strict=True) if lacks]

    def _send(self, lacked: list[Named]) -> None:
        for object_id, _ in lacked:
            self._out.put_object(*self._store.chunks.get_stored(object_id))
            self._objects += 1
