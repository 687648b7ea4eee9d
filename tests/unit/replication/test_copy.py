"""A repo that is copied to another store: only what is missing there goes over the pipe."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pfsfuse.ids import ChunkId, RepoName, chunk_id
from pfsfuse.replication.sending import OtherSideError
from pfsfuse.store.index import Table
from pfsfuse.store.objects import ObjectKind
from pfsfuse.store.packs import Location, pack_path
from pfsfuse.versions.fsck import check
from pfsfuse.versions.gc import collect_garbage
from pfsfuse.versions.repos import delete_repo
from tests.support.builders import World, flip
from tests.support.commands import PfsProcess
from tests.support.replication import copied, paths, records

BIG = os.urandom(1_000_000)
MANY = {f"dir{n % 20}/f{n}": b"%d" % n * 200 for n in range(1000)}


def test_a_copy_is_the_same_and_the_second_sends_next_to_nothing(world: World, other: World) -> None:
    """Three commits; a copy, one that finds all there, one after a change of one file among a thousand."""
    world.commit({"big": BIG, **MANY})
    world.commit({"big": BIG[:500_000] + b"x" + BIG[500_000:]})
    world.commit({"a": b"1"})

    first = copied(world, other, "images")
    again = copied(world, other, "images")
    assert records(world) == records(other)
    assert paths(world) == paths(other)
    world.commit({"dir7/f7": b"changed" * 100})
    changed = copied(world, other, "images")

    assert records(world) == records(other)
    assert (3, 0, 1) == (first.commits, again.commits, changed.commits)
    assert first.sent_bytes > 1_000_000
    assert again.sent_bytes < 1500
    assert changed.objects < 10
    assert changed.sent_bytes < 20_000


def test_what_another_repo_there_has_is_not_sent(world: World, other: World) -> None:
    """The other store has the same big file, in a repo of its own."""
    world.commit({"big": BIG, "small": b"1"})
    other.commit({"theirs": BIG}, repo="own")

    done = copied(world, other, "images")

    assert done.sent_bytes < 50_000
    assert records(world)["commits"].items() <= records(other)["commits"].items()


def test_a_copy_that_was_cut_off_goes_on_where_it_was(world: World, other: World) -> None:
    """The line breaks after 700 KB of 1.2 MB; nothing of the repo is there, but most of its bytes."""
    world.commit({"big": BIG, **MANY})

    with pytest.raises(Exception, match=r"ends too early|refuses|Broken pipe|^$"):
        copied(world, other, "images", cut_after=700_000)
    assert {} == records(other)["repos"]
    done = copied(world, other, "images")

    assert paths(world) == paths(other)
    assert done.sent_bytes < 800_000


def test_a_repo_of_another_history_is_refused_or_replaced(world: World, other: World) -> None:
    """The other store has a repo of this name; it can be replaced, or the copy take another name."""
    world.commit({"a": b"1"})
    other.commit({"b": b"2"})

    with pytest.raises(OtherSideError, match="--as images=NAME") as caught:
        copied(world, other, "images")
    copied(world, other, "images", name=RepoName("copy"))
    copied(world, other, "images", force=True)

    assert "OtherHistoryError" == caught.value.kind
    ours, theirs = records(world), records(other)
    assert set(ours["commits"]) == {key for key in theirs["commits"] if key.startswith(b"images")}
    assert {b"copy", b"images"} == set(theirs["repos"])


def test_a_copy_brings_what_the_other_store_has_lost(world: World, other: World) -> None:
    """A chunk of the copy is damaged and dropped by a repair; `whole` looks below what is there."""
    made = world.commit({"dir/a": b"x" * 1000, "b": b"y" * 1000})
    copied(world, other, "images")
    place = other.store.chunks.locate(chunk_id(b"x" * 1000))
    other.store.close()
    flip(pack_path(other.root / "packs", place.pack), place.offset)
    other.open()
    other.repair()
    assert ["T1"] == [problem.invariant for problem in other.fsck()]

    assert 0 == copied(world, other, "images").objects
    done = copied(world, other, "images", whole=True)

    assert done.objects >= 1
    assert world.files(made.root) == other.files(made.root)


def test_a_new_commit_brings_what_it_needs_of_what_was_lost(world: World, other: World) -> None:
    """A chunk of the copy is damaged and dropped; the next commit has the same file."""
    first = world.commit({"dir/a": b"x" * 1000})
    copied(world, other, "images")
    place = other.store.chunks.locate(chunk_id(b"x" * 1000))
    other.store.close()
    flip(pack_path(other.root / "packs", place.pack), place.offset)
    other.open()
    other.repair()

    world.commit({"b": b"new"})
    copied(world, other, "images")

    assert world.files(first.root) == other.files(first.root)


def test_the_command_copies_to_a_folder_and_over_any_pipe(world: World, other: World, tmp_path: Path) -> None:
    """A folder of this host; then HOST:FOLDER with a program in the place of ssh."""
    world.commit({"a": b"1" * 1000})
    world.store.close()
    other.store.close()
    rsh = tmp_path / "rsh"
    rsh.write_text('#!/bin/sh\nprintf "%s\\n" "$1" > "$0.host"; shift; exec sh -c "$*"\n')
    rsh.chmod(0o755)
    pfs = PfsProcess(world.root)

    local = pfs("copy", "repo", "images", other.root, "-o", "json")
    remote = pfs(
        "copy", "repo", "images", f"ann@host:{tmp_path}/far away", "--rsh", str(rsh),
        "--remote-pfs", f"{sys.executable} -m runner.cli.main", "--as", "team/images",
    )  # fmt: skip
    gone = pfs("copy", "repo", "images", f"host:{tmp_path}/x", "--rsh", "false")
    nothing = pfs("copy", "repo", "imagse", other.root)

    world.open()
    other.open()
    assert [0, 0, 7, 3] == [each.code for each in (local, remote, gone, nothing)], remote.err
    assert 1 == local.json["commits"]
    assert records(world) == records(other)
    assert "ann@host\n" == (tmp_path / "rsh.host").read_text()
    far = World(tmp_path / "far away")
    assert {(data) for _, _, data in paths(far)} == {b"1" * 1000}
    assert [] == check(far.store, far.trees)
    far.close()


def test_a_tree_node_that_gc_left_without_what_it_names_is_not_believed(world: World, other: World) -> None:
    """
    Over there the repo was deleted; gc took the pack with its bytes, and not the one with its nodes.
    """
    world.commit({"dir/big": BIG, "dir/small": b"s" * 900})
    copied(world, other, "images")
    with other.store.write() as txn:
        delete_repo(txn, "images")
    _move_nodes_to_a_pack_of_their_own(other)
    report = collect_garbage(other.store, threshold=0.5, wait_s=0.0)
    assert (0, True) == (report.waiting_packs, report.removed_objects > 0)
    with other.store.read() as txn:
        kinds = {Location.decode(place).kind for _, place in txn.scan(Table.OBJECTS)}
    assert ObjectKind.DIRECTORY_NODE in kinds

    copied(world, other, "images")

    assert paths(world) <= paths(other)
    assert [] == other.fsck()


def _move_nodes_to_a_pack_of_their_own(world: World) -> None:
    """Have the nodes of trees stand beside much that is needed, as they may when many write."""
    chunks = world.store.chunks
    with world.store.read() as txn:
        nodes = [
            ChunkId(key)
            for key, place in txn.scan(Table.OBJECTS)
            if Location.decode(place).kind == ObjectKind.DIRECTORY_NODE
        ]
    world.store.rest()
    stored = [chunks.get_stored(each) for each in nodes]
    with chunks._lock:
        chunks._pack().seal()
        chunks._sealed.append(chunks._pack().number)
        chunks._pack().close()
        chunks._writer = None
    world.commit({"needed": os.urandom(400_000)}, repo="own")
    moved = {record.object_id: chunks.move(record, payload) for record, payload in stored}
    with world.store.write() as txn:
        for object_id, place in moved.items():
            txn.put(Table.OBJECTS, object_id, place.encode())
    world.store.rest()
