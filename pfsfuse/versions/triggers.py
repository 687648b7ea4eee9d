"""
Triggers: branches that move by themselves.

A branch with a trigger names a *source*, a branch of the same repo, and conditions.  When a commit
on the source finishes and they hold, the branch moves to that commit, in the same durable
change and with its id; then branches that have the moved one as their source are looked at.
Moving a head by name fires nothing.

    size              the source has grown by so much since the head
    commits           the source is so many commits ahead of the head
    rate_limit_spec   the next time of a schedule, counted from the head's finish, has come
    cron_spec         by the clock, whatever the source does (clock.py)

Any of them suffices, unless `all` is set.  A branch without a head counts from its creation.
A branch on which somebody has a commit open stays where it is: the open commit's parent is its head.

Invariants (fsck.py):

- G1  a trigger's source is another branch of the same repo, which exists;
- G2  triggers do not go in circles;
- G3  a branch with a trigger has no provenance, and what its trigger says can be read.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ..errors import InvalidNameError
from ..ids import BranchName, CommitId, RepoName
from ..schedules import parse_schedule
from ..sizes import parse_size
from ..store.index import ReadTxn, Table, WriteTxn
from .branches import branch, create_branch, find_branch, listening_branches, put_branch
from .model import Branch, BranchRef, Commit, Trigger, commit_key, decode
from .moves import note_move


class InvalidTriggerError(InvalidNameError):
    """The trigger cannot be: the message says which rule it breaks."""


def set_trigger(txn: WriteTxn, ref: BranchRef, trigger: Trigger | None, *, now_ns: int) -> Branch:
    """
    Give a branch a trigger, or take it away, and return the branch.

    A source that does not exist is made, empty.  InvalidTriggerError, InvalidNameError.
    """
    line = branch(txn, ref.repo, ref.branch)
    if trigger is not None:
        check_conditions(trigger)
        _refuse_circle(txn, line, trigger)
        if line.provenance:
            raise InvalidTriggerError(f"branch {ref} is made from other branches; it cannot have a trigger")
        if find_branch(txn, ref.repo, trigger.branch) is None:
            create_branch(txn, ref.repo, trigger.branch)
    changed = msgspec.structs.replace(line, trigger=trigger, ticked_ns=now_ns if trigger else None)
    put_branch(txn, changed)
    return changed


def check_conditions(trigger: Trigger) -> None:
    """InvalidTriggerError, InvalidScheduleError or InvalidSizeError if the trigger makes no sense by itself."""
    if not trigger.branch:
        raise InvalidTriggerError("a trigger needs the branch that it looks at")
    if trigger.commits < 0:
        raise InvalidTriggerError(f"a trigger cannot wait for {trigger.commits} commits")
    if trigger.size:
        parse_size(trigger.size)
    for spec in (trigger.cron_spec, trigger.rate_limit_spec):
        if spec:
            parse_schedule(spec)
    others = trigger.rate_limit_spec or trigger.size or trigger.commits or trigger.all
    if trigger.cron_spec and others:
        raise InvalidTriggerError("a trigger by the clock (cron) cannot have other conditions as well")


def _refuse_circle(txn: ReadTxn, line: Branch, trigger: Trigger) -> None:
    """The triggers there are have no circle, so one that appears goes through *line*."""
    name: BranchName | None = trigger.branch
    while name is not None:
        if name == line.name:
            raise InvalidTriggerError(f"branch {line.ref} would be triggered by itself")
        found = find_branch(txn, line.repo, name)
        name = found.trigger.branch if found is not None and found.trigger is not None else None


def fire(txn: WriteTxn, source: Branch, done: Commit) -> list[BranchRef]:
    """
    Move the branches that the commit *done*, the new head of *source*, moves; return them.

    Each gets a move with the id of the commit.  Commits that are not data fire nothing.
    """
    if not done.is_data:
        return []
    lines = listening_branches(txn, source.repo)
    moved: list[BranchRef] = []
    pending = [source.name]
    while pending:
        name = pending.pop(0)
        for line in lines:
            if line.ref not in moved and _follows(line, name) and _is_due(txn, line, done):
                put_branch(txn, msgspec.structs.replace(line, head=done.id))
                note_move(txn, line.ref, done.id, before=line.head)
                moved.append(line.ref)
                pending.append(line.name)
    return moved


def _follows(line: Branch, source: BranchName) -> bool:
    trigger = line.trigger
    return trigger is not None and trigger.branch == source and not trigger.cron_spec and line.open is None


def _is_due(txn: ReadTxn, line: Branch, new: Commit) -> bool:
    assert line.trigger is not None  # the caller looked
    if line.head == new.id:
        return False
    decide = all if line.trigger.all else any
    return decide(_conditions(txn, line, line.trigger, new))


def _conditions(txn: ReadTxn, line: Branch, trigger: Trigger, new: Commit) -> Iterator[bool]:
    """Yield for each condition whether it holds, the cheap ones first."""
    head = _commit(txn, line.repo, line.head)
    if trigger.size:
        yield _size(new) - _size(head) >= parse_size(trigger.size)
    if trigger.rate_limit_spec:
        since = head.finished_ns if head is not None and head.finished_ns else line.created_ns
        due = parse_schedule(trigger.rate_limit_spec).next_ns(since)
        yield due is not None and due < (new.finished_ns or 0)
    if trigger.commits:
        yield _is_ahead(txn, new, line.head, trigger.commits)


def _is_ahead(txn: ReadTxn, new: Commit, head: CommitId | None, wanted: int) -> bool:
    """Say whether *new* is at least *wanted* commits ahead of *head*; errored and empty first ones do not count."""
    current: Commit | None = new
    count = 0
    while current is not None and current.id != head:
        count += current.is_data
        if count == wanted:
            return True
        current = _commit(txn, current.repo, current.parent)
    return False


def _commit(txn: ReadTxn, repo: RepoName, commit_id: CommitId | None) -> Commit | None:
    raw = txn.get(Table.COMMITS, commit_key(repo, commit_id)) if commit_id is not None else None
    return decode(raw, Commit) if raw is not None else None


def _size(commit: Commit | None) -> int:
    return commit.root.size if commit is not None and commit.root is not None else 0
