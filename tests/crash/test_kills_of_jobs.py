"""
kill -9 of the runner, the mount or both at random moments of a job.

A tenth of PFS_CRASH_KILLS says how often (default 3, `make crash` 20), PFS_CRASH_SEED which moments.  The log
(-rA, or a failure) shows the seed and, for each kill, how far the job was: it proves that the kill
landed in the middle.
"""

from __future__ import annotations

import os
import random
import time

import pytest

from pfsfuse.ids import CommitId
from pfsfuse.versions.fsck import check
from runner.jobs.model import JobState
from tests.support.system import System, method, reads

from .conftest import kills

KILLS = kills(least=3, share=0.1)
SEED = int(os.environ.get("PFS_CRASH_SEED", "20261120"))

pytestmark = [pytest.mark.mount, pytest.mark.podman, pytest.mark.timeout(120 + 90 * KILLS)]

FILES = 32
SCRIPT = [
    "for f in /pfs/work/*; do",
    "  echo begin >> /pfs/out/${f##*/}",
    "  sleep 0.1",
    "  cat $f >> /pfs/out/${f##*/}",
    "  cat $f >> /pfs/out/all",
    "done",
]


def expected(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the output of an undisturbed run."""
    made = {name: b"begin\n" + data for name, data in files.items()}
    return made | {"all": b"".join(data for _, data in sorted(files.items()))}


def in_the_middle(system: System, change: CommitId) -> bool:
    """Say whether the job of a change runs and is not done."""
    if not system.job_exists("copy", change):
        return False
    job = system.job("copy", change)
    return job.state in (JobState.RUNNING, JobState.FINISHING) and not job.state.is_final


def kill(system: System, victim: str) -> None:
    if victim in ("runner", "both"):
        system.kill_runner()
    if victim in ("mount", "both"):
        system.kill_mount()


def start_again(system: System, victim: str) -> None:
    if victim in ("mount", "both"):
        system.start_mount()
    if victim in ("runner", "both"):
        system.start_runner()


def test_a_job_that_is_killed_at_any_moment_comes_to_the_same_end(own_system: System) -> None:
    """
    Each round puts new data, waits a random while into the job, kills, starts again and waits.
    """
    draw = random.Random(SEED)
    print(f"seed {SEED}, {KILLS} kills")
    system = own_system
    system.create_repo("work")
    system.create_pipeline("copy", [reads("work", method("file", incremental=False))], SCRIPT, parallelism=16)
    finished: dict[CommitId, dict[str, bytes]] = {}
    landed = 0
    while landed < KILLS:
        files = {f"f{number:02}": draw.randbytes(6).hex().encode() + b"\n" for number in range(FILES)}
        change = system.put("work", files)
        system.until(lambda change=change: in_the_middle(system, change), "the job runs")  # type: ignore[misc]
        time.sleep(draw.uniform(0.0, 0.6))
        victim = draw.choice(("runner", "mount", "both"))
        before = system.job("copy", change)
        kill(system, victim)
        is_middle = not before.state.is_final
        landed += is_middle
        print(
            f"kill {landed}: {victim}, job {before.state} {before.done}/{before.containers}, middle: {is_middle}"
        )
        start_again(system, victim)

        (job,) = system.wait(change)

        assert JobState.SUCCESS == job.state, job.reason
        assert expected(files) == system.files("copy", change)
        finished[change] = files
        assert [] == check(system.store, system.trees)
    for change, files in finished.items():
        assert files == system.files("work", change)
        assert expected(files) == system.files("copy", change)
    assert len(finished) >= KILLS
