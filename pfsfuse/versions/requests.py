"""
What people ask of repos, branches and commits, as records: so that it can be done at once, or be
kept and done later together with other requests (transactions.py).

`perform` does one request in a write transaction and nothing outside of it: what is taken back
was never there.  Everything that one change makes has the id of the change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from ..errors import ConflictError, InvalidNameError
from ..ids import CommitId, RepoName
from ..store.index import ReadTxn, WriteTxn
from ..trees.entry import Entry
from ..trees.tree import Trees
from .branches import MASTER, create_branch, delete_branch, find_branch
from .commits import base_root, find_commit, finish_commit, open_commit, resolve, start_commit
from .model import BranchRef, Commit, CommitRef, Trigger
from .repos import create_repo, delete_repo
from .triggers import set_trigger
from .wiring import make_branch


class CreateRepo(msgspec.Struct, frozen=True, omit_defaults=True, tag="create repo"):
    """Create a repo, with the branch master."""

    name: RepoName
    description: str = ""
    autocommit_s: float | None = None
    update: bool = False
    quota_bytes: int | None = None


class DeleteRepo(msgspec.Struct, frozen=True, omit_defaults=True, tag="delete repo"):
    """Delete a repo with everything in it."""

    name: RepoName
    force: bool = False


class CreateBranch(msgspec.Struct, frozen=True, omit_defaults=True, tag="create branch"):
    """Create a branch, or give one that exists another head, provenance or trigger."""

    branch: BranchRef
    head: str = ""
    """A branch of the same repo or a commit, as people name it."""
    provenance: tuple[BranchRef, ...] = ()
    trigger: Trigger | None = None


class DeleteBranch(msgspec.Struct, frozen=True, omit_defaults=True, tag="delete branch"):
    """Delete a branch; its commits stay."""

    branch: BranchRef
    force: bool = False


class StartCommit(msgspec.Struct, frozen=True, omit_defaults=True, tag="start commit"):
    """Open a commit that is finished by name only."""

    branch: BranchRef
    description: str = ""


class FinishCommit(msgspec.Struct, frozen=True, omit_defaults=True, tag="finish commit"):
    """Finish the open commit of a branch."""

    branch: BranchRef
    description: str | None = None
    error: str = ""


class Foreign(msgspec.Struct, frozen=True, tag="foreign"):
    """A request of a floor above, which knows what it means."""

    operation: str
    subject: str
    """What it is about, for people."""
    body: bytes


Request = CreateRepo | DeleteRepo | CreateBranch | DeleteBranch | StartCommit | FinishCommit | Foreign


def kind_of(request: Request) -> str:
    """Return what a request asks for, in the words of the command line."""
    tag = str(type(request).__struct_config__.tag)
    return request.operation if isinstance(request, Foreign) else tag


def describe(request: Request) -> str:
    """Return a request in one line, for people."""
    match request:
        case CreateRepo(name=name) | DeleteRepo(name=name):
            about = str(name)
        case Foreign(subject=subject):
            about = subject
        case _:
            about = str(request.branch)
    return f"{kind_of(request)} {about}"


@dataclass(frozen=True)
class Change:
    """The change that a request is part of."""

    id: CommitId
    """The commits that it makes have this id."""
    trees: Trees
    roots: Mapping[CommitRef, Entry] | None = None
    """
    The content of the commits that were open before; None in a rehearsal, which is taken back.
    """


Perform = Callable[[WriteTxn, Request, Change], CommitId | None]
"""Does a request and returns the commit that it is about, if it is about one."""


class TwoCommitsError(ConflictError):
    """All commits of a change have one id, and a repo has one commit of each id."""

    def __init__(self, ref: BranchRef) -> None:
        super().__init__(
            f"{ref.repo} already has a commit in this transaction, so none can be started on {ref.branch}; "
            "finish the transaction first"
        )
        self.ref = ref


def perform(txn: WriteTxn, request: Request, change: Change) -> CommitId | None:
    """Do one request; InvalidNameError for one of a floor above, and whatever the rules of versions say."""
    match request:
        case CreateRepo():
            _create_repo(txn, request)
        case DeleteRepo(name=name, force=force):
            delete_repo(txn, name, force=force)
        case CreateBranch():
            return _create_branch(txn, request, change)
        case DeleteBranch(branch=ref, force=force):
            delete_branch(txn, ref, force=force)
        case StartCommit():
            return _start_commit(txn, request, change)
        case FinishCommit():
            return _finish_commit(txn, request, change)
        case Foreign(operation=operation):
            raise InvalidNameError(
                f"this program does not know how to {operation}; is it of another version?"
            )
    return None


def _create_repo(txn: WriteTxn, request: CreateRepo) -> None:
    made = create_repo(
        txn,
        request.name,
        description=request.description,
        autocommit_s=request.autocommit_s,
        quota_bytes=request.quota_bytes,
        update=request.update,
    )
    if find_branch(txn, made.name, MASTER) is None:
        create_branch(txn, made.name, MASTER)


def _create_branch(txn: WriteTxn, request: CreateBranch, change: Change) -> CommitId | None:
    ref = request.branch
    at = resolve(txn, ref.repo, request.head).id if request.head else None
    if request.trigger is None or at or request.provenance or find_branch(txn, ref.repo, ref.branch) is None:
        make_branch(txn, ref, head=at, provenance=request.provenance or None, change_id=change.id)
    if request.trigger is not None:
        set_trigger(txn, ref, request.trigger, now_ns=time.time_ns())
    return at


def _start_commit(txn: WriteTxn, request: StartCommit, change: Change) -> CommitId:
    ref = request.branch
    if find_commit(txn, ref.repo, change.id) is not None:
        raise TwoCommitsError(ref)
    return start_commit(
        txn, ref.repo, ref.branch, commit_id=change.id, description=request.description, explicit=True
    ).id


def _finish_commit(txn: WriteTxn, request: FinishCommit, change: Change) -> CommitId:
    record = open_commit(txn, request.branch)
    done = finish_commit(
        txn,
        record.ref,
        _content(txn, record, change),
        description=request.description,
        error=request.error,
    )
    return done.id


def _content(txn: ReadTxn, record: Commit, change: Change) -> Entry:
    """Return what an open commit has: its parent's content, if it was started by this very change."""
    if change.roots is not None and record.id != change.id:
        try:
            return change.roots[record.ref]
        except KeyError:
            raise ConflictError(f"commit {record.ref} was started just now; finish it once more") from None
    found = base_root(txn, record)
    return found if found is not None else change.trees.empty_directory(mtime_ns=record.started_ns)
