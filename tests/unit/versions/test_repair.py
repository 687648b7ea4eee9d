"""damage → fsck names it → repair → silence, for what is not a flipped bit."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator

import msgspec
import pytest

from pfsfuse.ids import CommitId, chunk_id
from pfsfuse.store.batches import journal_records, read_journal_record
from pfsfuse.store.index import Table, data_path
from pfsfuse.store.packs import Record, pack_path, packs_in
from pfsfuse.store.scanning import Gap, read_past_damage
from pfsfuse.store.store import Store, StoreInUseError
from pfsfuse.trees.entry import Kind
from pfsfuse.versions.branches import branch, put_branch
from pfsfuse.versions.commits import drop_open_commit
from pfsfuse.versions.model import commit_key
from pfsfuse.versions.owner import OpenCommit, Owner
from pfsfuse.versions.rebuild import rebuild_index
from pfsfuse.versions.repair import repair
from tests.support.builders import World, assert_sound, flip, ref
from tests.support.commands import PfsProcess
from tests.unit.versions.test_refs import BROKEN, Break


def head(world: World) -> CommitId | None:
    with world.store.read() as txn:
        return branch(txn, ref().repo, ref().branch).head


@pytest.mark.parametrize(("what", "invariant", "damage"), BROKEN, ids=[f"{i}: {w}" for w, i, _ in BROKEN])
def test_a_repair_makes_every_invariant_of_records_true_again(
    world: World, what: str, invariant: str, damage: Break
) -> None:
    """One record is made wrong, in the index and in the journal alike."""
    world.commit({"a": b"0"})
    made = world.commit({"a": b"1"})
    with world.store.write() as txn:
        damage(txn, branch(txn, ref().repo, ref().branch), made)

    planned = world.repair(dry_run=True)
    assert invariant in {problem.invariant for problem in world.fsck()}
    report = world.repair()

    assert planned.mendings
    assert report.mendings
    assert report.after is not None
    assert [] == report.after.problems
    assert_sound(world)


def test_a_sound_store_needs_no_repair(world: World) -> None:
    """Commits, an open one, an output: nothing is mended."""
    source = world.commit({"a": b"1" * 1000})
    world.output({"b": b"2"}, (source.ref,))
    owner = Owner(world.store, world.trees)
    opened = owner.start(ref())
    opened.overlay.create(opened.overlay.root, b"new", Kind.FILE, mode=0o644, uid=0, gid=0)
    owner.close()

    report = world.repair()

    assert [] == report.mendings
    assert report.after is not None
    assert [] == report.after.problems


def test_a_head_that_names_a_missing_commit_goes_to_the_newest_that_can_be_read(world: World) -> None:
    """Three commits; the record of the last is gone, also from the journal."""
    world.commit({"a": b"1"})
    kept = world.commit({"a": b"2"})
    gone = world.commit({"a": b"3"})
    with world.store.write() as txn:
        txn.delete(Table.COMMITS, commit_key(gone.repo, gone.id))

    report = world.repair()

    assert {"H1", "C5", "C8"} == {mending.invariant for mending in report.mendings}
    assert kept.id == head(world)
    assert kept.id == world.commit({"b": b"4"}).parent


def test_a_lost_batch_does_not_bring_older_records_back(world: World) -> None:
    """The batch of the newest commit is damaged: the index knows better, and the journal learns it."""
    world.commit({"a": b"1"})
    newest = world.commit({"a": b"2"})
    world.commit({"z": b"1"}, repo="later")
    pack, record = next(
        (pack, record)
        for pack in packs_in(world.store.packs, world.store.id)
        for record in journal_records(pack)
        if newest.id in read_journal_record(pack, record)
    )
    flip(pack.path, record.offset + 5)
    world.reopen()
    assert "D1" in {problem.invariant for problem in world.fsck()}

    report = world.repair()

    assert report.after is not None
    assert [] == report.after.problems
    assert newest.id == head(world)
    world.store.close()
    data_path(world.root / "index").unlink()
    rebuild_index(world.root)
    world.open()
    assert newest.id == head(world)


def test_an_object_is_found_in_another_pack(world: World) -> None:
    """Two processes stored the same bytes; the copy that the index names is damaged."""
    data = b"x" * 1000
    made = world.commit({"a": data})
    location = world.store.chunks.locate(chunk_id(data))
    record, payload = next(spot for spot in whole_records(world) if spot[0].object_id == chunk_id(data))
    seal(world)
    world.store.chunks.move(record, payload)
    world.store.close()
    flip(pack_path(world.root / "packs", location.pack), location.offset)
    world.open()
    assert "S1" in {problem.invariant for problem in world.fsck()}

    report = world.repair()

    assert report.after is not None
    assert [] == report.after.problems
    assert {"a": data} == world.files(made.root)


def whole_records(world: World) -> Iterator[tuple[Record, bytes]]:
    for pack in packs_in(world.store.packs, world.store.id):
        yield from (spot for spot in read_past_damage(pack) if not isinstance(spot, Gap))


def seal(world: World) -> None:
    """Seal the pack that the store appends to."""
    writer = world.store.chunks._writer
    assert writer is not None
    writer.seal()
    world.store.chunks._sealed.append(writer.number)
    world.store.chunks._writer = None


def test_a_missing_pack_costs_what_was_in_it_and_no_more(world: World) -> None:
    """A pack was deleted; what other packs have is as it was, and new commits can be made."""
    lost = world.commit({"a": b"x" * 1000})
    seal(world)
    kept = world.commit({"b": b"y" * 1000}, repo="models")
    gone, _ = packs_in(world.store.packs, world.store.id)
    world.store.close()
    gone.path.unlink()
    world.open()
    world.is_damaged = True

    report = world.repair()

    assert report.after is not None
    assert {"T1"} == {problem.invariant for problem in report.after.problems}
    assert [("images", b"", [lost.id])] == [(x.repo, x.path, x.commits) for x in report.after.losses]
    assert {"b": b"y" * 1000} == world.files(kept.root)
    assert {"b", "c"} == world.files(world.commit({"c": b"1"}, repo="models").root).keys()


def test_a_lost_index_is_made_anew(world: World) -> None:
    """`--repair` of a store without an index rebuilds it first."""
    made = world.commit({"a": b"1" * 1000})
    world.store.close()
    data_path(world.root / "index").unlink()

    report = repair(world.root)

    world.open()
    assert ["D1"] == [mending.invariant for mending in report.mendings]
    assert {"a": b"1" * 1000} == world.files(made.root)


def test_an_index_whose_pages_are_damaged_is_made_anew(world: World) -> None:
    """Bits flip anywhere in LMDB's file: keys are out of order, pages of the wrong type, lengths impossible."""
    for number in range(6):
        world.commit({f"f{n}": b"%d" % (n + number) * 200 for n in range(40)})
    files = world.files(world.head("images").root)
    world.store.close()
    path = data_path(world.root / "index")
    whole = path.read_bytes()
    draw = random.Random(7)
    pfs = PfsProcess(world.root)

    for flips in (10, 40, 150):
        hurt = bytearray(whole)
        for _ in range(flips):
            hurt[draw.randrange(8192, len(hurt))] ^= 1 << draw.randrange(8)
        path.write_bytes(hurt)
        mended = pfs("fsck", "--repair")
        assert (0, "") == (mended.code, mended.out if "Traceback" in mended.err else ""), mended.err

    world.open()
    assert files == world.files(world.head("images").root)


