"""Flipped bits: fsck names what is damaged, and everything else stays readable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pfsfuse.errors import StoreError
from pfsfuse.ids import chunk_id
from pfsfuse.store.batches import journal_records
from pfsfuse.store.index import Table, data_path
from pfsfuse.store.objects import ObjectKind
from pfsfuse.store.packs import JOURNAL, PackFile, Record, packs_in, scan
from pfsfuse.store.store import Store, StoreInUseError
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.branches import create_branch
from pfsfuse.versions.model import CommitRef
from pfsfuse.versions.rebuild import rebuild_index
from pfsfuse.versions.repos import delete_repo
from tests.support.builders import World, flip, ref

BIG = b"".join(b"line %d\n" % n for n in range(60_000))
"""Several chunks, and so a list of them."""


@pytest.fixture
def damaged(world: World) -> World:
    """A store with two commits of two repos, closed, to be damaged."""
    world.commit({"small": b"x" * 1000, "dir/big": BIG}, repo="images")
    world.commit({"other": b"y" * 1000}, repo="models")
    world.is_damaged = True
    return world


def record_of(world: World, kind: int, *, last: bool = False) -> tuple[PackFile, Record]:
    """Return the first or last record of a kind."""
    found = [
        (pack, record)
        for pack in packs_in(world.store.packs, world.store.id)
        for record, _ in scan(pack)
        if record.kind == kind
    ]
    return found[-1 if last else 0]


def invariants(world: World, *, verify_data: bool = True) -> set[str]:
    """Return which invariants fsck finds broken, in a store opened anew."""
    world.reopen()
    return {problem.invariant for problem in world.fsck(verify_data=verify_data)}


def test_a_flipped_bit_in_a_chunk_is_named_and_the_rest_is_readable(damaged: World) -> None:
    """A chunk of one file is damaged; only a check that reads data can see it."""
    pack, record = record_of(damaged, ObjectKind.CHUNK)
    flip(pack.path, record.offset + record.stored // 2)

    assert set() == invariants(damaged, verify_data=False)
    assert {"S1", "P1"} == invariants(damaged)
    with pytest.raises(StoreError, match=record.object_id.hex()):
        damaged.store.chunks.get(record.object_id)
    readable = [
        found.object_id
        for found, _ in scan(pack, record.offset + record.stored)
        if found.kind in set(ObjectKind) and damaged.store.chunks.get(found.object_id)
    ]
    assert len(readable) > 3


@pytest.mark.parametrize("kind", [ObjectKind.DIRECTORY_NODE, ObjectKind.CHUNK_LIST])
def test_a_flipped_bit_in_a_node_is_named_without_reading_data(damaged: World, kind: ObjectKind) -> None:
    """A node of a tree is damaged: what is below it cannot be reached."""
    pack, record = record_of(damaged, kind)
    flip(pack.path, record.offset + 5)

    assert "T1" in invariants(damaged, verify_data=False)


def test_a_flipped_bit_in_a_header_is_named_without_reading_data(damaged: World) -> None:
    """The header of an object's record is damaged; its bytes are whole."""
    pack, record = record_of(damaged, ObjectKind.CHUNK)
    flip(pack.path, record.offset - 30)

    assert "S1" in invariants(damaged, verify_data=False)
    assert b"x" * 1000 == damaged.store.chunks.get(chunk_id(b"x" * 1000))


def test_a_flipped_bit_in_the_journal_is_named_without_reading_data(damaged: World) -> None:
    """A batch of the index is damaged: a rebuild would miss it."""
    pack, record = record_of(damaged, JOURNAL, last=True)
    flip(pack.path, record.offset + 5)

    assert {"D1"} == invariants(damaged, verify_data=False)


def test_a_flipped_bit_in_a_pack_header_is_named(damaged: World) -> None:
    """The first bytes of a pack are damaged."""
    (pack,) = packs_in(damaged.store.packs, damaged.store.id)
    flip(pack.path, 10)

    assert {"P1"} == invariants(damaged, verify_data=False)


def test_a_flipped_bit_in_a_footer_is_named(damaged: World) -> None:
    """The footer of a sealed pack is damaged."""
    writer = damaged.store.chunks._writer
    assert writer is not None
    writer.seal()
    damaged.store.chunks._sealed.append(writer.number)
    damaged.store.close()
    flip(writer.path, writer.path.stat().st_size - 30)
    damaged.store = Store(damaged.root)

    assert {"P1"} == invariants(damaged, verify_data=False)


def test_a_missing_pack_is_named_once(damaged: World) -> None:
    """A pack was deleted by hand."""
    (pack,) = packs_in(damaged.store.packs, damaged.store.id)
    damaged.store.close()
    pack.path.unlink()
    damaged.store = Store(damaged.root)

    found = damaged.fsck()

    assert 1 == len([problem for problem in found if problem.invariant == "S2"])


