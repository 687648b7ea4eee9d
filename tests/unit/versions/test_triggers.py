"""Triggers: which commit of a source moves which branch, and which triggers cannot be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from pfsfuse.errors import ConflictError, InvalidNameError
from pfsfuse.ids import BranchName, CommitId
from pfsfuse.store.index import Table, WriteTxn
from pfsfuse.versions.branches import (
    BranchInUseError,
    branch,
    create_branch,
    delete_branch,
    find_branch,
    move_head,
    set_provenance,
)
from pfsfuse.versions.commits import finish_commit, start_commit
from pfsfuse.versions.model import Branch, Commit, Trigger, branch_key, encode
from pfsfuse.versions.moves import moves_of
from pfsfuse.versions.removal import drop_set
from pfsfuse.versions.triggers import InvalidTriggerError, set_trigger
from pfsfuse.versions.wiring import make_branch
from tests.support.builders import World, ref

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


class Repo:
    """A repo in which files of given sizes are committed to `staging` at given times."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.name = world.repo("images")
        self.size = 0
        self.now = START

    def trigger(self, name: str, source: str = "staging", **conditions: object) -> Branch:
        """Create a branch with a trigger."""
        with self.world.store.write() as txn:
            made = create_branch(txn, self.name, name, now_ns=self.now)
            trigger = Trigger(BranchName(source), **conditions)  # type: ignore[arg-type]
            return set_trigger(txn, made.ref, trigger, now_ns=self.now)

    def commit(self, size: int = 1, *, branch: str = "staging", error: str = "") -> Commit:
        """Add *size* bytes to what is there, as one commit."""
        self.size += size
        root = self.world.tree({"data": bytes(self.size)})
        with self.world.store.write() as txn:
            started = start_commit(txn, self.name, branch)
            return finish_commit(txn, started.ref, root, error=error, now_ns=self.now)

    def head(self, name: str = "master") -> CommitId | None:
        with self.world.store.read() as txn:
            return branch(txn, self.name, name).head

    def moved_by(self, commit: Commit) -> list[tuple[str, CommitId | None]]:
        """Return which branches a commit moved, and where they were before."""
        with self.world.store.read() as txn:
            return [(move.branch, move.before) for move in moves_of(txn, commit.id)]

    def fires(self, sizes: Sequence[int], *, name: str = "master") -> list[bool]:
        """Make commits of these sizes and say which of them moved the branch."""
        return [self.commit(size).id == self.head(name) for size in sizes]


@pytest.fixture
def repo(world: World) -> Repo:
    return Repo(world)


# When a branch moves


@pytest.mark.parametrize(
    ("commits", "expected"),
    [
        (1, [True, True, True, True]),
        (2, [False, True, False, True]),
        (3, [False, False, True, False]),
    ],
)
def test_a_branch_moves_when_its_source_is_so_many_commits_ahead(
    repo: Repo, commits: int, expected: list[bool]
) -> None:
    """
    Four commits, and triggers that wait for one, two and three.
    """
    repo.trigger("master", commits=commits)

    assert expected == repo.fires([1, 1, 1, 1])


def test_any_condition_suffices(repo: Repo) -> None:
    """
    100 bytes, three commits, or ten seconds, whatever comes first.
    """
    repo.trigger("master", rate_limit_spec="@every 10s", size="100", commits=3)

    assert [False, True, False, False, True, False] == repo.fires([1, 99, 1, 1, 1, 1])
    repo.now += 11 * SECOND
    assert [True] == repo.fires([1])


def test_with_all_the_conditions_hold_at_one_commit(repo: Repo) -> None:
    """
    Size, number and time are reached one after the other.
    """
    repo.trigger("master", rate_limit_spec="@every 10s", size="100", commits=3, all=True)

    assert [False, False, False] == repo.fires([100, 1, 1])
    repo.now += 11 * SECOND
    assert [True] == repo.fires([1])
    repo.now += 11 * SECOND
    assert [False, False] == repo.fires([200, 1])
    assert [True] == repo.fires([1])


def test_without_conditions_nothing_moves(repo: Repo) -> None:
    """
    None of no conditions holds.
    """
    repo.trigger("master")

    assert [False, False] == repo.fires([1, 1000])


def test_all_of_no_conditions_hold_always(repo: Repo) -> None:
    """
    The branch follows its source.
    """
    repo.trigger("master", all=True)

    assert [True, True] == repo.fires([1, 1])


