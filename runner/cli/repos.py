"""`pfs create|list|inspect|update|delete repo`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
import typer

from pfsfuse.ids import RepoName
from pfsfuse.sizes import parse_size
from pfsfuse.store.index import ReadTxn
from pfsfuse.versions import repos
from pfsfuse.versions.branches import MASTER, branches
from pfsfuse.versions.commits import newest_good
from pfsfuse.versions.model import BranchRef, Repo
from pfsfuse.versions.projects import project as find_project
from pfsfuse.versions.requests import CreateRepo, DeleteRepo

from .screen import ago, local_time, size, when
from .session import Session


class ShownRepo(msgspec.Struct):
    """A repo, as JSON and YAML have it."""

    name: str
    created: datetime | None
    size_bytes: int
    """Of what the branch master shows."""
    branches: list[str]
    description: str
    autocommit_s: float | None
    quota_bytes: int | None


def shown_repo(txn: ReadTxn, repo: Repo) -> ShownRepo:
    lines = list(branches(txn, repo.name))
    master = next((line for line in lines if line.name == "master"), None)
    good = newest_good(txn, master) if master is not None else None
    bytes_there = good.root.size if good is not None and good.root is not None else 0
    return ShownRepo(
        repo.name,
        when(repo.created_ns),
        bytes_there,
        [line.name for line in lines],
        repo.description,
        repo.autocommit_s,
        repo.quota_bytes,
    )


Name = Annotated[str, typer.Argument(metavar="REPO", help="The name of the repo.")]
Quota = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="The most that a branch may have, such as 10G; `none` for no limit."),
]


def quota_of(text: str) -> int | None:
    """Return a quota as it is written: a size, or `none`."""
    return None if text == "none" else parse_size(text)


def create_repo(
    session: Session,
    name: Name,
    description: Annotated[str, typer.Option("--description", "-d", help="What it is for.")] = "",
    autocommit: Annotated[
        float | None,
        typer.Option(help="Seconds of quiet after which the mount finishes a commit; negative: never."),
    ] = None,
    quota: Quota = None,
    update: Annotated[bool, typer.Option("--update", help="Change a repo that exists.")] = False,
) -> None:
    """Create a repo with the branch master, which can be written at once."""
    limit = quota_of(quota) if quota is not None else None
    session.change(CreateRepo(RepoName(name), description, autocommit, update, limit))


def list_repo(
    session: Session,
    project: Annotated[
        str | None, typer.Option(metavar="PROJECT", help="Only those of this project.")
    ] = None,
) -> None:
    """List the repos, of all projects."""
    with session.store.read() as txn:
        wanted = find_project(txn, project).name if project is not None else None
        found = [shown_repo(txn, repo) for repo in repos.repos(txn, project=wanted)]
    session.screen.rows(
        found,
        {
            "NAME": lambda repo: repo.name,
            "CREATED": lambda repo: ago(repo.created),
            "SIZE (MASTER)": lambda repo: size(repo.size_bytes),
            "BRANCHES": lambda repo: str(len(repo.branches)),
            "DESCRIPTION": lambda repo: repo.description,
        },
    )


def inspect_repo(session: Session, name: Name) -> None:
    """Show a repo."""
    with session.store.read() as txn:
        found = shown_repo(txn, repos.repo(txn, RepoName(name)))
    session.screen.record(
        found,
        {
            "Name": lambda repo: repo.name,
            "Description": lambda repo: repo.description,
            "Created": lambda repo: local_time(repo.created),
            "Size of master": lambda repo: size(repo.size_bytes),
            "Branches": lambda repo: ", ".join(repo.branches),
            "Autocommit": lambda repo: _autocommit(repo.autocommit_s),
            "Quota": lambda repo: size(repo.quota_bytes) if repo.quota_bytes is not None else "",
        },
    )


def _autocommit(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return "off" if seconds < 0 else f"{seconds:g}s"


def update_repo(
    session: Session,
    name: Name,
    description: Annotated[str | None, typer.Option("--description", "-d", help="What it is for.")] = None,
    autocommit: Annotated[
        float | None,
        typer.Option(help="Seconds of quiet after which the mount finishes a commit; negative: never."),
    ] = None,
    quota: Quota = None,
) -> None:
    """Change the description of a repo, its quota, or when its commits finish by themselves; the rest stays."""
    with session.store.write() as txn:
        repos.update_repo(
            txn,
            name,
            description=description,
            autocommit_s=autocommit if autocommit is not None else repos.KEEP,
            quota_bytes=quota_of(quota) if quota is not None else repos.KEEP,
        )


def delete_repo(
    session: Session,
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Also if other repos are made from it.")
    ] = False,
) -> None:
    """Delete a repo with everything in it."""
    with session.store.read() as txn:
        refuse_pipelines(txn, [repos.repo(txn, name).name])
    session.change(DeleteRepo(RepoName(name), force))


def refuse_pipelines(txn: ReadTxn, names: Sequence[str]) -> None:
    """PipelineInUseError if one of these repos is the output of a pipeline, which would go on without it."""
    from runner.jobs.creation import refuse_output

    for name in names:
        refuse_output(txn, BranchRef(RepoName(name), MASTER))
