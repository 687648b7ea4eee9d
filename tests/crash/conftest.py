"""What the tests that kill and cut share: a base image, a running system, and one undisturbed run of each workload."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipelines.conftest import base_image, own_system, run_dir
from tests.support.ledger import Ledger
from tests.support.workloads import WORKLOADS
from tools.faultfs.client import FaultFs
from tools.faultfs.log import AnyRecord

SEED = os.environ.get("PFS_CRASH_SEED", "20261120")


def kills(*, least: int, share: float) -> int:
    """Return how often a test kills: its share of PFS_CRASH_KILLS, which is for the whole folder."""
    return max(least, round(share * int(os.environ.get("PFS_CRASH_KILLS", "0"))))


@dataclass(frozen=True)
class Run:
    """An undisturbed run of a workload."""

    name: str
    seed: str
    ledger: Ledger
    log: list[AnyRecord]
    """What the disk was told."""


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory: it is the log that says what a disk would have."""
    made = Path(tempfile.mkdtemp(prefix="pfst-", dir="/dev/shm"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def runs() -> Iterator[dict[str, Run]]:
    """Every workload, run to its end."""
    made = {}
    for workload in WORKLOADS:
        seed = f"{SEED} {workload.__name__}"
        top = Path(tempfile.mkdtemp(prefix="pfst-", dir="/dev/shm"))
        with FaultFs(top / "disk") as disk:
            ledger = Ledger(disk)
            workload(disk.point / "store", ledger, random.Random(seed))
        assert "" == disk.said
        made[workload.__name__] = Run(workload.__name__, seed, ledger, disk.records())
        shutil.rmtree(top)
    yield made


__all__ = ["base_image", "own_system", "run_dir"]
