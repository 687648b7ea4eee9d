"""
The power fails, at and around every fsync of what people do to a store.

A workload runs once on a `faultfs` (tools/), whose log says what the disk was told.  From it come the
states that a disk may be in after a power cut, as many as one likes: before an fsync, after it, and with
any part of what was not synced.  In each of them the store has to keep its promises (docs/durability.md).

PFS_CRASH_CUTS says how many cuts, of all workloads together (default 36, `make crash` 200), and
PFS_CRASH_SEED which.  The log (-rA, or a failure) shows the seed and where each cut was.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.support.ledger import another_life, check_promises, kept_at
from tests.support.workloads import WORKLOADS, pfs
from tools.faultfs.client import cuts, sync_positions
from tools.faultfs.log import Synced

from .conftest import Run

pytestmark = [pytest.mark.mount, pytest.mark.timeout(900)]

CUTS = int(os.environ.get("PFS_CRASH_CUTS", "36"))


@pytest.mark.parametrize("name", [each.__name__ for each in WORKLOADS])
def test_a_power_cut_breaks_no_promise(name: str, runs: dict[str, Run], scratch: Path) -> None:
    """After each cut: what was acknowledged is there, nothing half is seen, fsck is silent, work goes on."""
    run = runs[name]
    draw = random.Random(f"{run.seed} cuts")
    candidates = sync_positions(run.log)
    wanted = -(-CUTS // len(WORKLOADS))
    positions = sorted(draw.choices(candidates, k=wanted) if wanted < len(candidates) else candidates)
    print(f"seed {run.seed}: {len(candidates) // 2} fsyncs, {len(run.log)} records, {len(positions)} cuts")
    for number, (position, left) in enumerate(cuts(run.log, draw, positions)):
        folder = scratch / f"cut{number}"
        left.survive(folder)
        print(f"cut {number + 1} behind {_shown(run, position)}")
        with another_life(folder):
            check_promises(folder / "store", run.ledger, kept_at(left.marks))
            if number % 3 == 0:
                pfs(folder / "store", "fsck", "--rebuild-index")
                check_promises(folder / "store", run.ledger, kept_at(left.marks))
        shutil.rmtree(folder)


def _shown(run: Run, position: int) -> str:
    record = run.log[position - 1]
    if isinstance(record, Synced):
        return f"record {position}, fsync of {record.path or 'the top'}"
    return f"record {position}, {type(record).__name__}; fsync of the next one is under way"
