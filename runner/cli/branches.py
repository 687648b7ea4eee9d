"""`pfs create|list|inspect|delete branch`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
import typer

from pfsfuse.ids import RepoName
from pfsfuse.versions import branches
from pfsfuse.versions.commits import resolve
from pfsfuse.versions.model import Branch

from .names import branch_name, commit_name
from .screen import local_time, when
from .session import Session


class ShownBranch(msgspec.Struct):
    """A branch, as JSON and YAML have it."""

    repo: str
    name: str
    head: str | None
    open: str | None
    provenance: list[str]
    created: datetime | None


def shown_branch(branch: Branch) -> ShownBranch:
    return ShownBranch(
        branch.repo,
        branch.name,
        branch.head.hex() if branch.head else None,
        branch.open.hex() if branch.open else None,
        [str(source) for source in branch.provenance],
        when(branch.created_ns),
    )


Name = Annotated[str, typer.Argument(metavar="REPO@BRANCH", help="The branch.")]


def create_branch(
    session: Session,
    name: Name,
    head: Annotated[
        str | None, typer.Option(help="The commit that it names: an id, or a branch of the same repo.")
    ] = None,
    provenance: Annotated[
        list[str] | None,
        typer.Option(
            "--provenance", "-p", metavar="REPO@BRANCH", help="A branch that it is made from; repeatable."
        ),
    ] = None,
) -> None:
    """Create a branch."""
    ref = branch_name(name)
    sources = [branch_name(text) for text in provenance or ()]
    with session.store.write() as txn:
        at = resolve(txn, ref.repo, _in_repo(head)) if head else None
        branches.create_branch(txn, ref.repo, ref.branch, head=at.id if at else None, provenance=sources)


def _in_repo(head: str) -> str:
    return commit_name(head)[1] if "@" in head else head


def list_branch(
    session: Session, repo: Annotated[str, typer.Argument(metavar="REPO", help="The repo.")]
) -> None:
    """List the branches of a repo."""
    from pfsfuse.versions.repos import repo as find

    with session.store.read() as txn:
        found = [shown_branch(each) for each in branches.branches(txn, find(txn, RepoName(repo)).name)]
    session.screen.rows(
        found,
        {
            "BRANCH": lambda branch: branch.name,
            "HEAD": lambda branch: branch.head or "-",
            "OPEN COMMIT": lambda branch: branch.open or "-",
            "MADE FROM": lambda branch: ", ".join(branch.provenance),
        },
    )


def inspect_branch(session: Session, name: Name) -> None:
    """Show a branch."""
    ref = branch_name(name)
    with session.store.read() as txn:
        found = shown_branch(branches.branch(txn, ref.repo, ref.branch))
    session.screen.record(
        found,
        {
            "Name": lambda branch: f"{branch.repo}@{branch.name}",
            "Head": lambda branch: branch.head or "",
            "Open commit": lambda branch: branch.open or "",
            "Made from": lambda branch: ", ".join(branch.provenance),
            "Created": lambda branch: local_time(branch.created),
        },
    )


def delete_branch(
    session: Session,
    name: Name,
    force: Annotated[bool, typer.Option("--force", "-f", help="Also if others are made from it.")] = False,
) -> None:
    """Delete a branch; its commits stay readable by their ids."""
    with session.store.write() as txn:
        branches.delete_branch(txn, branch_name(name), force=force)
