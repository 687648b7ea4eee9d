"""What a mount makes of open commits after a power cut."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pfsfuse.mount.vfs import Vfs
from pfsfuse.store import boot
from pfsfuse.trees.entry import Kind
from pfsfuse.versions.overlay import Overlay
from pfsfuse.versions.owner import Owner
from pfsfuse.versions.staged import SMALL, StagedFile
from tests.support.builders import World, ref
from tests.support.ledger import another_life

LARGE = bytes(range(256)) * (SMALL // 256 + 1)


@contextmanager
def recovered(world: World) -> Iterator[Vfs]:
    """A vfs that has recovered what there is."""
    owner = Owner(world.store, world.trees)
    made = Vfs(world.store, world.trees, owner)
    made.upper.recover()
    yield made
    owner.close(half=list(owner.open))


def write(overlay: Overlay, name: bytes, data: bytes, *, sync: bool) -> StagedFile:
    """Create, write and close a file, and sync it."""
    file = overlay.create(overlay.root, name, Kind.FILE, mode=0o644, uid=0, gid=0)
    assert isinstance(file, StagedFile)
    overlay.write(file, 0, data)
    overlay.save(file)
    if sync:
        overlay.sync(file)
    return file


def leave(world: World, *, sync: bool, in_good_order: bool) -> None:
    """Leave an open commit with a large and a small file, as an earlier process did."""
    world.repo("images")
    owner = Owner(world.store, world.trees)
    opened = owner.start(ref())
    write(opened.overlay, b"large", LARGE, sync=sync)
    write(opened.overlay, b"small", b"small", sync=False)
    owner.close(half=[] if in_good_order else [ref()])


@pytest.mark.parametrize(("sync", "expected"), [(True, set()), (False, {b"large"})])
def test_large_files_that_were_not_synced_hold_the_commit_after_a_power_cut(
    world: World, tmp_path: Path, *, sync: bool, expected: set[bytes]
) -> None:
    """The mount had ended in good order before; so the commit would go on by itself."""
    leave(world, sync=sync, in_good_order=True)

    with another_life(tmp_path), recovered(world) as vfs:
        home = vfs.upper.home(ref())
        assert expected == {file.name for file in home.half_files}
        assert bool(expected) == home.has_half_files()
        assert not home.is_held


def test_a_killed_process_leaves_no_doubt_about_closed_files(world: World) -> None:
    """The kernel goes on and has all that was written."""
    leave(world, sync=False, in_good_order=False)

    with recovered(world) as vfs:
        home = vfs.upper.home(ref())
        assert home.is_held
        assert not home.has_half_files()


def test_doubt_goes_when_the_file_is_written_anew_and_not_with_a_later_life(
    world: World, tmp_path: Path
) -> None:
    """The machine is started anew twice; then the file is emptied and written."""
    leave(world, sync=False, in_good_order=False)
    for number in range(2):
        (tmp_path / f"{number}").mkdir()
        with another_life(tmp_path / f"{number}"), recovered(world) as vfs:
            (file,) = vfs.upper.home(ref()).half_files
            overlay = vfs.upper.home(ref()).overlay
            assert overlay is not None
            if number == 0:
                # What is written into it does not bring back what may be missing.
                overlay.write(file, 10, b"more")
                overlay.sync(file)
    with recovered(world) as vfs:
        (file,) = vfs.upper.home(ref()).half_files
        overlay = vfs.upper.home(ref()).overlay
        assert overlay is not None
        overlay.truncate(file, 0)
        overlay.write(file, 0, LARGE)
        overlay.sync(file)

    with recovered(world) as vfs:
        assert not vfs.upper.home(ref()).has_half_files()


def test_the_life_of_the_machine_is_read_from_the_kernel() -> None:
    """It is a UUID, the same for every process."""
    assert uuid.UUID(boot.BOOT_ID.read_text().strip()).bytes == boot.this_boot()
