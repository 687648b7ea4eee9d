"""Merging branches: what they have in common, what is written, and who may be merged into."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pfsfuse.errors import ConflictError, InvalidNameError
from pfsfuse.ids import BranchName, CommitId, RepoName
from pfsfuse.store.index import ReadTxn, Table
from pfsfuse.trees.entry import Entry
from pfsfuse.trees.merge import Side
from pfsfuse.trees.tree import Changes, Trees
from pfsfuse.versions.branches import branch, create_branch, move_head
from pfsfuse.versions.commits import (
    BranchHasOpenCommitError,
    CommitNotFoundError,
    OutputBranchError,
    commit,
    finish_commit,
    start_commit,
)
from pfsfuse.versions.merging import MergeConflictError, common_ancestors, merge_branch, plan_merge
from pfsfuse.versions.model import Commit, Trigger
from pfsfuse.versions.removal import drop_commit
from pfsfuse.versions.triggers import set_trigger
from pfsfuse.versions.wiring import make_branch
from tests.support.builders import World, ref

REPO = RepoName("images")


class CountingTxn(ReadTxn):
    """A view of all tables that counts how often it was looked into."""

    def __init__(self, txn: ReadTxn) -> None:
        self._inner = txn
        self.looked = 0

    def get(self, table: Table, key: bytes) -> bytes | None:
        self.looked += 1
        return self._inner.get(table, key)


class OvertakenTrees(Trees):
    """Trees during whose first update somebody else does something."""

    def __init__(self, world: World, meanwhile: Callable[[], object]) -> None:
        super().__init__(world.store.chunks)
        self._meanwhile: Callable[[], object] | None = meanwhile

    def update(self, directory: Entry, changes: Changes) -> Entry:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return super().update(directory, changes)


class Lines:
    """The branches `master` and `dev` of a repo, which begin at one commit."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.first = world.commit({"a": b"1", "b": b"1", "d/c": b"1"})
        self.fork("dev", self.first.id)

    def fork(self, name: str, at: CommitId) -> None:
        with self.world.store.write() as txn:
            create_branch(txn, REPO, name, head=at)

    def commit(self, branch_name: str, **files: bytes) -> Commit:
        return self.world.commit(files, branch=branch_name)

    def merge(self, source: str = "dev", into: str = "master", favour: Side | None = None) -> Commit | None:
        world = self.world
        return merge_branch(world.store, world.trees, REPO, source, ref(branch=into), favour=favour)

    def made(self, source: str = "dev", into: str = "master", favour: Side | None = None) -> Commit:
        """Merge, with something to merge."""
        found = self.merge(source, into, favour)
        assert found is not None
        return found

    def ancestors(self, one: Commit, other: Commit) -> list[Commit]:
        with self.world.store.read() as txn:
            return common_ancestors(txn, one, other)

    def head(self, name: str) -> Commit:
        with self.world.store.read() as txn:
            found = branch(txn, REPO, name).head
            assert found is not None
            return commit(txn, REPO, found)


@pytest.fixture
def lines(world: World) -> Lines:
    return Lines(world)


# What is written


def test_a_merge_is_a_commit_on_the_target(lines: Lines) -> None:
    """
    Each branch has a commit of its own; the source stays as it is.
    """
    ours, theirs = lines.commit("master", a=b"2"), lines.commit("dev", b=b"2")

    made = lines.made()

    assert (ours.id, theirs.id, "master") == (made.parent, made.merged, made.branch)
    assert {"a": b"2", "b": b"2", "d/c": b"1"} == lines.world.files(made.root)
    assert [made.id, theirs.id] == [lines.head(name).id for name in ("master", "dev")]
    assert "Merge dev" == made.description


def test_a_target_that_has_nothing_of_its_own_gets_a_commit_too(lines: Lines) -> None:
    """
    It could be moved instead; then nobody would see that something was merged.
    """
    theirs = lines.commit("dev", b=b"2")

    made = lines.made()

    assert (lines.first.id, theirs.id) == (made.parent, made.merged)
    assert theirs.root == made.root


def test_what_is_there_already_is_not_merged_again(lines: Lines) -> None:
    """
    Nothing was committed on the source since, or the source is behind.
    """
    assert lines.merge() is None
    lines.commit("master", a=b"2")
    assert lines.merge() is None
    lines.commit("dev", b=b"2")
    lines.made()
    assert lines.merge() is None


