"""`pfs du`: who takes how many bytes of the disk."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
import typer

from pfsfuse.errors import InvalidNameError
from pfsfuse.ids import RepoName
from pfsfuse.versions.repos import repo
from pfsfuse.versions.usage import (
    CommitUsage,
    RepoUsage,
    StoreUsage,
    usage_of_commits,
    usage_of_repos,
    usage_of_store,
)

from .screen import ago, size, when
from .session import Session


class ShownRepoUsage(msgspec.Struct):
    """What a repo takes, as JSON and YAML have it; sizes are bytes."""

    repo: str
    commits: int
    logical: int
    stored: int
    unique: int
    shared: int
    quota: int | None
    """The most logical bytes that one branch may have."""


class ShownCommitUsage(msgspec.Struct):
    """What a commit takes."""

    repo: str
    commit: str
    branch: str
    finished: datetime | None
    logical: int
    stored: int
    added: int
    unique: int
    shared: int


class ShownStoreUsage(msgspec.Struct):
    """What all of it takes."""

    packed: int
    objects: int
    stored: int
    raw: int
    compression: float
    needed: int
    garbage: int


class ShownUsage(msgspec.Struct):
    repos: list[ShownRepoUsage]
    store: ShownStoreUsage


def du(
    session: Session,
    name: Annotated[
        str | None, typer.Argument(metavar="[REPO]", help="One repo; else all, and the store.")
    ] = None,
    commits: Annotated[bool, typer.Option("--commits", help="Each commit of the repo.")] = False,
) -> None:
    """Show what repos, commits and the store take: what a reader counts, what is stored, what is shared."""
    if commits:
        if name is None:
            raise InvalidNameError("--commits needs a repo: pfs du REPO --commits")
        _show_commits(session, usage_of_commits(session.store, name))
        return
    if name is not None:
        with session.store.read() as txn:
            repo(txn, RepoName(name))
    found = [_shown_repo(each) for each in usage_of_repos(session.store) if name in (None, each.repo.name)]
    if name is not None:
        _show_repos(session, found)
        return
    store = _shown_store(usage_of_store(session.store))
    if not session.screen.is_table:
        session.screen.record(ShownUsage(found, store), {})
        return
    _show_repos(session, found)
    session.screen.result(
        f"\n{size(store.packed)} in packs: {store.objects} objects of {size(store.stored)}, "
        f"{size(store.raw)} before compression ({store.compression:.2f} to 1)"
    )
    session.screen.result(f"{size(store.needed)} needed, {size(store.garbage)} garbage (`pfs gc`)")


def _shown_repo(each: RepoUsage) -> ShownRepoUsage:
    return ShownRepoUsage(
        each.repo.name,
        each.commits,
        each.logical_bytes,
        each.stored_bytes,
        each.unique_bytes,
        each.shared_bytes,
        each.repo.quota_bytes,
    )


def _shown_store(found: StoreUsage) -> ShownStoreUsage:
    return ShownStoreUsage(
        found.packed_bytes,
        found.objects,
        found.stored_bytes,
        found.raw_bytes,
        round(found.compression, 3),
        found.needed_bytes,
        found.garbage_bytes,
    )


def _show_repos(session: Session, found: list[ShownRepoUsage]) -> None:
    session.screen.rows(
        found,
        {
            "REPO": lambda each: each.repo,
            "COMMITS": lambda each: str(each.commits),
            "LOGICAL": lambda each: size(each.logical),
            "STORED": lambda each: size(each.stored),
            "UNIQUE": lambda each: size(each.unique),
            "SHARED": lambda each: size(each.shared),
            "QUOTA": lambda each: size(each.quota) if each.quota is not None else "-",
        },
    )


def _show_commits(session: Session, found: list[CommitUsage]) -> None:
    session.screen.rows(
        [
            ShownCommitUsage(
                each.commit.repo,
                each.commit.id.hex(),
                each.commit.branch,
                when(each.commit.finished_ns),
                each.logical_bytes,
                each.stored_bytes,
                each.added_bytes,
                each.unique_bytes,
                each.shared_bytes,
            )
            for each in found
        ],
        {
            "COMMIT": lambda each: f"{each.repo}@{each.commit}",
            "BRANCH": lambda each: each.branch,
            "FINISHED": lambda each: ago(each.finished),
            "LOGICAL": lambda each: size(each.logical),
            "STORED": lambda each: size(each.stored),
            "ADDED": lambda each: size(each.added),
            "UNIQUE": lambda each: size(each.unique),
        },
    )
