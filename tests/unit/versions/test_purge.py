"""purge: nothing of a path is left, neither in history nor in the bytes of the packs, and nothing else goes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec
import pytest

from pfsfuse.errors import PathNotFoundError
from pfsfuse.ids import ChunkId, RepoName, chunk_id
from pfsfuse.store import codec
from pfsfuse.store.gc import condemn
from pfsfuse.store.index import Table, data_path
from pfsfuse.store.objects import ObjectKind
from pfsfuse.store.packs import packs_in, scan
from pfsfuse.store.store import Store
from pfsfuse.trees.contents import Contents, chunks
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.commits import drop_open_commit, start_commit
from pfsfuse.versions.gc import collect_garbage
from pfsfuse.versions.model import CommitRef
from pfsfuse.versions.purge import (
    OpenCommitsError,
    PurgeHeldUpError,
    PurgeReport,
    prove_gone,
    purge,
    what_would_go,
)
from pfsfuse.versions.rebuild import rebuild_index
from pfsfuse.versions.records import all_commits
from tests.support.builders import World, path_of

SECRET = b"".join(b"Jane Doe, born %d, lives at %d Main Street\n" % (n, n * 7) for n in range(6_000))
RANDOM = os.urandom(100_000)
SMALL = b"Jane Doe, 0123-456789"
OTHER = b"".join(b"line %d\n" % n for n in range(30_000))


@pytest.fixture(params=["1", "off"])
def world(world: World, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A store that compresses, and one that does not."""
    monkeypatch.setenv("PFS_COMPRESSION", request.param)
    world.reopen()
    yield world


def run(world: World, path: str = "people/jane", *, repo: str = "images", wait_s: float = 0.0) -> PurgeReport:
    world.store.rest()
    return purge(world.store, world.trees, repo, path_of(path), wait_s=wait_s)


def everything_in(world: World) -> bytes:
    """Return all bytes of all packs, as they are and as they read."""
    found = [pack.path.read_bytes() for pack in packs_in(world.store.packs, world.store.id)]
    for pack in packs_in(world.store.packs, world.store.id):
        found += [codec.decode(record.codec, payload, record.raw) for record, payload in scan(pack)]
    return b"".join(found)


def pieces_of(data: bytes) -> list[bytes]:
    """Return runs of bytes that stand in one chunk each, wherever it was cut."""
    return [data[at : at + 40] for at in range(0, len(data) - 40, 4096)]


def is_anywhere(world: World, data: bytes) -> bool:
    held = everything_in(world)
    return any(piece in held for piece in pieces_of(data) or [data])


@pytest.mark.parametrize(
    "data", [SECRET, RANDOM, SMALL, b"Jane, " * 50], ids=["text", "random", "small", "one chunk"]
)
def test_no_byte_of_a_purged_file_is_left_in_any_pack(world: World, data: bytes) -> None:
    """
    A file of three commits, changed in one of them, beside others that stay.
    """
    world.commit({"people/jane": data, "people/joe": b"Joe" * 1000, "other": OTHER})
    world.commit({"people/jane": data + b"more, and more of it"})
    last = world.commit({"other": OTHER[::-1]})
    assert is_anywhere(world, data)

    report = run(world)

    assert (True, 3, 3, {}) == (report.is_done, len(report.commits), report.files, report.shared)
    assert not is_anywhere(world, data)
    assert b"jane" not in everything_in(world)
    assert {"people/joe": b"Joe" * 1000, "other": OTHER[::-1]} == world.files(world.head().root)
    assert last.id == world.head().id


def test_a_purged_folder_goes_with_all_below_it(world: World) -> None:
    """
    Other commits of the history never had it, and are not touched.
    """
    first = world.commit({"other": OTHER})
    world.commit({f"people/jane/{n}": SECRET[n * 1000 : n * 1000 + 3000] for n in range(40)})

    report = run(world)

    assert (True, 1, 40) == (report.is_done, len(report.commits), report.files)
    assert not is_anywhere(world, SECRET[:40_000])
    with world.store.read() as txn:
        kept = {each.id: each for each in all_commits(txn, RepoName("images"))}
    assert first == kept[first.id]
    assert {"other": OTHER} == world.files(world.head().root)


