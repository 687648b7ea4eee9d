"""`pfs start|finish|list|inspect|update commit`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
import typer

from pfsfuse.errors import InvalidNameError
from pfsfuse.ids import CommitId, RepoName
from pfsfuse.names import check_repo_name
from pfsfuse.store.index import ReadTxn
from pfsfuse.versions import commits
from pfsfuse.versions.model import BranchRef, Commit, Origin
from pfsfuse.versions.records import children_of, subvenance_of
from pfsfuse.versions.requests import FinishCommit, StartCommit
from pfsfuse.versions.sets import commit_set, list_sets
from pfsfuse.versions.transactions import started_in, transaction

from .names import branch_name, change_name, commit_name, open_branch, repo_and_branch
from .screen import Screen, ago, local_time, size, took, when
from .session import Session

_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


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
    forgotten: bool = False
    children: list[str] = []
    """Of a single commit that is inspected only, as is the next."""
    subvenance: list[str] = []


class ShownSet(msgspec.Struct):
    """A change, as JSON and YAML have it."""

    id: str
    started: datetime | None
    commits: int
    finished: int
    repos: list[str]


def shown_set(txn: ReadTxn, change: CommitId) -> ShownSet:
    members = commits.commits_of_set(txn, change)
    return ShownSet(
        change.hex(),
        when(min(commit.started_ns for commit in members)),
        len(members),
        sum(commit.is_finished for commit in members),
        [commit.repo for commit in members],
    )


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
        commit.forgotten,
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
    session.screen.identifier(made.hex())


def _open_branch(session: Session, name: str) -> BranchRef:
    repo, text = commit_name(name)
    with session.store.read() as txn:
        if session.transaction is not None and text == session.transaction.hex():
            return started_in(transaction(txn, session.transaction), repo)
        return open_branch(txn, repo, text)


def list_commit(
    session: Session,
    name: Annotated[
        str,
        typer.Argument(
            metavar="[REPO[@BRANCH]|ID]",
            help="A branch, a repo, the commits of a change; nothing: all changes.",
        ),
    ] = "",
    number: Annotated[int, typer.Option("--number", "-n", min=0, help="At most so many; 0: all.")] = 0,
    start: Annotated[str, typer.Option("--from", metavar="COMMIT", help="Only those behind this one.")] = "",
    end: Annotated[
        str, typer.Option("--to", metavar="COMMIT", help="From this one on, instead of the newest.")
    ] = "",
    reverse: Annotated[bool, typer.Option("--reverse", help="Oldest first.")] = False,
    origin: Annotated[
        Origin | None, typer.Option(help="Only what people put (user), or what was made of it (auto).")
    ] = None,
    started_before: Annotated[
        datetime | None,
        typer.Option(
            formats=_TIMES,
            metavar="TIME",
            help="Only those that were started before this time (of this machine).",
        ),
    ] = None,
) -> None:
    """List commits, newest first; without a repo, the changes of all repos."""
    with session.store.read() as txn:
        change = change_name(txn, name) if name else None
        if not name:
            show_sets(session.screen, [shown_set(txn, each) for each in list_sets(txn, number=number)])
            return
        if change is not None:
            show_commits(session.screen, [shown_commit(c) for c in commit_set(txn, change).commits])
            return
        repo, branch = repo_and_branch(name)
        found = commits.list_commits(
            txn,
            repo,
            branch_name=branch,
            number=number,
            after=in_repo(txn, repo, start),
            up_to=in_repo(txn, repo, end),
            oldest_first=reverse,
            origin=origin,
            started_before_ns=int(started_before.timestamp() * 1e9) if started_before else None,
        )
    show_commits(session.screen, [shown_commit(c) for c in found])


def in_repo(txn: ReadTxn, repo: RepoName, text: str) -> Commit | None:
    """Return the commit that an option names, with or without its repo; None if it is not given."""
    if not text:
        return None
    named, at, rest = text.rpartition("@")
    if at and check_repo_name(named) != repo:
        raise InvalidNameError(f"{text!r}: a commit of repo {repo} is meant")
    return commits.resolve(txn, repo, rest)


def show_commits(screen: Screen, found: Sequence[ShownCommit]) -> None:
    screen.rows(
        found,
        {
            "REPO": lambda commit: commit.repo,
            "BRANCH": lambda commit: commit.branch,
            "COMMIT": lambda commit: commit.id,
            "STATE": _state,
            "STARTED": lambda commit: ago(commit.started),
            "FINISHED": lambda commit: ago(commit.finished),
            "SIZE": lambda commit: size(commit.size_bytes) if commit.size_bytes is not None else "-",
            "DESCRIPTION": lambda commit: commit.description,
        },
    )


def _state(commit: ShownCommit) -> str:
    return "failed" if commit.error else "forgotten" if commit.forgotten else commit.state


def show_sets(screen: Screen, found: Sequence[ShownSet]) -> None:
    screen.rows(
        found,
        {
            "ID": lambda change: change.id,
            "STARTED": lambda change: ago(change.started),
            "FINISHED": lambda change: f"{change.finished}/{change.commits}",
            "REPOS": lambda change: ", ".join(change.repos),
        },
    )


def inspect_commit(
    session: Session,
    name: Annotated[
        str,
        typer.Argument(metavar="REPO@COMMIT|ID", help="A branch, an id, or such as master~2; or a change."),
    ],
) -> None:
    """
    Show a commit; for a branch, its newest finished one.

    The id of a change shows all that it made, and what that was made from, inputs first.
    """
    with session.store.read() as txn:
        change = change_name(txn, name)
        if change is not None:
            show_commits(session.screen, [shown_commit(c) for c in commit_set(txn, change).commits])
            return
        repo, text = commit_name(name)
        record = commits.resolve(txn, repo, text)
        found = shown_commit(record)
        found.children = [child.hex() for child in children_of(txn, record.ref)]
        found.subvenance = [str(ref) for ref in subvenance_of(txn, record.ref)]
    session.screen.record(
        found,
        {
            "Commit": lambda commit: f"{commit.repo}@{commit.id}",
            "Branch": lambda commit: commit.branch,
            "Parent": lambda commit: commit.parent or "",
            "Children": lambda commit: "\n".join(commit.children),
            "State": _state,
            "Origin": lambda commit: commit.origin,
            "Error": lambda commit: commit.error,
            "Description": lambda commit: commit.description,
            "Started": lambda commit: local_time(commit.started),
            "Finished": lambda commit: local_time(commit.finished),
            "Open for": lambda commit: took(commit.started, commit.finished),
            "Size": lambda commit: size(commit.size_bytes) if commit.size_bytes is not None else "",
            "Files": lambda commit: str(commit.files) if commit.files is not None else "",
            "Made from": lambda commit: "\n".join(commit.provenance),
            "Made of it": lambda commit: "\n".join(commit.subvenance),
        },
    )


def update_commit(
    session: Session,
    name: Name,
    description: Annotated[str, typer.Option("--message", "-m", "--description", help="The new one.")],
) -> None:
    """Change the description of a commit; what is in it never changes."""
    repo, text = commit_name(name)
    with session.store.write() as txn:
        commits.describe_commit(txn, commits.resolve(txn, repo, text).ref, description)
