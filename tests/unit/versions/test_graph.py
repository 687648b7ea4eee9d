"""Provenance between branches: who has to hear of a change, and what it gives them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from pfsfuse.errors import ConflictError
from pfsfuse.ids import CommitId, RepoName
from pfsfuse.store.store import Store
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.branches import (
    BranchExistsError,
    BranchInUseError,
    HeadOfOtherRepoError,
    ProvenanceLoopError,
    all_provenance,
    branch,
    create_branch,
    delete_branch,
    downstream,
    subvenance,
)
from pfsfuse.versions.commits import (
    CommitNotFoundError,
    OutputBranchError,
    list_commits,
    newest_data,
    newest_good,
    resolve,
    start_commit,
)
from pfsfuse.versions.model import Branch, BranchRef, Commit, Origin
from pfsfuse.versions.moves import last_move, moves_of
from pfsfuse.versions.propagation import propagate
from pfsfuse.versions.rebuild import rebuild_index
from pfsfuse.versions.sets import commit_set, commits_of_set
from pfsfuse.versions.wiring import MadeByPipelineError, change_provenance, make_branch, set_head
from tests.support.builders import World, ref


class Graph:
    """Repos with one branch each, drawn as text: `b: a, c` says that b is made from a and c."""

    def __init__(self, world: World) -> None:
        self.world = world

    def draw(self, lines: Sequence[str]) -> None:
        """Make the repos and branches, in this order."""
        for line in lines:
            name, _, sources = line.partition(":")
            self.world.repo(name)
            self.made_from(name, sources.replace(",", " ").split())

    def made_from(self, name: str, sources: Sequence[str], *, head: CommitId | None = None) -> Branch:
        with self.world.store.write() as txn:
            return make_branch(
                txn, ref(name), head=head, provenance=[ref(source) for source in sources] or None
            )

    def commit(self, name: str, data: bytes = b"data") -> CommitId:
        return self.world.commit({"file": data}, repo=name).id

    def head(self, name: str) -> Commit:
        with self.world.store.read() as txn:
            found = newest_good(txn, branch(txn, RepoName(name), "master"))
        assert found is not None
        return found

    def ids(self, name: str) -> list[CommitId]:
        """Return the ids of a branch's commits, newest first."""
        with self.world.store.read() as txn:
            return [c.id for c in list_commits(txn, RepoName(name), branch_name="master")]

    def named(self, name: str, text: str | CommitId) -> CommitId:
        with self.world.store.read() as txn:
            return resolve(txn, RepoName(name), text.hex() if isinstance(text, bytes) else text).id

    def in_set(self, change: CommitId) -> list[str]:
        with self.world.store.read() as txn:
            return [commit.repo for commit in commit_set(txn, change).commits]

    def members(self, change: CommitId) -> set[str]:
        with self.world.store.read() as txn:
            return {str(commit.repo) for commit in commits_of_set(txn, change)}


@pytest.fixture
def graph(world: World) -> Graph:
    return Graph(world)


# What a change reaches


def test_everything_downstream_of_a_change_has_its_id(graph: Graph) -> None:
    """
    a → b → c → d, and e → c; a commit to a, then one to e.
    """
    graph.draw(["a", "e", "b: a", "c: b, e", "d: c"])

    first = graph.commit("a")
    assert [first] * 3 == [graph.head(name).id for name in "bcd"]

    second = graph.commit("e")
    assert [first, second, second] == [graph.head(name).id for name in "bcd"]


def test_an_id_names_what_was_used_in_a_repo_that_the_change_did_not_touch(graph: Graph) -> None:
    """
    The same graph: b had no part in the commit to e, and c used the head that it had.
    """
    graph.draw(["a", "e", "b: a", "c: b, e", "d: c"])
    first = graph.commit("a")
    second = graph.commit("e")

    assert first == graph.named("b", second)
    assert first == graph.named("a", second)
    assert first == graph.named("b", second.hex()[:8])
    assert second == graph.named("d", f"master={second.hex()}")
    with pytest.raises(CommitNotFoundError):
        graph.named("e", f"dev={second.hex()}")


