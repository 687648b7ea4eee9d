"""`pfs start|finish|drop|list|inspect commit`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
import typer

from pfsfuse.ids import CommitId
from pfsfuse.versions import commits
from pfsfuse.versions.model import BranchRef, Commit
from pfsfuse.versions.requests import FinishCommit, StartCommit
from pfsfuse.versions.transactions import started_in, transaction

from .names import branch_name, commit_name, open_branch, repo_and_branch
from .screen import Screen, ago, local_time, size, took, when
from .session import Session


class ShownCommit(msgspec.Struct):
    """A commit, as JSON and YAML have it."""

    repo: str
    branch: str
    id: str
    parent: str | None
    state: str
    origin: str
    started: datetime | None
    finished: datetime | None
    size_bytes: int | None
    files: int | None
    description: str
    error: str
    provenance: list[str]


def shown_commit(commit: Commit) -> ShownCommit:
    return ShownCommit(
        commit.repo,
        commit.branch,
        commit.id.hex(),
        commit.parent.hex() if commit.parent else None,
        commit.state.value,
        commit.origin.value,
        when(commit.started_ns),
        when(commit.finished_ns),
        commit.root.size if commit.root else None,
        commit.root.files if commit.root else None,
        commit.description,
        commit.error,
        [str(source) for source in commit.provenance],
    )


Line = Annotated[str, typer.Argument(metavar="REPO@BRANCH", help="The branch.")]
Name = Annotated[str, typer.Argument(metavar="REPO@COMMIT", help="A branch, an id, or such as master~2.")]


def start_commit(
    session: Session,
    name: Line,
    description: Annotated[
        str, typer.Option("--message", "-m", "--description", help="What the commit is about.")
    ] = "",
) -> None:
    """Start a commit and print its id; it stays open until it is finished by name."""
    ref = branch_name(name)
    if session.transaction is None:
        _say(session, session.writing.start(ref, description=description))
    else:
        _say(session, *session.change(StartCommit(ref, description)))


def finish_commit(
    session: Session,
    name: Name,
    description: Annotated[
        str | None, typer.Option("--message", "-m", "--description", help="Replaces that of the start.")
    ] = None,
    error: Annotated[
        str, typer.Option(help="Finish it as one whose content is not to be used, for this reason.")
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Cut off programs that have files of it open for writing.")
    ] = False,
) -> None:
    """Finish the open commit of a branch and print its id; it never changes afterwards."""
    ref = _open_branch(session, name)
    if session.transaction is None:
        _say(session, session.writing.finish(ref, description=description, error=error, force=force))
    else:
        _say(session, *session.change(FinishCommit(ref, description, error)))


def _say(session: Session, made: CommitId | None) -> None:
    assert made is not None  # both requests are about a commit
    session.screen.result(made.hex())


def drop_commit(session: Session, name: Name) -> None:
    """Throw the open commit of a branch away."""
    session.writing.drop(_open_branch(session, name))


def _open_branch(session: Session, name: str) -> BranchRef:
    repo, text = commit_name(name)
    with session.store.read() as txn:
        if session.transaction is not None and text == session.transaction.hex():
            return started_in(transaction(txn, session.transaction), repo)
        return open_branch(txn, repo, text)


def list_commit(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="REPO[@BRANCH]", help="A branch, or all commits of a repo.")],
    number: Annotated[int, typer.Option("--number", "-n", min=0, help="At most so many; 0: all.")] = 0,
) -> None:
    """List commits, newest first."""
    repo, branch = repo_and_branch(name)
    with session.store.read() as txn:
        found = [shown_commit(c) for c in commits.list_commits(txn, repo, branch_name=branch, number=number)]
    show_commits(session.screen, found)


def show_commits(screen: Screen, found: Sequence[ShownCommit]) -> None:
    screen.rows(
        found,
        {
            "REPO": lambda commit: commit.repo,
            "BRANCH": lambda commit: commit.branch,
            "COMMIT": lambda commit: commit.id,
            "STATE": lambda commit: "failed" if commit.error else commit.state,
            "STARTED": lambda commit: ago(commit.started),
            "FINISHED": lambda commit: ago(commit.finished),
            "SIZE": lambda commit: size(commit.size_bytes) if commit.size_bytes is not None else "-",
            "DESCRIPTION": lambda commit: commit.description,
        },
    )


def inspect_commit(session: Session, name: Name) -> None:
    """Show a commit; for a branch, its newest finished one."""
    repo, text = commit_name(name)
    with session.store.read() as txn:
        found = shown_commit(commits.resolve(txn, repo, text))
    session.screen.record(
        found,
        {
            "Commit": lambda commit: f"{commit.repo}@{commit.id}",
            "Branch": lambda commit: commit.branch,
            "Parent": lambda commit: commit.parent or "",
            "State": lambda commit: commit.state,
            "Error": lambda commit: commit.error,
            "Description": lambda commit: commit.description,
            "Started": lambda commit: local_time(commit.started),
            "Finished": lambda commit: local_time(commit.finished),
            "Open for": lambda commit: took(commit.started, commit.finished),
            "Size": lambda commit: size(commit.size_bytes) if commit.size_bytes is not None else "",
            "Files": lambda commit: str(commit.files) if commit.files is not None else "",
            "Made from": lambda commit: "\n".join(commit.provenance),
        },
    )
