"""
Squashing the commits that a policy does not keep.

Content never goes with it: the children of a squashed commit keep theirs.  Whatever the policy says,
a commit stays that

- a branch names or shows, or an open commit is based on;
- has no child to take its place;
- is the empty first one of an output branch;
- others were made from; with *recursive* they go together if all of them can go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo

from ..errors import ConflictError, InvalidNameError
from ..ids import BranchName, RepoName
from ..store.index import ReadTxn, WriteTxn
from ..store.store import Store
from .branches import branch, branches
from .model import Branch, Commit, CommitRef
from .records import ancestors, children_of, find_commit, head_of, newest_good
from .removal import with_results
from .repos import repo as existing_repo
from .retention import Dated, Policy, reasons

Squash = Callable[[WriteTxn, CommitRef, bool], object]
"""(transaction, commit, whether with all that was made from it): the floors above take jobs away as well."""


@dataclass
class Verdict:
    """What becomes of one commit."""

    commit: Commit
    branches: list[BranchName] = field(default_factory=list)
    """Of whose lines it is."""
    keeps: list[str] = field(default_factory=list)
    """Why it stays; empty if it goes."""
    results: list[CommitRef] = field(default_factory=list)
    """What goes with it."""


def plan(
    txn: ReadTxn,
    repo: RepoName,
    policy: Policy,
    *,
    branch_name: str | None = None,
    recursive: bool = False,
    zone: tzinfo | None = None,
) -> list[Verdict]:
    """
    Return what becomes of the commits of a branch's line, or of all branches of a repo; newest first.

    A commit of several lines stays if it stays in one of them.  InvalidNameError for a policy that says nothing.
    """
    if policy.is_empty:
        raise InvalidNameError("say what to keep: --keep-last, --keep-daily, --keep-within, …")
    existing_repo(txn, repo)
    lines = [branch(txn, repo, branch_name)] if branch_name is not None else list(branches(txn, repo))
    verdicts: dict[CommitRef, Verdict] = {}
    for line in lines:
        whole = list(ancestors(txn, head_of(txn, line)))
        kept = _kept(policy, whole, zone)
        for each in whole:
            verdict = verdicts.setdefault(each.ref, Verdict(each))
            verdict.branches.append(line.name)
            verdict.keeps += [text for text in kept.get(each.ref, ()) if text not in verdict.keeps]
    for verdict in verdicts.values():
        _decide(txn, verdict, recursive=recursive)
    return sorted(verdicts.values(), key=lambda each: each.commit.started_ns, reverse=True)


def _kept(policy: Policy, line: Sequence[Commit], zone: tzinfo | None) -> dict[CommitRef, list[str]]:
    """Return why the policy keeps commits.  One with an error takes no place in a rule, but may be young."""
    counted = Policy(policy.counts)
    young = Policy(within_ns=policy.within_ns)
    found: dict[CommitRef, list[str]] = {}
    for rules, commits in ((counted, [each for each in line if each.is_data]), (young, line)):
        dated = [Dated(each.ref, each.finished_ns or each.started_ns) for each in commits]
        for each, why in zip(dated, reasons(rules, dated, zone), strict=True):
            found.setdefault(each.name, []).extend(why)
    return found


def _decide(txn: ReadTxn, verdict: Verdict, *, recursive: bool) -> None:
    if verdict.keeps:
        return
    verdict.keeps += protections(txn, verdict.commit)
    results = [each for each in with_results(txn, verdict.commit.ref) if each.ref != verdict.commit.ref]
    if not recursive:
        verdict.keeps += [f"{each.ref} was made from it" for each in results[:1]]
        return
    for each in results:
        verdict.keeps += [f"{each.ref} was made from it: {why}" for why in protections(txn, each)[:1]]
    verdict.results = [each.ref for each in results]


def protections(txn: ReadTxn, record: Commit) -> list[str]:
    """Return why a commit cannot be squashed, whatever was made from it."""
    found = [] if record.is_finished else ["open"]
    if record.placeholder:
        found.append("first of its branch")
    for line in branches(txn, record.repo):
        found += _use_by(txn, line, record)
    if not found and not children_of(txn, record.ref):
        found.append("no child takes its place")
    return found


def _use_by(txn: ReadTxn, line: Branch, record: Commit) -> Iterator[str]:
    if line.head == record.id:
        yield f"head of {line.name}"
        return
    shown = newest_good(txn, line) if line.head is not None else None
    if shown is not None and shown.id == record.id:
        yield f"shown by {line.name}"
    opened = find_commit(txn, line.repo, line.open) if line.open is not None else None
    if opened is not None and opened.parent == record.id:
        yield f"parent of the open commit of {line.name}"


def prune(store: Store, verdicts: Sequence[Verdict], squash: Squash) -> tuple[list[CommitRef], list[str]]:
    """
    Squash what *verdicts* let go; return what went, and why others did not after all.

    Each in a transaction of its own, so that others can write between; the world may have
    changed since the plan, and what is used now stays.
    """
    gone: list[CommitRef] = []
    refused: list[str] = []
    for verdict in verdicts:
        if verdict.keeps:
            continue
        try:
            with store.write() as txn:
                if find_commit(txn, verdict.commit.repo, verdict.commit.id) is None:
                    # It went with one that it was made from.
                    continue
                squash(txn, verdict.commit.ref, bool(verdict.results))
        except ConflictError as error:
            refused.append(str(error))
        else:
            gone += [verdict.commit.ref, *verdict.results]
    return list(dict.fromkeys(gone)), refused
