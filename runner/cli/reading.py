"""What the commands that read files have in common: which tree a name means, and how a file is shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from pfsfuse.errors import NotFoundError
from pfsfuse.ids import RepoName
from pfsfuse.store.index import ReadTxn
from pfsfuse.trees.entry import Entry, Kind
from pfsfuse.trees.tree import Path
from pfsfuse.versions import listing
from pfsfuse.versions.branches import find_branch
from pfsfuse.versions.commits import NoOpenCommitError, base_root, commit, resolve
from pfsfuse.versions.model import BranchRef, Commit, Origin
from pfsfuse.versions.removal import ForgottenError

from .names import FileName
from .screen import Columns, ago, shown, size, when
from .session import Session


@dataclass(frozen=True)
class Readable:
    """A commit and its content; of an open one, the content at the moment of asking."""

    commit: Commit
    root: Entry

    @property
    def name(self) -> str:
        return str(self.commit.ref)


def readable(session: Session, where: FileName) -> Readable:
    """
    Return the commit that a name means, with its content.

    A branch means its open commit if people write one, as in the mount, else its newest finished one.
    """
    # Before a name is looked up: what it means may be deleted while it is read, and gc must wait.
    session.store.hold_on()
    while True:
        with session.store.read() as txn:
            record = _named(txn, where.repo, where.commit)
        if record.is_finished or record.origin is not Origin.USER:
            break
        try:
            return Readable(record, session.writing.snapshot(BranchRef(record.repo, record.branch)))
        except NoOpenCommitError:
            # Finished or dropped in this very moment: the name means something else now.
            continue
    if record.forgotten:
        raise ForgottenError(record.ref)
    if record.root is None:
        state = f"failed: {record.error}" if record.error else "is open until its job has ended"
        raise NotFoundError(f"commit {record.ref} has no content to read: it {state}")
    return Readable(record, record.root)


def _named(txn: ReadTxn, repo: RepoName, text: str) -> Commit:
    line = find_branch(txn, repo, text)
    if line is not None and line.open is not None:
        record = commit(txn, repo, line.open)
        if record.origin is Origin.USER:
            return record
    return resolve(txn, repo, text)


def parent_of(session: Session, found: Readable) -> Entry | None:
    """Return the content that a commit was started from; None if it is the first of its line."""
    with session.store.read() as txn:
        return base_root(txn, found.commit)


def entry_at(session: Session, found: Readable, path: Path) -> Entry:
    """Return what stands at *path*; PathNotFoundError."""
    return listing.find(session.trees, found.root, path, found.name)


class ShownFile(msgspec.Struct):
    """A file, as JSON and YAML have it."""

    path: str
    type: str
    size_bytes: int
    files: int
    mode: str
    modified: datetime | None
    hash: str
    """Of the content: equal for equal bytes, whatever the name and the times."""


def shown_path(path: Path, entry: Entry) -> str:
    slash = "/" if entry.is_directory and path else ""
    return "/" + shown(b"/".join(path)) + slash


def shown_type(entry: Entry) -> str:
    kind = Kind(entry.kind)
    return {Kind.FILE: "file", Kind.DIRECTORY: "dir"}.get(kind, kind.name.lower())


def shown_file(path: Path, entry: Entry) -> ShownFile:
    return ShownFile(
        shown_path(path, entry),
        shown_type(entry),
        entry.size,
        entry.files,
        f"{entry.mode:04o}",
        when(entry.mtime_ns),
        entry.content.hex(),
    )


FILE_COLUMNS: Columns[ShownFile] = {
    "NAME": lambda file: file.path,
    "TYPE": lambda file: file.type,
    "SIZE": lambda file: size(file.size_bytes),
    "MODE": lambda file: file.mode,
    "MODIFIED": lambda file: ago(file.modified),
}
