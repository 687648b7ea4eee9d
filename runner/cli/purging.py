"""`pfs purge`: truly removes a path from the history of a repo, and its content from the disk."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from pfsfuse.errors import InvalidNameError
from pfsfuse.names import split_path
from pfsfuse.versions.purge import PurgeReport, purge, what_would_go
from runner.jobs.purging import let_go

from .exits import Exit
from .names import file_name
from .screen import size
from .session import Session


class ShownPurge(msgspec.Struct):
    """What a purge did, or would do, as JSON and YAML have it."""

    dry_run: bool
    done: bool
    """The content is gone, but for what others share."""
    commits: list[str]
    files: int
    objects: int
    results: list[str]
    """Commits that were made from these."""
    freed_bytes: int
    shared: dict[str, list[str]]
    """Objects that stay, with who needs them."""
    waits_for: list[str]
    left: list[str]
    damage: list[str]


def purge_path(
    session: Session,
    name: Annotated[
        str, typer.Argument(metavar="REPO:PATH", help="A file or folder, in all commits of the repo.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it; without, only say what would go.")] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for operations that began before.")
    ] = 30.0,
) -> None:
    """Remove a path from every commit of a repo, and its content from the disk.  It cannot be brought back."""
    where = file_name(name)
    path = split_path(where.path or b"")
    if not path:
        raise InvalidNameError(f"{name!r} names no path: pfs purge REPO:/PATH; `pfs delete repo` removes all")
    if "@" in name:
        raise InvalidNameError("purge goes through all commits of a repo: write REPO:/PATH")
    if yes:
        report = purge(session.store, session.trees, where.repo, path, release=let_go, wait_s=wait)
    else:
        report = what_would_go(session.store, session.trees, where.repo, path)
    if session.screen.is_table:
        _show(session, report, yes)
    else:
        session.screen.record(shown(report, yes), {})
    if not report.is_done:
        raise typer.Exit(Exit.CONFLICT if report.waits_for else Exit.DAMAGED)


def shown(report: PurgeReport, yes: bool) -> ShownPurge:
    return ShownPurge(
        not yes,
        yes and report.is_done,
        [str(ref) for ref in report.commits],
        report.files,
        report.objects,
        [str(ref) for ref in report.results],
        report.freed_bytes,
        {object_id.hex(): who for object_id, who in report.shared.items()},
        [str(holder) for holder in report.waits_for],
        report.left,
        report.damage,
    )


def _show(session: Session, report: PurgeReport, yes: bool) -> None:
    screen = session.screen
    verb = "removed from" if yes else "would be removed from"
    screen.result(f"{verb} {len(report.commits)} commits: {report.files} files, {report.objects} objects")
    if yes and report.is_done:
        screen.result(f"freed {size(report.freed_bytes)}; no object of it is left in the index or in a pack")
    for object_id, who in report.shared.items():
        screen.warn(f"object {object_id.hex()} stays: {', '.join(who)} needs it")
    for ref in report.results:
        screen.warn(f"{ref} was made from it, and may have taken some of it")
    for holder in report.waits_for:
        screen.warn(f"not gone yet: {holder} began before; run `pfs gc --threshold 0` when it has ended")
    for text in [*report.left, *report.damage]:
        screen.warn(text)
    if yes:
        screen.note("a mount that runs may have pages of it in memory: `pfs down`, then `pfs up`")
    else:
        screen.note("nothing was changed; --yes does it")
