"""Taking commits away: squash, drop, forget, and what each refuses."""

from __future__ import annotations

import pytest

from pfsfuse.errors import NotFoundError
from pfsfuse.ids import CommitId, RepoName, new_commit_id
from pfsfuse.store.index import Table
from pfsfuse.versions.branches import HeadOfOtherRepoError, branch, create_branch
from pfsfuse.versions.commits import (
    CommitNotFoundError,
    commit,
    find_commit,
    finish_commit,
    list_commits,
    newest_good,
    resolve,
    start_commit,
)
from pfsfuse.versions.model import BranchRef, Commit, CommitRef, Origin
from pfsfuse.versions.records import ancestors, children_of, has_complete_children
from pfsfuse.versions.removal import (
    CommitInUseError,
    drop_commit,
    drop_set,
    forget_commit,
    squash_commit,
    squash_set,
)
from pfsfuse.versions.repos import create_repo
from pfsfuse.versions.sets import CommitSetNotFoundError, commits_of_set
from pfsfuse.versions.wiring import make_branch, set_head
from tests.support.builders import World, ref


def line(world: World, repo: str = "images", name: str = "master") -> list[CommitId]:
    """Return the ids of a branch's commits, newest first."""
    with world.store.read() as txn:
        return [c.id for c in list_commits(txn, RepoName(repo), branch_name=name)]


def shown(world: World, repo: str = "images", name: str = "master") -> dict[str, bytes]:
    """Return what a branch shows."""
    with world.store.read() as txn:
        found = newest_good(txn, branch(txn, RepoName(repo), name))
    return world.files(found.root) if found is not None else {}


def made_from(world: World, repo: str, *sources: str) -> None:
    """Have a repo's master be made from those of others."""
    world.repo(repo)
    with world.store.write() as txn:
        make_branch(txn, ref(repo), provenance=[ref(source) for source in sources])


def exists(world: World, record: Commit) -> bool:
    with world.store.read() as txn:
        return find_commit(txn, record.repo, record.id) is not None


# Squash


def test_a_squashed_commit_leaves_its_content_to_its_child(world: World) -> None:
    """
    The middle one of three commits goes.
    """
    first, middle, last = (world.commit({name: name.encode()}) for name in "abc")

    with world.store.write() as txn:
        gone = squash_commit(txn, middle.ref)

    assert [middle] == gone
    assert [last.id, first.id] == line(world)
    assert {"a": b"a", "b": b"b", "c": b"c"} == shown(world)
    with world.store.read() as txn:
        assert last.root == commit(txn, last.repo, last.id).root
        assert [last.id] == children_of(txn, first.ref)


def test_all_children_of_a_squashed_commit_get_its_parent(world: World) -> None:
    """
    Two branches begin at the same commit; it and its parent are squashed at once.
    """
    oldest, older, base = (world.commit({"n": b"%d" % n}) for n in range(3))
    with world.store.write() as txn:
        create_branch(txn, RepoName("images"), "dev", head=base.id)
    ends = [world.commit({"x": b"1"}), world.commit({"y": b"2"}, branch="dev")]

    for each in (older, base):
        with world.store.write() as txn:
            squash_commit(txn, each.ref)

    with world.store.read() as txn:
        assert [oldest.id] * 2 == [commit(txn, end.repo, end.id).parent for end in ends]
    assert {"n": b"2", "x": b"1"} == shown(world)
    assert {"n": b"2", "y": b"2"} == shown(world, name="dev")


def test_the_first_commit_of_a_line_can_be_squashed(world: World) -> None:
    """
    Its child becomes the first.
    """
    first, second = (world.commit({name: b"1"}) for name in "ab")

    with world.store.write() as txn:
        squash_commit(txn, first.ref)

    with world.store.read() as txn:
        assert second.id == resolve(txn, second.repo, "master.1").id


def test_a_commit_without_a_child_is_not_squashed(world: World) -> None:
    """
    Its content would be lost.
    """
    only = world.commit({"a": b"1"})

    with pytest.raises(CommitInUseError, match="no child"), world.store.write() as txn:
        squash_commit(txn, only.ref)
    with pytest.raises(CommitInUseError, match="no child"), world.store.write() as txn:
        squash_set(txn, only.id)