def test_commits_keep_their_ids_and_say_that_they_were_purged(world: World) -> None:
    """
    Not of what: the name itself may be what has to go.
    """
    made = world.commit({"people/jane": SECRET, "other": OTHER})

    run(world)

    now = world.head()
    assert made.purged_ns is None
    assert now.purged_ns is not None
    assert msgspec.structs.replace(made, root=now.root, purged_ns=now.purged_ns) == now


def test_what_another_repo_has_too_is_named_and_stays(world: World) -> None:
    """
    Somebody copied the file before.
    """
    world.commit({"people/jane": SECRET, "other": OTHER})
    copied = world.commit({"copy": SECRET}, repo="copies")

    report = run(world)

    assert report.is_done
    assert {f"commit {copied.ref}"} == {who for found in report.shared.values() for who in found}
    assert {"copy": SECRET} == world.files(world.head("copies").root)
    assert {"other": OTHER} == world.files(world.head().root)
    again = purge(world.store, world.trees, "copies", path_of("copy"))
    assert (True, {}) == (again.is_done, again.shared)
    assert not is_anywhere(world, SECRET)


def test_what_was_made_from_a_purged_commit_is_named(world: World) -> None:
    """
    What a pipeline took of it is in its output, under another name.
    """
    made = world.commit({"people/jane": SECRET})
    output = world.output({"upper": SECRET.upper()}, (made.ref,), repo="sum")

    assert [output.ref] == run(world).results
    assert {"upper": SECRET.upper()} == world.files(world.head("sum").root)


def test_garbage_of_earlier_trees_goes_too(world: World) -> None:
    """
    A put was interrupted, and a commit with the same small file was dropped long ago.
    """
    world.tree({"people/jane": SMALL, "x": b"1"})
    world.entry(SECRET + b"!")
    world.commit({"people/jane": SMALL, "other": OTHER})
    world.commit({"people/jane": SECRET})

    assert run(world).is_done
    assert not is_anywhere(world, SMALL)
    assert not is_anywhere(world, SECRET)


def test_a_copy_that_the_index_does_not_know_goes_too(world: World) -> None:
    """
    Two processes stored the same chunk at once, and the index names one of the two places.
    """
    world.commit({"people/jane": RANDOM, "other": OTHER})
    lost = ChunkId(_chunks_of(world, RANDOM)[0])
    location = world.store.chunks.locate(lost)
    stored = world.store.chunks._reader.read(location)
    with world.store.chunks._lock:
        world.store.chunks._pack().append(
            ObjectKind.CHUNK, location.codec, stored, raw=location.raw, object_id=lost
        )
    world.store.flush()
    world.commit({"more": b"2" * 600})

    assert run(world).is_done
    assert not is_anywhere(world, RANDOM)


def _chunks_of(world: World, data: bytes) -> list[bytes]:
    entry = world.entry(data)
    world.store.flush()
    return [each for each, _ in chunks(world.store.chunks, Contents.of(entry))]


def test_a_record_that_only_remembers_the_content_can_let_go_of_it(world: World) -> None:
    """
    A document holds the old tree; without its release the content stays and the document is named.
    """
    made = world.commit({"people/jane": SECRET, "small/jane": SMALL})
    with world.store.write() as txn:
        txn.put(Table.DOCUMENTS, b"view\0one", msgspec.msgpack.encode({"root": made.root}))
        txn.put(Table.DOCUMENTS, b"view\0two", msgspec.msgpack.encode({"bytes": SMALL}))

    kept = run(world)

    assert ["documents view one"] == sorted({who for found in kept.shared.values() for who in found})
    world.commit({"people/jane": SECRET, "small/jane": SMALL})
    released: set[bytes] = set()

    def release(txn: object, keys: object) -> None:
        for key in list(keys):  # type: ignore[call-overload]
            released.add(key)
            txn.delete(Table.DOCUMENTS, key)  # type: ignore[attr-defined]

    world.store.rest()
    for path in ("people", "small"):
        report = purge(world.store, world.trees, "images", path_of(path), release=release)
        assert (True, {}) == (report.is_done, report.shared)
    assert {b"view\0one", b"view\0two"} == released
    assert not is_anywhere(world, SECRET)
    assert SMALL not in everything_in(world)


