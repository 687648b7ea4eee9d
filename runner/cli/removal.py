"""`pfs squash|delete|drop|forget|clear commit`: taking commits, or what is in them, away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from pfsfuse.errors import InvalidNameError, NotFoundError
from pfsfuse.ids import CommitId
from pfsfuse.names import check_branch_name
from pfsfuse.store.index import WriteTxn
from pfsfuse.versions.branches import find_branch
from pfsfuse.versions.changesets import Delete
from pfsfuse.versions.commits import NoOpenCommitError, find_commit, resolve
from pfsfuse.versions.model import BranchRef, Commit, CommitRef, Origin
from runner.jobs import removal
from runner.jobs.requests import squashing

from .commits import show_commits, shown_commit
from .names import change_name, commit_name, open_branch
from .session import Session


class NothingToDropError(NotFoundError):
    """The branch has no open commit that could be thrown away."""

    def __init__(self, ref: BranchRef) -> None:
        super().__init__(
            f"branch {ref} has no open commit to drop; `pfs delete commit {ref}` takes its newest commit away"
        )


Name = Annotated[str, typer.Argument(metavar="REPO@COMMIT|ID", help="A commit, or the id of a change.")]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="With everything that was made from it.")]
OfSet = Callable[[WriteTxn, CommitId], list[Commit]]
OfOne = Callable[[WriteTxn, CommitRef], list[Commit]]


def squash_commit(session: Session, name: Name, recursive: Recursive = False) -> None:
    """
    Remove commits and keep what is in them: their children take it over.

    The id of a change means its commits in all repos; REPO@COMMIT a single one.
    """
    if session.transaction is not None:
        session.change(squashing(_whole_change(session, name)))
        return
    _take_away(
        session,
        name,
        removal.squash_set,
        lambda txn, ref: removal.squash_commit(txn, ref, recursive=recursive),
    )


def _whole_change(session: Session, name: str) -> CommitId:
    with session.store.read() as txn:
        change = change_name(txn, name)
    if change is None:
        raise InvalidNameError(
            f"{name} is one commit; a transaction can squash whole changes only, by their id"
        )
    return change


def delete_commit(session: Session, name: Name, recursive: Recursive = False) -> None:
    """
    Remove newest commits with their data; branches go back to what was before.

    The id of a change means its commits in all repos; REPO@COMMIT a single one, of a branch its open
    commit, else its head.
    """
    _drop(session, name, recursive=recursive, may_be_head=True)


def drop_commit(session: Session, name: Name, recursive: Recursive = False) -> None:
    """
    Throw the open commit of a branch away; by an id, what `delete commit` does.
    """
    _drop(session, name, recursive=recursive, may_be_head=False)


def _drop(session: Session, name: str, *, recursive: bool, may_be_head: bool) -> None:
    with session.store.read() as txn:
        change = change_name(txn, name)
    if change is not None:
        _drop_change(session, change)
        return
    opened = _open_commit(session, name)
    if opened is not None:
        session.writing.drop(opened)
        return
    repo, text = commit_name(name)
    with session.store.read() as txn:
        is_branch = find_branch(txn, repo, text) is not None
    if is_branch and not may_be_head:
        raise NothingToDropError(BranchRef(repo, check_branch_name(text)))
    _take_away(
        session, name, removal.drop_set, lambda txn, ref: removal.drop_commit(txn, ref, recursive=recursive)
    )


def _drop_change(session: Session, change: CommitId) -> None:
    """Drop a change; what people have open of it goes through the owner, which knows who is writing."""
    try:
        with session.store.write() as txn:
            gone = removal.drop_set(txn, change)
            opened = [each for each in gone if not each.is_finished and each.origin is Origin.USER]
            if opened:
                # Nothing else stands in the way: now in earnest, the open ones first.
                raise _TakenBack
    except _TakenBack:
        for each in opened:
            session.writing.drop(BranchRef(each.repo, each.branch))
        if len(opened) < len(gone):
            with session.store.write() as txn:
                removal.drop_set(txn, change)
    session.writing.barrier()
    show_commits(session.screen, [shown_commit(each) for each in gone])


class _TakenBack(Exception):  # noqa: N818  # no error: it ends a rehearsal
    """Raised in a write transaction so that nothing of it stays."""


def _open_commit(session: Session, name: str) -> BranchRef | None:
    """Return the branch whose open commit, of people, is named by its branch or its id."""
    repo, text = commit_name(name)
    with session.store.read() as txn:
        line = find_branch(txn, repo, text)
        found = (
            find_commit(txn, repo, line.open)
            if line is not None and line.open is not None
            else resolve(txn, repo, text)
            if line is None
            else None
        )
    if found is None or found.is_finished or found.origin is not Origin.USER:
        return None
    return BranchRef(found.repo, found.branch)


def _take_away(session: Session, name: str, of_set: OfSet, of_one: OfOne) -> None:
    with session.store.write() as txn:
        change = change_name(txn, name)
        if change is not None:
            gone = of_set(txn, change)
        else:
            repo, text = commit_name(name)
            gone = of_one(txn, resolve(txn, repo, text).ref)
    session.writing.barrier()
    show_commits(session.screen, [shown_commit(each) for each in gone])


def forget_commit(session: Session, name: Name) -> None:
    """
    Give up the content of a commit that was made from others, and keep what it was made from.

    Refused for what people put, and for what a branch shows.
    """
    repo, text = commit_name(name)
    with session.store.write() as txn:
        removal.forget_commit(txn, resolve(txn, repo, text).ref)


def clear_commit(
    session: Session, name: Annotated[str, typer.Argument(metavar="REPO@BRANCH", help="The branch.")]
) -> None:
    """Empty the open commit of a branch."""
    repo, text = commit_name(name)
    with session.store.read() as txn:
        ref = open_branch(txn, repo, text)
        line = find_branch(txn, ref.repo, ref.branch)
    if line is None or line.open is None:
        raise NoOpenCommitError(ref)
    session.writing.apply(ref, [Delete(())])