def test_a_commit_is_not_squashed_until_its_child_is_finished(world: World) -> None:
    """
    The open child is based on it.
    """
    base = world.commit({"a": b"1"})
    with world.store.write() as txn:
        opened = start_commit(txn, base.repo, "master")

    with (
        pytest.raises(CommitInUseError, match=f"until child commit {opened.ref} is finished"),
        world.store.write() as txn,
    ):
        squash_commit(txn, base.ref)
    with pytest.raises(CommitInUseError, match="is open"), world.store.write() as txn:
        squash_commit(txn, opened.ref)


def test_a_commit_that_a_branch_names_is_not_squashed(world: World) -> None:
    """
    A release stays where it is while master goes on.
    """
    released = world.commit({"a": b"1"})
    with world.store.write() as txn:
        create_branch(txn, released.repo, "release", head=released.id)
    world.commit({"b": b"2"})

    with pytest.raises(CommitInUseError, match="images@release"), world.store.write() as txn:
        squash_commit(txn, released.ref)


def test_a_set_is_squashed_in_all_repos_at_once(world: World) -> None:
    """
    a → b → c; the older of two changes of a goes everywhere.
    """
    world.repo("a")
    made_from(world, "b", "a")
    made_from(world, "c", "b")
    old, new = (world.commit({name: b"1"}, repo="a") for name in "xy")

    with world.store.write() as txn:
        gone = squash_set(txn, old.id)

    assert {"a", "b", "c"} == {each.repo for each in gone}
    assert all(old.id not in line(world, repo) for repo in "abc")
    assert all(new.id == line(world, repo)[0] for repo in "abc")
    assert {"x": b"1", "y": b"1"} == shown(world, "a")
    with world.store.read() as txn:
        assert [] == commits_of_set(txn, old.id)
        with pytest.raises(CommitNotFoundError):
            resolve(txn, RepoName("a"), old.id.hex())


def test_a_set_that_something_newest_was_made_from_is_not_squashed_until_that_is_followed(
    world: World,
) -> None:
    """
    a and b → c: the change of b used a commit of a; then a changes again.
    """
    world.repo("a")
    world.repo("b")
    made_from(world, "c", "a", "b")
    used = world.commit({"x": b"1"}, repo="a")
    user = world.commit({"y": b"1"}, repo="b")

    with pytest.raises(CommitInUseError), world.store.write() as txn:
        squash_set(txn, used.id)

    newest = world.commit({"x": b"3"}, repo="a")
    with world.store.write() as txn:
        squash_set(txn, used.id)

    with world.store.read() as txn:
        assert (user.ref,) == commit(txn, RepoName("c"), user.id).provenance
        assert newest.id == branch(txn, RepoName("c"), "master").head
    assert {"x": b"3"} == shown(world, "a")


def test_one_commit_is_squashed_with_what_was_made_of_it_only_recursively(world: World) -> None:
    """
    a → b; a's older commit.
    """
    world.repo("a")
    made_from(world, "b", "a")
    old = world.commit({"x": b"1"}, repo="a")
    world.commit({"x": b"2"}, repo="a")

    with pytest.raises(CommitInUseError, match="--recursive"), world.store.write() as txn:
        squash_commit(txn, old.ref)
    with world.store.write() as txn:
        gone = squash_commit(txn, old.ref, recursive=True)

    assert {"a", "b"} == {each.repo for each in gone}


def test_the_whole_of_a_long_line_but_the_newest_can_be_squashed(world: World) -> None:
    """
    Oldest first and newest first alternately.
    """
    made = [world.commit({f"f{n}": b"%d" % n}) for n in range(9)]
    older = made[:-1]

    while older:
        with world.store.write() as txn:
            squash_commit(txn, older.pop(0 if len(older) % 2 else -1).ref)

    assert [made[-1].id] == line(world)
    assert {f"f{n}": b"%d" % n for n in range(9)} == shown(world)


# Drop


