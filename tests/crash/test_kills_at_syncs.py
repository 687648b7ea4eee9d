"""
kill -9 of a process at its durability points: in an fsync, before it has done its work or just after.

A workload runs on a `faultfs` (tools/), which holds the fsync of a test's choice until the process that
waits for it has been killed.  Nothing in the product knows of this.  Then the promises are checked twice:
for the folder as the kill left it, and for what a power cut at the same moment leaves.

PFS_CRASH_KILLS says how many kills there are in all of this folder; seven in ten are these: one before and one
after each kind of fsync (without it, one of the two) and the others at random ones.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ledger import another_life, check_promises, kept_at
from tests.support.workloads import MOUNTED
from tools.faultfs.client import FaultFs
from tools.faultfs.faults import matches
from tools.faultfs.log import Synced

from .conftest import SEED, Run, kills

pytestmark = [pytest.mark.mount, pytest.mark.timeout(900)]

_SOURCES = Path(__file__).parents[2]

POINTS = {
    "the name of the store": "",
    "format.json": "store/.format-*",
    "names in the store": "store",
    "a new index": "store/run/index-*/data.mdb",
    "the name in a new index": "store/run/index-*",
    "the index": "store/index/data.mdb",
    "names of packs": "store/packs",
    "a pack": "store/packs/*.pack",
    "names of open commits": "store/staging",
    "names in an open commit": "store/staging/*-*",
    "the journal of an open commit": "store/staging/*/journal",
    "a journal that is written anew": "store/staging/*/journal.new",
    "a large file of an open commit": "store/staging/*/*.data",
    "a rebuilt index": "store/index.new/data.mdb",
    "the name in a rebuilt index": "store/index.new",
}
"""Every kind of fsync that there is, as a pattern of paths."""


def kind_of(path: str) -> str | None:
    """Return the kind of an fsync: the pattern that says most of its path."""
    found = [name for name, pattern in POINTS.items() if matches(path, pattern)]
    return max(found, key=lambda name: len(POINTS[name]), default=None)


def syncs(run: Run) -> list[str]:
    """Return the paths that a run synced, in order, without those of the empty disk."""
    return [record.path for record in run.log if isinstance(record, Synced) and record.path is not None][1:]


def test_every_fsync_is_of_a_kind_that_is_killed_at(runs: dict[str, Run]) -> None:
    """Who adds a durability point is reminded of this test."""
    paths = {path for run in runs.values() for path in syncs(run)}

    assert set() == {path for path in paths if kind_of(path) is None}
    assert set(POINTS) == {kind_of(path) for path in paths}


def sides() -> list[tuple[str, bool]]:
    """Return every kind with before and after; in a short run each with one of them, by turns."""
    if kills(least=0, share=0.7):
        return [(kind, after) for kind in POINTS for after in (False, True)]
    return [(kind, number % 2 == 1) for number, kind in enumerate(POINTS)]


@pytest.mark.parametrize(("kind", "after"), sides())
def test_a_kill_at_a_durability_point_breaks_no_promise(
    kind: str, after: bool, runs: dict[str, Run], scratch: Path
) -> None:
    """One of the workloads that come there is killed, at a random one of these fsyncs."""
    draw = random.Random(f"{kind} {after}")
    able = [run for run in runs.values() if any(kind_of(path) == kind for path in syncs(run))]
    run = draw.choice(able)
    number = draw.randint(1, sum(matches(path, POINTS[kind]) for path in syncs(run)))
    kill_and_check(run, scratch, number, after=after, pattern=POINTS[kind])


@pytest.mark.parametrize("kill", range(kills(least=2 * len(POINTS) + 2, share=0.7) - 2 * len(POINTS)))
def test_a_kill_at_any_fsync_breaks_no_promise(kill: int, runs: dict[str, Run], scratch: Path) -> None:
    """A random workload at a random fsync."""
    draw = random.Random(f"{SEED} {kill}")
    run = draw.choice(list(runs.values()))
    kill_and_check(run, scratch, draw.randint(1, len(syncs(run)) * 9 // 10), after=draw.random() < 0.5)


def kill_and_check(run: Run, scratch: Path, number: int, *, after: bool, pattern: str = "*") -> None:
    """Kill a workload in its *number*-th fsync of this kind, and look at what it leaves."""
    with FaultFs(scratch / "disk") as disk:
        disk.hold(number, after=after, path=pattern)
        said = _run_until_held(disk, run)
        _unmount(disk.log_path.parent / MOUNTED / "pfs")
    assert "" == disk.said
    print(
        f"killed {'after' if after else 'before'} fsync {number} of {pattern}; {len(said)} acknowledgements"
    )
    kept = kept_at(said)
    # Before that, for the check writes to what the kill has left.
    ((_, left),) = disk.cuts(random.Random(f"{number}"), [len(disk.records())])
    left.survive(scratch / "cut")
    check_promises(disk.below / "store", run.ledger, kept)
    with another_life(scratch / "cut"):
        check_promises(scratch / "cut" / "store", run.ledger, kept)


def _run_until_held(disk: FaultFs, run: Run) -> list[str]:
    """Run a workload until it is held, kill it with all its processes, and return what was acknowledged to it."""
    said = disk.log_path.parent / "acknowledged"
    with (
        disk.waiting() as held,
        open(said, "wb") as output,
        open(disk.log_path.parent / "errors", "wb") as errors,
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.workloads", run.name, disk.point / "store", run.seed],
            cwd=_SOURCES,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        held.recv(100)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    disk.let_go()
    process.wait()
    return said.read_text().splitlines()


def _unmount(point: Path) -> None:
    """Take away what a killed mount has left."""
    if point.parent.exists():
        subprocess.run(["fusermount3", "-uz", point], capture_output=True, check=False)
        shutil.rmtree(point.parent)