def test_a_second_merge_starts_from_the_first(lines: Lines) -> None:
    """
    A conflict that was decided does not come again, and each merge looks at what is new.
    """
    lines.commit("master", a=b"2")
    lines.commit("dev", a=b"3")
    assert b"3" == lines.world.files(lines.made(favour=Side.THEIRS).root)["a"]
    lines.commit("master", a=b"4")
    lines.commit("dev", b=b"4")

    made = lines.made()

    assert {"a": b"4", "b": b"4", "d/c": b"1"} == lines.world.files(made.root)


def test_branches_can_be_merged_to_and_fro(lines: Lines) -> None:
    """
    First into master, then back into dev, which has everything then.
    """
    lines.commit("master", a=b"2")
    lines.commit("dev", b=b"2")
    lines.made("dev", "master")

    back = lines.made("master", "dev")

    assert back.root == lines.head("master").root
    assert lines.merge("master", "dev") is None


def test_a_commit_can_be_merged_by_its_name(lines: Lines) -> None:
    """
    An older one than the head of its branch.
    """
    lines.commit("dev", b=b"2")
    lines.commit("dev", b=b"3")

    made = lines.made("dev^")

    assert b"2" == lines.world.files(made.root)["b"]


def test_branches_without_a_common_commit_are_put_together(lines: Lines) -> None:
    """
    Another branch was begun from nothing, and one has no commit at all.
    """
    lines.commit("other", x=b"1", a=b"1")
    with lines.world.store.write() as txn:
        create_branch(txn, REPO, "empty")

    assert {"a": b"1", "b": b"1", "d/c": b"1", "x": b"1"} == lines.world.files(lines.made("other").root)
    assert {"x": b"1", "a": b"1"} == lines.world.files(lines.made("other", "empty").root)


def test_a_commit_with_an_error_is_left_out(lines: Lines) -> None:
    """
    The newest commit of the source has one: what was good before is merged.
    """
    good = lines.commit("dev", b=b"2")
    with lines.world.store.write() as txn:
        started = start_commit(txn, REPO, "dev")
        finish_commit(txn, started.ref, lines.world.tree({"bad": b"1"}), error="bad")

    made = lines.made()

    assert good.id == made.merged
    assert "bad" not in lines.world.files(made.root)


def test_a_merge_fires_triggers_and_reaches_what_is_made_from_the_target(lines: Lines) -> None:
    """
    It is a commit like any other.
    """
    lines.world.repo("output")
    with lines.world.store.write() as txn:
        create_branch(txn, REPO, "release")
        trigger = Trigger(BranchName("master"), commits=1)
        set_trigger(txn, ref(branch="release"), trigger, now_ns=1)
        make_branch(txn, ref("output"), provenance=[ref()])
    lines.commit("dev", b=b"2")

    made = lines.made()

    with lines.world.store.read() as txn:
        assert made.id == branch(txn, REPO, "release").head
        assert made.id == branch(txn, RepoName("output"), "master").head


# Conflicts


def test_a_conflict_is_listed_and_nothing_is_written(lines: Lines) -> None:
    """
    One file was changed on both sides.
    """
    ours, _ = lines.commit("master", a=b"2"), lines.commit("dev", a=b"3")

    with pytest.raises(MergeConflictError, match="/a: changed in both") as caught:
        lines.merge()

    assert [(b"a",)] == [each.path for each in caught.value.conflicts]
    assert ours.id == lines.head("master").id
    for favour, expected in ((Side.OURS, b"2"), (Side.THEIRS, b"3")):
        lines.fork(favour.value, ours.id)
        assert expected == lines.world.files(lines.made("dev", favour.value, favour).root)["a"]


def test_a_long_list_of_conflicts_is_cut_in_the_message(lines: Lines) -> None:
    """
    The error has all of them.
    """
    names = [f"f{number:03}" for number in range(100)]
    lines.commit("master", **dict.fromkeys(names, b"2"))
    lines.commit("dev", **dict.fromkeys(names, b"3"))

    with pytest.raises(MergeConflictError, match="and 80 more") as caught:
        lines.merge()

    assert 100 == len(caught.value.conflicts)


def test_a_plan_says_what_would_happen_and_writes_nothing(lines: Lines) -> None:
    """
    What a dry run shows.
    """
    lines.commit("master", a=b"2")
    theirs = lines.commit("dev", a=b"3", b=b"3")
    world = lines.world

    plan = plan_merge(world.store, world.trees, REPO, "dev", ref())

    assert (lines.first, theirs, False) == (plan.base, plan.source, plan.is_done)
    assert [(b"a",)] == [each.path for each in plan.merged.conflicts]
    assert {"a": b"2", "b": b"3", "d/c": b"1"} == world.files(plan.merged.root)


