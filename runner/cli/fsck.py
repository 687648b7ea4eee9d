"""`pfs fsck`: looks for damage, mends what can be mended, and brings a lost index back."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from pfsfuse.errors import InvalidNameError
from pfsfuse.store.problems import Mending, Problem
from pfsfuse.versions.fsck import Report, examine
from pfsfuse.versions.losses import Loss
from pfsfuse.versions.rebuild import rebuild_index
from pfsfuse.versions.repair import repair as repair_store

from .exits import Exit
from .screen import shown, size
from .session import Session

_SHOWN_LOSSES = 200
"""As a table; JSON has all."""


class ShownProblem(msgspec.Struct):
    """Something that is not as it must be, or that was mended, as JSON and YAML have it."""

    invariant: str
    """As docs/invariants.md numbers them."""
    message: str


class ShownLoss(msgspec.Struct):
    """Something that cannot be read, as JSON and YAML have it."""

    repo: str
    path: str
    what: str
    """In words."""
    ranges: list[tuple[int, int]]
    """Lost bytes of a file, [start, end)."""
    size_bytes: int
    commits: list[str]
    """Those in which it is so."""


class ShownReport(msgspec.Struct, omit_defaults=True):
    """What fsck found and did, as JSON and YAML have it."""

    problems: list[ShownProblem]
    lost: list[ShownLoss]
    mended: list[ShownProblem] = []
    """With --repair; with --dry-run what would be."""
    dry_run: bool = False
    read_bytes: int = 0
    """With --verify-data."""
    bytes_per_second: int = 0


def fsck(
    session: Session,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild-index", help="Make the index anew from the packs; nothing may run meanwhile."
        ),
    ] = False,
    verify_data: Annotated[bool, typer.Option("--verify-data", help="Read every byte, too.")] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Mend what can be mended; nothing may run meanwhile. Reads every byte."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --repair: say what would be mended, change nothing.")
    ] = False,
) -> None:
    """Look for damage in the store; exit code 8 if there is any, also after a repair."""
    if (dry_run and not repair) or (repair and rebuild):
        raise InvalidNameError("--dry-run goes with --repair; --repair makes a lost index anew by itself")
    if rebuild:
        found, mendings = _rebuilt(session)
    elif repair:
        mended = repair_store(session.root, dry_run=dry_run)
        found, mendings = mended.after or Report([]), mended.mendings
    else:
        found, mendings = examine(session.store, session.trees, verify_data=verify_data), []
    _show(session, found, mendings, dry_run=dry_run)
    if found.problems or (dry_run and mendings):
        raise typer.Exit(Exit.DAMAGED)


def _rebuilt(session: Session) -> tuple[Report, list[Mending]]:
    report = rebuild_index(session.root)
    session.screen.note(
        f"rebuilt from {report.packs.packs} packs: {report.packs.objects} objects, "
        f"{report.packs.batches} batches of changes"
    )
    if report.packs.set_aside is not None:
        session.screen.note(f"the old index is in {report.packs.set_aside}")
    for text in report.packs.damage:
        session.screen.warn(text)
    return report.found, []


def _show(session: Session, found: Report, mendings: list[Mending], *, dry_run: bool) -> None:
    screen = session.screen
    if not screen.is_table:
        speed = int(found.bytes_per_second)
        lost = [_shown_loss(loss) for loss in found.losses]
        problems, mended = _shown_all(found.problems), _shown_all(mendings)
        screen.record(ShownReport(problems, lost, mended, dry_run, found.read_bytes, speed), {})
        return
    for mending in mendings:
        screen.result(f"{'would mend' if dry_run else 'mended'} {mending}")
    for problem in found.problems:
        screen.result(str(problem))
    for loss in found.losses[:_SHOWN_LOSSES]:
        screen.result(f"lost: {_loss_in_words(loss)}")
    if len(found.losses) > _SHOWN_LOSSES:
        screen.note(f"and {len(found.losses) - _SHOWN_LOSSES} more losses; -o json names all")
    if found.read_bytes:
        screen.note(f"read {size(found.read_bytes)} at {found.bytes_per_second / 1e6:.0f} MB/s")
    if not dry_run:
        screen.note(f"{len(found.problems)} problems" if found.problems else "no problems")
    elif not mendings:
        screen.note("nothing to mend")


def _shown_all(found: list[Problem] | list[Mending]) -> list[ShownProblem]:
    return [ShownProblem(each.invariant, each.message) for each in found]


def _shown_loss(loss: Loss) -> ShownLoss:
    commits = [commit.hex() for commit in loss.commits]
    return ShownLoss(loss.repo, "/" + shown(loss.path), loss.what, loss.ranges, loss.size, commits)


def _loss_in_words(loss: Loss) -> str:
    more = f" and {len(loss.commits) - 1} more commits" if len(loss.commits) > 1 else ""
    return f"{loss.repo}@{loss.commits[-1].hex()}:/{shown(loss.path)}: {loss.what}{more}"
