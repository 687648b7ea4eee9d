"""
The power fails, at and around every fsync of what people do to a store.

A workload runs once on a `faultfs` (tools/), whose log says what the disk was told.  From it come the
states that a disk may be in after a power cut, as many as one likes: before an fsync, after it, and with
any part of what was not synced.  In each of them the store has to keep its promises (docs/durability.md).

PFS_CRASH_CUTS says how many cuts, of all workloads together (default 48, `make crash` 200), and
PFS_CRASH_SEED which.  The log (-rA, or a failure) shows the seed and where each cut was.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ledger import Ledger, another_life, check_promises, kept_at
from tests.support.workloads import WORKLOADS, Workload, pfs
from tools.faultfs.client import FaultFs, cuts, sync_positions

pytestmark = [pytest.mark.mount, pytest.mark.timeout(900)]

CUTS = int(os.environ.get("PFS_CRASH_CUTS", "48"))
SEED = int(os.environ.get("PFS_CRASH_SEED", "20261120"))


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory: it is the log that says what a disk would have."""
    made = Path(tempfile.mkdtemp(prefix="pfst-", dir="/dev/shm"))
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda each: each.__name__)
def test_a_power_cut_breaks_no_promise(workload: Workload, scratch: Path) -> None:
    """After each cut: what was acknowledged is there, nothing half is seen, fsck is silent, work goes on."""
    draw = random.Random(f"{SEED} {workload.__name__}")
    with FaultFs(scratch / "disk") as disk:
        ledger = Ledger(disk)
        workload(disk.point / "store", ledger, draw)
    assert "" == disk.said
    log = disk.records()
    wanted = max(1, CUTS // len(WORKLOADS))
    candidates = sync_positions(log)
    positions = sorted(draw.choices(candidates, k=wanted) if wanted < len(candidates) else candidates)
    print(f"seed {SEED}: {len(candidates) // 2} fsyncs, {len(log)} records, {len(positions)} cuts")
    for number, (position, left) in enumerate(cuts(log, draw, positions)):
        folder = scratch / f"cut{number}"
        left.survive(folder)
        print(f"cut at record {position} {log[position - 1]!r:.60}")
        with another_life(folder):
            check_promises(folder / "store", ledger, kept_at(left.marks))
            if number % 3 == 0:
                pfs(folder / "store", "fsck", "--rebuild-index")
                check_promises(folder / "store", ledger, kept_at(left.marks))
        shutil.rmtree(folder)
