"""Marking reaches everything that reading reaches, each once."""

from __future__ import annotations

from pfsfuse.store.census import Census
from pfsfuse.store.index import Table
from pfsfuse.store.packs import Location
from pfsfuse.trees.entry import Entry, Kind, special, symlink
from pfsfuse.trees.marking import Marker
from pfsfuse.trees.node import entry_references, named_ids, references
from tests.support.builders import World, path_of

BIG = b"".join(b"line %d\n" % n for n in range(600_000))
"""Enough chunks for a list of lists would be too slow to make; one list has them all."""


def tree_of_everything(world: World) -> Entry:
    files = {f"d{n // 50}/f{n}": world.entry(b"%d" % n * 300) for n in range(400)}
    changes = {path_of(path): entry for path, entry in files.items()}
    changes[path_of("big")] = world.entry(BIG)
    changes[path_of("small")] = world.entry(b"inline")
    changes[path_of("empty")] = world.trees.empty_directory()
    changes[path_of("link")] = symlink(b"d0/f1", uid=0, gid=0, mtime_ns=1)
    changes[path_of("device")] = special(Kind.CHARACTER, mode=0o600, uid=0, gid=0, mtime_ns=1, device=260)
    made = world.trees.apply(world.trees.empty_directory(), changes)
    world.store.flush()
    return made


def locations(world: World) -> dict[bytes, Location]:
    with world.store.read() as txn:
        return {key: Location.decode(value) for key, value in txn.scan(Table.OBJECTS)}


def test_the_ids_that_an_object_names_are_the_same_with_and_without_kinds(world: World) -> None:
    """
    Marking takes a short cut for which a later field of an entry would have to be added.
    """
    tree_of_everything(world)

    for object_id, location in locations(world).items():
        data = world.store.chunks.get(object_id)  # type: ignore[arg-type]
        named = [each for each, _ in references(data, location.kind, object_id)]  # type: ignore[arg-type]
        assert named == named_ids(data, location.kind, object_id)  # type: ignore[arg-type]


def test_all_of_a_tree_is_marked_and_nothing_else(world: World) -> None:
    """
    Directories of several nodes, a file of many chunks, and an object beside the tree.
    """
    root = tree_of_everything(world)
    other = world.entry(b"x" * 5000)
    world.store.flush()
    census = Census(world.store)

    Marker(world.store, census).mark_needed(entry_references(root))

    found = locations(world)
    unmarked = {i for i, place in found.items() if not census.is_needed(place.pack, place.offset)}
    assert {other.data} == unmarked
    assert (len(found), len(found) - 1) == (census.objects, census.needed)
    assert sum(56 + place.stored for place in found.values()) == census.bytes


def test_what_is_younger_than_the_census_is_walked_and_counts_as_needed(world: World) -> None:
    """
    A commit is made between the census and the marking; it shares a chunk with garbage.
    """
    old = world.entry(b"x" * 5000)
    world.store.flush()
    census = Census(world.store)
    root = world.trees.apply(world.trees.empty_directory(), {path_of("a/b"): old})
    world.store.flush()

    Marker(world.store, census).mark_needed(entry_references(root))

    assert (1, 1) == (census.objects, census.needed)
    assert all(census.is_needed(place.pack, place.offset) for place in locations(world).values())
