"""`pfs fsck`: looks for damage, and brings a lost index back."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from pfsfuse.versions.fsck import check
from pfsfuse.versions.rebuild import rebuild_index

from .exits import Exit
from .session import Session


class ShownProblem(msgspec.Struct):
    """Something that is not as it must be, as JSON and YAML have it."""

    invariant: str
    """As docs/invariants.md numbers them."""
    message: str


def fsck(
    session: Session,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild-index", help="Make the index anew from the packs; nothing may run meanwhile."
        ),
    ] = False,
    verify_data: Annotated[bool, typer.Option("--verify-data", help="Read every byte, too.")] = False,
) -> None:
    """Look for damage in the store; exit code 8 if there is any."""
    if rebuild:
        report = rebuild_index(session.root)
        session.screen.note(
            f"rebuilt from {report.packs.packs} packs: {report.packs.objects} objects, "
            f"{report.packs.batches} batches of changes"
        )
        if report.packs.set_aside is not None:
            session.screen.note(f"the old index is in {report.packs.set_aside}")
        for text in report.packs.damage:
            session.screen.warn(text)
        problems = report.problems
    else:
        problems = check(session.store, session.trees, verify_data=verify_data)
    if session.screen.is_table:
        for problem in problems:
            session.screen.result(f"{problem.invariant}: {problem.message}")
        session.screen.note(f"{len(problems)} problems" if problems else "no problems")
    else:
        session.screen.rows([ShownProblem(each.invariant, each.message) for each in problems], {})
    if problems:
        raise typer.Exit(Exit.DAMAGED)
