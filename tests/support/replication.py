"""Two stores, and what must be equal in both after a repo has gone from one to the other."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Collection
from typing import Any, BinaryIO

import msgspec

from pfsfuse.errors import PfsError
from pfsfuse.ids import RepoName
from pfsfuse.replication.dump import Dump
from pfsfuse.replication.receiving import Receiving
from pfsfuse.replication.restore import Restore, RestoreReport
from pfsfuse.replication.sending import CopyReport, Sending
from pfsfuse.store.index import Table
from pfsfuse.versions.records import all_commits
from pfsfuse.versions.repos import repos
from tests.support.builders import World

TABLES = (
    Table.REPOS,
    Table.BRANCHES,
    Table.COMMITS,
    Table.COMMIT_SETS,
    Table.SUBVENANCE,
    Table.CHILDREN,
    Table.MOVES,
)


def records(world: World) -> dict[str, dict[bytes, Any]]:
    """Return all records of repos, branches and commits, decoded."""
    with world.store.read() as txn:
        return {
            table.label: {
                key: msgspec.msgpack.decode(value) if value else None for key, value in txn.scan(table)
            }
            for table in TABLES
        }


def dumped(world: World, *names: str, **options: Any) -> bytes:
    """Return a dump."""
    out = io.BytesIO()
    Dump(world.store, out.write).run([RepoName(name) for name in names], **options)
    return out.getvalue()


def restored(world: World, stream: bytes, **options: Any) -> RestoreReport:
    """Restore a dump."""
    return Restore(world.store, io.BytesIO(stream).read, **options).run()


def copied(
    source: World, target: World, repo: str, *, cut_after: int | None = None, **options: Any
) -> CopyReport:
    """Copy a repo over two pipes, the other side in a thread; the way there may be cut after some bytes."""
    to_other, from_other = os.pipe(), os.pipe()
    whole = options.pop("whole", False)
    with (
        os.fdopen(to_other[0], "rb") as arrives,
        os.fdopen(from_other[1], "wb") as answers,
        os.fdopen(from_other[0], "rb") as heard,
    ):
        sent: BinaryIO = _Cut(to_other[1], cut_after)  # type: ignore[assignment]
        served = threading.Thread(target=_serve, args=(target, arrives, answers))
        served.start()
        try:
            return Sending(source.store, sent, heard, whole=whole).run(RepoName(repo), **options)
        finally:
            sent.close()
            served.join()


def _serve(target: World, arrives: BinaryIO, answers: BinaryIO) -> None:
    try:
        Receiving(target.store, arrives, answers).run()
    except PfsError:
        # The other side was told.
        pass
    finally:
        answers.close()


class _Cut:
    """The writing end of a pipe that breaks after so many bytes."""

    def __init__(self, fd: int, most: int | None) -> None:
        self._file = os.fdopen(fd, "wb")
        self._left = most

    def write(self, data: bytes) -> int:
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                self._file.close()
                raise BrokenPipeError
        return self._file.write(data)

    def flush(self) -> None:
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def paths(world: World) -> Collection[tuple[bytes, str, bytes]]:
    """Return (commit, path, bytes) of every file of every commit."""
    with world.store.read() as txn:
        found = [c for repo in repos(txn) for c in all_commits(txn, repo.name) if c.root is not None]
    return {(c.id, path, data) for c in found for path, data in world.files(c.root).items()}