def test_the_set_of_a_change_has_what_it_used_and_inputs_stand_first(graph: Graph) -> None:
    """
    a and b → c; the set of a commit to a has three commits, one of them older.
    """
    graph.draw(["a", "b", "c: a, b"])
    used = graph.commit("b")
    change = graph.commit("a")

    assert used == graph.named("b", change)
    shown = graph.in_set(change)
    assert {"a", "b", "c"} == set(shown)
    assert "c" == shown[-1]
    assert {"a", "c"} == graph.members(change)


def test_an_id_means_nothing_in_a_repo_that_has_no_part_in_the_change(graph: Graph) -> None:
    """
    Two repos, neither made from the other.
    """
    graph.draw(["a", "b"])
    change = graph.commit("a")
    graph.commit("b")

    with pytest.raises(CommitNotFoundError):
        graph.named("b", change)
    with pytest.raises(CommitNotFoundError):
        graph.named("b", change.hex()[:8])


def test_a_propagated_commit_keeps_the_content_and_names_what_it_was_made_from(graph: Graph) -> None:
    """
    A branch with content of its own begins to be made from another.
    """
    graph.draw(["a", "b"])
    graph.commit("b", b"of b")
    graph.made_from("b", ["a"])

    change = graph.commit("a", b"of a")

    head = graph.head("b")
    assert {"file": b"of b"} == graph.world.files(head.root)
    assert (graph.head("a").ref,) == head.provenance
    assert (Origin.AUTO, change) == (head.origin, head.id)


def test_nobody_writes_a_propagated_branch(graph: Graph) -> None:
    """
    Neither people nor a pipeline: its commits come from the change.
    """
    graph.draw(["a", "b: a"])

    for origin in Origin:
        with pytest.raises(OutputBranchError), graph.world.store.write() as txn:
            start_commit(txn, RepoName("b"), "master", origin=origin)


def test_an_errored_commit_reaches_nobody(graph: Graph) -> None:
    """
    What is not to be used makes nothing new.
    """
    graph.draw(["a"])
    first = graph.world.output({"f": b"1"}, repo="a")
    graph.draw(["b: a"])
    before = graph.ids("b")

    graph.world.output({"f": b"2"}, repo="a", error="broken")

    assert before == graph.ids("b")
    assert (first.ref,) == graph.head("b").provenance


def test_several_operations_with_one_id_give_one_commit_downstream(graph: Graph) -> None:
    """
    Two inputs change in one transaction.
    """
    graph.draw(["a", "b", "c: a, b"])
    before = len(graph.ids("c"))
    first = graph.commit("a")
    late = graph.commit("b")

    with graph.world.store.write() as txn:
        propagate(txn, [ref("b")], late)

    assert [late, first] == graph.ids("c")[:2]
    assert before + 2 == len(graph.ids("c"))
    assert {graph.head("a").ref, graph.head("b").ref} == set(graph.head("c").provenance)


def test_two_branches_of_one_repo_take_two_ids(world: World) -> None:
    """
    A repo has one commit of each id, so the second branch that follows a change takes another.
    """
    world.repo("a")
    world.repo("b")
    with world.store.write() as txn:
        for name in ("one", "two"):
            make_branch(txn, ref("b", name), provenance=[ref("a")])
    change = world.commit({"f": b"1"}, repo="a").id

    with world.store.read() as txn:
        found = [newest_data(txn, branch(txn, RepoName("b"), name)) for name in ("one", "two")]

    assert 1 == [each.id for each in found if each is not None].count(change)
    assert 2 == len({each.id for each in found if each is not None})


def test_an_id_names_what_a_branch_that_it_moved_is_made_from(world: World) -> None:
    """
    One change wires two branches of a repo; the second has a commit of another id, made from d.
    """
    for name in "cd":
        world.repo(name)
    used = world.commit({"f": b"1"}, repo="d")
    with world.store.write() as txn:
        make_branch(txn, ref("c"), provenance=[ref("d"), ref("c", "dev")])
        change = branch(txn, RepoName("c"), "master").moved

    assert change is not None
    with world.store.read() as txn:
        assert used.id == resolve(txn, RepoName("d"), change.hex()).id
        assert used in commit_set(txn, change).commits


