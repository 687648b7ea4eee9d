"""
Projects: groups of repos.

The repos of the project `default` are named without it, those of others `project/repo`.  `default`
is always there.  A project that has repos exists without a record, too: earlier versions wrote none.
"""

from __future__ import annotations

import msgspec

from ..errors import ExistsError, NotEmptyError, NotFoundError
from ..ids import RepoName
from ..names import DEFAULT_PROJECT, check_project_name
from ..store.index import ReadTxn, Table, WriteTxn
from .model import Project, decode, encode, project_key


class ProjectNotFoundError(NotFoundError):
    """There is no project of this name."""

    def __init__(self, project: str) -> None:
        super().__init__(f"project {project} not found; `pfs create project {project}` makes it")
        self.project = project


class ProjectExistsError(ExistsError):
    """The name of the project is taken."""

    def __init__(self, project: str) -> None:
        super().__init__(f"project {project} already exists")
        self.project = project


class ProjectNotEmptyError(NotEmptyError):
    """A project that has repos is deleted by force only."""


def project_of(repo: RepoName | str) -> str:
    """Return the project that a repo belongs to."""
    return repo.rpartition("/")[0] or DEFAULT_PROJECT


def create_project(
    txn: WriteTxn, name: str, *, description: str = "", update: bool = False, now_ns: int | None = None
) -> Project:
    """Create a project; ProjectExistsError, unless *update*: then it takes the description."""
    existing = find_project(txn, check_project_name(name))
    if existing is not None and not update:
        raise ProjectExistsError(name)
    created = existing.created_ns if existing is not None else now_ns or txn.now_ns()
    made = Project(name, created, description)
    txn.put(Table.PROJECTS, project_key(name), encode(made))
    return made


def find_project(txn: ReadTxn, name: str) -> Project | None:
    """Return a project, or None."""
    raw = txn.get(Table.PROJECTS, project_key(name))
    if raw is not None:
        return decode(raw, Project)
    is_there = name == DEFAULT_PROJECT or next(txn.scan(Table.REPOS, project_key(f"{name}/")), None)
    return Project(name, 0) if is_there else None


def project(txn: ReadTxn, name: str) -> Project:
    """Return a project; ProjectNotFoundError."""
    found = find_project(txn, check_project_name(name))
    if found is None:
        raise ProjectNotFoundError(name)
    return found


def projects(txn: ReadTxn) -> list[Project]:
    """Return all projects, by name."""
    names = {key.decode() for key, _ in txn.scan(Table.PROJECTS)} | {DEFAULT_PROJECT}
    names.update(project_of(key.decode()) for key, _ in txn.scan(Table.REPOS))
    return [project(txn, name) for name in sorted(names)]


def update_project(txn: WriteTxn, name: str, *, description: str) -> Project:
    """Give a project another description; ProjectNotFoundError."""
    changed = msgspec.structs.replace(project(txn, name), description=description)
    txn.put(Table.PROJECTS, project_key(name), encode(changed))
    return changed


def remove_project(txn: WriteTxn, name: str) -> None:
    """Remove the record of a project that has no repos (any more); ProjectNotEmptyError."""
    if any(project_of(key.decode()) == name for key, _ in txn.scan(Table.REPOS)):
        raise ProjectNotEmptyError(
            f"project {name} has repos; delete them first, or use --force to delete all of them"
        )
    txn.delete(Table.PROJECTS, project_key(name))