def test_a_repair_of_a_store_in_use_is_refused(world: World) -> None:
    """A mount is running; nothing can open the store while a repair runs."""
    world.commit({"a": b"1"})

    with pytest.raises(StoreInUseError, match="other processes have it open"):
        repair(world.root)

    world.store.close()
    alone = Store(world.root, alone=True)
    with pytest.raises(StoreInUseError, match="being repaired"):
        Store(world.root)
    alone.close()
    world.open()


# Staging


def open_commit(world: World) -> OpenCommit:
    """Leave an open commit with one new file on images@master, as a mount that died."""
    owner = Owner(world.store, world.trees)
    opened = owner.start(ref())
    opened.overlay.create(opened.overlay.root, b"new", Kind.FILE, mode=0o644, uid=0, gid=0)
    owner.close(half=[ref()])
    return opened


def test_staging_of_a_commit_that_is_gone_is_kept_for_a_person(world: World) -> None:
    """The record of an open commit is lost; what was written into it is not deleted."""
    world.commit({"a": b"1"})
    opened = open_commit(world)
    with world.store.write() as txn:
        drop_open_commit(txn, opened.record.ref)

    report = world.repair()

    folder = opened.overlay.scratch.name
    assert [("O1", True)] == [(m.invariant, folder in m.message) for m in report.mendings]
    assert (world.root / "damaged" / folder / "journal").exists()
    assert ["owner.lock"] == os.listdir(world.store.staging)


