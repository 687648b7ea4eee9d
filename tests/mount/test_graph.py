"""The mount while branches move, commits go, and projects come: a real mount, changed by another process."""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

import pytest

from pfsfuse.ids import CommitId
from pfsfuse.versions.projects import create_project
from pfsfuse.versions.removal import drop_set, forget_commit, squash_commit
from pfsfuse.versions.wiring import make_branch, set_head
from tests.support.builders import ref
from tests.support.mounting import Mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    """The name of a repo of the test's own."""
    return f"graph{next(_numbers)}"


def rewind(mount: Mounted, name: str, to: CommitId) -> CommitId:
    with mount.world.store.write() as txn:
        moved = set_head(txn, ref(name), to).moved
    mount.barrier()
    assert moved is not None
    return moved


def test_a_head_that_moves_back_is_shown_and_can_be_written(mount: Mounted, name: str) -> None:
    """
    A shell sits in a directory; a file it knows changes, another is not there in the older commit.
    """
    master = mount.repo(name)
    old = mount.world.commit({"d/kept": b"same", "d/changed": b"old"}, repo=name)
    mount.world.commit({"d/changed": b"new", "d/added": b"1"}, repo=name)
    mount.barrier()
    kept = os.stat(master / "d/kept").st_ino
    assert [b"new", b"1"] == [(master / "d" / each).read_bytes() for each in ("changed", "added")]

    rewind(mount, name, old.id)

    assert b"old" == (master / "d/changed").read_bytes()
    assert ["changed", "kept"] == sorted(os.listdir(master / "d"))
    assert kept == os.stat(master / "d/kept").st_ino
    (master / "d/more").write_bytes(b"2")
    assert old.id == mount.finish(name).parent
    assert {"d/kept": b"same", "d/changed": b"old", "d/more": b"2"} == mount.files(name)


def test_a_dropped_commit_is_gone_from_the_branch_and_from_its_name(mount: Mounted, name: str) -> None:
    """
    Somebody still has a file of it open, and goes on reading it.
    """
    master = mount.repo(name)
    mount.world.commit({"f": b"first"}, repo=name)
    dropped = mount.world.commit({"f": b"second", "g": b"too"}, repo=name)
    mount.barrier()
    by_id = mount.point / name / dropped.id.hex()
    assert b"too" == (by_id / "g").read_bytes()

    with open(master / "g", "rb") as reader:
        with mount.world.store.write() as txn:
            drop_set(txn, dropped.id)
        mount.barrier()
        assert b"too" == reader.read()

    assert b"first" == (master / "f").read_bytes()
    assert not (master / "g").exists()
    assert dropped.id.hex() not in os.listdir(mount.point / name / ".commits")


def test_a_squashed_commit_changes_nothing_that_is_shown(mount: Mounted, name: str) -> None:
    """
    A program sits in the branch; names that count from the start now mean other commits.
    """
    master = mount.repo(name)
    made = [mount.world.commit({f"f{n}": b"%d" % n}, repo=name) for n in range(3)]
    mount.barrier()
    with subprocess.Popen(
        ["sh", "-c", "read line; cat f0 f1 f2"], cwd=master, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as shell:
        with mount.world.store.write() as txn:
            squash_commit(txn, made[1].ref)
        mount.barrier()
        out, _ = shell.communicate(b"\n")

    assert b"012" == out
    assert ["f0", "f1", "f2"] == sorted(os.listdir(mount.point / name / "master.2"))


def test_the_id_of_a_change_names_what_it_used_of_another_repo(mount: Mounted, name: str) -> None:
    """
    b is made from a; a is rewound.
    """
    mount.repo(name)
    mount.repo(f"{name}-b")
    with mount.world.store.write() as txn:
        make_branch(txn, ref(f"{name}-b"), provenance=[ref(name)])
    old = mount.world.commit({"f": b"old"}, repo=name)
    mount.world.commit({"f": b"new"}, repo=name)

    change = rewind(mount, name, old.id)

    assert b"old" == (mount.point / name / change.hex() / "f").read_bytes()
    assert [] == os.listdir(mount.point / f"{name}-b" / change.hex())


def test_a_propagated_branch_is_read_only(mount: Mounted, name: str) -> None:
    """
    It was written by people before it was made from another.
    """
    mount.repo(name)
    master = mount.repo(f"{name}-b")
    mount.world.commit({"f": b"1"}, repo=f"{name}-b")
    with mount.world.store.write() as txn:
        make_branch(txn, ref(f"{name}-b"), provenance=[ref(name)])
    mount.barrier()

    with pytest.raises(OSError, match="Read-only"):
        (master / "g").write_bytes(b"2")
    assert b"1" == (master / "f").read_bytes()


def test_a_forgotten_commit_is_not_shown(mount: Mounted, name: str) -> None:
    """
    The older of two outputs.
    """
    source = mount.world.commit({"s": b"1"}, repo=f"{name}-source")
    old, _ = (mount.world.output({"f": b"%d" % n}, (source.ref,), repo=name) for n in range(2))
    mount.barrier()
    with mount.world.store.write() as txn:
        forget_commit(txn, old.ref)
    mount.barrier()

    assert not (mount.point / name / ".commits" / old.id.hex()).exists()
    assert b"1" == (mount.point / name / "master/f").read_bytes()


def test_a_project_is_a_directory_of_repos(mount: Mounted, name: str) -> None:
    """
    Made by a command and by mkdir, with a repo, and removed when it is empty.
    """
    projects = mount.point / ".projects"
    with mount.world.store.write() as txn:
        create_project(txn, name)
    assert name in os.listdir(projects)
    os.mkdir(projects / f"{name}-2")
    os.mkdir(projects / f"{name}-2/images")
    (projects / f"{name}-2/images/master/f").write_bytes(b"1")
    with mount.client() as client:
        client.finish(ref(f"{name}-2/images"))

    assert b"1" == Path(projects / f"{name}-2/images/master/f").read_bytes()
    assert {"f": b"1"} == mount.files(f"{name}-2/images")
    assert ["images"] == os.listdir(projects / f"{name}-2")
    with pytest.raises(OSError, match="not empty"):
        os.rmdir(projects / f"{name}-2")
    os.rmdir(projects / name)
    with pytest.raises(FileNotFoundError):
        os.mkdir(projects / "none" / "images")
    with pytest.raises(OSError, match="Invalid"):
        os.mkdir(projects / "_bad")
