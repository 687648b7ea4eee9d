"""
Writes repos, or a whole store, as one stream.

All records are read in one transaction, so the stream is of one moment; others may write meanwhile.
Memory is bounded by the records, not by the data.  Open commits are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from ..ids import CommitId, RepoName
from ..store import chunker
from ..store.id_set import IdSet
from ..store.index import ReadTxn, Table
from ..store.store import Store
from ..trees.entry import Entry
from ..trees.node import entry_references
from ..versions.branches import branches
from ..versions.model import Branch, Commit, CommitRef, Move, Project, Repo, decode
from ..versions.records import all_commits
from ..versions.repos import repo as find_repo
from ..versions.repos import repos as all_repos
from . import messages
from .frames import FrameWriter
from .messages import Count, Header, RepoBegin
from .objects import Named, named_in, reachable

Document = tuple[bytes, bytes]
DocumentsOf = Callable[[ReadTxn, Collection[RepoName]], Iterator[Document]]
"""Returns the documents that belong to these repos: the floors above know which and in what state."""


@dataclass
class RepoRecords:
    """All records of one repo."""

    repo: Repo
    commits: list[Commit] = field(default_factory=list)
    """Finished ones, each behind its parent."""
    branches: list[Branch] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)


def read_repo(txn: ReadTxn, name: RepoName) -> RepoRecords:
    """Return the records of a repo without what is open; RepoNotFoundError."""
    found = RepoRecords(find_repo(txn, name))
    finished = {commit.id: commit for commit in all_commits(txn, name) if commit.is_finished}
    found.commits = parents_first(finished)
    found.branches = [msgspec.structs.replace(line, open=None) for line in branches(txn, name)]
    moves = (decode(raw, Move) for _, raw in txn.scan(Table.MOVES))
    found.moves = [move for move in moves if move.repo == name]
    return found


def parents_first(commits: dict[CommitId, Commit]) -> list[Commit]:
    """Return commits in an order in which each stands behind its parent."""
    done: dict[CommitId, Commit] = {}
    for commit in sorted(commits.values(), key=lambda each: (each.started_ns, each.id)):
        line: list[Commit] = []
        current: Commit | None = commit
        while current is not None and current.id not in done:
            line.append(current)
            current = commits.get(current.parent) if current.parent is not None else None
        done.update((each.id, each) for each in reversed(line))
    return list(done.values())


def sources_first(found: Sequence[RepoRecords]) -> list[RepoRecords]:
    """Return repos in an order in which each stands behind those it was made from, but for circles."""
    by_name = {each.repo.name: each for each in found}
    done: dict[RepoName, RepoRecords] = {}
    pending = [(each, False) for each in reversed(found)]
    begun: set[RepoName] = set()
    while pending:
        current, is_last = pending.pop()
        name = current.repo.name
        if is_last:
            done[name] = current
        elif name not in begun:
            begun.add(name)
            pending.append((current, True))
            sources = {source.repo for commit in current.commits for source in commit.provenance}
            pending += [(by_name[each], False) for each in sorted(sources & by_name.keys() - begun)]
    return list(done.values())


def no_documents(txn: ReadTxn, names: Collection[RepoName]) -> Iterator[Document]:
    """Return nothing: repos alone."""
    return iter(())


class Dump:
    """One stream that is written."""

    def __init__(self, store: Store, write: Callable[[bytes], object]) -> None:
        self._store = store
        self._out = FrameWriter(write)
        self._objects = 0

    @property
    def bytes(self) -> int:
        """How much was written so far."""
        return self._out.bytes

    def run(
        self,
        names: Sequence[RepoName] = (),
        *,
        exclude: Collection[CommitRef] = (),
        since_ns: int | None = None,
        documents: DocumentsOf = no_documents,
    ) -> Count:
        """
        Write the repos *names*, or all with all documents; RepoNotFoundError before anything is written.

        Commits of *exclude*, and those that were finished up to *since_ns*, are left out with all that
        only they need: a restore demands that they are there.
        """
        with self._store.read() as txn:
            wanted = list(names) or [repo.name for repo in all_repos(txn)]
            found = sources_first([read_repo(txn, name) for name in wanted])
            projects = [decode(raw, Project) for _, raw in txn.scan(Table.PROJECTS)]
            kept = list(documents(txn, wanted))
        left_out = _left_out(found, set(exclude), since_ns)
        self._out.message(messages.HEADER, self._header(left_out))
        for project in projects:
            if any(name.startswith(f"{project.name}/") for name in wanted) or not names:
                self._out.message(messages.PROJECT, project)
        total = Count()
        with IdSet(self._store.run) as seen:
            roots = [commit.root for each in found for commit in each.commits if commit.ref in left_out]
            for _ in self._below([root for root in roots if root is not None], seen):
                continue
            for each in found:
                total = _sum(total, self._write_repo(each, left_out, seen))
            for key, value in kept:
                self._write_objects(reachable(self._store.chunks, named_in(self._store, value), seen))
                self._out.message(messages.DOCUMENT, (key, value))
        total = msgspec.structs.replace(total, objects=self._objects, documents=len(kept))
        self._out.message(messages.END, total)
        return total

    def _header(self, left_out: Collection[CommitRef]) -> Header:
        return Header(
            messages.FORMAT,
            self._store.id.hex(),
            time.time_ns(),
            chunker.CUTTING.recorded(),
            tuple(sorted(left_out, key=lambda ref: (ref.repo, ref.commit))),
        )

    def _below(self, roots: Sequence[Entry], seen: IdSet) -> Iterator[Named]:
        named = (each for root in roots for each in entry_references(root))
        return reachable(self._store.chunks, named, seen)

    def _write_repo(self, found: RepoRecords, left_out: Collection[CommitRef], seen: IdSet) -> Count:
        commits = [commit for commit in found.commits if commit.ref not in left_out]
        before = self._objects
        begin = RepoBegin(found.repo, tuple(commit.id for commit in found.commits))
        self._out.message(messages.REPO, begin)
        for commit in commits:
            if commit.root is not None:
                roots = entry_references(commit.root)
                self._write_objects(reachable(self._store.chunks, roots, seen))
            self._out.message(messages.COMMIT, commit)
        for move in found.moves:
            self._out.message(messages.MOVE, move)
        for line in found.branches:
            self._out.message(messages.BRANCH, line)
        count = Count(len(commits), len(found.branches), self._objects - before)
        self._out.message(messages.REPO_END, count)
        return count

    def _write_objects(self, objects: Iterator[Named]) -> None:
        for object_id, _ in objects:
            self._out.put_object(*self._store.chunks.get_stored(object_id))
            self._objects += 1


def _left_out(
    found: Sequence[RepoRecords], exclude: Collection[CommitRef], since_ns: int | None
) -> set[CommitRef]:
    return {
        commit.ref
        for each in found
        for commit in each.commits
        if commit.ref in exclude or (since_ns is not None and (commit.finished_ns or 0) <= since_ns)
    }


def _sum(one: Count, other: Count) -> Count:
    return Count(
        one.commits + other.commits,
        one.branches + other.branches,
        one.objects + other.objects,
        one.documents + other.documents,
    )
