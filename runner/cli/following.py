"""`pfs subscribe|find commit`: commits as they come, and those that changed a path."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import msgspec
import typer

from pfsfuse.errors import InvalidNameError
from pfsfuse.versions import commits
from pfsfuse.versions.branches import find_branch
from pfsfuse.versions.model import CommitState
from pfsfuse.versions.repos import repo as find_repo
from pfsfuse.versions.search import Step, search
from pfsfuse.versions.subscription import Subscription, subscribe

from .commits import ShownCommit, in_repo, shown_commit
from .names import branch_name, file_name
from .screen import ago, size
from .session import Session

_STATES = {
    "started": CommitState.OPEN,
    "ready": CommitState.OPEN,
    "finishing": CommitState.FINISHED,
    "finished": CommitState.FINISHED,
}
"""The original's four states; a commit here is written until the moment in which it is finished."""

_COLUMNS = {
    "COMMIT": lambda commit: commit.id,
    "BRANCH": lambda commit: commit.branch,
    "STATE": lambda commit: "failed" if commit.error else commit.state,
    "SIZE": lambda commit: size(commit.size_bytes) if commit.size_bytes is not None else "-",
    "DESCRIPTION": lambda commit: commit.description,
}


def subscribe_commit(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="REPO@BRANCH", help="The branch.")],
    start: Annotated[
        str, typer.Option("--from", metavar="COMMIT", help="Only those behind this one; else from the first.")
    ] = "",
    new: Annotated[bool, typer.Option("--new", help="Only those that come from now on.")] = False,
    state: Annotated[
        str, typer.Option(metavar="STATE", help="As soon as they are started, or when they are finished.")
    ] = "started",
    number: Annotated[int, typer.Option("--number", "-n", min=0, help="End after so many; 0: never.")] = 0,
) -> None:
    """
    Print the commits of a branch as they come, oldest first, until interrupted.

    As JSON each is one line.
    """
    if state not in _STATES:
        raise typer.BadParameter(f"expected one of {', '.join(_STATES)}, got {state!r}")
    if new and start:
        raise InvalidNameError("--new and --from exclude each other")
    ref = branch_name(name)
    with session.store.read() as txn:
        find_repo(txn, ref.repo)
        after = in_repo(txn, ref.repo, start)
        line = find_branch(txn, ref.repo, ref.branch)
        if line is None:
            session.screen.note(f"there is no branch {ref} yet; waiting for it")
        if new:
            after = commits.head_of(txn, line) if line is not None else None
    found = subscribe(session.store, Subscription(ref, after=after, state=_STATES[state]))
    session.screen.stream(map(shown_commit, islice(found, number or None)), _COLUMNS)


class ShownSearch(msgspec.Struct):
    """What a search found, as JSON and YAML have it."""

    found: list[ShownCommit]
    searched: int
    last_searched: str | None


def find_commit(
    session: Session,
    name: Annotated[
        str, typer.Argument(metavar="REPO@COMMIT:/PATH", help="A file or folder, and where to begin.")
    ],
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="End after so many; 0: never.")] = 0,
) -> None:
    """Find the commits that added, changed or deleted a path, newest first, going back from a commit."""
    where = file_name(name)
    if where.path is None:
        raise InvalidNameError(f"{name!r} names no path: REPO@COMMIT:/PATH")
    with session.store.read() as txn:
        start = commits.resolve(txn, where.repo, where.commit)
    result = ShownSearch([], 0, None)
    for step in _until(search(session.store, session.trees, start, where.elements), limit):
        result.searched += 1
        result.last_searched = step.commit.id.hex()
        if step.changed:
            result.found.append(_shown_step(step))
    if session.screen.is_table:
        session.screen.rows(
            result.found,
            {
                "COMMIT": lambda commit: commit.id,
                "FINISHED": lambda commit: ago(commit.finished),
                "SIZE": lambda commit: "deleted" if commit.size_bytes is None else size(commit.size_bytes),
                "DESCRIPTION": lambda commit: commit.description,
            },
        )
        session.screen.note(f"{result.searched} commits searched, the last was {result.last_searched}")
    else:
        session.screen.record(result, {})


def _until(steps: Iterator[Step], limit: int) -> Iterator[Step]:
    found = 0
    for step in steps:
        yield step
        found += step.changed
        if limit and found == limit:
            return


def _shown_step(step: Step) -> ShownCommit:
    """Return the commit, with the size and number of files of the path in it."""
    shown = shown_commit(step.commit)
    shown.size_bytes = step.entry.size if step.entry is not None else None
    shown.files = step.entry.files if step.entry is not None else None
    return shown
