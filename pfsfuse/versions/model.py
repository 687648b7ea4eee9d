"""
The records of the versioned world, as the index and the journal keep them.

Each is a msgpack map with short, stable field names (docs/format.md); unknown fields of a newer
version are ignored, absent ones take their default.  Keys join names and ids with NUL.
"""

from __future__ import annotations

import enum
from collections.abc import Container
from typing import TypeVar

import msgspec

from ..errors import StoreError
from ..ids import BranchName, CommitId, RepoName
from ..trees.entry import Entry


class Origin(enum.StrEnum):
    """Why a commit exists."""

    USER = "user"
    """Somebody put data."""
    AUTO = "auto"
    """It was made from other commits, which are its provenance."""


class CommitState(enum.StrEnum):
    """An open commit can be written; a finished one never changes."""

    OPEN = "open"
    FINISHED = "finished"


class Project(
    msgspec.Struct, frozen=True, omit_defaults=True, rename={"created_ns": "t", "description": "d"}
):
    """A group of repos.  One without a record, that repos are named after, is as good (projects.py)."""

    name: str
    created_ns: int
    description: str = ""


class Repo(msgspec.Struct, frozen=True, omit_defaults=True, rename={"created_ns": "t", "description": "d"}):
    name: RepoName
    created_ns: int
    description: str = ""
    autocommit_s: float | None = None
    """Seconds of quiet after which the mount finishes its commit; negative: never; None: the mount's default."""
    quota_bytes: int | None = None
    """The most that a branch's tree may have (quotas.py)."""


class BranchRef(msgspec.Struct, frozen=True, array_like=True):
    """A branch of a repo."""

    repo: RepoName
    branch: BranchName

    def __str__(self) -> str:
        return f"{self.repo}@{self.branch}"


class CommitRef(msgspec.Struct, frozen=True, array_like=True):
    """A commit of a repo."""

    repo: RepoName
    commit: CommitId

    def __str__(self) -> str:
        return f"{self.repo}@{self.commit.hex()}"


class Trigger(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a branch moves by itself to the newest commit of another one (triggers.py)."""

    branch: BranchName
    """The source, a branch of the same repo."""
    cron_spec: str = ""
    """By the clock; goes with no other condition."""
    rate_limit_spec: str = ""
    """When the next time of this schedule after the head's has come."""
    size: str = ""
    """When the source has grown by so much, as people write it (`100M`)."""
    commits: int = 0
    """When the source is so many commits ahead."""
    all: bool = False
    """Whether all conditions must hold at once, not any."""


class Branch(msgspec.Struct, frozen=True, omit_defaults=True):
    repo: RepoName
    name: BranchName
    created_ns: int
    head: CommitId | None = None
    """The newest finished commit (H1)."""
    open: CommitId | None = None
    """The open commit, whose parent is the head."""
    provenance: tuple[BranchRef, ...] = ()
    """The branches whose commits make this one's; such a branch is written by its maker only."""
    propagated: bool = False
    """No pipeline makes its commits: every change of its provenance gives it one at once (propagation.py)."""
    moved: CommitId | None = None
    """The change that last gave it a head which was not new there: the id of a Move."""
    trigger: Trigger | None = None
    ticked_ns: int | None = None
    """When the clock of its trigger was last heard."""

    @property
    def ref(self) -> BranchRef:
        return BranchRef(self.repo, self.name)

    def without(self, gone: Container[BranchRef]) -> Branch:
        """Return the branch as it is when some that it was made from are gone (R2)."""
        left = tuple(source for source in self.provenance if source not in gone)
        return msgspec.structs.replace(self, provenance=left, propagated=self.propagated and bool(left))


class Commit(msgspec.Struct, frozen=True, omit_defaults=True):
    repo: RepoName
    id: CommitId
    branch: BranchName
    """The branch that it was started on."""
    state: CommitState
    started_ns: int
    parent: CommitId | None = None
    origin: Origin = Origin.USER
    finished_ns: int | None = None
    description: str = ""
    error: str = ""
    """Why its content is not to be used; children and the mount leave such a commit out."""
    root: Entry | None = None
    """The content, once finished; a commit with an error may have none."""
    provenance: tuple[CommitRef, ...] = ()
    """The commits it was made from."""
    explicit: bool = False
    """Started by name, so only finished by name: the mount leaves it open."""
    placeholder: bool = False
    """The empty first commit of an output branch: it is there for the ancestry and never counts as data."""
    forgotten: bool = False
    """Its content was given up (removal.py); what it was made from and when is still known."""
    merged: CommitId | None = None
    """What was merged into it, beside its parent (merging.py); it may have been taken away since."""
    purged_ns: int | None = None
    """When something was last removed from it for good (purge.py)."""

    @property
    def is_finished(self) -> bool:
        return self.state is CommitState.FINISHED

    @property
    def is_data(self) -> bool:
        """Whether pipelines may use it: finished, with its content, without error, not the empty first commit."""
        return self.is_finished and self.is_good and not self.placeholder

    @property
    def is_good(self) -> bool:
        """Whether its content may be shown and built on."""
        return not self.error and not self.forgotten

    @property
    def ref(self) -> CommitRef:
        return CommitRef(self.repo, self.id)


class Move(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    A branch got another head than a new commit of its own: it was moved, triggered, or its provenance changed.

    That is a change with an id of its own, which everything that follows from it shares.
    """

    change: CommitId
    repo: RepoName
    branch: BranchName
    head: CommitId
    moved_ns: int
    before: CommitId | None = None
    """The head until then."""

    @property
    def ref(self) -> BranchRef:
        return BranchRef(self.repo, self.branch)


Record = TypeVar("Record", bound=msgspec.Struct)


def encode(record: msgspec.Struct) -> bytes:
    """Return the stored form of *record*."""
    return msgspec.msgpack.encode(record)


def decode(data: bytes, kind: type[Record]) -> Record:
    """Undo `encode`; StoreError if *data* is no *kind*."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(
            f"a {kind.__name__.lower()} record does not decode: {error}; run `pfs fsck`"
        ) from error


def project_key(project: str) -> bytes:
    return project.encode()


def repo_key(repo: RepoName) -> bytes:
    return repo.encode()


def branch_key(repo: RepoName, branch: BranchName | str) -> bytes:
    return b"%s\0%s" % (repo.encode(), branch.encode())


def commit_key(repo: RepoName, commit: CommitId | bytes) -> bytes:
    return b"%s\0%s" % (repo.encode(), commit)


def commit_set_key(commit: CommitId, repo: RepoName | str) -> bytes:
    return commit + repo.encode()


def subvenance_key(source: CommitRef, result: CommitRef | None = None) -> bytes:
    after = commit_key(result.repo, result.commit) if result is not None else b""
    return commit_key(source.repo, source.commit) + after


def child_key(repo: RepoName, parent: CommitId, child: CommitId | bytes = b"") -> bytes:
    return commit_key(repo, parent) + child


def move_key(change: CommitId, ref: BranchRef) -> bytes:
    return change + branch_key(ref.repo, ref.branch)
