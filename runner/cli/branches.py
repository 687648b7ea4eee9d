"""`pfs create|list|inspect|update|delete branch`."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated

import msgspec
import typer

from pfsfuse.ids import CommitId, RepoName
from pfsfuse.names import check_repo_name
from pfsfuse.store.index import ReadTxn
from pfsfuse.versions import branches
from pfsfuse.versions.branches import HeadOfOtherRepoError
from pfsfuse.versions.commits import resolve
from pfsfuse.versions.model import Branch, BranchRef, Trigger
from pfsfuse.versions.repos import repo as find_repo
from pfsfuse.versions.requests import CreateBranch, DeleteBranch
from pfsfuse.versions.triggers import InvalidTriggerError, set_trigger
from pfsfuse.versions.wiring import make_branch

from .names import branch_name
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
    """The branches that it is made from, directly; `all_provenance` has those behind them, too."""
    all_provenance: list[str]
    subvenance: list[str]
    """The branches that are made from it, directly; `all_subvenance` has those behind them, too."""
    all_subvenance: list[str]
    propagated: bool
    trigger: ShownTrigger | None
    created: datetime | None


def shown_branch(txn: ReadTxn, branch: Branch) -> ShownBranch:
    return ShownBranch(
        branch.repo,
        branch.name,
        branch.head.hex() if branch.head else None,
        branch.open.hex() if branch.open else None,
        [str(source) for source in branch.provenance],
        [str(source) for source in branches.all_provenance(txn, branch.ref)],
        [str(user) for user in branches.subvenance(txn, branch.ref)],
        [str(user.ref) for user in branches.downstream(txn, [branch.ref])],
        branch.propagated,
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
Head = Annotated[
    str | None,
    typer.Option(metavar="COMMIT", help="The commit that it names: an id, or a branch of the same repo."),
]
Provenance = Annotated[
    list[str] | None,
    typer.Option(
        "--provenance", "-p", metavar="REPO@BRANCH", help="A branch that it is made from; repeatable."
    ),
]


def create_branch(
    session: Session,
    name: Name,
    head: Head = None,
    provenance: Provenance = None,
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
    """
    Create a branch, or move one that exists to another commit, or have it made from other branches.

    A branch that is made from others gets a commit of every change of these, at once, with the
    content that it has; nobody writes it.
    """
    ref = branch_name(name)
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
            ref,
            head=_in_repo(ref, head),
            provenance=tuple(branch_name(text) for text in provenance or ()),
            trigger=None if trigger is None else msgspec.convert({"branch": trigger, **conditions}, Trigger),
        )
    )


def update_branch(
    session: Session,
    name: Name,
    head: Head = None,
    provenance: Provenance = None,
    no_provenance: Annotated[
        bool, typer.Option("--no-provenance", help="It is made from nothing: people write it.")
    ] = False,
    no_trigger: Annotated[bool, typer.Option("--no-trigger", help="It moves no more by itself.")] = False,
) -> None:
    """Move a branch to another commit, also to an older one, or change what it is made from."""
    ref = branch_name(name)
    sources = [] if no_provenance else _sources(provenance)
    if head is None and sources is None and not no_trigger:
        raise typer.BadParameter(
            "say what is to change: --head, --provenance, --no-provenance or --no-trigger"
        )
    with session.store.write() as txn:
        branches.branch(txn, ref.repo, ref.branch)
        if no_trigger:
            set_trigger(txn, ref, None, now_ns=time.time_ns())
        if head is not None or sources is not None:
            make_branch(txn, ref, head=_head(txn, ref, head), provenance=sources)


def _sources(provenance: list[str] | None) -> list[BranchRef] | None:
    return [branch_name(text) for text in provenance] if provenance else None


def _head(txn: ReadTxn, ref: BranchRef, head: str | None) -> CommitId | None:
    text = _in_repo(ref, head)
    return resolve(txn, ref.repo, text).id if text else None


def _in_repo(ref: BranchRef, head: str | None) -> str:
    """Return what --head names, a branch or a commit of the branch's own repo, without the repo."""
    named, at, rest = (head or "").rpartition("@")
    if at and check_repo_name(named) != ref.repo:
        raise HeadOfOtherRepoError(
            f"{head} is not of repo {ref.repo}: branch and head commit must belong to the same repo"
        )
    return rest


def list_branch(
    session: Session, repo: Annotated[str, typer.Argument(metavar="REPO", help="The repo.")]
) -> None:
    """List the branches of a repo, newest first."""
    with session.store.read() as txn:
        lines = list(branches.branches(txn, find_repo(txn, RepoName(repo)).name))
        lines.sort(key=lambda line: line.created_ns, reverse=True)
        found = [shown_branch(txn, line) for line in lines]
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
        found = shown_branch(txn, branches.branch(txn, ref.repo, ref.branch))
    session.screen.record(
        found,
        {
            "Name": lambda branch: f"{branch.repo}@{branch.name}",
            "Head": lambda branch: branch.head or "",
            "Open commit": lambda branch: branch.open or "",
            "Made from": lambda branch: ", ".join(branch.provenance),
            "All it is made from": lambda branch: ", ".join(branch.all_provenance),
            "Made of it": lambda branch: ", ".join(branch.all_subvenance),
            "Trigger": lambda branch: said(branch.trigger),
            "Created": lambda branch: local_time(branch.created),
        },
    )


def delete_branch(
    session: Session,
    name: Name,
    force: Annotated[
        bool,
        typer.Option("--force", "-f", help="Also if others are made from it, or follow it by a trigger."),
    ] = False,
) -> None:
    """Delete a branch; its commits stay readable by their ids."""
    from runner.jobs.creation import refuse_output

    ref = branch_name(name)
    with session.store.read() as txn:
        refuse_output(txn, ref)
    session.change(DeleteBranch(ref, force))
