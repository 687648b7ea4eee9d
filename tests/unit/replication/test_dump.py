"""dump → restore: the same hashes, the same lists, or nothing of a repo."""

from __future__ import annotations

import os
import subprocess

import msgspec
import pytest

from pfsfuse.errors import StoreError
from pfsfuse.ids import RepoName
from pfsfuse.replication.frames import BadStreamError
from pfsfuse.replication.install import ContentMissingError, OtherHistoryError
from pfsfuse.store.index import Table
from pfsfuse.store.objects import ObjectKind
from pfsfuse.versions.branches import create_branch, set_provenance
from pfsfuse.versions.commits import finish_commit, start_commit
from pfsfuse.versions.fsck import check
from pfsfuse.versions.owner import Owner
from pfsfuse.versions.records import all_commits
from pfsfuse.versions.repos import RepoNotFoundError
from pfsfuse.versions.wiring import set_head
from tests.support.builders import World, flip, ref
from tests.support.commands import PfsProcess
from tests.support.replication import dumped, paths, records, restored

BIG = os.urandom(300_000) + b"".join(b"line %d\n" % n for n in range(50_000))


@pytest.fixture
def full(world: World) -> World:
    """Two repos with provenance, an error, an empty commit, a moved head, a branch, a project."""
    first = world.commit({"a": b"1", "dir/big": BIG})
    second = world.commit({"a": b"2", "dir/same": b"x" * 1000})
    world.output({"sum": b"3" * 600}, (first.ref,), repo="sum")
    world.output({"sum": b"4" * 600}, (second.ref,), repo="sum")
    world.output({}, (second.ref,), repo="sum", error="the command failed")
    world.commit({"x": b"5"}, repo="team/data")
    with world.store.write() as txn:
        set_provenance(txn, ref("sum"), [ref()])
        create_branch(txn, RepoName("images"), "dev", head=first.id)
        create_branch(txn, RepoName("team/data"), "side")
        started = start_commit(txn, RepoName("team/data"), "side")
        empty = finish_commit(txn, started.ref, None, error="nothing")
        set_head(txn, ref("team/data"), empty.id)
    return world


def test_what_was_dumped_and_restored_is_the_same(full: World, other: World) -> None:
    """A whole store into an empty one; then once more, which changes nothing."""
    stream = dumped(full)

    report = restored(other, stream)
    again = restored(other, stream)

    assert records(full) == records(other)
    assert paths(full) == paths(other)
    assert ["images", "sum", "team/data"] == sorted(each.repo for each in report.repos)
    assert (0, 0, [0, 0, 0]) == (again.objects, again.documents, [each.commits for each in again.repos])


def test_one_repo_of_several_comes_alone(full: World, other: World) -> None:
    """What it was made from is not there: provenance is left out."""
    restored(other, dumped(full, "sum"))

    assert [b"sum"] == list(records(other)["repos"])
    assert 3 == len(records(other)["commits"])
    assert {} == records(other)["subvenance"]


def test_provenance_comes_with_whichever_repo_is_last(full: World, other: World) -> None:
    """The repo that was made from the other stands first in one stream, second in another."""
    restored(other, dumped(full, "sum", "images"))

    theirs, ours = records(other), records(full)
    assert ours["subvenance"] == theirs["subvenance"]
    assert ours["branches"][b"sum\0master"] == theirs["branches"][b"sum\0master"]


def test_a_repo_takes_another_name(full: World, other: World) -> None:
    """Into the store that it is of, beside itself, and into another."""
    restored(full, dumped(full, "images"), names={RepoName("images"): RepoName("copy")})
    restored(other, dumped(full), names={RepoName("images"): RepoName("team/pictures")})

    assert {path for commit, path, data in paths(full)} == {path for commit, path, data in paths(other)}
    lines = records(other)["branches"]
    assert [["team/pictures", "master"]] == lines[b"sum\0master"]["provenance"]


def test_a_repo_of_another_history_is_refused_or_replaced(full: World, other: World) -> None:
    """There is a repo of the same name with other commits."""
    other.commit({"mine": b"1"})
    stream = dumped(full, "images")

    with pytest.raises(OtherHistoryError, match="--as images=NAME"):
        restored(other, stream)
    assert 1 == len(records(other)["commits"])

    restored(other, stream, force=True)
    assert {key for key in records(full)["commits"] if key.startswith(b"images")} == set(
        records(other)["commits"]
    )


def test_a_branch_that_went_on_here_is_not_taken_back(full: World, other: World) -> None:
    """After the restore somebody commits; the old dump is restored again, and then a newer one."""
    restored(other, dumped(full, "images"))
    other.commit({"mine": b"1"})
    before = records(other)

    with pytest.raises(OtherHistoryError, match="has commits that the other has not"):
        restored(other, dumped(full, "images"))
    full.commit({"theirs": b"1"})
    with pytest.raises(OtherHistoryError, match="has commits that the other has not"):
        restored(other, dumped(full, "images"))

    assert before == records(other)


