"""
The state machine of support/machine.py for as long as one likes, with new examples in every round.

PFS_SOAK_MINUTES says how long (`make soak` 30; by default a few seconds), PFS_SOAK_SEED where it begins.
A failure prints the steps it was shrunk to.  The memory of the mount process must stay flat.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.machine import MountAndFolder
from tests.support.mounting import Mounted, mounted

MINUTES = float(os.environ.get("PFS_SOAK_MINUTES", "0.03"))
SEED = int(os.environ.get("PFS_SOAK_SEED", "0")) or random.SystemRandom().randrange(1 << 32)

pytestmark = [pytest.mark.mount, pytest.mark.timeout(int(MINUTES * 60) + 900)]

_WARM = 0.25
"""This part of the time, caches may grow."""
_GROWTH = 1.1
_GROWTH_BYTES = 8 << 20


def test_the_mount_is_like_a_folder_for_a_long_time_and_its_memory_is_flat(tmp_path: Path) -> None:
    """Round after round of examples in one mount process."""
    print(f"seed {SEED}, {MINUTES:g} minutes")
    began = time.monotonic()
    until = began + MINUTES * 60
    samples: list[tuple[float, int]] = []
    with mounted(autocommit_s=-1, limit_s=MINUTES * 60 + 600) as mount:

        class Machine(MountAndFolder):
            pass

        Machine.mount, Machine.plain_top = mount, tmp_path
        number = 0
        while time.monotonic() < until:
            chosen = settings(
                database=None,
                deadline=None,
                max_examples=20 if MINUTES > 1 else 5,
                stateful_step_count=50,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            )
            run_state_machine_as_test(seed(SEED + number)(Machine), settings=chosen)
            number += 1
            samples.append((time.monotonic() - began, memory(mount)))
            if number % 10 == 0:
                print(f"{samples[-1][0]:6.0f} s: {Machine.done} operations done, {samples[-1][1] >> 10} KiB")
        print(
            f"{number} rounds, {Machine.steps} operations, {Machine.done} of them done, {len(samples)} samples"
        )
    if MINUTES >= 5:
        early = [size for at, size in samples if _WARM * MINUTES * 60 <= at < 2 * _WARM * MINUTES * 60]
        late = [size for at, size in samples if at >= (1 - _WARM) * MINUTES * 60]
        print(f"memory: {min(early) >> 10} KiB in the second quarter, {max(late) >> 10} KiB in the last")
        assert max(late) < _GROWTH * max(early) + _GROWTH_BYTES


def memory(mount: Mounted) -> int:
    """Return how many bytes of its own the mount process has: the index that it maps is the kernel's cache."""
    assert mount.process is not None
    status = Path(f"/proc/{mount.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(line.split()[1]) << 10
