"""
Triggers by the clock: branches that move to their source's head at set times.

What there is to do is a function of the time; the clock itself is a task of the runner.  A time that
moved a branch is in its record; one at which nothing was new is remembered by the `Clock` only, so
that looking costs no write.  However long no clock ran, one time is made up for, not all of them;
and so is, after a restart, the last one, if something has come since.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ..schedules import parse_schedule
from ..store.index import ReadTxn, Table, WriteTxn
from .branches import find_branch, put_branch
from .model import Branch, BranchRef, decode
from .records import head_of
from .wiring import set_head


class Clock:
    """Knows when it was last heard."""

    def __init__(self) -> None:
        self._heard: dict[BranchRef, int] = {}

    def next_due_ns(self, txn: ReadTxn) -> int | None:
        """Return when the clock has to be heard next; None if no branch listens."""
        return min((due for _, due in self._listening(txn)), default=None)

    def tick(self, txn: WriteTxn, now_ns: int) -> list[BranchRef]:
        """
        Move the branches whose time has come; return those that moved.

        Each move is a change with an id of its own.  A branch stays where its source has no data, is
        where the branch is already, or where a commit is open on the branch; it waits for its next time.
        """
        listening = list(self._listening(txn))
        self._heard = {line.ref: self._heard.get(line.ref, 0) for line, _ in listening}
        moved = []
        for line, due in listening:
            if due <= now_ns:
                self._heard[line.ref] = now_ns
                if _follow(txn, line, now_ns):
                    moved.append(line.ref)
        return moved

    def _listening(self, txn: ReadTxn) -> Iterator[tuple[Branch, int]]:
        """Yield the branches with a trigger by the clock and when they are due."""
        for _, raw in txn.scan(Table.BRANCHES):
            # Most branches have none, and decoding costs more than looking for the name of the field.
            if b"cron_spec" not in raw:
                continue
            line = decode(raw, Branch)
            if line.trigger is not None and line.trigger.cron_spec:
                last = max(line.ticked_ns or line.created_ns, self._heard.get(line.ref, 0))
                due = parse_schedule(line.trigger.cron_spec).next_ns(last)
                if due is not None:
                    yield line, due


def _follow(txn: WriteTxn, line: Branch, now_ns: int) -> bool:
    assert line.trigger is not None  # it listens
    source = find_branch(txn, line.repo, line.trigger.branch)
    head = head_of(txn, source) if source is not None else None
    if head is None or not head.is_data or line.open is not None or line.head == head.id:
        return False
    put_branch(txn, msgspec.structs.replace(line, ticked_ns=now_ns))
    set_head(txn, line.ref, head.id)
    return True
