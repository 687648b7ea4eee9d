"""
The side of a copy that the repo comes to.

What has come stays when the other side goes away in the middle: nothing refers to it, and the next
copy finds it.  The repo itself is put in place in one transaction at the end.
"""

from __future__ import annotations

from typing import BinaryIO

from ..errors import PfsError
from ..ids import ChunkId
from ..store import chunker
from ..store.id_set import IdSet
from ..store.store import Store
from ..trees.node import entry_references
from ..versions.model import Branch, Commit, Move
from ..versions.records import all_commits
from ..versions.repos import find_repo
from . import messages
from .dump import RepoRecords
from .frames import BadStreamError, Frame, FrameReader, FrameWriter
from .install import ContentMissingError, Unresolved, install, refuse_other_history
from .messages import Count, Done, Failed, Hello, RepoBegin, Welcome
from .objects import Whole

_FLUSH_BYTES = 64 << 20
"""So much may be lost when this process is killed."""


class Receiving:
    """One copy that comes."""

    def __init__(self, store: Store, from_other: BinaryIO, to_other: BinaryIO) -> None:
        self._store = store
        self._in = FrameReader(from_other.read)
        self._pipe = to_other
        self._out = FrameWriter(to_other.write)
        self._objects = 0
        self._unflushed = 0

    def run(self) -> Done:
        """Talk until the repo is in place; an error is told to the other side and raised."""
        try:
            with self._store.hold(), IdSet(self._store.run) as ids:
                hello = self._greet()
                done = self._receive(hello, Whole(self._store, ids))
        except PfsError as error:
            self._store.flush()
            self._tell(messages.FAILED, Failed(type(error).__name__, str(error)))
            raise
        self._tell(messages.DONE, done)
        return done

    def _tell(self, kind: int, value: object) -> None:
        try:
            self._out.message(kind, value)
            self._pipe.flush()
        except BrokenPipeError:
            # The other side is gone; what came stays.
            return

    def _greet(self) -> Hello:
        hello = self._next(messages.HELLO).message(Hello)
        if hello.format != messages.FORMAT or hello.chunking != chunker.CUTTING.recorded():
            raise BadStreamError("the other pfs has another format; use equal versions on both sides")
        with self._store.read() as txn:
            if not hello.force:
                refuse_other_history(txn, hello.repo, set(hello.commits))
            is_here = find_repo(txn, hello.repo) is not None
            here = {c.id for c in all_commits(txn, hello.repo) if c.is_finished} if is_here else set()
        known = tuple(each for each in hello.commits if each in here)
        self._tell(messages.WELCOME, Welcome(self._store.id.hex(), known))
        return hello

    def _next(self, kind: int) -> Frame:
        frame = self._in.next()
        if frame.kind != kind:
            raise BadStreamError(f"a frame of kind {frame.kind} stands where one of kind {kind} must")
        return frame

    def _receive(self, hello: Hello, whole: Whole) -> Done:
        while True:
            frame = self._in.next()
            if frame.is_object:
                self._take_object(frame)
            elif frame.kind == messages.ASK:
                lacks = whole.lacks(frame.message(list[ChunkId]))
                self._tell(messages.LACKS, bytes(lacks))
            elif frame.kind == messages.REPO:
                return self._take_repo(frame.message(RepoBegin), hello, whole)
            else:
                raise BadStreamError(f"a frame of kind {frame.kind} stands where none may be")

    def _take_object(self, frame: Frame) -> None:
        self._objects += self._store.chunks.put_stored(frame.record, frame.payload)
        self._unflushed += len(frame.payload)
        if self._unflushed >= _FLUSH_BYTES:
            self._store.flush()
            self._unflushed = 0

    def _take_repo(self, begin: RepoBegin, hello: Hello, whole: Whole) -> Done:
        found = RepoRecords(begin.repo)
        for frame in self._in.until(messages.REPO_END):
            if frame.kind == messages.COMMIT:
                found.commits.append(_checked(frame.message(Commit), whole))
            elif frame.kind == messages.MOVE:
                found.moves.append(frame.message(Move))
            elif frame.kind == messages.BRANCH:
                found.branches.append(frame.message(Branch))
            elif frame.kind != messages.REPO_END:
                raise BadStreamError(f"a frame of kind {frame.kind} stands within a repo")
        count = frame.message(Count)
        if (count.commits, count.branches) != (len(found.commits), len(found.branches)):
            raise BadStreamError(f"repo {begin.repo.name} has not come whole")
        unresolved = Unresolved()
        with self._store.write() as txn:
            done = install(txn, found, unresolved, force=hello.force)
        return Done(done.commits, done.branches, self._objects, len(unresolved.commits))


def _checked(commit: Commit, whole: Whole) -> Commit:
    for object_id, _ in entry_references(commit.root) if commit.root is not None else ():
        if not whole.has(object_id):
            raise ContentMissingError(f"the content of commit {commit.ref} has not come")
    return commit
