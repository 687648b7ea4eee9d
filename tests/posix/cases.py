"""
Cases of system calls: what is called by whom, in a plain directory and on an open commit alike.

A `Case` is a list of calls, made in a fresh directory on both sides by processes that belong to the
users.  What each call gives has to be the same on both; where a call says what the standard asks
for (`gives`), that too.  `Case.differs` pins what the mount answers otherwise; docs/posix.md has the reasons.
"""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.support.mounting import Mounted

USERS: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "root": (0, 0, ()),
    "ann": (64001, 64001, (64011,)),
    "bob": (64002, 64002, (64011,)),
    "eve": (64003, 64003, ()),
}
"""Name → uid, gid, more groups.  Ann and Bob share one."""

SHARED_GROUP = 64011
_SOURCES = Path(__file__).parents[2]
_ANYTHING = object()


def uid(user: str) -> int:
    return USERS[user][0]


def gid(user: str) -> int:
    return USERS[user][1]


@dataclass(frozen=True)
class Call:
    """One call of one user."""

    user: str
    name: str
    arguments: tuple[Any, ...]
    expected: Any = _ANYTHING

    def gives(self, expected: Any) -> Call:
        """Return the call with what it has to give on both sides."""
        return Call(self.user, self.name, self.arguments, expected)

    def __str__(self) -> str:
        return f"{self.user}: {self.name}{self.arguments!r}"[:200]


def by(user: str, name: str, *arguments: Any) -> Call:
    """A call by a user."""
    return Call(user, name, arguments)


def root(name: str, *arguments: Any) -> Call:
    """A call by root."""
    return Call("root", name, arguments)


@dataclass(frozen=True)
class Case:
    """See the module."""

    name: str
    calls: list[Call]
    differs: dict[int, Any] = field(default_factory=dict)
    """Place in `calls` → what the mount gives, and the plain directory does not."""


class Callers:
    """One process for each user."""

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, folder: Path, calls: Iterable[Call]) -> list[Any]:
        """Make *calls* in *folder*, in order; return what each gave."""
        outcomes: list[Any] = []
        for user, group in groupby(calls, lambda call: call.user):
            process = self._processes.get(user) or self._start(user)
            assert process.stdin is not None
            assert process.stdout is not None
            marshal.dump((os.fspath(folder), [(c.name, c.arguments) for c in group]), process.stdin)
            process.stdin.flush()
            outcomes += marshal.load(process.stdout)
        return outcomes

    def _start(self, user: str) -> subprocess.Popen[bytes]:
        own, group, more = USERS[user]
        arguments = [str(own), str(group), ",".join(map(str, more))]
        process = self._processes[user] = subprocess.Popen(
            [sys.executable, "-m", "tests.posix.caller", *arguments],
            cwd=_SOURCES,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return process

    def close(self) -> None:
        for process in self._processes.values():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.wait()
            process.stdout.close()


@contextmanager
def callers() -> Iterator[Callers]:
    made = Callers()
    try:
        yield made
    finally:
        made.close()


class Sides:
    """The plain directory and the open commit."""

    def __init__(self, callers: Callers, plain: Path, mount: Path, mounted: Mounted) -> None:
        """*plain* and *mount* are the directories, *mounted* is the store and mount behind the latter."""
        self.callers = callers
        self.plain = plain
        self.mount = mount
        self.mounted = mounted
        self._number = 0

    def check(self, cases: Iterable[Case]) -> int:
        """Run all *cases* on both sides; fail with all that differ.  Return how many there were."""
        faults: list[str] = []
        count = 0
        for case in cases:
            count += 1
            faults += self._run(case)
        assert not faults, f"{len(faults)} of {count} cases:\n" + "\n".join(faults[:60])
        return count

    def _run(self, case: Case) -> list[str]:
        self._number += 1
        outcomes = []
        for top in (self.plain, self.mount):
            folder = top / f"case-{self._number}"
            self.callers.run(top, [root("mkdir", folder.name), root("chmod", folder.name, 0o777)])
            outcomes.append(self.callers.run(folder, case.calls))
        faults = []
        for at, (call, plain, mount) in enumerate(zip(case.calls, *outcomes, strict=True)):
            wanted = case.differs.get(at, plain)
            if mount != wanted:
                faults.append(
                    f"{case.name}\n    {call}\n    plain {plain!r}, mount {mount!r}, wanted {wanted!r}"
                )
            elif at in case.differs and plain == mount:
                faults.append(f"{case.name}\n    {call}\n    differs no more: both {plain!r}")
            if call.expected is not _ANYTHING and plain != call.expected:
                faults.append(
                    f"{case.name}\n    {call}\n    the rule says {call.expected!r}, plain {plain!r}"
                )
        return faults
