"""Who owns open commits, and what it does with them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pfsfuse.ids import RepoName
from pfsfuse.trees.entry import Kind
from pfsfuse.versions.branches import branch, create_branch
from pfsfuse.versions.changesets import Append, Put
from pfsfuse.versions.commits import (
    BranchHasOpenCommitError,
    CommitFinishedError,
    OutputBranchError,
    finish_commit,
    head_of,
    start_commit,
)
from pfsfuse.versions.model import Origin
from pfsfuse.versions.overlay import Overlay
from pfsfuse.versions.owner import (
    OpenCommit,
    OwnedElsewhereError,
    Owner,
    commit_changes,
    put_without_mount,
    staging_name,
)
from pfsfuse.versions.staged import StagedFile
from tests.support.builders import World, flip, path_of, ref


def owner_of(world: World) -> Owner:
    return Owner(world.store, world.trees)


def write(opened: OpenCommit, name: str, data: bytes) -> StagedFile:
    """Create, write and close a file."""
    overlay = opened.overlay
    made = overlay.create(overlay.root, name.encode(), Kind.FILE, mode=0o644, uid=0, gid=0)
    assert isinstance(made, StagedFile)
    overlay.write(made, 0, data)
    overlay.save(made)
    return made


def names(opened: OpenCommit) -> list[bytes]:
    return [name for name, _ in opened.overlay.entries(opened.overlay.root)]


def test_there_is_one_owner(world: World) -> None:
    """A mount runs, and a second one is started; then the first ends."""
    owner = owner_of(world)
    with pytest.raises(OwnedElsewhereError):
        owner_of(world)

    owner.close()

    owner_of(world).close()


def test_a_finished_commit_has_what_was_written_and_no_staging(world: World) -> None:
    """A commit is started, written and finished; the next one builds on it."""
    world.repo("images")
    owner = owner_of(world)
    opened = owner.start(ref())
    write(opened, "a", b"1")

    done = owner.finish(opened, description="one")

    assert {"a": b"1"} == world.files(done.root)
    assert "one" == done.description
    assert ["owner.lock"] == os.listdir(world.store.staging)
    again = owner.start(ref())
    write(again, "b", b"2")
    assert {"a": b"1", "b": b"2"} == world.files(owner.finish(again).root)
    owner.close()


def test_a_dropped_commit_leaves_no_staging(world: World) -> None:
    """A commit with a file is thrown away."""
    world.repo("images")
    owner = owner_of(world)
    opened = owner.start(ref())
    write(opened, "a", b"1")

    owner.drop(opened)

    assert ["owner.lock"] == os.listdir(world.store.staging)
    assert owner.find(ref()) is None
    owner.close()


def test_threads_that_want_the_open_commit_of_a_branch_get_the_same(world: World) -> None:
    """Eight writers arrive at once at a branch without an open commit."""
    world.repo("images")
    owner = owner_of(world)
    found: list[OpenCommit] = []
    threads = [threading.Thread(target=lambda: found.append(owner.find_or_start(ref()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 8 == len(found)
    assert 1 == len({id(opened) for opened in found})
    owner.close()


def test_the_next_owner_goes_on_with_an_open_commit(world: World) -> None:
    """The owner ends in good order with a commit open."""
    world.repo("images")
    owner = owner_of(world)
    write(owner.start(ref()), "a", b"1")
    owner.close()

    again = owner_of(world)
    (opened,) = again.recover()

    assert not opened.is_recovered
    assert [b"a"] == names(opened)
    again.close()


def test_an_open_commit_that_may_be_half_of_something_is_told(world: World) -> None:
    """One owner dies, another one ends and says that the copy into the branch was killed."""
    world.repo("images")
    owner = owner_of(world)
    write(owner.start(ref()), "a", b"1")
    owner.close(half=[ref()])

    again = owner_of(world)
    (opened,) = again.recover()

    assert opened.is_recovered
    # Without close(), as after kill -9.
    os.close(again._lock)
    last = owner_of(world)
    assert [True] == [found.is_recovered for found in last.recover()]
    last.close()


def test_staging_that_belongs_to_no_open_commit_is_removed(world: World) -> None:
    """A crash left views, with folders in them, files of unlinked nodes, and a finished commit's folder."""
    made = world.commit({"a": b"1"})
    staging = world.store.staging
    Overlay(world.trees, None, staging / "views" / "worker-0", objects=world.store.chunks).close()
    Overlay(world.trees, None, staging / staging_name(made), objects=world.store.chunks).close()
    (staging / "orphan-7-1.data").write_bytes(b"x")
    (staging / "damaged-copy").write_bytes(b"kept for a person")

    owner = owner_of(world)
    owner.recover()

    assert ["damaged-copy", "owner.lock"] == sorted(os.listdir(staging))
    owner.close()


