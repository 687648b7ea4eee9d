"""gc gives back what nothing needs, and nothing else, whoever writes and reads meanwhile."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

from pfsfuse.ids import ChunkId, chunk_id
from pfsfuse.store.chunks import MissingChunkError
from pfsfuse.store.condemned import GRAVE, KEY, Condemned, ids_in
from pfsfuse.store.gc import condemn
from pfsfuse.store.index import Table, data_path
from pfsfuse.store.layout import GcAtWorkError, alone_with_packs
from pfsfuse.store.objects import ObjectKind
from pfsfuse.store.packs import Location, packs_in
from pfsfuse.store.store import Store
from pfsfuse.trees.contents import ContentsWriter
from pfsfuse.trees.tree import Trees
from pfsfuse.versions import gc as module
from pfsfuse.versions.changesets import Put
from pfsfuse.versions.gc import Report, collect_garbage
from pfsfuse.versions.overlay import Overlay
from pfsfuse.versions.owner import Owner, commit_changes
from pfsfuse.versions.rebuild import rebuild_index
from pfsfuse.versions.repos import delete_repo
from tests.support.builders import World, path_of, ref

BIG = b"".join(b"line %d\n" % n for n in range(60_000))


def gc(world: World, *, wait_s: float = 0.0, threshold: float = 0.0) -> Report:
    return collect_garbage(world.store, wait_s=wait_s, threshold=threshold)


def garbage(world: World, data: bytes = BIG) -> ChunkId:
    """Store an object that nothing names."""
    object_id = world.store.chunks.put(data[: 16 << 20], ObjectKind.CHUNK)
    world.store.flush()
    return object_id


def pack_bytes(store: Store) -> int:
    return sum(pack.path.stat().st_size for pack in packs_in(store.packs, store.id))


def condemn_all(world: World) -> int:
    with world.store.read() as txn:
        numbers = {int.from_bytes(key, "big") for key, _ in txn.scan(Table.PACKS)}
    return condemn(world.store, numbers)


def place(world: World, object_id: ChunkId) -> Location:
    return world.store.chunks.locate(object_id)


def test_gc_frees_the_bytes_of_a_deleted_repo_and_keeps_all_others(world: World) -> None:
    """
    Two repos share a file; one of them, with a large file of its own, is deleted.
    """
    world.commit({"shared": BIG, "mine": b"x" * 5000}, repo="kept")
    world.commit({"shared": BIG, "own": BIG[::-1]}, repo="gone")
    with world.store.write() as txn:
        delete_repo(txn, "gone")
    before = pack_bytes(world.store)

    report = gc(world)

    assert before - pack_bytes(world.store) == pytest.approx(report.freed_bytes, rel=0.1)
    assert report.freed_bytes > 20_000
    assert report.removed_objects == report.garbage_objects > 0
    assert {"shared": BIG, "mine": b"x" * 5000} == world.files(world.head("kept").root)


def test_a_dry_run_says_what_would_be_freed_and_changes_nothing(world: World) -> None:
    """
    An object of an interrupted put is in the store.
    """
    world.commit({"a": b"1" * 1000})
    lost = garbage(world)
    before = pack_bytes(world.store)

    report = collect_garbage(world.store, dry_run=True, threshold=0.0)

    assert (1, 1, 0) == (report.garbage_objects, report.chosen_packs, report.freed_bytes)
    assert place(world, lost).stored + 56 == report.garbage_bytes == report.chosen_bytes
    assert before == pack_bytes(world.store)
    assert BIG == world.store.chunks.get(lost)


def test_a_pack_with_little_garbage_stays_as_it_is(world: World) -> None:
    """
    Less than a fifth of the only pack is garbage: copying the rest is not worth it.
    """
    world.commit({"a": BIG})
    garbage(world, b"x" * 100)

    report = gc(world, threshold=0.2)

    assert (1, 0, 0) == (report.garbage_objects, report.chosen_packs, report.removed_packs)


def test_a_second_gc_finds_nothing(world: World) -> None:
    """
    After a gc every pack has what is needed only, and nothing is condemned.
    """
    world.commit({"a": BIG})
    garbage(world)
    gc(world)

    report = gc(world)

    assert (0, 0, 0) == (report.garbage_objects, report.chosen_packs, report.freed_bytes)
    with world.store.read() as txn:
        assert frozenset() == txn.condemned().packs


def test_an_index_that_is_rebuilt_after_gc_has_the_same_tables(world: World) -> None:
    """
    The batches of the journal were in the pack that went.
    """
    world.commit({"a": b"1" * 1000}, repo="images")
    world.commit({"b": BIG}, repo="gone")
    with world.store.write() as txn:
        delete_repo(txn, "gone")
    assert gc(world).removed_packs == 1
    world.reopen()
    with world.store.read() as txn:
        before = {
            table: dict(txn.scan(table)) for table in Table if table.journaled or table is Table.OBJECTS
        }
    world.store.close()
    data_path(world.root / "index").unlink()

    report = rebuild_index(world.root)

    world.store = Store(world.root)
    world.trees = Trees(world.store.chunks)
    assert [] == report.problems
    with world.store.read() as txn:
        assert before == {table: dict(txn.scan(table)) for table in before}


# Roots


def test_what_a_document_of_a_floor_above_names_is_kept(world: World) -> None:
    """
    A record that this floor does not know holds the entry of a directory, deep inside.
    """
    tree = world.tree({"a": BIG})
    with world.store.write() as txn:
        txn.put(Table.DOCUMENTS, b"x\0y", msgspec.msgpack.encode({"deep": [[1, {b"k": tree}]]}))
    garbage(world, b"z" * 5000)

    gc(world)

    assert {"a": BIG} == world.files(tree)


def test_what_the_journal_of_an_open_commit_names_is_kept(world: World) -> None:
    """
    A change set was applied to an open commit, which nobody has finished yet.
    """
    world.commit({"a": b"1" * 1000})
    owner = Owner(world.store, world.trees)
    opened = owner.start(ref())
    opened.overlay.put_entry(opened.overlay.root, b"big", world.entry(BIG))
    world.store.flush()
    garbage(world, b"z" * 5000)

    report = gc(world)

    assert 1 == report.removed_objects
    assert {"a": b"1" * 1000, "big": BIG} == world.files(owner.finish(opened).root)
    owner.close()


def test_the_output_of_a_running_container_is_kept(world: World) -> None:
    """
    Its journal is two folders below staging/.
    """
    scratch = world.store.staging / "views" / "w-1"
    overlay = Overlay(world.trees, None, scratch, objects=world.store.chunks)
    overlay.put_entry(overlay.root, b"big", world.entry(BIG))
    world.store.flush()
    garbage(world, b"z" * 5000)

    report = gc(world)

    assert 1 == report.removed_objects
    assert {"big": BIG} == world.files(overlay.seal())
    overlay.discard()


def test_ids_are_found_wherever_they_stand_in_a_record() -> None:
    """
    As values, as keys, in lists in maps; what has another length is none.
    """
    one, two, three = (bytes([n]) * 32 for n in (1, 2, 3))
    record = msgspec.msgpack.encode({"a": [1, one, [b"x" * 31]], "b": {two: "t" * 32, "c": [[three]]}})

    assert {one, two, three} == ids_in(record)
    assert set() == ids_in(b"no msgpack at all, though it is longer than an id")


def test_a_missing_tree_node_stops_gc_before_anything_goes(world: World) -> None:
    """
    The index has lost a node: what is below it looks like garbage and is not.
    """
    made = world.commit({"a/b": BIG})
    assert made.root is not None
    with world.store.write() as txn:
        txn.delete(Table.OBJECTS, made.root.data)
    world.is_damaged = True

    with pytest.raises(Exception, match="cannot be told from garbage"):
        gc(world)

    assert BIG[:16] == world.read(world.entry(BIG))[:16]


# Beside writers


def test_an_object_in_a_condemned_pack_is_stored_again_by_who_puts_it(world: World) -> None:
    """
    It was garbage when gc looked, and somebody puts the same bytes before it goes.
    """
    lost = garbage(world)
    old = place(world, lost)
    condemn_all(world)
    world.store.rest()

    made = world.commit({"a": BIG})

    assert lost in {chunk_id(BIG)}
    gc(world)
    assert {"a": BIG} == world.files(made.root)
    assert old.pack not in {pack.number for pack in packs_in(world.store.packs, world.store.id)}


def test_gc_removes_nothing_while_an_operation_that_began_before_goes_on(world: World) -> None:
    """
    An ingest was told that its bytes are in the store, when they were garbage; gc comes; it finishes.
    """
    lost = garbage(world)
    world.store.rest()
    with world.store.hold():
        assert lost == world.store.chunks.put(BIG, ObjectKind.CHUNK)
        report = gc(world)
        assert [report.removed_packs, 1] == [0, len(report.waits_for)]
        with world.store.write() as txn:
            txn.put(Table.DOCUMENTS, b"x\0y", b"\xc4\x20" + lost)

    report = gc(world)

    assert BIG == world.store.chunks.get(lost)
    assert 0 == report.waiting_packs


def test_an_operation_that_begins_later_does_not_keep_gc_from_removing(world: World) -> None:
    """
    Where one operation always overlaps the next, gc would else never come to an end.
    """
    lost = garbage(world)
    with ExitStack() as first:
        first.enter_context(world.store.hold())
        assert 1 == gc(world).waiting_packs
        with world.store.hold():
            first.close()
            # More garbage, of which the second operation may have some in hand.
            other = garbage(world, b"z" * 5000)
            report = gc(world)

            assert ([], 0) == (report.damage, report.removed_packs - 1)
            assert 1 == report.waiting_packs
            with pytest.raises(MissingChunkError):
                world.store.chunks.get(lost)
            assert b"z" * 5000 == world.store.chunks.get(other)
    gc(world)
    with pytest.raises(MissingChunkError):
        world.store.chunks.get(other)


def test_what_is_deleted_while_packs_are_condemned_is_kept_for_who_took_it_before(world: World) -> None:
    """
    A tree is taken from a repo by an operation; the repo is deleted; the operation makes a record of the tree.
    """
    made = world.commit({"a": BIG}, repo="source")
    garbage(world)
    world.store.rest()
    condemn_all(world)
    with world.store.hold():
        taken = made.root
        assert taken is not None
        with world.store.write() as txn:
            delete_repo(txn, "source")
        with world.store.read() as txn:
            assert 1 <= len(list(txn.scan(Table.META, GRAVE)))
        # The hold is younger than what is condemned.
        report = Report()
        census = module.Census(world.store)
        marker = module.Marker(world.store, census)
        module.mark_needed(world.store, marker)
        swept = module.Swept()
        with world.store.read() as txn:
            condemned = set(txn.condemned().packs)
        module.Sweep(world.store, census, swept).run(condemned)
        assert (1, 1) == (swept.packs, swept.objects - report.removed_objects)
        world.output({}, repo="copy")
        world.put_commit("copy", taken)

    assert {"a": BIG} == world.files(taken)


def test_graves_go_with_the_last_condemned_pack(world: World) -> None:
    """
    A commit was deleted while gc waited; the next gc takes what it named.
    """
    world.commit({"a": BIG}, repo="gone")
    garbage(world, b"z" * 5000)
    world.store.rest()
    condemn_all(world)
    with world.store.write() as txn:
        delete_repo(txn, "gone")

    gc(world)
    gc(world)

    with world.store.read() as txn:
        assert [] == list(txn.scan(Table.META, GRAVE))
        assert 0 == txn.count(Table.OBJECTS)


def test_a_reader_that_misses_a_pack_looks_again(world: World) -> None:
    """
    A reader has looked an object up; gc moves it before it is read.
    """
    made = world.commit({"a": BIG})
    assert made.root is not None
    object_id = ChunkId(made.root.data)
    old = place(world, object_id)
    garbage(world)
    gc(world)
    world.store.rest()

    found, data = world.store.chunks._read(object_id, old)

    assert old.pack not in {pack.number for pack in packs_in(world.store.packs, world.store.id)}
    assert (place(world, object_id), found.stored) == (found, len(data))


def test_an_idle_process_lets_go_of_packs_that_were_removed(world: World) -> None:
    """
    The disk has the bytes of a file until nobody has it open.
    """
    made = world.commit({"a": BIG})
    world.files(made.root)
    garbage(world)
    gc(world)

    world.store.rest()

    opened = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert [] == [target for target in opened if str(world.root) in target and "deleted" in target]


def test_readers_and_writers_go_on_while_gc_runs_again_and_again(world: World) -> None:
    """
    One thread commits, one reads every commit there is, one deletes, and gc runs all the time.
    """
    stop = threading.Event()
    world.commit({"first": BIG})

    def again(work: Callable[[int], None]) -> None:
        for number in itertools.count(1):
            if stop.is_set():
                return
            with world.store.hold():
                work(number)

    def write(number: int) -> None:
        world.commit({f"f{number % 7}": BIG[: 20_000 + number * 100], "same": BIG[:70_000]})

    def churn(number: int) -> None:
        world.commit({f"f{number % 7}": BIG[: 20_000 + number * 100]}, repo="churn")
        with world.store.write() as txn:
            delete_repo(txn, "churn")

    def read(_: int) -> None:
        root = world.head("images").root
        files = world.files(root)
        assert all(BIG.startswith(data) for data in files.values())

    with ThreadPoolExecutor() as pool:
        ways = [pool.submit(again, work) for work in (write, churn, read)]
        try:
            rounds = swept = 0
            # At least so many rounds; on a busy machine the threads may need more to leave garbage.
            while rounds < 8 or (not swept and rounds < 200):
                if any(way.done() for way in ways):
                    break
                swept += gc(world, wait_s=5.0).removed_packs
                rounds += 1
        finally:
            stop.set()

    assert [None, None, None] == [way.result() for way in ways]
    assert swept > 0
    assert BIG == world.files(world.head("images").root)["first"]


def test_two_gcs_do_not_run_at_once(world: World) -> None:
    """
    A gc is running in another process.
    """
    with alone_with_packs(world.store), pytest.raises(GcAtWorkError):
        gc(world)


def test_a_record_of_what_is_condemned_reads_back_as_it_was_written() -> None:
    """
    The epoch is kept when nothing is condemned any more: it only grows.
    """
    for each in (Condemned(), Condemned(7, frozenset({1, 99, 1 << 31})), Condemned(8)):
        assert each == Condemned.decode(each.encode())


def test_what_another_process_has_put_and_not_named_yet_survives_gc(world: World) -> None:
    """
    A `pfs put file` has flushed its bytes, and hands its change set over a moment later.
    """
    world.repo("images")
    with _spawned(world.root) as putter:
        assert putter.stdout is not None
        assert "put\n" == putter.stdout.readline()
        report = gc(world)
        assert [putter.pid] == [holder.pid for holder in report.waits_for]
        assert ([], 0) == (report.damage, report.removed_packs)
        putter.communicate("go on\n")

    assert (0, []) == (putter.returncode, gc(world).waits_for)
    assert {"a": BIG} == world.files(world.head().root)


def test_the_hold_of_a_killed_process_counts_no_more(world: World) -> None:
    """
    It was killed between its put and its commit: what it put is garbage.
    """
    with _spawned(world.root) as putter:
        assert putter.stdout is not None
        putter.stdout.readline()
        putter.kill()

    report = gc(world)

    assert ([], True) == (report.waits_for, report.removed_objects > 1)
    assert 1 == len(list((world.store.run / "holds").iterdir()))


@contextmanager
def _spawned(root: Path) -> Iterator[subprocess.Popen[str]]:
    code = "from tests.unit.store.test_gc import put_then_commit; put_then_commit()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def put_then_commit() -> None:
    """What the other process does: put a file, wait for a line, commit it."""
    store = Store(Path(sys.argv[1]))
    writer = ContentsWriter(store.chunks)
    writer.write(BIG)
    entry = writer.finish().entry(mode=0o644, uid=0, gid=0, mtime_ns=1)
    store.flush()
    print("put", flush=True)
    sys.stdin.readline()
    commit_changes(store, Trees(store.chunks), ref(), [Put(path_of("a"), entry)])
    store.close()


# fsck


def test_fsck_names_a_condemned_pack_that_is_in_no_table(world: World) -> None:
    """
    The record of what is condemned was damaged, or written by a program that is wrong.
    """
    world.commit({"a": b"1" * 1000})
    world.is_damaged = True

    with world.store.write() as txn:
        txn.put(Table.META, KEY, Condemned(1, frozenset({77})).encode())

    assert ["S3: pack 0000004d is condemned and not in the table of packs"] == [str(p) for p in world.fsck()]
    world.repair()
    assert [] == world.fsck()
    with world.store.read() as txn:
        assert Condemned(1) == txn.condemned()


def test_fsck_names_graves_where_nothing_is_condemned(world: World) -> None:
    """
    They would keep what they name for ever.
    """
    world.commit({"a": b"1" * 1000})
    world.is_damaged = True

    with world.store.write() as txn:
        txn.put(Table.META, GRAVE + bytes(12), bytes(32))

    assert ["S3: nothing is condemned, and 1 graves are left"] == [str(p) for p in world.fsck()]
    world.repair()
    assert [] == world.fsck()
