"""
Reads a dump into a store, which may be empty or not.

Each repo is put in place in one transaction, when all of it has come: a stream that ends too early
leaves whole repos, and objects that nothing refers to, which the next try finds again.  Restoring the
same stream twice changes nothing.  Memory is bounded by the records of one repo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..store import chunker
from ..store.id_set import IdSet
from ..store.index import Table
from ..store.store import Store
from ..trees.node import entry_references
from ..versions.model import Branch, Commit, Move, Project
from ..versions.projects import create_project, find_project
from ..versions.records import find_commit
from . import messages
from .dump import RepoRecords
from .frames import BadStreamError, Frame, FrameReader
from .install import (
    ContentMissingError,
    Installed,
    Names,
    Unresolved,
    install,
    refuse_other_history,
    renamed,
)
from .messages import Count, Header, RepoBegin
from .objects import Whole

_FLUSH_BYTES = 64 << 20


@dataclass
class RestoreReport:
    """What a stream brought."""

    repos: list[Installed] = field(default_factory=list)
    objects: int = 0
    """New ones."""
    documents: int = 0
    notes: list[str] = field(default_factory=list)
    """What was left as it is, in words for a person."""
    bytes: int = 0


class Restore:
    """One stream that is read."""

    def __init__(
        self,
        store: Store,
        read: Callable[[int], bytes],
        *,
        names: Names | None = None,
        force: bool = False,
    ) -> None:
        """*names*: what repos are to be called here; *force*: repos in the way are replaced."""
        self._store = store
        self._in = FrameReader(read)
        self._names = names or {}
        self._force = force
        self._whole: Whole
        """Tells what is here; while a stream is read."""
        self._unresolved = Unresolved()
        self._unflushed = 0
        self._documents: list[tuple[bytes, bytes]] = []
        self.report = RestoreReport()
        """What was done so far, also after an error."""

    def run(self) -> RestoreReport:
        """
        Restore all of the stream.

        BadStreamError, OtherHistoryError, ContentMissingError; `report` has the repos that are whole.
        """
        header = self._begin()
        with self._store.hold(), IdSet(self._store.run) as ids:
            self._whole = Whole(self._store, ids)
            for frame in self._in.until(messages.END):
                self.report.bytes = self._in.bytes
                self._take(frame)
            with self._store.write() as txn:
                self._unresolved.settle(txn)
                for key, value in self._documents:
                    self._put_document(txn.get(Table.DOCUMENTS, key), key, value, txn.put)
        if header.builds_on:
            self.report.notes.append(
                f"{len(header.builds_on)} commits were here before and not in the stream"
            )
        return self.report

    def _begin(self) -> Header:
        frame = self._in.next()
        if frame.kind != messages.HEADER:
            raise BadStreamError("the stream does not begin as a dump does")
        header = frame.message(Header)
        if header.format != messages.FORMAT:
            raise BadStreamError(
                f"the dump has format {header.format}, this pfs reads {messages.FORMAT}; use a newer pfs"
            )
        if header.chunking != chunker.CUTTING.recorded():
            self.report.notes.append(
                "the dump is of a store that cuts otherwise: equal bytes may be stored twice"
            )
        with self._store.read() as txn:
            for ref in header.builds_on:
                name = self._names.get(ref.repo, ref.repo)
                if find_commit(txn, name, ref.commit) is None:
                    raise ContentMissingError(
                        f"the dump builds on commit {name}@{ref.commit.hex()}, which is not here; "
                        "restore the dump with that first"
                    )
        return header

    def _take(self, frame: Frame) -> None:
        """Take one frame between repos."""
        if frame.is_object:
            self._take_object(frame)
        elif frame.kind == messages.REPO:
            self._take_repo(frame.message(RepoBegin))
        elif frame.kind == messages.PROJECT:
            self._take_project(frame.message(Project))
        elif frame.kind == messages.DOCUMENT:
            self._documents.append(frame.message(tuple[bytes, bytes]))
        elif frame.kind != messages.END:
            raise BadStreamError(f"a frame of kind {frame.kind} stands where none may be")

    def _take_object(self, frame: Frame) -> None:
        self.report.objects += self._store.chunks.put_stored(frame.record, frame.payload)
        self._unflushed += len(frame.payload)
        if self._unflushed >= _FLUSH_BYTES:
            # What is not in the index yet is known by this process alone, in memory.
            self._store.flush()
            self._unflushed = 0

    def _take_project(self, project: Project) -> None:
        with self._store.write() as txn:
            if find_project(txn, project.name) is None:
                create_project(txn, project.name, description=project.description, now_ns=project.created_ns)

    def _take_repo(self, begin: RepoBegin) -> None:
        name = self._names.get(begin.repo.name, begin.repo.name)
        if not self._force:
            with self._store.read() as txn:
                refuse_other_history(txn, name, set(begin.commits))
        found = RepoRecords(begin.repo)
        for frame in self._in.until(messages.REPO_END):
            if frame.is_object:
                self._take_object(frame)
            elif frame.kind == messages.COMMIT:
                found.commits.append(self._checked(frame.message(Commit)))
            elif frame.kind == messages.MOVE:
                found.moves.append(frame.message(Move))
            elif frame.kind == messages.BRANCH:
                found.branches.append(frame.message(Branch))
            elif frame.kind != messages.REPO_END:
                raise BadStreamError(f"a frame of kind {frame.kind} stands within a repo")
        count = frame.message(Count)
        if (count.commits, count.branches) != (len(found.commits), len(found.branches)):
            raise BadStreamError(f"repo {name} of the stream is not whole")
        with self._store.write() as txn:
            done = install(txn, renamed(found, self._names), self._unresolved, force=self._force)
        self.report.repos.append(done)

    def _checked(self, commit: Commit) -> Commit:
        """Refuse a commit whose content has not come."""
        for object_id, _ in entry_references(commit.root) if commit.root is not None else ():
            if not self._whole.has(object_id):
                raise ContentMissingError(
                    f"the content of commit {commit.ref} is neither in the stream nor here"
                )
        return commit

    def _put_document(self, here: bytes | None, key: bytes, value: bytes, put: Callable[..., None]) -> None:
        if self._names:
            # A document may name repos; nothing here knows where.
            note = "documents (pipelines, jobs) are left out when repos are renamed"
            if note not in self.report.notes:
                self.report.notes.append(note)
        elif here is None or (self._force and here != value):
            put(Table.DOCUMENTS, key, value)
            self.report.documents += 1
        elif here != value:
            self.report.notes.append(f"document {key!r} exists and is another one; it was left as it is")