# Branches and what they are made from


def test_a_new_branch_with_provenance_has_an_empty_commit_at_once(graph: Graph) -> None:
    """
    b is made from a, which has nothing yet; then a gets one commit.
    """
    graph.draw(["a", "b: a"])

    first = graph.head("b")
    assert (True, 0) == (first.placeholder, first.root.files if first.root else None)
    assert first.id == graph.head("a").id

    graph.commit("a")
    assert 2 == len(graph.ids("b"))


def test_repos_that_are_wired_in_one_change_have_one_commit_each_all_with_its_id(world: World) -> None:
    """
    a → b → c → d and e → c are drawn at once.
    """
    change = CommitId(b"\x01" * 16)
    for name in "abcde":
        world.repo(name)

    with world.store.write() as txn:
        for name, sources in (("b", "a"), ("c", "be"), ("d", "c")):
            make_branch(txn, ref(name), provenance=[ref(each) for each in sources], change_id=change)

    with world.store.read() as txn:
        assert {"a", "b", "c", "d", "e"} == {c.repo for c in commits_of_set(txn, change)}
        assert [1] * 5 == [len(list_commits(txn, RepoName(name))) for name in "abcde"]


def test_backfill_is_one_commit_for_the_heads(graph: Graph) -> None:
    """
    c has followed three changes of a and b; d is then made from both.
    """
    graph.draw(["a", "b", "c: a, b"])
    for name in "aba":
        graph.commit(name)

    graph.draw(["d: a, b"])

    assert 1 == len(graph.ids("d"))
    assert {graph.head("a").ref, graph.head("b").ref} == set(graph.head("d").provenance)


def test_provenance_is_transitive_and_computed_anew(graph: Graph) -> None:
    """
    a → b → c → d and a → d; then b is not made from a any more.
    """
    graph.draw(["a", "b: a", "c: b", "d: c, a"])

    def around(name: str) -> tuple[set[str], set[str]]:
        with graph.world.store.read() as txn:
            before = {str(each.repo) for each in all_provenance(txn, ref(name))}
            return before, {str(line.repo) for line in downstream(txn, [ref(name)])}

    assert (set(), {"b", "c", "d"}) == around("a")
    assert ({"a", "b"}, {"d"}) == around("c")

    with graph.world.store.write() as txn:
        change_provenance(txn, ref("b"), [])

    assert (set(), {"d"}) == around("a")
    assert ({"b"}, {"d"}) == around("c")
    assert ({"a", "b", "c"}, set()) == around("d")
    graph.commit("b")


def test_downstream_is_in_order_however_the_branches_are_named(graph: Graph) -> None:
    """
    The same diamond with a shortcut, under every assignment of names.
    """
    for number, names in enumerate(itertools.permutations("wxyz")):
        top, left, right, bottom = (f"{each}{number}" for each in names)
        graph.draw([top, f"{left}: {top}", f"{right}: {top}, {left}", f"{bottom}: {left}, {right}, {top}"])
        with graph.world.store.read() as txn:
            assert [left, right, bottom] == [line.repo for line in downstream(txn, [ref(top)])]
        if number == 5:
            break


def test_a_provenance_loop_changes_nothing(graph: Graph) -> None:
    """
    a → b → c; then a is to be made from c, and from itself.
    """
    graph.draw(["a", "b: a", "c: b"])
    before = [graph.ids(name) for name in "abc"]

    for source in "ca":
        with pytest.raises(ProvenanceLoopError), graph.world.store.write() as txn:
            change_provenance(txn, ref("a"), [ref(source)])

    assert before == [graph.ids(name) for name in "abc"]


def test_toggling_provenance_gives_a_commit_when_it_comes_and_none_when_it_goes(graph: Graph) -> None:
    """
    b is made from a, from nothing, and from a again; a changes meanwhile.
    """
    graph.draw(["a", "b: a"])
    graph.commit("a")
    assert 2 == len(graph.ids("b"))

    with graph.world.store.write() as txn:
        change_provenance(txn, ref("b"), [])
    newest = graph.commit("a", b"more")
    assert 2 == len(graph.ids("b"))

    graph.made_from("b", ["a"])
    assert 3 == len(graph.ids("b"))
    assert [newest] == [source.commit for source in graph.head("b").provenance]
    graph.made_from("b", ["a"])
    assert 3 == len(graph.ids("b"))


