"""Hard links, in open commits and beyond."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pfsfuse.trees.links import linked_names
from pfsfuse.versions.changesets import Delete, Put
from pfsfuse.versions.owner import commit_changes
from tests.support.builders import ref
from tests.support.mounting import Mounted, mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]


def links_of(*paths: Path) -> tuple[int, bool]:
    """Return the link count of all paths, and whether they are one file."""
    found = [os.lstat(path) for path in paths]
    assert len({status.st_nlink for status in found}) == 1, found
    return found[0].st_nlink, len({status.st_ino for status in found}) == 1


def make_links(master: Path) -> tuple[Path, Path, Path]:
    """One file with three names in two directories."""
    (master / "d" / "e").mkdir(parents=True)
    one, two, three = master / "one", master / "d" / "two", master / "d" / "e" / "three"
    one.write_bytes(b"linked")
    os.link(one, two)
    os.link(two, three)
    return one, two, three


def test_names_of_one_file_are_one_file_in_the_finished_commit(patient: Mounted) -> None:
    """Seen on the branch, by the commit's id, and after the kernel was told nothing for a while."""
    master = patient.repo("kept")
    names = make_links(master)
    os.symlink("nowhere", master / "link")
    os.link(master / "link", master / "d" / "link", follow_symlinks=False)
    commit = patient.finish("kept")

    there = patient.point / "kept" / ".commits" / commit.id.hex()
    assert (3, True) == links_of(*names)
    assert (3, True) == links_of(*[there / name.relative_to(master) for name in names])
    assert (2, True) == links_of(there / "link", there / "d" / "link")
    patient.restart()
    assert (3, True) == links_of(*names)
    assert (2, True) == links_of(master / "link", master / "d" / "link")


def test_a_file_with_several_names_is_changed_by_one_in_a_later_commit(patient: Mounted) -> None:
    """Written, cut, given away; the directory of another name is renamed meanwhile."""
    master = patient.repo("later")
    one, two, three = make_links(master)
    patient.finish("later")
    patient.restart()

    os.rename(master / "d", master / "moved")
    two, three = master / "moved" / "two", master / "moved" / "e" / "three"
    with open(three, "ab") as file:
        file.write(b" more")
    assert [b"linked more"] * 3 == [path.read_bytes() for path in (one, two, three)]
    os.chmod(one, 0o600)
    assert 0o600 == stat.S_IMODE(two.stat().st_mode)
    os.unlink(two)
    assert (2, True) == links_of(one, three)
    commit = patient.finish("later")

    assert (2, True) == links_of(one, three)
    assert {b"one", b"moved/e/three"} == {
        b"/".join(path) for path, _ in linked_names(patient.world.trees, commit.root)
    }
    os.unlink(one)
    assert (1, True) == links_of(three)
    patient.finish("later")
    assert (1, True) == links_of(three)


def test_a_name_that_is_replaced_leaves_the_others(patient: Mounted) -> None:
    """By a rename, by a change set into the open commit, by one without; a directory with a name is deleted."""
    master = patient.repo("replaced")
    one, two, three = make_links(master)
    patient.finish("replaced")

    (master / "new").write_bytes(b"new")
    os.rename(master / "new", one)
    assert (2, True) == links_of(two, three)
    assert (b"new", b"linked") == (one.read_bytes(), two.read_bytes())
    with patient.client() as client:
        client.apply(ref("replaced"), [Delete((b"d", b"e"))])
    assert (1, True) == links_of(two)
    os.link(two, master / "four")
    patient.finish("replaced")
    assert (2, True) == links_of(two, master / "four")

    entry = patient.world.entry(b"put")
    patient.world.store.flush()
    commit_changes(patient.world.store, patient.world.trees, ref("replaced"), [Put((b"four",), entry)])
    patient.barrier()
    assert (b"put", b"linked") == ((master / "four").read_bytes(), two.read_bytes())
    two.write_bytes(b"written")
    assert b"put" == (master / "four").read_bytes()
    patient.finish("replaced")


def test_a_copy_of_linked_files_is_linked_to_nothing(patient: Mounted) -> None:
    """A change set puts a directory of a finished commit beside itself."""
    master = patient.repo("copied")
    one, two, three = make_links(master)
    commit = patient.finish("copied")

    entry = patient.world.trees.resolve(commit.root, (b"d",))
    assert entry is not None
    with patient.client() as client:
        client.start(ref("copied"))
        client.apply(ref("copied"), [Put((b"copy",), entry)])
    (master / "copy" / "two").write_bytes(b"of the copy")
    patient.finish("copied")

    assert (1, False) == links_of(master / "copy" / "two", master / "copy" / "e" / "three")
    assert (3, True) == links_of(one, two, three)
    assert [b"linked"] * 2 == [path.read_bytes() for path in (two, master / "copy" / "e" / "three")]


def test_links_survive_the_end_of_the_mount() -> None:
    """A linked file of the base is written by one name; the mount is killed."""
    with mounted(autocommit_s=-1) as mount:
        mount.declared.append("recovered")
        names = make_links(mount.repo())
        mount.finish()
        names[2].write_bytes(b"written")
        mount.kill()
        os.system(f"fusermount3 -u -z {mount.point}")
        mount.start()

        assert [b"written"] * 3 == [name.read_bytes() for name in names]
        assert (3, True) == links_of(*names)
        mount.finish()
        assert [b"written"] * 3 == [name.read_bytes() for name in names]
        assert (3, True) == links_of(*names)
