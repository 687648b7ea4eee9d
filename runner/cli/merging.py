"""`pfs merge branch`."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from pfsfuse.errors import InvalidNameError
from pfsfuse.names import check_branch_name
from pfsfuse.trees.diff import diff
from pfsfuse.trees.merge import Side
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.merging import MergeConflictError, Plan, merge_branch, plan_merge
from pfsfuse.versions.model import BranchRef

from .names import branch_name, commit_name
from .screen import shown
from .session import Session


class ShownConflict(msgspec.Struct):
    path: str
    kind: str


class ShownChange(msgspec.Struct):
    path: str
    change: str
    """added, changed or deleted"""


class ShownPlan(msgspec.Struct):
    """What a merge would do, as JSON and YAML have it."""

    source: str
    target: str
    base: str | None
    nothing_to_merge: bool
    conflicts: list[ShownConflict]
    changes: list[ShownChange]
    """Of the target; where there is a conflict, with the version that would be kept."""


def merge_branch_command(
    session: Session,
    source: Annotated[
        str, typer.Argument(metavar="REPO@BRANCH", help="What is merged: a branch or a commit.")
    ],
    into: Annotated[
        str, typer.Option("--into", metavar="[REPO@]BRANCH", help="The branch that gets a new commit.")
    ],
    ours: Annotated[bool, typer.Option("--ours", help="In a conflict keep what the target has.")] = False,
    theirs: Annotated[bool, typer.Option("--theirs", help="In a conflict take what the source has.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Show conflicts and changes; write nothing.")
    ] = False,
    description: Annotated[
        str, typer.Option("--message", "-m", "--description", help="What the commit is about.")
    ] = "",
) -> None:
    """
    Merge a branch into another by path, and print the id of the commit; nothing is written if there is a conflict.
    """
    if ours and theirs:
        raise InvalidNameError("--ours and --theirs exclude each other")
    favour = Side.OURS if ours else Side.THEIRS if theirs else None
    repo, text = commit_name(source)
    target = _target(into, repo)
    if dry_run:
        plan = plan_merge(session.store, session.trees, repo, text, target, favour=favour or Side.OURS)
        _show(session, shown_plan(session.trees, plan, source))
        if plan.merged.conflicts and favour is None:
            raise MergeConflictError(source, target, plan.merged.conflicts)
        return
    made = merge_branch(
        session.store, session.trees, repo, text, target, favour=favour, description=description
    )
    if made is None:
        session.screen.note(f"nothing to merge: {target} has everything of {source}")
    else:
        session.screen.identifier(made.id.hex())


def _target(into: str, repo: str) -> BranchRef:
    return branch_name(into if "@" in into else f"{repo}@{check_branch_name(into)}")


def shown_plan(trees: Trees, plan: Plan, source: str) -> ShownPlan:
    changes = [
        ShownChange(
            _path(each.path), "added" if each.old is None else "deleted" if each.new is None else "changed"
        )
        for each in diff(trees, plan.ours, plan.merged.root, by_content=True)
    ]
    conflicts = [ShownConflict(_path(each.path), each.kind.value) for each in plan.merged.conflicts]
    base = plan.base.id.hex() if plan.base is not None else None
    return ShownPlan(source, str(plan.target), base, plan.is_done, conflicts, changes)


def _path(path: tuple[bytes, ...]) -> str:
    return "/" + shown(b"/".join(path))


def _show(session: Session, plan: ShownPlan) -> None:
    session.screen.record(
        plan,
        {
            "Source": lambda plan: plan.source,
            "Target": lambda plan: plan.target,
            "Common ancestor": lambda plan: plan.base or "none",
            "Nothing to merge": lambda plan: "yes" if plan.nothing_to_merge else "",
            "Conflicts": lambda plan: "\n".join(f"{each.path}: {each.kind}" for each in plan.conflicts),
            "Changes": lambda plan: "\n".join(f"{each.change:8} {each.path}" for each in plan.changes),
        },
    )