def test_what_nobody_stages_is_named_and_taken_away(world: World) -> None:
    """Somebody copied a file into the staging area."""
    (world.store.staging / "notes.txt").write_text("mine")

    assert ["O1"] == [problem.invariant for problem in world.fsck()]
    world.repair()

    assert "mine" == (world.root / "damaged" / "notes.txt").read_text()


def test_an_open_commit_that_its_branch_forgot_comes_back(world: World) -> None:
    """The branch was written without its open commit; the staging is there."""
    world.commit({"a": b"1"})
    opened = open_commit(world)
    with world.store.write() as txn:
        line = branch(txn, ref().repo, ref().branch)
        put_branch(txn, msgspec.structs.replace(line, open=None))
    assert "C3" in {problem.invariant for problem in world.fsck()}

    report = world.repair()

    assert ["C3"] == [mending.invariant for mending in report.mendings]
    owner = Owner(world.store, world.trees)
    (back,) = owner.recover()
    assert opened.record.id == back.record.id
    assert {b"a", b"new"} == {name for name, _ in back.overlay.entries(back.overlay.root)}
    owner.close()


# The command


def test_the_command_names_what_is_lost_and_mends_the_rest(world: World) -> None:
    """A chunk is damaged: 8 from fsck, from a dry run and from the repair, for the bytes stay lost."""
    world.is_damaged = True
    made = world.commit({"dir/a": b"x" * 1000, "b": b"y" * 1000})
    location = world.store.chunks.locate(chunk_id(b"x" * 1000))
    world.store.close()
    flip(pack_path(world.root / "packs", location.pack), location.offset)
    pfs = PfsProcess(world.root)

    quick = pfs("fsck")
    found = pfs("fsck", "--verify-data", "-o", "json")
    planned = pfs("fsck", "--repair", "--dry-run")
    mended = pfs("fsck", "--repair", "-o", "json")
    again = pfs("fsck")

    assert [0, 8, 8, 8, 8] == [each.code for each in (quick, found, planned, mended, again)]
    report = json.loads(found.out)
    loss = {
        "repo": "images", "path": "/dir/a", "what": "bytes 0-999 of 1000", "ranges": [[0, 1000]],
        "size_bytes": 1000, "commits": [made.id.hex()],
    }  # fmt: skip
    assert [loss] == report["lost"]
    assert report["read_bytes"] > 0
    assert {"S1", "P1"} == {problem["invariant"] for problem in report["problems"]}
    assert "would mend S1" in planned.out
    assert {"S1", "P1"} == {each["invariant"] for each in json.loads(mended.out)["mended"]}
    assert f"lost: images@{made.id.hex()}:/dir/a: bytes 0-999 of 1000" in again.out
    assert "Traceback" not in found.err + planned.err + mended.err + again.err
    pfs.ok("put", "file", "images@other:/again", "-f", "-", input=b"x" * 1000)
    pfs.ok("fsck", "--verify-data")
    world.open()


def test_a_dry_run_without_a_repair_is_refused(world: World) -> None:
    """The options do not go together."""
    world.store.close()

    assert 5 == PfsProcess(world.root)("fsck", "--dry-run").code
    assert 5 == PfsProcess(world.root)("fsck", "--repair", "--rebuild-index").code
    world.open()
