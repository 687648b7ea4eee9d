"""`pfs create|list|inspect|delete branch`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
import typer

from pfsfuse.ids import RepoName
from pfsfuse.versions import branches
from pfsfuse.versions.model import Branch, Trigger
from pfsfuse.versions.requests import CreateBranch, DeleteBranch
from pfsfuse.versions.triggers import InvalidTriggerError

from .names import branch_name, commit_name
from .screen import local_time, when
from .session import Session


class ShownTrigger(msgspec.Struct):
    """A trigger, by the original's names of its fields."""

    branch: str
    cron_spec: str
    rate_limit_spec: str
    size: str
    commits: int
    all: bool


class ShownBranch(msgspec.Struct):
    """A branch, as JSON and YAML have it."""

    repo: str
    name: str
    head: str | None
    open: str | None
    provenance: list[str]
    trigger: ShownTrigger | None
    created: datetime | None


def shown_branch(branch: Branch) -> ShownBranch:
    return ShownBranch(
        branch.repo,
        branch.name,
        branch.head.hex() if branch.head else None,
        branch.open.hex() if branch.open else None,
        [str(source) for source in branch.provenance],
        msgspec.convert(branch.trigger, ShownTrigger, from_attributes=True) if branch.trigger else None,
        when(branch.created_ns),
    )


def said(trigger: ShownTrigger | None) -> str:
    """Return what a trigger says, for people."""
    if trigger is None:
        return ""
    conditions = [
        f"{name} {value}"
        for name, value in (
            ("cron", trigger.cron_spec),
            ("rate limit", trigger.rate_limit_spec),
            ("size", trigger.size),
            ("commits", trigger.commits),
        )
        if value
    ]
    how = " and " if trigger.all else " or "
    return f"{trigger.branch}: {how.join(conditions) or ('always' if trigger.all else 'never')}"


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
    trigger: Annotated[
        str | None,
        typer.Option(
            metavar="BRANCH", help="Move by itself to commits of this branch of the same repo, when …"
        ),
    ] = None,
    trigger_size: Annotated[str, typer.Option(metavar="SIZE", help="… it has grown by so much: 100M.")] = "",
    trigger_commits: Annotated[int, typer.Option(metavar="N", help="… it is so many commits ahead.")] = 0,
    trigger_rate_limit: Annotated[
        str,
        typer.Option(
            "--trigger-rate-limit",
            "--trigger-rate-limit-spec",
            metavar="SCHEDULE",
            help="… the next time of a schedule has come: '@every 10s'.",
        ),
    ] = "",
    trigger_cron: Annotated[
        str, typer.Option(metavar="SCHEDULE", help="… a clock says so: '0 4 * * *'; alone.")
    ] = "",
    trigger_all: Annotated[bool, typer.Option("--trigger-all", help="… all of it holds, not any.")] = False,
) -> None:
    """Create a branch."""
    conditions = {
        "cron_spec": trigger_cron,
        "rate_limit_spec": trigger_rate_limit,
        "size": trigger_size,
        "commits": trigger_commits,
        "all": trigger_all,
    }
    if trigger is None and any(conditions.values()):
        raise InvalidTriggerError("a trigger needs the branch that it looks at: --trigger BRANCH")
    session.change(
        CreateBranch(
            branch_name(name),
            head=_in_repo(head) if head else "",
            provenance=tuple(branch_name(text) for text in provenance or ()),
            trigger=None if trigger is None else msgspec.convert({"branch": trigger, **conditions}, Trigger),
        )
    )


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
            "TRIGGER": lambda branch: said(branch.trigger),
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
            "Trigger": lambda branch: said(branch.trigger),
            "Created": lambda branch: local_time(branch.created),
        },
    )


def delete_branch(
    session: Session,
    name: Name,
    force: Annotated[bool, typer.Option("--force", "-f", help="Also if others are made from it.")] = False,
) -> None:
    """Delete a branch; its commits stay readable by their ids."""
    session.change(DeleteBranch(branch_name(name), force))