def test_a_purge_of_a_repo_with_an_open_commit_is_refused(world: World) -> None:
    """
    It is built on the tree that would change.
    """
    made = world.commit({"people/jane": SECRET})
    with world.store.write() as txn:
        opened = start_commit(txn, RepoName("images"), "master")

    with pytest.raises(OpenCommitsError, match="images@master has an open commit"):
        run(world)

    assert made == world.head()
    with world.store.write() as txn:
        drop_open_commit(txn, CommitRef(RepoName("images"), opened.id))


def test_a_path_that_no_commit_has_is_refused(world: World) -> None:
    """
    A slip of the pen must not look like success.
    """
    world.commit({"people/jane": SECRET})

    with pytest.raises(PathNotFoundError, match="people/jim"):
        run(world, "people/jim")


def test_what_would_go_is_said_and_nothing_changed(world: World) -> None:
    """
    Without --yes.
    """
    made = world.commit({"people/jane": SECRET})

    report = what_would_go(world.store, world.trees, "images", path_of("people/jane"))

    assert ([made.ref], 1, True) == (report.commits, report.files, report.objects > 3)
    assert made == world.head()
    assert is_anywhere(world, SECRET)


def test_a_purge_waits_for_what_began_before_and_says_so(world: World) -> None:
    """
    A put was told that these bytes are in the store; its commit may be on the way.
    """
    world.commit({"people/jane": SECRET, "other": OTHER})
    world.store.rest()
    with world.store.hold():
        report = purge(world.store, world.trees, "images", path_of("people/jane"), wait_s=0.0)

    assert (False, 1) == (report.is_done, len(report.waits_for))
    assert {"other": OTHER} == world.files(world.head().root)
    collect_garbage(world.store, threshold=0.0, wait_s=0.0)
    assert not is_anywhere(world, SECRET)


def test_a_purge_does_not_begin_while_an_earlier_gc_is_held_up(world: World) -> None:
    """
    While packs are condemned, what is deleted counts as needed.
    """
    made = world.commit({"people/jane": SECRET})
    world.store.rest()
    with world.store.hold():
        condemn(world.store, {1})
        with pytest.raises(PurgeHeldUpError):
            purge(world.store, world.trees, "images", path_of("people/jane"), wait_s=0.0)

    assert made == world.head()
    assert run(world).is_done


def test_the_proof_finds_what_is_left(world: World) -> None:
    """
    In the index and in a pack.
    """
    world.commit({"people/jane": b"x" * 600})
    lost = chunk_id(b"x" * 600)

    found = prove_gone(world.store, {lost, chunk_id(b"never there")})

    assert 2 == len(found)
    assert all(lost.hex() in text for text in found)


def test_a_purged_store_is_rebuilt_from_its_packs_as_it_is(world: World) -> None:
    """
    The batches that named the old trees are followed by ones that name the new.
    """
    world.commit({"people/jane": SECRET, "small/jane": SMALL, "other": OTHER})
    run(world)
    run(world, "small/jane")
    before = world.head()
    world.store.close()
    data_path(world.root / "index").unlink()

    report = rebuild_index(world.root)

    world.store = Store(world.root)
    world.trees = Trees(world.store.chunks)
    assert [] == report.problems
    assert before == world.head()
    assert not is_anywhere(world, SMALL)