# Who may be merged into


def test_a_target_that_cannot_be_written_is_refused(lines: Lines) -> None:
    """
    It is of another repo, is made from others, has a commit open, or does not exist.
    """
    world = lines.world
    world.repo("other")
    lines.commit("dev", b=b"2")
    with world.store.write() as txn:
        make_branch(txn, ref(branch="made"), provenance=[ref()])
        create_branch(txn, REPO, "busy")
        start_commit(txn, REPO, "busy")

    with pytest.raises(InvalidNameError, match="two repos"):
        merge_branch(world.store, world.trees, REPO, "dev", ref("other"))
    with pytest.raises(OutputBranchError):
        lines.merge(into="made")
    with pytest.raises(BranchHasOpenCommitError):
        lines.merge(into="busy")
    with pytest.raises(ConflictError, match="is open"):
        lines.merge(source=_open_id(lines))
    with pytest.raises(CommitNotFoundError):
        lines.merge(source="busy")


def _open_id(lines: Lines) -> str:
    with lines.world.store.read() as txn:
        opened = branch(txn, REPO, "busy").open
    assert opened is not None
    return opened.hex()


def test_a_target_that_moves_meanwhile_is_merged_anew(lines: Lines) -> None:
    """
    Somebody commits between the plan and the writing of it.
    """
    lines.commit("dev", b=b"2")
    world = lines.world

    late: list[Commit] = []
    trees = OvertakenTrees(world, lambda: late.append(lines.commit("master", a=b"9")))

    made = merge_branch(world.store, trees, REPO, "dev", ref())

    assert made is not None
    assert [made.parent] == [each.id for each in late]
    assert {"a": b"9", "b": b"2", "d/c": b"1"} == world.files(made.root)


# What two branches have in common


def test_the_nearest_common_ancestor_is_found_by_parents_and_merges(lines: Lines) -> None:
    """
    The fork at first; after a merge, what was merged.
    """
    ours, theirs = lines.commit("master", a=b"2"), lines.commit("dev", b=b"2")
    assert [lines.first] == lines.ancestors(ours, theirs)

    merged = lines.made()
    later = lines.commit("dev", b=b"3")

    assert [theirs] == lines.ancestors(merged, later)
    assert [theirs] == lines.ancestors(later, merged)
    assert [merged] == lines.ancestors(merged, merged)


def test_where_histories_cross_all_nearest_ancestors_must_agree(lines: Lines) -> None:
    """
    Each branch was merged into the other from before the other merge; then one side takes a change back.
    """
    ours, theirs = lines.commit("master", a=b"2"), lines.commit("dev", b=b"2")
    lines.fork("copy", ours.id)
    into_master, into_dev = lines.made("dev", "master"), lines.made("copy", "dev")
    assert [theirs, ours] == lines.ancestors(into_master, into_dev)

    lines.commit("dev", a=b"1", new=b"1")

    with pytest.raises(MergeConflictError) as caught:
        lines.merge()
    assert [(b"a",)] == [each.path for each in caught.value.conflicts]
    made = lines.made(favour=Side.THEIRS)
    assert {"a": b"1", "b": b"2", "d/c": b"1", "new": b"1"} == lines.world.files(made.root)


def test_a_long_history_before_the_fork_is_not_looked_at(world: World) -> None:
    """
    Sixty commits, then a fork: only what was committed since is read.
    """
    made = [world.commit({"a": b"%d" % number}) for number in range(60)]
    with world.store.write() as txn:
        create_branch(txn, REPO, "dev", head=made[-1].id)
    theirs = world.commit({"b": b"1"}, branch="dev")
    ours = world.commit({"c": b"1"})

    with world.store.read() as txn:
        counting = CountingTxn(txn)
        assert made[-1:] == common_ancestors(counting, ours, theirs)

    assert counting.looked <= 10


def test_a_merged_commit_that_was_taken_away_is_no_obstacle(lines: Lines) -> None:
    """
    The branch that was merged is moved back and what it had is dropped.
    """
    theirs = lines.commit("dev", b=b"2")
    merged = lines.made()
    with lines.world.store.write() as txn:
        move_head(txn, ref(branch="dev"), lines.first.id, expected=theirs.id)
        drop_commit(txn, theirs.ref)
    later = lines.commit("dev", a=b"5")

    assert [lines.first] == lines.ancestors(merged, later)
    assert {"a": b"5", "b": b"2", "d/c": b"1"} == lines.world.files(lines.made().root)