def test_size_is_what_the_source_has_grown_by(repo: Repo) -> None:
    """
    Data that is taken away again does not count.
    """
    repo.trigger("master", size="1K")

    assert [False, False, False, True] == repo.fires([900, -800, 800, 100])


def test_triggers_make_chains(repo: Repo) -> None:
    """
    b follows a from 100 bytes on, c follows b from 200 on; d follows something else.
    """
    repo.trigger("b", "a", size="100")
    repo.trigger("c", "b", size="200")
    repo.trigger("d", "z", commits=1)

    moved = [repo.commit(50, branch="a") for _ in range(4)]

    names = [[name for name, _ in repo.moved_by(each)] for each in moved]
    assert [[], ["b"], [], ["b", "c"]] == names
    assert [moved[3].id, moved[3].id, None] == [repo.head(name) for name in "bcd"]


def test_a_moved_branch_has_the_very_commit(repo: Repo) -> None:
    """
    No new commit is made; the move says where the branch was before.
    """
    repo.trigger("master", commits=1)
    first = repo.commit()

    made = repo.commit()

    assert made.id == repo.head("master") == repo.head("staging")
    assert "staging" == made.branch
    assert [("master", first.id)] == repo.moved_by(made)


def test_a_branch_goes_back_when_the_commit_that_moved_it_is_dropped(repo: Repo) -> None:
    """
    To where it was, not to a commit of the source on which it never stood.
    """
    repo.trigger("master", commits=2)
    made = [repo.commit() for _ in range(4)]
    assert made[3].id == repo.head()

    with repo.world.store.write() as txn:
        drop_set(txn, made[3].id)

    assert [made[1].id, made[2].id] == [repo.head("master"), repo.head("staging")]
    assert [] == repo.moved_by(made[3])


def test_a_commit_that_was_propagated_fires_and_what_moves_is_propagated(repo: Repo) -> None:
    """
    A branch made from another repo is a source; something is made from the branch that follows it.
    """
    repo.world.repo("input")
    with repo.world.store.write() as txn:
        make_branch(txn, ref(branch="staging"), provenance=[ref("input")])
    repo.trigger("master", commits=1)
    repo.world.repo("output")
    with repo.world.store.write() as txn:
        make_branch(txn, ref("output"), provenance=[ref()])

    made = repo.world.commit({"a": b"1"}, repo="input")

    with repo.world.store.read() as txn:
        heads = [
            branch(txn, each.repo, each.branch).head for each in (ref(branch="staging"), ref(), ref("output"))
        ]
    assert [made.id] * 3 == [CommitId(head or b"") for head in heads]


def test_moving_the_source_fires_nothing(repo: Repo) -> None:
    """
    The head of the source is set by name; then a commit is finished on it.
    """
    repo.trigger("master", commits=1)
    other = repo.commit(branch="dev")
    with repo.world.store.write() as txn:
        move_head(txn, ref(branch="staging"), other.id, expected=None)

    assert repo.head("master") is None
    assert [True] == repo.fires([1])


def test_a_commit_with_an_error_fires_nothing(repo: Repo) -> None:
    """
    The bad commit does not count either.
    """
    repo.trigger("master", commits=2)

    repo.commit()
    repo.commit(error="sensor broken")
    assert repo.head() is None
    assert [True] == repo.fires([1])


def test_a_branch_with_an_open_commit_stays(repo: Repo) -> None:
    """
    Somebody writes the branch that would move; when they are done, the next commit moves it.
    """
    repo.trigger("master", commits=1)
    with repo.world.store.write() as txn:
        opened = start_commit(txn, repo.name, "master")

    assert [False] == repo.fires([1])
    with repo.world.store.write() as txn:
        finish_commit(txn, opened.ref, repo.world.tree({"own": b"1"}))
    assert [True] == repo.fires([1])


# Which triggers cannot be


@pytest.mark.parametrize(
    "trigger",
    [
        Trigger(BranchName("")),
        Trigger(BranchName("master"), commits=1),
        Trigger(BranchName("staging"), size="much"),
        Trigger(BranchName("staging"), cron_spec="sometimes"),
        Trigger(BranchName("staging"), rate_limit_spec="@every day"),
        Trigger(BranchName("staging"), commits=-1),
        Trigger(BranchName("staging"), cron_spec="@daily", commits=1),
        Trigger(BranchName("a/b"), commits=1),
    ],
    ids=[
        "no source",
        "itself",
        "a size",
        "a schedule",
        "a rate limit",
        "a number",
        "cron and another",
        "a name",
    ],
)
def test_a_trigger_that_makes_no_sense_is_refused(repo: Repo, trigger: Trigger) -> None:
    """
    And the branch is as it was.
    """
    with repo.world.store.write() as txn:
        made = create_branch(txn, repo.name, "master")

    with pytest.raises(InvalidNameError), repo.world.store.write() as txn:
        set_trigger(txn, made.ref, trigger, now_ns=START)

    with repo.world.store.read() as txn:
        assert made == branch(txn, repo.name, "master")


