"""`pfs gc`: gives the disk back what nothing needs."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from pfsfuse.versions.gc import THRESHOLD, WAIT_S, Report, collect_garbage

from .exits import Exit
from .screen import Screen, size
from .session import Session


class ShownGc(msgspec.Struct):
    """What a gc found and did, as JSON and YAML have it."""

    dry_run: bool
    objects: int
    bytes: int
    """Of all packs, before."""
    garbage_objects: int
    garbage_bytes: int
    chosen_packs: int
    chosen_bytes: int
    """What goes when these packs go."""
    removed_objects: int
    removed_packs: int
    freed_bytes: int
    waiting_packs: int
    waits_for: list[str]
    damage: list[str]


def gc(
    session: Session,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be removed.")] = False,
    threshold: Annotated[
        float,
        typer.Option(
            metavar="PERCENT", min=0, max=100, help="Of a pack that must be garbage for it to be rewritten."
        ),
    ] = 100 * THRESHOLD,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for operations that began before.")
    ] = WAIT_S,
) -> None:
    """Remove what nothing needs any more; others may read and write meanwhile."""
    report = collect_garbage(session.store, dry_run=dry_run, threshold=threshold / 100, wait_s=wait)
    if session.screen.is_table:
        _show(session.screen, report, dry_run)
        if report.garbage_bytes and not report.chosen_packs:
            session.screen.note(
                f"packs with less than {threshold:g} % garbage stay; --threshold 0 rewrites them too"
            )
    else:
        session.screen.record(shown(report, dry_run), {})
    for text in report.damage:
        session.screen.warn(text)
    if report.is_disk_full:
        session.screen.warn(
            "the disk is full: some packs could not be rewritten; free space and run gc again"
        )
        raise typer.Exit(Exit.NO_SPACE)
    if report.damage:
        raise typer.Exit(Exit.DAMAGED)


def shown(report: Report, dry_run: bool) -> ShownGc:
    return ShownGc(
        dry_run,
        report.objects,
        report.bytes,
        report.garbage_objects,
        report.garbage_bytes,
        report.chosen_packs,
        report.chosen_bytes,
        report.removed_objects,
        report.removed_packs,
        report.freed_bytes,
        report.waiting_packs,
        [str(holder) for holder in report.waits_for],
        report.damage,
    )


def _show(screen: Screen, report: Report, dry_run: bool) -> None:
    screen.result(
        f"{report.garbage_objects} of {report.objects} objects are garbage: "
        f"{size(report.garbage_bytes)} of {size(report.bytes)}"
    )
    if dry_run:
        screen.result(f"{size(report.chosen_bytes)} would be freed, of {report.chosen_packs} packs")
        return
    screen.result(
        f"freed {size(report.freed_bytes)}: {report.removed_objects} objects, {report.removed_packs} packs"
    )
    if report.waiting_packs:
        screen.note(f"{report.waiting_packs} packs could not go yet; run gc again")
    for holder in report.waits_for:
        screen.note(f"something that began before is under way in {holder}")