def test_a_dropped_commit_takes_its_data_and_the_branch_goes_back(world: World) -> None:
    """
    Two commits; the newer is dropped, and another takes its place.
    """
    first = world.commit({"a": b"1"})
    second = world.commit({"a": b"2", "b": b"2"})

    with world.store.write() as txn:
        assert [second] == drop_commit(txn, second.ref)

    assert [first.id] == line(world)
    assert {"a": b"1"} == shown(world)
    assert not exists(world, second)
    assert first.id == world.commit({"c": b"3"}).parent


def test_every_branch_that_names_a_dropped_commit_goes_back(world: World) -> None:
    """
    Two branches have the same head.
    """
    first, second = (world.commit({"a": b"%d" % n}) for n in range(2))
    with world.store.write() as txn:
        create_branch(txn, second.repo, "release", head=second.id)
        drop_commit(txn, second.ref)

    assert [[first.id]] * 2 == [line(world, name=name) for name in ("master", "release")]


def test_a_branch_whose_only_commit_is_dropped_gets_an_empty_one(world: World) -> None:
    """
    The branch survives, with size 0; what is put next is its first data.
    """
    only = world.commit({"a": b"1"})
    with world.store.write() as txn:
        drop_set(txn, only.id)

    (head,) = line(world)
    assert head != only.id
    assert {} == shown(world)
    world.commit({"b": b"2"})
    with world.store.read() as txn:
        assert {"b": b"2"} == world.files(resolve(txn, RepoName("images"), "master/0").root)


def test_a_commit_with_a_child_is_not_dropped(world: World) -> None:
    """
    Finished or open.
    """
    first = world.commit({"a": b"1"})
    with world.store.write() as txn:
        opened = start_commit(txn, first.repo, "master")

    with pytest.raises(CommitInUseError, match=opened.id.hex()), world.store.write() as txn:
        drop_commit(txn, first.ref)
    with world.store.write() as txn:
        drop_commit(txn, opened.ref)
    assert [first.id] == line(world)
    world.commit({"b": b"2"})
    with pytest.raises(CommitInUseError), world.store.write() as txn:
        drop_commit(txn, first.ref)


def test_a_set_is_dropped_in_all_repos_at_once(world: World) -> None:
    """
    a → b; both go back.
    """
    world.repo("a")
    made_from(world, "b", "a")
    old, new = (world.commit({"x": b"%d" % n}, repo="a") for n in range(2))

    with world.store.write() as txn:
        gone = drop_set(txn, new.id)

    assert {"a", "b"} == {each.repo for each in gone}
    assert [old.id, old.id] == [line(world, repo)[0] for repo in "ab"]
    assert {"x": b"0"} == shown(world, "a")


def test_a_set_that_was_used_for_a_later_one_is_not_dropped(world: World) -> None:
    """
    a and b → c: the newest c was made from the commit of a.
    """
    world.repo("a")
    world.repo("b")
    made_from(world, "c", "a", "b")
    used = world.commit({"x": b"1"}, repo="a")
    later = world.commit({"y": b"1"}, repo="b")

    with pytest.raises(CommitInUseError), world.store.write() as txn:
        drop_set(txn, used.id)
    with world.store.write() as txn:
        drop_set(txn, later.id)
        drop_set(txn, used.id)
    assert {} == shown(world, "a")


def test_one_commit_is_dropped_with_what_was_made_of_it_only_recursively(world: World) -> None:
    """
    a → b → c; the newest commit of a.
    """
    world.repo("a")
    made_from(world, "b", "a")
    made_from(world, "c", "b")
    newest = world.commit({"x": b"1"}, repo="a")

    with pytest.raises(CommitInUseError, match="--recursive"), world.store.write() as txn:
        drop_commit(txn, newest.ref)
    with world.store.write() as txn:
        gone = drop_commit(txn, newest.ref, recursive=True)

    assert {"a", "b", "c"} == {each.repo for each in gone}


def test_dropping_a_rewind_undoes_it(world: World) -> None:
    """
    a → b; a was moved back, which made a new commit of b.
    """
    world.repo("a")
    made_from(world, "b", "a")
    old, new = (world.commit({"x": b"%d" % n}, repo="a") for n in range(2))
    with world.store.write() as txn:
        change = set_head(txn, ref("a"), old.id).moved
        assert change is not None
    with world.store.write() as txn:
        drop_set(txn, change)

    assert [new.id, new.id] == [line(world, repo)[0] for repo in "ab"]
    with world.store.read() as txn:
        assert [] == list(txn.scan(Table.MOVES, change))


