"""What the mount process keeps of repos that are deleted."""

from __future__ import annotations

import os
import time

import pytest

from pfsfuse.versions.repos import delete_repo
from tests.support.mounting import Mounted, mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]


def make_look_and_delete(mount: Mounted, name: str) -> None:
    """Make a repo with a finished commit, look at all of it, and delete it."""
    top = mount.repo(name)
    for number in range(10):
        (top / f"f{number}").write_bytes(b"data")
    done = mount.finish(name)
    for folder in (top, mount.point / name / ".commits" / done.id.hex()):
        assert 10 == len([(folder / each).read_bytes() for each in os.listdir(folder)])
    with mount.world.store.write() as txn:
        delete_repo(txn, name, force=True)
    mount.barrier()
    assert name not in os.listdir(mount.point)


def test_a_deleted_repo_is_forgotten_with_its_finished_commits() -> None:
    """The kernel would keep their inodes for ever, and the mount process what they stand for."""
    with mounted(autocommit_s=-1) as mount:
        make_look_and_delete(mount, "first")
        before = mount.status()["inodes"]
        for number in range(10):
            make_look_and_delete(mount, f"repo{number}")

        # The kernel sends what it forgets when it gets to it.
        deadline = time.monotonic() + 20
        while mount.status()["inodes"] > before + 20 and time.monotonic() < deadline:
            mount.barrier()
        assert mount.status()["inodes"] <= before + 20
