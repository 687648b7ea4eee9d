"""Open commits that programs write through the mount, read by others at the same time."""

from __future__ import annotations

import os

import pytest

from pfsfuse.trees.entry import Entry
from pfsfuse.versions.changesets import PutTree
from pfsfuse.versions.gc import collect_garbage
from tests.support.builders import ref
from tests.support.commands import PfsProcess
from tests.support.mounting import Mounted, mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]


def snapshot(mount: Mounted) -> Entry:
    with mount.client() as client:
        return client.snapshot(ref("snapshot"))


def test_a_snapshot_has_what_was_written_so_far_and_the_commit_goes_on(patient: Mounted) -> None:
    """
    Also what the kernel holds of a file that is open; twice the same; and then the finish is the same tree.
    """
    folder = patient.repo("snapshot")
    (folder / "dir").mkdir()
    (folder / "dir" / "small").write_bytes(b"small")
    with open(folder / "open", "wb", buffering=0) as file:
        file.write(b"first")
        before, again = snapshot(patient), snapshot(patient)
        file.write(b" second")
    after = snapshot(patient)

    assert {"dir/small": b"small", "open": b"first"} == patient.world.files(before)
    assert before == again
    assert {"dir/small": b"small", "open": b"first second"} == patient.world.files(after)
    assert after == patient.finish("snapshot").root


def test_commands_see_an_open_commit_as_the_mount_shows_it(patient: Mounted) -> None:
    """
    Before and after it is finished.
    """
    folder = patient.repo("seen")
    (folder / "f").write_text("text")
    pfs = PfsProcess(patient.world.root)

    open_ = pfs.ok("list", "file", "seen", "-o", "json").json
    patient.finish("seen")

    assert ["/f"] == [file["path"] for file in open_]
    assert open_ == pfs.ok("list", "file", "seen", "-o", "json").json


def test_a_tree_that_joins_an_open_commit_is_seen_in_the_mount(patient: Mounted) -> None:
    """
    Files that programs have looked at before are replaced and added to, as by any other change.
    """
    folder = patient.repo("joined")
    (folder / "dir").mkdir()
    (folder / "dir" / "mine").write_text("mine")
    (folder / "dir" / "both").write_text("old ")
    assert "old " == (folder / "dir" / "both").read_text()
    tree = patient.world.tree({"dir/both": b"new", "dir/deep/theirs": b"theirs"})
    patient.world.store.flush()

    for append in (True, False):
        with patient.client() as client:
            client.apply(ref("joined"), [PutTree((), tree, append)])
        assert ("old new" if append else "new") == (folder / "dir" / "both").read_text()

    found = sorted(os.path.relpath(p, folder) for p in folder.rglob("*") if p.is_file())
    assert ["dir/both", "dir/deep/theirs", "dir/mine"] == found


def test_a_commit_that_was_looked_at_goes_on_over_a_gc() -> None:
    """
    The mount relies on what it stored for the snapshot; nothing names that yet.
    """
    large = b"".join(b"line %d\n" % n for n in range(60_000))
    with mounted(autocommit_s=-1) as own:
        folder = own.repo()
        (folder / "first").write_bytes(large)
        own.finish()
        (folder / "large").write_bytes(large[::-1])
        with own.client() as client:
            client.snapshot(ref())
        (folder / "first").unlink()

        report = collect_garbage(own.world.store, threshold=0.0, wait_s=0.5)

        assert [] == report.damage
        own.finish()
        assert {"large": large[::-1]} == own.files()
