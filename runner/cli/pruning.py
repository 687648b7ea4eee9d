"""`pfs prune`: squashes the commits that a policy does not keep."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
import typer

from pfsfuse.store.index import WriteTxn
from pfsfuse.versions.model import CommitRef
from pfsfuse.versions.prune import Verdict, plan, prune
from pfsfuse.versions.retention import Policy, Rule, parse_span
from runner.jobs.removal import squash_commit

from .names import repo_and_branch
from .screen import ago, when
from .session import Session


class ShownVerdict(msgspec.Struct):
    """What becomes of a commit, as JSON and YAML have it."""

    repo: str
    branches: list[str]
    commit: str
    finished: datetime | None
    keep: bool
    reasons: list[str]
    with_it: list[str]
    """The commits that go with it."""


def shown(verdict: Verdict) -> ShownVerdict:
    found = verdict.commit
    return ShownVerdict(
        found.repo,
        list(verdict.branches),
        found.id.hex(),
        when(found.finished_ns),
        bool(verdict.keeps),
        verdict.keeps,
        [] if verdict.keeps else [str(ref) for ref in verdict.results],
    )


def _count(what: str) -> object:
    return typer.Option(
        metavar="N", min=-1, help=f"Keep the newest commit of each of the last N {what}; -1: all."
    )


Hourly = Annotated[int, _count("hours")]
Daily = Annotated[int, _count("days")]
Weekly = Annotated[int, _count("weeks")]
Monthly = Annotated[int, _count("months")]
Yearly = Annotated[int, _count("years")]


def prune_commits(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="REPO[@BRANCH]", help="A branch, or all of a repo.")],
    keep_last: Annotated[
        int, typer.Option(metavar="N", min=-1, help="Keep the last N commits; -1: all.")
    ] = 0,
    keep_hourly: Hourly = 0,
    keep_daily: Daily = 0,
    keep_weekly: Weekly = 0,
    keep_monthly: Monthly = 0,
    keep_yearly: Yearly = 0,
    keep_within: Annotated[
        str,
        typer.Option(metavar="SPAN", help="Keep what is not older than the newest by more: 30d, 1y6m, 12h."),
    ] = "",
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Also what was made from a commit that goes.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what stays, and why.")] = False,
) -> None:
    """Squash the commits that a policy does not keep; the content of the others stays as it is."""
    counts = {
        Rule.LAST: keep_last,
        Rule.HOURLY: keep_hourly,
        Rule.DAILY: keep_daily,
        Rule.WEEKLY: keep_weekly,
        Rule.MONTHLY: keep_monthly,
        Rule.YEARLY: keep_yearly,
    }
    policy = Policy(
        {rule: count for rule, count in counts.items() if count},
        parse_span(keep_within) if keep_within else None,
    )
    repo, branch = repo_and_branch(name)
    with session.store.read() as txn:
        verdicts = plan(txn, repo, policy, branch_name=branch, recursive=recursive)
    session.screen.rows(
        [shown(verdict) for verdict in verdicts],
        {
            "COMMIT": lambda each: f"{each.repo}@{each.commit}",
            "BRANCHES": lambda each: ", ".join(each.branches),
            "FINISHED": lambda each: ago(each.finished),
            "": lambda each: "keep" if each.keep else "remove",
            "REASONS": _why,
        },
    )
    if dry_run:
        return
    gone, refused = prune(session.store, verdicts, _squash)
    for text in refused:
        session.screen.warn(text)
    session.screen.note(f"squashed {len(gone)} commits; `pfs gc` gives the disk back what only they had")


def _why(verdict: ShownVerdict) -> str:
    if verdict.with_it:
        return f"and {len(verdict.with_it)} that were made from it"
    return "; ".join(verdict.reasons)


def _squash(txn: WriteTxn, ref: CommitRef, recursive: bool) -> None:
    squash_commit(txn, ref, recursive=recursive)
