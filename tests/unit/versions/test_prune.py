"""prune takes away what a policy does not keep, and nothing that somebody needs."""

from __future__ import annotations

from datetime import UTC

import msgspec
import pytest

from pfsfuse.errors import InvalidNameError
from pfsfuse.ids import RepoName
from pfsfuse.store.index import WriteTxn
from pfsfuse.versions.branches import create_branch
from pfsfuse.versions.commits import start_commit
from pfsfuse.versions.gc import collect_garbage
from pfsfuse.versions.model import Commit, CommitRef
from pfsfuse.versions.prune import Verdict, plan, prune
from pfsfuse.versions.records import replace_commit
from pfsfuse.versions.removal import squash_commit
from pfsfuse.versions.retention import Policy, Rule, parse_span
from tests.support.builders import World

IMAGES = RepoName("images")
LAST_TWO = Policy({Rule.LAST: 2})


def squash(txn: WriteTxn, ref: CommitRef, recursive: bool) -> None:
    squash_commit(txn, ref, recursive=recursive)


def verdicts(world: World, policy: Policy = LAST_TWO, *, recursive: bool = False) -> list[Verdict]:
    with world.store.read() as txn:
        return plan(txn, IMAGES, policy, recursive=recursive, zone=UTC)


def run(world: World, policy: Policy = LAST_TWO, *, recursive: bool = False) -> list[CommitRef]:
    gone, refused = prune(world.store, verdicts(world, policy, recursive=recursive), squash)
    assert [] == refused
    return gone


def five(world: World) -> list[Commit]:
    """Five commits, oldest first, each with a file of its own."""
    return [world.commit({f"f{n}": b"%d" % n * 2000}) for n in range(5)]


def test_prune_keeps_what_the_policy_keeps_and_the_content_of_it(world: World) -> None:
    """
    Five commits, of which the last two are kept.
    """
    made = five(world)

    gone = run(world)

    assert {each.ref for each in made[:3]} == set(gone)
    assert {f"f{n}": b"%d" % n * 2000 for n in range(5)} == world.files(world.head().root)
    with world.store.read() as txn:
        left = [verdict.commit for verdict in plan(txn, IMAGES, LAST_TWO)]
    assert [made[4].id, made[3].id] == [each.id for each in left]
    assert {f"f{n}": b"%d" % n * 2000 for n in range(4)} == world.files(left[1].root)


def test_a_plan_says_why_each_commit_stays(world: World) -> None:
    """
    Several rules, and the head, keep the newest.
    """
    five(world)

    found = verdicts(world, Policy({Rule.LAST: 1, Rule.YEARLY: 1}, within_ns=0))

    assert [["last", "yearly", "within"], [], [], [], []] == [each.keeps for each in found]
    assert all(each.branches == ["master"] for each in found)


def test_days_are_told_from_each_other_by_the_time_of_the_finish(world: World) -> None:
    """
    Two commits on each of three days; one of each day is kept.
    """
    made = [world.commit({"f": b"%d" % n}) for n in range(6)]
    day = 86_400 * 10**9
    with world.store.write() as txn:
        for number, each in enumerate(made):
            old = each
            parent = made[number - 1].id if number else None
            replace_commit(
                txn, old, msgspec.structs.replace(old, parent=parent, finished_ns=(number // 2) * day + 1)
            )

    gone = run(world, Policy({Rule.DAILY: 3}))

    assert {made[n].ref for n in (0, 2, 4)} == set(gone)


def test_what_gc_frees_after_a_prune_is_what_only_the_squashed_ones_had(world: World) -> None:
    """
    Every commit replaces the one file.
    """
    for number in range(4):
        world.commit({"f": b"%d" % number * 2000})
    run(world, Policy({Rule.LAST: 1}))
    world.store.rest()

    report = collect_garbage(world.store, threshold=0.0)

    assert report.removed_objects >= 3
    assert {"f": b"3" * 2000} == world.files(world.head().root)


def test_a_commit_that_another_branch_names_stays(world: World) -> None:
    """
    `stable` names the oldest commit of master.
    """
    made = five(world)
    with world.store.write() as txn:
        create_branch(txn, IMAGES, "stable", head=made[0].id)

    gone = run(world)

    assert {made[1].ref, made[2].ref} == set(gone)
    kept = {verdict.commit.id: verdict.keeps for verdict in verdicts(world, Policy({Rule.LAST: 1}))}
    assert ["last"] == kept[made[0].id]


def test_the_parent_of_an_open_commit_stays(world: World) -> None:
    """
    The head of one branch is the parent of another's open commit.
    """
    made = five(world)
    with world.store.write() as txn:
        line = create_branch(txn, IMAGES, "next", head=made[1].id)
        start_commit(txn, IMAGES, line.name)

    assert made[1].ref not in run(world)


def test_a_commit_that_others_were_made_from_stays(world: World) -> None:
    """
    An output was made from the first commit; without the output it could go.
    """
    made = five(world)
    world.output({"o": b"1"}, (made[0].ref,), repo="sum")

    gone = run(world)

    assert {made[1].ref, made[2].ref} == set(gone)
    (first,) = [each for each in verdicts(world) if each.commit.id == made[0].id]
    assert "was made from it" in first.keeps[0]


def test_a_whole_chain_goes_if_nothing_of_it_is_needed(world: World) -> None:
    """
    The output of the first commit has been followed by that of the second, which is a head.
    """
    made = five(world)
    old = world.output({"o": b"1"}, (made[0].ref,), repo="sum")
    world.output({"o": b"2"}, (made[1].ref,), repo="sum")

    gone = run(world, recursive=True)

    assert {made[0].ref, old.ref, made[2].ref} == set(gone)
    assert {"o": b"2"} == world.files(world.head("sum").root)


def test_an_errored_commit_takes_no_place_in_a_rule(world: World) -> None:
    """
    The newest of an output branch failed: the last good one is what the mount shows.
    """
    good = [world.output({"o": b"%d" % n}, repo="images") for n in range(3)]
    bad = world.output({}, repo="images", error="the command failed")

    found = {each.commit.id: each.keeps for each in verdicts(world, Policy({Rule.LAST: 1}))}

    assert (["head of master"], ["last"], [], []) == (
        found[bad.id],
        found[good[2].id],
        found[good[1].id],
        found[good[0].id],
    )


def test_what_came_to_be_used_after_the_plan_stays(world: World) -> None:
    """
    Between the plan and its execution an output is made from one of the commits.
    """
    made = five(world)
    planned = verdicts(world)
    world.output({"o": b"1"}, (made[0].ref,), repo="sum")

    gone, refused = prune(world.store, planned, squash)

    assert {made[1].ref, made[2].ref} == set(gone)
    assert 1 == len(refused)


def test_a_policy_that_says_nothing_is_refused(world: World) -> None:
    """
    It would take away all that can be.
    """
    five(world)

    with pytest.raises(InvalidNameError, match="say what to keep"):
        verdicts(world, Policy({Rule.LAST: 0}))


@pytest.mark.parametrize(
    ("text", "hours"), [("30d", 720), ("1y6m", 365 * 24 + 180 * 24), ("12h", 12), ("2w1d", 360)]
)
def test_spans_are_read(text: str, hours: int) -> None:
    """
    A year has 365 days, a month 30.
    """
    assert hours * 3600 * 10**9 == parse_span(text)


@pytest.mark.parametrize("text", ["", "30", "d", "1d1y", "-1d", "1 d"])
def test_what_is_no_span_is_refused(text: str) -> None:
    """
    Units go from the largest to the smallest.
    """
    with pytest.raises(InvalidNameError, match="span of time"):
        parse_span(text)