def test_a_branch_that_a_pipeline_makes_keeps_its_provenance(world: World) -> None:
    """
    It is not propagated: the pipeline says what it is made from.
    """
    world.repo("a")
    world.repo("out-put")
    with world.store.write() as txn:
        create_branch(txn, RepoName("a"), "master")
        create_branch(txn, RepoName("out-put"), "master", provenance=[ref("a")])

    with pytest.raises(MadeByPipelineError), world.store.write() as txn:
        change_provenance(txn, ref("out-put"), [])
    world.commit({"f": b"1"}, repo="a")
    with world.store.read() as txn:
        assert [] == list_commits(txn, RepoName("out-put"))


def test_the_provenance_of_a_branch_that_is_being_written_stays(graph: Graph) -> None:
    """
    People have a commit open on it.
    """
    graph.draw(["a", "b"])
    with graph.world.store.write() as txn:
        start_commit(txn, RepoName("b"), "master")

    with pytest.raises(BranchInUseError):
        graph.made_from("b", ["a"])


def test_a_source_whose_first_commit_is_being_written_gets_no_empty_one(graph: Graph) -> None:
    """
    Its open commit has no parent, and keeps having none.
    """
    graph.draw(["a"])
    with graph.world.store.write() as txn:
        start_commit(txn, RepoName("a"), "master")

    graph.draw(["b: a"])

    assert () == graph.head("b").provenance


def test_deleting_a_source_by_force_makes_the_branch_writable(graph: Graph) -> None:
    """
    b is made from a alone, c from a and b.
    """
    graph.draw(["a", "b: a", "c: a, b"])
    with graph.world.store.write() as txn:
        delete_branch(txn, ref("a"), force=True)

    graph.commit("b")

    with graph.world.store.read() as txn:
        assert [ref("c")] == subvenance(txn, ref("b"))
        assert not branch(txn, RepoName("b"), "master").propagated


# Heads


def test_a_branch_made_at_a_commit_shares_it(graph: Graph) -> None:
    """
    No commit is added, and the set stays as it is.
    """
    graph.draw(["a"])
    head = graph.commit("a")
    with graph.world.store.write() as txn:
        made = make_branch(txn, BranchRef(RepoName("a"), ref("a", "second").branch), head=head)

    assert head == made.head
    assert {"a"} == graph.members(head)
    assert 1 == len(graph.ids("a"))


def test_a_head_of_another_repo_is_refused(graph: Graph) -> None:
    """
    For a new branch and for one that is there.
    """
    graph.draw(["a", "b"])
    foreign = graph.commit("b")

    for name in ("master", "new"):
        with pytest.raises(HeadOfOtherRepoError, match="same repo"), graph.world.store.write() as txn:
            make_branch(txn, ref("a", name), head=foreign)


def test_a_branch_that_exists_is_created_again_only_to_change_it(graph: Graph) -> None:
    """
    With a head it moves; with nothing it is there already.
    """
    graph.draw(["a"])
    first = graph.commit("a")
    graph.commit("a", b"more")

    with graph.world.store.write() as txn:
        make_branch(txn, ref("a"), head=first)
    assert [first] == graph.ids("a")
    with pytest.raises(BranchExistsError), graph.world.store.write() as txn:
        make_branch(txn, ref("a"))


def test_a_branch_made_again_with_its_old_head_and_provenance_has_one_more_commit(graph: Graph) -> None:
    """
    Its commits survive its deletion.
    """
    graph.draw(["a", "b: a"])
    graph.commit("a")
    before = graph.ids("b")
    with graph.world.store.write() as txn:
        delete_branch(txn, ref("b"))

    graph.made_from("b", ["a"], head=before[0])

    assert before == graph.ids("b")[1:]


