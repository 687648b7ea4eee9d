"""`pfs create|list|inspect|update|delete project`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
import typer

from pfsfuse.names import DEFAULT_PROJECT
from pfsfuse.store.index import ReadTxn
from pfsfuse.versions import projects
from pfsfuse.versions.model import Project
from pfsfuse.versions.repos import delete_project as delete
from pfsfuse.versions.repos import repos

from .repos import refuse_pipelines
from .screen import ago, local_time, when
from .session import Session


class ShownProject(msgspec.Struct):
    """A project, as JSON and YAML have it."""

    name: str
    created: datetime | None
    repos: list[str]
    description: str


def shown_project(txn: ReadTxn, project: Project) -> ShownProject:
    return ShownProject(
        project.name,
        when(project.created_ns or None),
        [repo.name for repo in repos(txn, project=project.name)],
        project.description,
    )


Name = Annotated[str, typer.Argument(metavar="PROJECT", help="The name of the project.")]
Description = Annotated[str, typer.Option("--description", "-d", help="What it is for.")]


def create_project(
    session: Session,
    name: Name,
    description: Description = "",
    update: Annotated[bool, typer.Option("--update", help="Change a project that exists.")] = False,
) -> None:
    """Create a project; its repos are named PROJECT/REPO."""
    with session.store.write() as txn:
        projects.create_project(txn, name, description=description, update=update)


def list_project(session: Session) -> None:
    """List the projects."""
    with session.store.read() as txn:
        found = [shown_project(txn, project) for project in projects.projects(txn)]
    session.screen.rows(
        found,
        {
            "NAME": lambda project: project.name,
            "CREATED": lambda project: ago(project.created),
            "REPOS": lambda project: str(len(project.repos)),
            "DESCRIPTION": lambda project: project.description,
        },
    )


def inspect_project(session: Session, name: Name) -> None:
    """Show a project."""
    with session.store.read() as txn:
        found = shown_project(txn, projects.project(txn, name))
    session.screen.record(
        found,
        {
            "Name": lambda project: project.name,
            "Description": lambda project: project.description,
            "Created": lambda project: local_time(project.created),
            "Repos": lambda project: ", ".join(project.repos),
        },
    )


def update_project(session: Session, name: Name, description: Description) -> None:
    """Change the description of a project."""
    with session.store.write() as txn:
        projects.update_project(txn, name, description=description)


def delete_project(
    session: Session,
    name: Name,
    force: Annotated[bool, typer.Option("--force", "-f", help="With all repos in it.")] = False,
) -> None:
    """Delete a project; without --force it must have no repos."""
    if name == DEFAULT_PROJECT and not force:
        raise typer.BadParameter("the project default is always there; --force deletes all of its repos")
    with session.store.write() as txn:
        refuse_pipelines(txn, [repo.name for repo in repos(txn, project=name)])
        delete(txn, name, force=force)
