"""The quota of an output repo: the job that would exceed it fails, and says why.  With real Podman."""

from __future__ import annotations

import pytest

from pfsfuse.versions.repos import update_repo
from runner.jobs.model import JobState
from tests.support.system import System, method, reads

pytestmark = [pytest.mark.podman, pytest.mark.timeout(60)]


def test_a_job_that_would_exceed_the_quota_of_its_repo_fails_with_that_reason(shared_system: System) -> None:
    """
    The output doubles with every file; the second does not fit, and what was there stays.
    """
    shared_system.create_repo("limited-in")
    each = method("file", incremental=True)
    shared_system.create_pipeline(
        "limited-out", [reads("limited-in", each)], "cp /pfs/limited-in/* /pfs/out/"
    )
    with shared_system.store.write() as txn:
        update_repo(txn, "limited-out", quota_bytes=1500)
    shared_system.wait(shared_system.put("limited-in", {"one": b"x" * 1000}))

    (failed,) = shared_system.wait_ended(shared_system.put("limited-in", {"two": b"y" * 1000}))

    assert JobState.FAILURE is failed.state
    assert "repo limited-out would have 2000 bytes; its quota is 1500" in failed.reason
    assert {"one": b"x" * 1000} == shared_system.mounted("limited-out")
