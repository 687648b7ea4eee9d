"""Several processes on one store: nothing that one of them wrote is lost or hidden from the others."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from pfsfuse.ids import chunk_id
from pfsfuse.store.objects import ObjectKind
from pfsfuse.store.store import Store
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.branches import branch, create_branch
from pfsfuse.versions.changesets import Put
from pfsfuse.versions.commits import ancestors, head_of
from pfsfuse.versions.model import BranchRef
from pfsfuse.versions.owner import commit_changes
from tests.support.builders import World, path_of, ref

COMMITS = 12

_spawn = multiprocessing.get_context("spawn")


def _payload(writer: str, number: int) -> bytes:
    return f"{writer} {number} ".encode() * 2000


def _write(root: Path, line: BranchRef, writer: str) -> None:
    """Commit a file at a time; what the process is for."""
    store = Store(root)
    trees = Trees(store.chunks)
    world = World.__new__(World)
    world.store, world.trees = store, trees
    for number in range(COMMITS):
        entry = world.entry(_payload(writer, number))
        commit_changes(store, trees, line, [Put(path_of(f"{writer}/{number}"), entry)])
    store.close()


def test_two_writers_on_one_branch_and_a_reader_lose_nothing(world: World) -> None:
    """Two processes commit to one branch, each a dozen times; this one reads the head again and again."""
    world.repo("images")
    with world.store.write() as txn:
        create_branch(txn, ref().repo, ref().branch)
    writers = [_spawn.Process(target=_write, args=(world.root, ref(), writer)) for writer in ("one", "other")]
    for process in writers:
        process.start()
    seen: list[int] = []
    while any(process.is_alive() for process in writers):
        with world.store.read() as txn:
            head = head_of(txn, branch(txn, ref().repo, ref().branch))
        if head is not None:
            files = world.files(head.root)
            assert all(files[path] == _payload(*_parts(path)) for path in files)
            seen.append(len(files))
    for process in writers:
        process.join()

    assert [0, 0] == [process.exitcode for process in writers]
    assert sorted(seen) == seen
    with world.store.read() as txn:
        line = list(ancestors(txn, head_of(txn, branch(txn, ref().repo, ref().branch))))
    assert 2 * COMMITS == len(line)
    expected = {f"{w}/{n}": _payload(w, n) for w in ("one", "other") for n in range(COMMITS)}
    assert expected == world.files(line[0].root)


def _parts(path: str) -> tuple[str, int]:
    writer, _, number = path.partition("/")
    return writer, int(number)


def _put_many(root: Path, seed: int) -> None:
    store = Store(root)
    for number in range(300):
        store.chunks.put(b"%d" % (number if number % 3 else seed * 1000 + number) * 1000, ObjectKind.CHUNK)
        if number % 50 == 49:
            store.flush()
    store.close()


def test_objects_that_two_processes_put_are_readable_by_all(world: World) -> None:
    """Two processes put objects, many of them equal, into packs of their own."""
    writers = [_spawn.Process(target=_put_many, args=(world.root, seed)) for seed in (1, 2)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()

    for seed in (1, 2):
        for number in range(300):
            data = b"%d" % (number if number % 3 else seed * 1000 + number) * 1000
            assert data == world.store.chunks.get(chunk_id(data))