def test_open_commits_of_a_set_are_dropped_too(world: World) -> None:
    """
    One of two commits of a change is still open.
    """
    change = new_commit_id()
    for name in "ab":
        world.repo(name)
    done = world.tree({"x": b"1"})
    with world.store.write() as txn:
        first = start_commit(txn, RepoName("a"), "master", commit_id=change)
        start_commit(txn, RepoName("b"), "master", commit_id=change)
        finish_commit(txn, first.ref, done)

    with world.store.write() as txn:
        drop_set(txn, change)

    with world.store.read() as txn:
        assert [None, None] == [branch(txn, RepoName(name), "master").open for name in "ab"]
        assert [] == commits_of_set(txn, change)


@pytest.mark.parametrize("operation", [squash_set, drop_set])
def test_a_set_that_does_not_exist_is_named(world: World, operation: type) -> None:
    """
    No commit has the id.
    """
    with pytest.raises(CommitSetNotFoundError, match="commit set not found"), world.store.write() as txn:
        operation(txn, new_commit_id())


def test_a_refused_removal_changes_nothing(world: World) -> None:
    """
    The refusal is for the second of two repos.
    """
    world.repo("a")
    made_from(world, "b", "a")
    made_from(world, "c", "b")
    old = world.commit({"x": b"1"}, repo="a")
    world.commit({"x": b"2"}, repo="a")
    with world.store.write() as txn:
        make_branch(txn, BranchRef(RepoName("c"), ref("c", "kept").branch), head=old.id)
    with world.store.read() as txn:
        before = {table: list(txn.scan(table)) for table in (Table.COMMITS, Table.BRANCHES, Table.CHILDREN)}

    with pytest.raises(CommitInUseError), world.store.write() as txn:
        squash_set(txn, old.id)

    with world.store.read() as txn:
        assert before == {table: list(txn.scan(table)) for table in before}


# Forget


def outputs(world: World, count: int) -> list[Commit]:
    """Commits of an output repo, each made from one of the repo source."""
    return [
        world.output(
            {"f": b"%d" % n * 4000}, (world.commit({"s": b"%d" % n}, repo="source").ref,), repo="out-put"
        )
        for n in range(count)
    ]


def test_a_forgotten_commit_keeps_what_it_was_made_from_and_loses_its_content(world: World) -> None:
    """
    The older one of two outputs.
    """
    old, new = outputs(world, 2)

    with world.store.write() as txn:
        forgotten = forget_commit(txn, old.ref)
        assert forgotten == forget_commit(txn, old.ref)

    assert (None, True, old.provenance) == (forgotten.root, forgotten.forgotten, forgotten.provenance)
    assert [new.id, old.id] == line(world, "out-put")
    assert {"f": b"1" * 4000} == shown(world, "out-put")


def test_what_people_put_and_what_a_branch_shows_is_not_forgotten(world: World) -> None:
    """
    An input; a head; the newest good commit under a head with an error; an open commit.
    """
    old, shown_one = outputs(world, 2)
    source = world.commit({"s": b"9"}, repo="source")
    head = world.output({}, (source.ref,), repo="out-put", error="broken")
    with world.store.write() as txn:
        opened = start_commit(txn, old.repo, "master", origin=Origin.AUTO, provenance=[source.ref])

    for each in (source, shown_one, head, opened):
        with pytest.raises(CommitInUseError), world.store.write() as txn:
            forget_commit(txn, each.ref)
    with world.store.write() as txn:
        forget_commit(txn, old.ref)


def test_a_commit_whose_child_is_open_is_not_forgotten(world: World) -> None:
    """
    The branch with the open child was moved away by hand from where it would show the commit.
    """
    old, _ = outputs(world, 2)
    with world.store.write() as txn:
        create_branch(txn, old.repo, "dev", head=old.id)
        start_commit(txn, old.repo, "dev", origin=Origin.AUTO)

    with pytest.raises(CommitInUseError), world.store.write() as txn:
        forget_commit(txn, old.ref)


