"""`pfs status`: what runs, and what is open."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from datetime import datetime
from typing import Any

import msgspec

from pfsfuse import __version__
from pfsfuse.errors import UnavailableError
from pfsfuse.ids import RepoName
from pfsfuse.mount.client import MountClient
from pfsfuse.store.index import Table
from pfsfuse.versions.branches import all_branches
from pfsfuse.versions.commits import commit
from runner.jobs.records import is_runner_up, jobs
from runner.supervisor import live_state

from .screen import ago, size, when
from .session import Session


class OpenCommit(msgspec.Struct):
    """A commit that can be written."""

    name: str
    id: str
    started: datetime | None
    explicit: bool
    """It waits for `pfs finish commit`."""
    held: bool
    """It may be half of something, so it waits for more or for `pfs finish commit`."""
    writers: int
    """Files that are open for writing in the mount."""


class Status(msgspec.Struct):
    """What `pfs status` says."""

    version: str
    root: str
    mount: str | None
    mount_pid: int | None
    runner: bool
    supervisor_pid: int | None
    repos: int
    pipelines: int
    jobs: dict[str, int]
    open_commits: list[OpenCommit]
    free_bytes: int


def status(session: Session) -> None:
    """Show what runs and which commits are open."""
    supervisor = live_state(session.run)
    mounted = _mounted(session)
    found = Status(
        __version__,
        os.fspath(session.root),
        mounted["mount"] if mounted else None,
        mounted["pid"] if mounted else None,
        is_runner_up(session.store),
        supervisor.supervisor.pid if supervisor else None,
        0,
        0,
        {},
        _open_commits(session, mounted),
        shutil.disk_usage(session.root).free,
    )
    with session.store.read() as txn:
        found.repos = txn.count(Table.REPOS)
        found.pipelines = sum(1 for _ in txn.scan(Table.DOCUMENTS, b"pipeline\0"))
        found.jobs = dict(Counter(job.state.value for job in jobs(txn)))
    session.screen.record(
        found,
        {
            "Store": lambda status: f"{status.root} ({size(status.free_bytes)} free)",
            "Mount": lambda status: f"{status.mount} (pid {status.mount_pid})" if status.mount else "none",
            "Runner": lambda status: "running" if status.runner else "none",
            "Supervisor": lambda status: f"pid {status.supervisor_pid}" if status.supervisor_pid else "none",
            "Repos": lambda status: str(status.repos),
            "Pipelines": lambda status: str(status.pipelines),
            "Jobs": lambda status: ", ".join(f"{n} {state}" for state, n in sorted(status.jobs.items())),
            "Open commits": lambda status: "\n".join(map(_describe, status.open_commits)),
        },
    )


def _mounted(session: Session) -> dict[str, Any] | None:
    try:
        with MountClient(session.run, timeout_s=10.0) as client:
            return client.status()
    except UnavailableError:
        return None


def _open_commits(session: Session, mounted: dict[str, Any] | None) -> list[OpenCommit]:
    known = {(each["repo"], each["branch"]): each for each in (mounted or {}).get("open_commits", ())}
    found = []
    with session.store.read() as txn:
        for branch in all_branches(txn):
            if branch.open is None:
                continue
            record = commit(txn, RepoName(branch.repo), branch.open)
            live = known.get((branch.repo, branch.name), {})
            found.append(
                OpenCommit(
                    str(branch.ref),
                    record.id.hex(),
                    when(record.started_ns),
                    record.explicit,
                    bool(live.get("held")),
                    int(live.get("writers", 0)),
                )
            )
    return found


def _describe(each: OpenCommit) -> str:
    facts = [f"started {ago(each.started)}"]
    if each.explicit:
        facts.append("finished by name only")
    if each.held:
        facts.append("may be incomplete: write to it again, or finish it by name")
    if each.writers:
        facts.append(f"{each.writers} files open for writing")
    return f"{each.name} {each.id}: {', '.join(facts)}"
