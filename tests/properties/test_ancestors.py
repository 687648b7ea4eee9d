"""The nearest common ancestors of commits, in histories with merges, against sets of all ancestors."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from pfsfuse.ids import RepoName
from pfsfuse.store.index import ReadTxn
from pfsfuse.versions.branches import create_branch, find_branch
from pfsfuse.versions.commits import finish_commit, start_commit
from pfsfuse.versions.merging import common_ancestors, parents_of
from pfsfuse.versions.model import Commit
from pfsfuse.versions.repos import create_repo
from tests.support.builders import World, checked_world

REPO = RepoName("r")
LINES = ["a", "b", "c"]

steps = st.lists(
    st.tuples(st.sampled_from(["commit", "merge", "fork"]), st.integers(0, 2), st.integers(0, 2)), max_size=20
)


def history(world: World, wanted: list[tuple[str, int, int]]) -> list[Commit]:
    """Make commits, merges, and branches that begin where others are; return the commits."""
    made: list[Commit] = []
    root = world.trees.empty_directory()
    with world.store.write() as txn:
        create_repo(txn, REPO)
        for what, to, source in wanted:
            other = find_branch(txn, REPO, LINES[source])
            head = other.head if other is not None else None
            if what == "fork":
                if find_branch(txn, REPO, LINES[to]) is None and head is not None:
                    create_branch(txn, REPO, LINES[to], head=head)
                continue
            started = start_commit(txn, REPO, LINES[to], merged=head if what == "merge" else None)
            made.append(finish_commit(txn, started.ref, root))
    return made


def all_ancestors(txn: ReadTxn, start: Commit) -> set[bytes]:
    """Return a commit and everything before it."""
    found: set[bytes] = set()
    pending = [start]
    while pending:
        each = pending.pop()
        if each.id not in found:
            found.add(each.id)
            pending += parents_of(txn, each)
    return found


@settings(max_examples=60)
@given(wanted=steps, data=st.data())
def test_the_nearest_ancestors_are_the_common_ones_that_no_other_follows_from(
    wanted: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    """
    Any two commits of any history.
    """
    with TemporaryDirectory() as folder, checked_world(Path(folder) / "store") as world:
        made = history(world, wanted)
        if not made:
            return
        one, other = data.draw(st.sampled_from(made)), data.draw(st.sampled_from(made))
        with world.store.read() as txn:
            before = {each.id: all_ancestors(txn, each) for each in made}
            common = before[one.id] & before[other.id]
            nearest = {c for c in common if not any(c in before[d] - {d} for d in common)}
            found = common_ancestors(txn, one, other)

        assert nearest == {each.id for each in found}
        assert sorted(found, key=lambda each: each.finished_ns or 0, reverse=True) == found