def test_no_branch_falls_back_or_moves_to_a_forgotten_commit(world: World) -> None:
    """
    The middle one of three outputs is forgotten, the newest dropped.
    """
    first, middle, last = outputs(world, 3)
    with world.store.write() as txn:
        forget_commit(txn, middle.ref)

    with pytest.raises(HeadOfOtherRepoError, match="forgotten"), world.store.write() as txn:
        set_head(txn, ref("out-put"), middle.id)
    with world.store.write() as txn:
        drop_commit(txn, last.ref)

    assert {"f": b"0" * 4000} == shown(world, "out-put")
    assert [first.id] == line(world, "out-put")


# Children


def test_children_are_found_in_a_store_that_has_no_table_of_them(world: World) -> None:
    """
    As an earlier version left it; the first removal completes the table.
    """
    made = [world.commit({"n": b"%d" % n}) for n in range(4)]
    with world.store.write() as txn:
        txn.delete(Table.META, b"children")
        for key, _ in list(txn.scan(Table.CHILDREN)):
            txn.delete(Table.CHILDREN, key)
    with world.store.read() as txn:
        assert [made[1].id] == children_of(txn, made[0].ref)
        assert not has_complete_children(txn)

    with world.store.write() as txn:
        squash_commit(txn, made[1].ref)

    with world.store.read() as txn:
        assert has_complete_children(txn)
        assert [made[2].id] == children_of(txn, made[0].ref)
        assert [made[3].id, made[2].id, made[0].id] == [
            c.id for c in ancestors(txn, commit(txn, made[3].repo, made[3].id))
        ]


def test_taking_one_commit_away_costs_what_it_changes(world: World) -> None:
    """
    Squash and drop in a line of 1,000 commits read a handful of records.
    """
    tree = world.tree({"a": b"1"})
    made: list[Commit] = []
    with world.store.write() as txn:
        create_repo(txn, "images")
        for _ in range(1000):
            made.append(start_commit(txn, RepoName("images"), "master"))
            finish_commit(txn, made[-1].ref, tree)

    with world.store.write() as txn:
        read = _count_reads(txn)
        squash_commit(txn, made[500].ref)
        drop_commit(txn, made[-1].ref)

    assert sum(read.values()) < 40


def test_a_commit_and_the_names_of_others_cost_what_they_touch_however_long_the_history(world: World) -> None:
    """
    a → b with 1,000 commits each: one more, and the alias of an old one, read a handful of records.
    """
    tree = world.tree({"a": b"1"})
    world.repo("a")
    world.repo("x")
    made_from(world, "b", "a", "x")
    made: list[Commit] = []
    with world.store.write() as txn:
        for _ in range(1000):
            made.append(start_commit(txn, RepoName("a"), "master"))
            finish_commit(txn, made[-1].ref, tree)
    change = world.commit({"y": b"1"}, repo="x").id

    with world.store.write() as txn:
        read = _count_reads(txn)
        finish_commit(txn, start_commit(txn, RepoName("a"), "master").ref, tree)
        assert made[-1].id == resolve(txn, RepoName("a"), change.hex()).id
        set_head(txn, ref("a"), made[500].id)

    assert sum(read.values()) < 80


def _count_reads(txn: object) -> dict[str, int]:
    """Count the records that a transaction reads from here on."""
    counts = {"get": 0, "scan": 0}
    get, scan = txn.get, txn.scan  # type: ignore[attr-defined]

    def counted_get(*arguments: object) -> object:
        counts["get"] += 1
        return get(*arguments)

    def counted_scan(*arguments: object, **more: object) -> object:
        for pair in scan(*arguments, **more):
            counts["scan"] += 1
            yield pair

    txn.get, txn.scan = counted_get, counted_scan  # type: ignore[attr-defined]
    return counts


def test_a_commit_that_is_gone_is_not_found(world: World) -> None:
    """
    Each operation on one commit says so.
    """
    world.repo("images")
    nobody = CommitRef(RepoName("images"), new_commit_id())

    for operation in (squash_commit, drop_commit, forget_commit):
        with pytest.raises(NotFoundError), world.store.write() as txn:
            operation(txn, nobody)
