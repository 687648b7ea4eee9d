"""du: stored, unique and shared bytes agree with what a walk through everything finds."""

from __future__ import annotations

import random

import pytest

from pfsfuse.ids import ChunkId, RepoName
from pfsfuse.store.packs import RECORD
from pfsfuse.trees.entry import Entry
from pfsfuse.trees.node import entry_references, references
from pfsfuse.versions.gc import collect_garbage, packed_bytes
from pfsfuse.versions.records import all_commits
from pfsfuse.versions.repos import delete_repo
from pfsfuse.versions.usage import usage_of_commits, usage_of_repos, usage_of_store
from tests.support.builders import World

BIG = b"".join(b"line %d\n" % n for n in range(60_000))


def reachable(world: World, root: Entry | None) -> set[bytes]:
    """Return all objects of a tree, the slow way."""
    found: set[bytes] = set()
    ahead = list(entry_references(root)) if root is not None else []
    while ahead:
        object_id, kind = ahead.pop()
        if object_id not in found:
            found.add(object_id)
            ahead += references(world.store.chunks.get(object_id), kind, object_id)
    return found


def stored(world: World, ids: set[bytes]) -> int:
    return sum(RECORD.size + world.store.chunks.locate(ChunkId(each)).stored for each in ids)


def objects_of(world: World, repo: str) -> dict[bytes, set[bytes]]:
    """Return the objects of each commit of a repo."""
    with world.store.read() as txn:
        commits = list(all_commits(txn, RepoName(repo)))
    return {each.id: reachable(world, each.root) for each in commits}


def test_a_file_that_two_repos_have_is_shared_and_all_else_unique(world: World) -> None:
    """
    Each of two repos has a file of its own beside it, and history.
    """
    for repo, own in (("one", b"1"), ("two", b"2")):
        world.commit({"shared": BIG, "own": own * 3000}, repo=repo)
        world.commit({"own": own * 4000}, repo=repo)

    one, two = usage_of_repos(world.store)

    of_one, of_two = (set().union(*objects_of(world, repo).values()) for repo in ("one", "two"))
    assert (stored(world, of_one), stored(world, of_one - of_two)) == (one.stored_bytes, one.unique_bytes)
    assert (stored(world, of_two), stored(world, of_two - of_one)) == (two.stored_bytes, two.unique_bytes)
    assert one.shared_bytes == two.shared_bytes == stored(world, of_one & of_two) > 10_000
    assert (len(BIG) + 4000, 2) == (one.logical_bytes, one.commits)


def test_the_unique_bytes_of_a_repo_are_what_a_gc_frees_after_its_deletion(world: World) -> None:
    """
    That is what they are for.
    """
    world.commit({"shared": BIG, "own": BIG[::-1]}, repo="one")
    world.commit({"shared": BIG}, repo="two")
    one, _ = usage_of_repos(world.store)
    with world.store.write() as txn:
        delete_repo(txn, "one")
    world.store.rest()

    assert one.unique_bytes == collect_garbage(world.store, dry_run=True).garbage_bytes


@pytest.mark.parametrize("seed", range(5))
def test_bytes_of_commits_agree_with_a_walk_through_all_of_them(world: World, seed: int) -> None:
    """
    Files come, change, go and come back as they were, over a dozen commits.
    """
    chance = random.Random(seed)
    tree = {f"d{n % 3}/f{n}": BIG[n * 100 : n * 100 + 3000] for n in range(20)}
    for _ in range(12):
        for path in chance.sample(sorted(tree), 4):
            tree[path] = BIG[chance.randrange(10) * 1000 :][: chance.choice((100, 3000, 90_000))]
        if chance.random() < 0.5:
            del tree[chance.choice(sorted(tree))]
        world.put_commit("images", world.tree(tree))

    found = usage_of_commits(world.store, "images")

    objects = objects_of(world, "images")
    older: set[bytes] = set()
    for each in reversed(found):
        mine = objects.pop(each.commit.id)
        assert stored(world, mine) == each.stored_bytes
        assert stored(world, mine - older) == each.added_bytes
        others = older.union(*objects.values())
        assert stored(world, mine - others) == each.unique_bytes
        older |= mine


def test_commits_without_content_take_nothing(world: World) -> None:
    """
    One failed, one is empty.
    """
    world.output({}, repo="images", error="the command failed")
    world.output({}, repo="images")

    assert [(0, 0, 0), (0, 0, 0)] == [
        (each.stored_bytes, each.unique_bytes, each.added_bytes)
        for each in usage_of_commits(world.store, "images")
    ]


def test_the_store_says_how_well_it_compresses_and_what_is_garbage(world: World) -> None:
    """
    A large file of text, and one that nothing needs.
    """
    world.commit({"a": BIG})
    lost = world.entry(BIG[::-1])
    world.store.flush()

    found = usage_of_store(world.store)

    assert stored(world, reachable(world, lost)) == found.garbage_bytes
    assert found.stored_bytes == found.needed_bytes + found.garbage_bytes < found.packed_bytes
    assert packed_bytes(world.store) == found.packed_bytes
    assert 2 * len(BIG) < found.raw_bytes < 3 * len(BIG)
    assert 3 < found.compression < 50