def test_writing_goes_on_behind_damage_and_nothing_is_cut_off(damaged: World) -> None:
    """The unsealed pack is damaged in the middle: the next process goes on at its end."""
    pack, record = record_of(damaged, ObjectKind.CHUNK)
    size = pack.path.stat().st_size
    damaged.store.close()
    flip(pack.path, record.offset)
    before = pack.path.read_bytes()
    damaged.store = Store(damaged.root)
    damaged.trees = Trees(damaged.store.chunks)

    made = damaged.commit({"after": b"z" * 1000}, repo="models")
    damaged.store.close()

    assert before == pack.path.read_bytes()[:size]
    damaged.store = Store(damaged.root)
    damaged.trees = Trees(damaged.store.chunks)
    assert {"other": b"y" * 1000, "after": b"z" * 1000} == damaged.files(made.root)


# The index


def everything(world: World) -> dict[str, dict[bytes, bytes]]:
    """Return all tables that a rebuild brings back."""
    with world.store.read() as txn:
        tables = [table for table in Table if table.journaled] + [Table.OBJECTS]
        return {table.label: dict(txn.scan(table)) for table in tables}


def test_a_rebuilt_index_is_the_lost_one(world: World) -> None:
    """Repos, branches with provenance, commits, an errored one, a deleted repo, documents; then LMDB is gone."""
    source = world.commit({"a": b"1" * 1000, "b": BIG})
    world.commit({"a": b"2"})
    world.output({"out": b"3" * 1000}, (CommitRef(source.repo, source.id),), repo="sum")
    world.output({}, repo="sum", error="the command failed")
    world.commit({"gone": b"4"}, repo="deleted")
    with world.store.write() as txn:
        delete_repo(txn, "deleted")
        create_branch(txn, ref("sum").repo, "more", provenance=[ref()])
        txn.put(Table.DOCUMENTS, b"pipeline\0sum", b"a pipeline")
    world.reopen()
    before = everything(world)
    world.store.close()
    data_path(world.root / "index").unlink()

    report = rebuild_index(world.root)

    world.store = Store(world.root)
    world.trees = Trees(world.store.chunks)
    assert [] == report.problems
    assert [] == report.packs.damage
    assert before == everything(world)
    assert world.commit({"a": b"5"}).parent is not None


def test_a_rebuilt_store_takes_up_its_packs_and_its_numbers(world: World) -> None:
    """After a rebuild two more commits are made; then the index is lost again."""
    for _ in range(2):
        world.commit({"a": os.urandom(2000)})
        world.store.close()
        rebuild_index(world.root)
        world.store = Store(world.root)
        world.trees = Trees(world.store.chunks)

    made = world.commit({"b": b"1"})

    assert {"a", "b"} == world.files(made.root).keys()
    assert 1 == len(packs_in(world.store.packs, world.store.id))


def test_a_rebuild_keeps_the_old_index(world: World) -> None:
    """The old index is there, but nobody trusts it."""
    world.commit({"a": b"1"})
    world.store.close()
    old = data_path(world.root / "index").read_bytes()

    report = rebuild_index(world.root)

    assert world.root / "index.old" == report.packs.set_aside
    assert old == data_path(world.root / "index.old").read_bytes()
    world.store = Store(world.root)


def test_a_rebuild_reads_on_behind_damage(damaged: World) -> None:
    """A chunk in an unsealed pack is damaged, and the index is gone."""
    pack, record = record_of(damaged, ObjectKind.CHUNK)
    damaged.store.close()
    flip(pack.path, record.offset - 20)
    data_path(damaged.root / "index").unlink()

    report = rebuild_index(damaged.root)

    damaged.store = Store(damaged.root)
    assert 1 == len(report.packs.damage)
    assert {"T1", "P1"} == {problem.invariant for problem in report.problems}
    assert b"y" * 1000 == damaged.store.chunks.get(chunk_id(b"y" * 1000))
    with damaged.store.read() as txn:
        assert {b"images", b"models"} == {key for key, _ in txn.scan(Table.REPOS)}


def test_a_rebuild_of_a_store_in_use_is_refused(world: World) -> None:
    """A mount is running."""
    world.commit({"a": b"1"})

    with pytest.raises(StoreInUseError, match="other processes have it open"):
        rebuild_index(world.root)


def test_a_rebuild_of_something_else_is_refused(tmp_path: Path) -> None:
    """The folder is no store; nothing is made in it."""
    (tmp_path / "folder").mkdir()

    with pytest.raises(StoreError, match="is no store"):
        rebuild_index(tmp_path / "folder")

    assert [] == os.listdir(tmp_path / "folder")


def test_a_rebuild_that_was_killed_can_be_done_again(world: World) -> None:
    """A rebuild died when it had moved the old index aside."""
    made = world.commit({"a": b"1" * 1000})
    world.store.close()
    (world.root / "index").rename(world.root / "index.old")
    (world.root / "index.new").mkdir()

    rebuild_index(world.root)

    world.store = Store(world.root)
    world.trees = Trees(world.store.chunks)
    assert {"a": b"1" * 1000} == world.files(made.root)


def test_the_journal_is_found_in_sealed_packs_too(world: World) -> None:
    """A pack is sealed after a commit; the next commit goes to another pack."""
    world.commit({"a": b"1" * 1000})
    writer = world.store.chunks._writer
    assert writer is not None
    writer.seal()
    world.store.chunks._sealed.append(writer.number)
    world.store.chunks._writer = None
    world.commit({"b": b"2" * 1000})

    counts = [len(list(journal_records(pack))) for pack in packs_in(world.store.packs, world.store.id)]

    assert 2 == len(counts)
    assert all(counts)