def test_one_commit_that_cannot_be_recovered_does_not_stop_the_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The journal of one of two open commits names a node that never was."""
    world.is_damaged = True
    world.repo("images")
    world.repo("models")
    owner = owner_of(world)
    bad = owner.start(ref())
    write(bad, "a", b"1")
    write(owner.start(ref("models")), "b", b"2")
    bad.overlay._log("rm", 999, b"x", 1)
    owner.close()

    again = owner_of(world)
    found = again.recover()

    assert [ref("models")] == [opened.branch for opened in found]
    assert "cannot be recovered" in caplog.text
    assert (world.store.staging / staging_name(bad.record) / "journal").exists()
    again.close()


def test_fsck_names_damage_in_the_journal_of_an_open_commit(world: World) -> None:
    """A bit flips in the first record of the journal of an open commit, another record is behind it."""
    world.is_damaged = True
    world.repo("images")
    owner = owner_of(world)
    opened = owner.start(ref())
    write(opened, "a", b"1")
    owner.close()
    flip(opened.overlay.scratch / "journal", 20)

    assert ["O2"] == [problem.invariant for problem in world.fsck()]


def test_fsck_names_objects_that_an_open_commit_misses(world: World) -> None:
    """A change set named bytes that are in no store."""
    world.is_damaged = True
    world.repo("images")
    owner = owner_of(world)
    opened = owner.start(ref())
    entry = world.entry(b"x" * 5000)
    missing = type(entry)(*[*_fields(entry)[:8], bytes(32), *_fields(entry)[9:]])
    opened.overlay.put_entry(opened.overlay.root, b"a", missing)
    owner.close()

    assert ["T1"] == [problem.invariant for problem in world.fsck()]


def _fields(entry: object) -> list[object]:
    return [getattr(entry, name) for name in entry.__struct_fields__]  # type: ignore[attr-defined]


# Without a mount


def test_without_a_mount_changes_become_a_commit(world: World) -> None:
    """`pfs put file` into a branch without an open commit, twice; the branch is made on the way."""
    world.repo("images")
    first = put_without_mount(world.store, world.trees, ref(), [Put((b"a",), world.entry(b"1"))])
    second = put_without_mount(world.store, world.trees, ref(), [Append((b"a",), world.entry(b"2"))])

    assert first.is_finished
    assert {"a": b"12"} == world.files(second.root)


def test_without_a_mount_changes_go_into_the_open_commit(world: World) -> None:
    """`pfs start commit`, two puts, `pfs finish commit`, each by a process of its own."""
    world.repo("images")
    with world.store.write() as txn:
        start_commit(txn, ref().repo, ref().branch, explicit=True)

    for path in ("a", "dir/b"):
        record = put_without_mount(
            world.store, world.trees, ref(), [Put(path_of(path), world.entry(path.encode() * 300))]
        )
        assert not record.is_finished
    owner = owner_of(world)
    opened = owner.find(ref())
    assert opened is not None
    done = owner.finish(opened)
    owner.close()

    assert {"a": b"a" * 300, "dir/b": b"dir/b" * 300} == world.files(done.root)


def test_changes_at_once_do_not_overtake_an_open_commit(world: World) -> None:
    """Somebody started a commit; a branch with provenance is nobody's to write."""
    world.repo("images")
    with world.store.write() as txn:
        start_commit(txn, ref().repo, ref().branch)
        create_branch(txn, RepoName("images"), "output", provenance=[ref()])

    with pytest.raises(BranchHasOpenCommitError):
        commit_changes(world.store, world.trees, ref(), [Put((b"a",), world.entry(b"1"))])
    with pytest.raises(OutputBranchError):
        commit_changes(world.store, world.trees, ref(branch="output"), [Put((b"a",), world.entry(b"1"))])


def test_an_open_commit_of_a_pipeline_is_not_the_owners(world: World) -> None:
    """A job has its output commit open when the mount starts."""
    world.repo("images")
    with world.store.write() as txn:
        start_commit(txn, ref().repo, ref().branch, origin=Origin.AUTO)

    owner = owner_of(world)

    assert [] == owner.recover()
    assert owner.find(ref()) is None
    owner.close()


def test_a_commit_whose_finish_failed_can_be_finished_again(world: World) -> None:
    """The transaction fails once, as on a full disk; the overlay is as before."""
    world.repo("images")
    owner = owner_of(world)
    opened = owner.start(ref())
    file = write(opened, "a", b"1")
    write_txn = world.store.write
    world.store.write = lambda: (_ for _ in ()).throw(OSError("full"))  # type: ignore[method-assign, assignment]
    with pytest.raises(OSError, match="full"):
        owner.finish(opened)
    world.store.write = write_txn  # type: ignore[method-assign]

    opened.overlay.write(file, 1, b"2")
    done = owner.finish(opened)

    assert {"a": b"12"} == world.files(done.root)
    with pytest.raises(CommitFinishedError), world.store.write() as txn:
        finish_commit(txn, done.ref, done.root)
    with world.store.read() as txn:
        assert done == head_of(txn, branch(txn, ref().repo, ref().branch))
    owner.close()


def test_an_open_commit_builds_on_the_newest_commit_without_error(world: World) -> None:
    """The head of the branch is an errored commit."""
    world.output({"good": b"1"}, repo="images")
    world.output({"bad": b"2"}, repo="images", error="failed")

    owner = owner_of(world)
    opened = owner.start(ref())

    assert [b"good"] == names(opened)
    owner.drop(opened)
    owner.close()


def test_the_names_of_staging_folders_tell_repos_of_projects_apart(tmp_path: Path, world: World) -> None:
    """A commit of the repo `p/images`."""
    made = world.commit({"a": b"1"}, repo="p/images")

    assert f"{made.id.hex()}-p+images" == staging_name(made)