def test_a_dump_of_what_is_new_continues_an_earlier_one(full: World, other: World) -> None:
    """Only the commits since; it needs the others, and has nothing of what they have."""
    whole = dumped(full, "images")
    with full.store.read() as txn:
        old = [commit.ref for commit in all_commits(txn, RepoName("images"))]
    full.commit({"new": b"n" * 1000})

    more = dumped(full, "images", exclude=old)

    assert len(more) < len(whole) / 20
    with pytest.raises(ContentMissingError, match="is not here; restore the dump with that first"):
        restored(other, more)
    restored(other, whole)
    restored(other, more)
    assert {c for c in paths(full) if c[1] == "new"} <= set(paths(other))


def test_open_commits_stay(full: World, other: World) -> None:
    """A commit is open while the dump is made."""
    owner = Owner(full.store, full.trees)
    opened = owner.start(ref())

    restored(other, dumped(full))

    assert b"images\0" + opened.record.id not in records(other)["commits"]
    assert "open" not in records(other)["branches"][b"images\0master"]
    owner.drop(opened)
    owner.close()


def test_objects_travel_as_they_are_compressed(full: World, other: World) -> None:
    """What both packs have is the same byte for byte."""
    restored(other, dumped(full))

    with full.store.read() as mine, other.store.read() as theirs:
        ids = [key for key, _ in mine.scan(Table.OBJECTS) if theirs.get(Table.OBJECTS, key) is not None]
    assert len(ids) > 5
    for object_id in ids:
        assert full.store.chunks.get_stored(object_id)[1] == other.store.chunks.get_stored(object_id)[1]  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_stream_that_ends_too_early_leaves_whole_repos_only(
    full: World, other: World, share: float
) -> None:
    """The pipe broke; what is there is sound, and the whole stream is restored over it."""
    stream = dumped(full)

    with pytest.raises(BadStreamError, match="ends too early"):
        restored(other, stream[: int(len(stream) * share)])
    assert [] == check(other.store, other.trees)
    kept = records(other)["commits"]
    restored(other, stream)

    assert kept.items() <= records(other)["commits"].items()
    assert records(full) == records(other)


def test_a_flipped_bit_in_a_stream_is_found(full: World, other: World) -> None:
    """Anywhere in the stream: restore ends with an error, and what is there is sound."""
    stream = dumped(full)

    for at in range(0, len(stream), len(stream) // 40):
        hurt = bytearray(stream)
        hurt[at] ^= 4
        with pytest.raises(BadStreamError):
            restored(other, bytes(hurt))
    assert [] == check(other.store, other.trees)


def test_a_stream_of_something_else_is_refused(other: World) -> None:
    """A text, nothing, a copy's talk."""
    for stream in (b"", b"hello", b"x" * 1000):
        with pytest.raises(BadStreamError):
            restored(other, stream)


def test_a_dump_does_not_carry_damage(full: World) -> None:
    """A chunk is damaged: the dump fails and says which."""
    full.is_damaged = True
    name = full.store.chunks.put(b"x" * 1000, ObjectKind.CHUNK)
    place = full.store.chunks.locate(name)
    full.store.close()
    flip(full.root / "packs" / f"{place.pack:08x}.pack", place.offset)
    full.open()

    with pytest.raises(StoreError, match=name.hex()):
        dumped(full)


def test_a_repo_that_is_not_there_is_named_before_anything_is_written(full: World) -> None:
    """A typing error in a list of repos."""
    with pytest.raises(RepoNotFoundError):
        dumped(full, "images", "imagse")


def test_documents_go_with_a_store_and_bring_what_they_name(full: World, other: World) -> None:
    """A record of the floors above names a file of the store, in a way that is not known here."""
    entry = full.entry(b"log of a job " * 100)
    value = msgspec.msgpack.encode({"log": entry, "state": "success"})
    with full.store.write() as txn:
        txn.put(Table.DOCUMENTS, b"job\0x", value)

    report = restored(other, dumped(full, documents=lambda txn, names: iter([(b"job\0x", value)])))

    assert 1 == report.documents
    assert b"log of a job " * 100 == other.read(entry)
    with other.store.read() as txn:
        assert value == txn.get(Table.DOCUMENTS, b"job\0x")


def test_the_commands_work_over_a_pipe(full: World, other: World) -> None:
    """`pfs dump | pfs restore`, then a restore that is refused, one under another name, one that is cut."""
    full.store.close()
    other.store.close()
    here, there = PfsProcess(full.root), PfsProcess(other.root)

    out = subprocess.run(here.command("dump"), env=here.environment, capture_output=True, check=True).stdout
    first = there("restore", "-o", "json", input=out)
    there.ok("delete", "repo", "images", "--force")
    there.ok("create", "repo", "images")
    there.ok("put", "file", "images@master:/mine", "-f", "-", input=b"1")
    refused = there("restore", input=out)
    renamed = there("restore", "--as", "images=pictures", input=out)
    cut = there("restore", "--as", "images=pictures", input=out[:-1])

    full.open()
    other.open()
    assert [0, 4, 0, 5] == [each.code for each in (first, refused, renamed, cut)]
    assert {"images", "sum", "team/data"} == set(first.json["repos"])
    assert "ends too early" in cut.err
    assert "restored whole so far" in cut.err