def test_rewinding_takes_the_old_commit_and_makes_new_ones_downstream(graph: Graph) -> None:
    """
    a → b → c; a goes back from its second commit to its first.
    """
    graph.draw(["a", "b: a", "c: b"])
    old = graph.commit("a", b"1")
    new = graph.commit("a", b"2")

    with graph.world.store.write() as txn:
        moved = set_head(txn, ref("a"), old)

    change = moved.moved
    assert change is not None
    assert old == moved.head
    assert change not in (old, new)
    assert [change, change] == [graph.head(name).id for name in "bc"]
    assert {"b", "c"} == graph.members(change)
    assert [old, old] == [graph.named("a", change), graph.named("a", change.hex()[:12])]
    assert (graph.world.commit({}, repo="a").parent,) == (old,)


def test_an_alias_after_a_rewind_is_what_fed_the_result_also_behind_another_repo(graph: Graph) -> None:
    """
    a → b → c; asked for in a, the id of c's commit leads there through b.
    """
    graph.draw(["a", "b: a", "x", "c: b, x"])
    old = graph.commit("a", b"1")
    graph.commit("a", b"2")
    with graph.world.store.write() as txn:
        set_head(txn, ref("a"), old)

    later = graph.commit("x")

    assert old == graph.named("a", later)


def test_moving_a_head_to_where_it_is_changes_nothing(graph: Graph) -> None:
    """
    No move is recorded, nothing follows.
    """
    graph.draw(["a", "b: a"])
    head = graph.commit("a")
    before = graph.ids("b")

    with graph.world.store.write() as txn:
        set_head(txn, ref("a"), head)

    assert before == graph.ids("b")
    with graph.world.store.read() as txn:
        assert last_move(txn, branch(txn, RepoName("a"), "master")) is None


def test_a_move_remembers_the_head_before_all_moves_of_its_change(graph: Graph) -> None:
    """
    One change moves a branch twice.
    """
    graph.draw(["a"])
    one, two, three = (graph.commit("a", b"%d" % n) for n in range(3))
    change = CommitId(b"\x02" * 16)

    with graph.world.store.write() as txn:
        for to in (two, one):
            set_head(txn, ref("a"), to, change_id=change)

    with graph.world.store.read() as txn:
        (move,) = moves_of(txn, change)
    assert (three, one) == (move.before, move.head)


def test_processing_is_deferred_by_moving_master_to_staging(graph: Graph) -> None:
    """
    Three commits to staging; master, which b is made from, takes over the newest.
    """
    graph.draw(["a", "b: a"])
    before = len(graph.ids("b"))
    staged = [graph.world.commit({"f": b"%d" % n}, repo="a", branch="staging").id for n in range(3)]
    assert before == len(graph.ids("b"))

    with graph.world.store.write() as txn:
        make_branch(txn, ref("a"), head=staged[-1])

    assert before + 1 == len(graph.ids("b"))
    assert [staged[-1]] == [source.commit for source in graph.head("b").provenance]
    assert staged[-1] == graph.named("a", "master")


def test_a_head_does_not_move_under_an_open_commit(graph: Graph) -> None:
    """
    The open commit's parent is the head.
    """
    graph.draw(["a"])
    first = graph.commit("a")
    graph.commit("a", b"more")
    with graph.world.store.write() as txn:
        start_commit(txn, RepoName("a"), "master")

    with pytest.raises(ConflictError), graph.world.store.write() as txn:
        set_head(txn, ref("a"), first)


def test_what_a_rebuilt_index_says_of_moves_and_propagated_branches_is_the_same(graph: Graph) -> None:
    """
    Everything of it is journaled.
    """
    graph.draw(["a", "b: a"])
    old = graph.commit("a", b"1")
    graph.commit("a", b"2")
    with graph.world.store.write() as txn:
        change = set_head(txn, ref("a"), old).moved
    assert change is not None
    graph.world.store.close()

    report = rebuild_index(graph.world.root)

    graph.world.store = Store(graph.world.root)
    graph.world.trees = Trees(graph.world.store.chunks)
    assert [] == report.problems
    assert old == graph.named("a", change)
    assert change == graph.head("b").id
