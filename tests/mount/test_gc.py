"""gc beside a mount that is used: what is needed stays readable, what is not goes at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pfsfuse.store.index import Table
from pfsfuse.versions.gc import Report, collect_garbage, packed_bytes
from pfsfuse.versions.repos import delete_repo
from tests.support.commands import PfsProcess
from tests.support.mounting import Mounted, mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(90)]

BIG = b"".join(b"line %d\n" % n for n in range(60_000))


@pytest.fixture
def it() -> Iterator[Mounted]:
    with mounted(autocommit_s=30.0) as made:
        yield made


def gc(it: Mounted) -> Report:
    return collect_garbage(it.world.store, threshold=0.0, wait_s=10.0)


def test_gc_frees_what_a_running_mount_has_written_and_does_not_need(it: Mounted) -> None:
    """
    The pack is the one that the mount appends to, and has open for reading.
    """
    kept, gone = it.repo("kept"), it.repo("gone")
    (kept / "a").write_bytes(BIG)
    (gone / "b").write_bytes(BIG[::-1])
    it.finish("kept")
    it.finish("gone")
    assert BIG == (kept / "a").read_bytes()
    with it.world.store.write() as txn:
        delete_repo(txn, "gone")
    before = packed_bytes(it.world.store)

    report = gc(it)

    assert ([], 0, []) == (report.waits_for, report.waiting_packs, report.damage)
    assert packed_bytes(it.world.store) < 0.7 * before
    assert BIG == (kept / "a").read_bytes()
    (kept / "c").write_bytes(BIG[::-1])
    it.finish("kept")
    assert {"a": BIG, "c": BIG[::-1]} == it.files("kept")


def test_an_open_commit_goes_on_over_a_gc(it: Mounted) -> None:
    """
    It has a large file that was cut shorter, one that came as a change set, and one that is still open.
    """
    master = it.repo()
    (master / "cut").write_bytes(BIG)
    it.finish()
    with open(master / "cut", "r+b") as file:
        file.truncate(300_000)
    PfsProcess(it.world.root).ok("put", "file", "images@master:put", "-f", "-", input=BIG)
    with open(master / "open", "wb") as file:
        file.write(BIG)
        file.flush()

        report = gc(it)

        assert ([], []) == (report.waits_for, report.damage)
    it.finish()
    assert {"cut": BIG[:300_000], "put": BIG, "open": BIG} == it.files()


def test_the_command_says_what_was_freed(it: Mounted) -> None:
    """
    `pfs gc` beside a mount, dry and then for good.
    """
    gone = it.repo("gone")
    (gone / "b").write_bytes(BIG)
    it.finish("gone")
    pfs = PfsProcess(it.world.root)
    pfs.ok("delete", "repo", "gone")

    dry, wet = pfs.ok("gc", "--dry-run", "-o", "json").json, pfs.ok("gc", "-o", "json").json
    again = pfs.ok("gc")

    assert (dry["chosen_bytes"], 0) == (dry["garbage_bytes"], dry["freed_bytes"])
    assert dry["garbage_objects"] == wet["removed_objects"] > 0
    assert dry["chosen_bytes"] <= wet["freed_bytes"]
    assert "freed 0B" in again.out
    with it.world.store.read() as txn:
        assert 0 == txn.count(Table.OBJECTS)


def test_an_open_commit_that_was_read_by_others_does_not_keep_gc_from_removing(it: Mounted) -> None:
    """
    Listing an open commit stores its bytes, which the mount remembers until the commit is finished.
    """
    master, gone = it.repo(), it.repo("gone")
    (gone / "b").write_bytes(BIG)
    it.finish("gone")
    (master / "a").write_bytes(BIG[::-1])
    pfs = PfsProcess(it.world.root)
    assert ["/a"] == [each["path"] for each in pfs.ok("list", "file", "images@master", "-o", "json").json]
    pfs.ok("delete", "repo", "gone")

    first, second = gc(it), gc(it)

    assert ([], [], 0) == (first.waits_for, second.waits_for, second.waiting_packs)
    assert first.removed_packs + second.removed_packs > 0
    it.finish("images")
    assert {"a": BIG[::-1]} == it.files("images")