def test_triggers_cannot_go_in_a_circle(repo: Repo) -> None:
    """
    b follows a, c follows b; a may not follow c.
    """
    repo.trigger("b", "a", commits=1)
    repo.trigger("c", "b", commits=1)

    for source in ("b", "c"):
        with pytest.raises(InvalidTriggerError), repo.world.store.write() as txn:
            set_trigger(txn, ref(branch="a"), Trigger(BranchName(source), commits=1), now_ns=START)


def test_a_branch_has_a_trigger_or_provenance(repo: Repo) -> None:
    """
    Whichever was there first, the other is refused.
    """
    repo.trigger("master", commits=1)
    with repo.world.store.write() as txn:
        create_branch(txn, repo.name, "made", provenance=[ref(branch="staging")])

    with pytest.raises(InvalidTriggerError), repo.world.store.write() as txn:
        set_trigger(txn, ref(branch="made"), Trigger(BranchName("staging"), commits=1), now_ns=START)
    with pytest.raises(ConflictError), repo.world.store.write() as txn:
        set_provenance(txn, ref(branch="master"), [ref(branch="made")])


def test_a_source_that_does_not_exist_is_made(repo: Repo) -> None:
    """
    It can be written at once.
    """
    repo.trigger("master", "incoming", commits=1)

    with repo.world.store.read() as txn:
        assert branch(txn, repo.name, "incoming").head is None


def test_a_source_is_deleted_by_force_only_and_its_trigger_goes(repo: Repo) -> None:
    """
    The branch that was triggered stays.
    """
    repo.trigger("master", commits=1)

    with pytest.raises(BranchInUseError, match="triggers images@master"), repo.world.store.write() as txn:
        delete_branch(txn, ref(branch="staging"))
    with repo.world.store.write() as txn:
        delete_branch(txn, ref(branch="staging"), force=True)

    with repo.world.store.read() as txn:
        assert branch(txn, repo.name, "master").trigger is None
        assert find_branch(txn, repo.name, "staging") is None


def test_a_trigger_can_be_taken_away(repo: Repo) -> None:
    """
    The branch stays where it is.
    """
    repo.trigger("master", commits=1)
    repo.commit()
    at = repo.head()
    with repo.world.store.write() as txn:
        set_trigger(txn, ref(), None, now_ns=START)

    assert [False] == repo.fires([1])
    assert at == repo.head()


# What fsck finds


def _put(txn: WriteTxn, line: Branch, **changes: object) -> None:
    txn.put(
        Table.BRANCHES, branch_key(line.repo, line.name), encode(msgspec.structs.replace(line, **changes))
    )


Break = Callable[[WriteTxn, Branch], object]

BROKEN: list[tuple[str, str, Break]] = [
    ("no source", "G1", lambda txn, line: txn.delete(Table.BRANCHES, b"images\0staging")),
    ("itself", "G2", lambda txn, line: _put(txn, line, trigger=Trigger(line.name))),
    (
        "a circle",
        "G2",
        lambda txn, line: _put(txn, branch(txn, line.repo, "staging"), trigger=Trigger(line.name)),
    ),
    ("a size", "G3", lambda txn, line: _put(txn, line, trigger=Trigger(BranchName("staging"), size="?"))),
    ("provenance", "G3", lambda txn, line: _put(txn, line, provenance=(ref(branch="staging"),))),
]


@pytest.mark.parametrize(("what", "invariant", "damage"), BROKEN, ids=[f"{i}: {w}" for w, i, _ in BROKEN])
def test_fsck_names_the_broken_trigger(repo: Repo, what: str, invariant: str, damage: Break) -> None:
    """
    One record is made wrong.
    """
    line = repo.trigger("master", commits=1)
    repo.world.is_damaged = True
    with repo.world.store.write() as txn:
        damage(txn, line)

    assert invariant in {problem.invariant for problem in repo.world.fsck()}
