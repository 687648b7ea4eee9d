"""Transactions: requests that are done together or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec
import pytest

from pfsfuse.errors import InvalidNameError
from pfsfuse.ids import BranchName, CommitId, RepoName
from pfsfuse.store.index import Table, WriteTxn
from pfsfuse.versions import transactions
from pfsfuse.versions.branches import branch, find_branch
from pfsfuse.versions.commits import commit, find_commit, list_commits, start_commit
from pfsfuse.versions.model import Commit, CommitState, Trigger, encode
from pfsfuse.versions.repos import RepoExistsError, RepoNotFoundError, find_repo, repos
from pfsfuse.versions.requests import (
    CreateBranch,
    CreateRepo,
    DeleteBranch,
    DeleteRepo,
    FinishCommit,
    Foreign,
    Request,
    StartCommit,
    TwoCommitsError,
)
from pfsfuse.versions.transactions import (
    Transaction,
    TransactionFailedError,
    TransactionNotFoundError,
    transaction,
    transaction_key,
)
from tests.support.builders import World, ref
from tests.support.transactions import dump, finish_and_die


class Batch:
    """A transaction of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.id = transactions.start(world.store).id

    def add(self, *requests: Request) -> list[CommitId | None]:
        """Add requests, one after the other."""
        store, trees = self.world.store, self.world.trees
        return [answer for each in requests for answer in transactions.append(store, trees, self.id, each)]

    def finish(self) -> Transaction:
        return transactions.finish(self.world.store, self.world.trees, self.id)

    @property
    def record(self) -> Transaction:
        with self.world.store.read() as txn:
            return transaction(txn, self.id)


@pytest.fixture
def batch(world: World) -> Batch:
    return Batch(world)


def repo(name: str) -> CreateRepo:
    return CreateRepo(RepoName(name))


def names(world: World) -> list[str]:
    with world.store.read() as txn:
        return [each.name for each in repos(txn)]


# The life of a transaction


def test_an_empty_transaction_can_be_finished_and_is_gone_then(batch: Batch) -> None:
    """
    Nothing was asked, nothing was done.
    """
    started = batch.record.started_ns

    done = batch.finish()

    assert ((), (), started) == (done.requests, done.responses, done.started_ns)
    with pytest.raises(TransactionNotFoundError):
        batch.finish()
    with pytest.raises(TransactionNotFoundError), batch.world.store.read() as txn:
        transaction(txn, batch.id)


def test_requests_are_answered_at_once_and_done_at_the_end(batch: Batch) -> None:
    """
    A repo is made, and a commit in it is started and finished.
    """
    requests = [repo("foo"), StartCommit(ref("foo")), FinishCommit(ref("foo"))]

    answers = batch.add(*requests)

    assert [None, batch.id, batch.id] == answers
    assert (tuple(requests), tuple(answers)) == (batch.record.requests, batch.record.responses)
    assert [] == names(batch.world)
    assert tuple(answers) == batch.finish().responses
    with batch.world.store.read() as txn:
        made = commit(txn, RepoName("foo"), batch.id)
        assert batch.id == branch(txn, RepoName("foo"), "master").head
    assert CommitState.FINISHED is made.state
    assert {} == batch.world.files(made.root)


def test_a_transaction_survives_its_process(batch: Batch) -> None:
    """
    One process asks, another finishes.
    """
    batch.add(repo("foo"))

    batch.world.reopen()

    assert (repo("foo"),) == batch.record.requests
    batch.finish()
    assert ["foo"] == names(batch.world)


def test_a_request_that_cannot_be_done_is_not_added(batch: Batch) -> None:
    """
    The repo exists; the transaction stays empty and can be used.
    """
    batch.world.repo("foo")

    with pytest.raises(RepoExistsError):
        batch.add(repo("foo"))

    assert () == batch.record.requests
    batch.add(repo("bar"))
    batch.finish()
    assert ["bar", "foo"] == names(batch.world)


def test_what_the_world_made_impossible_fails_as_a_whole(batch: Batch) -> None:
    """
    Somebody else makes the repo meanwhile; neither it nor what was asked before is done, nor can more be added.
    """
    batch.add(repo("bar"), repo("foo"))
    batch.world.repo("foo")
    with batch.world.store.read() as txn:
        before = dump(txn)

    with pytest.raises(TransactionFailedError, match=r"request 2 \(create repo\).*foo already exists"):
        batch.add(repo("other"))
    with pytest.raises(TransactionFailedError):
        batch.finish()

    with batch.world.store.read() as txn:
        assert before == dump(txn)
    transactions.delete(batch.world.store, batch.id)
    assert ["foo"] == names(batch.world)


def test_transactions_are_deleted_one_by_one_or_all(world: World) -> None:
    """
    Three are open; the newest is listed first.
    """
    first, second, third = (Batch(world) for _ in range(3))
    first.add(repo("foo"))

    with world.store.read() as txn:
        assert [third.id, second.id, first.id] == [each.id for each in transactions.transactions(txn)]
    transactions.delete(world.store, second.id)
    with world.store.read() as txn:
        assert [third.id, first.id] == [each.id for each in transactions.transactions(txn)]
    assert 2 == transactions.delete_all(world.store)
    with world.store.read() as txn:
        assert [] == transactions.transactions(txn)
    assert [] == names(world)
    with pytest.raises(TransactionNotFoundError):
        transactions.delete(world.store, first.id)


def test_requests_that_are_added_at_once_are_all_there(batch: Batch) -> None:
    """
    Several programs of one person add to the same transaction.
    """

    def add(letter: str) -> None:
        for number in range(4):
            batch.add(repo(f"{letter}{number}"))

    threads = [threading.Thread(target=add, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 16 == len(batch.record.requests) == len(batch.record.responses)
    batch.finish()
    assert sorted(f"{letter}{number}" for letter in "abcd" for number in range(4)) == names(batch.world)


# What can be asked


def test_a_repo_has_one_commit_of_a_transaction(batch: Batch) -> None:
    """
    All commits of a transaction have its id.
    """
    batch.add(repo("foo"), StartCommit(ref("foo")), FinishCommit(ref("foo")))

    for name in ("master", "dev"):
        with pytest.raises(TwoCommitsError, match="already has a commit in this transaction"):
            batch.add(StartCommit(ref("foo", name)))

    assert 3 == len(batch.record.requests)
    batch.finish()


def test_commits_of_several_repos_share_the_id(batch: Batch) -> None:
    """
    They are left open, and are finished by name later.
    """
    batch.add(repo("foo"), repo("bar"), StartCommit(ref("foo"), "one"), StartCommit(ref("bar")))
    batch.finish()

    with batch.world.store.read() as txn:
        found = [commit(txn, RepoName(name), batch.id) for name in ("foo", "bar")]
    assert [CommitState.OPEN] * 2 == [each.state for each in found]
    assert ["one", ""] == [each.description for each in found]
    assert all(each.explicit for each in found)


def test_a_branch_can_be_made_at_a_commit_of_the_transaction(batch: Batch) -> None:
    """
    A commit is made on `bar`, and `master` begins there.
    """
    batch.add(
        CreateRepo(RepoName("foo"), "a repo"),
        StartCommit(ref("foo", "bar")),
        FinishCommit(ref("foo", "bar"), description="done"),
        CreateBranch(ref("foo"), head="bar"),
        CreateBranch(ref("foo", "later"), trigger=Trigger(BranchName("master"), commits=2)),
    )
    batch.finish()

    with batch.world.store.read() as txn:
        heads = [branch(txn, RepoName("foo"), name).head for name in ("bar", "master", "later")]
        assert Trigger(BranchName("master"), commits=2) == branch(txn, RepoName("foo"), "later").trigger
        assert "done" == commit(txn, RepoName("foo"), batch.id).description
    assert [batch.id, batch.id, None] == heads


def test_what_a_transaction_finishes_fires_triggers(batch: Batch) -> None:
    """
    The trigger is older than the transaction, the commit is part of it.
    """
    world = batch.world
    world.repo("foo")
    transactions.batch(
        world.store,
        world.trees,
        [CreateBranch(ref("foo", "release"), trigger=Trigger(BranchName("master"), commits=1))],
    )

    batch.add(StartCommit(ref("foo")), FinishCommit(ref("foo")))
    batch.finish()

    with world.store.read() as txn:
        assert batch.id == branch(txn, RepoName("foo"), "release").head


def test_everything_that_a_transaction_propagates_has_its_id(batch: Batch) -> None:
    """
    Five repos and three branches with provenance, of sources that have no commit yet: one commit in each repo.
    """
    made_from = {"B": ["A"], "C": ["B", "E"], "D": ["C"]}
    answers = batch.add(
        *[repo(name) for name in "ABCDE"],
        *[CreateBranch(ref(n), provenance=tuple(map(ref, sources))) for n, sources in made_from.items()],
    )
    done = batch.finish()

    assert 8 == len(answers) == len(done.requests) == len(done.responses)
    with batch.world.store.read() as txn:
        for name in "ABCDE":
            (only,) = list_commits(txn, RepoName(name))
            assert (batch.id, {}) == (only.id, batch.world.files(only.root))
            assert batch.id == branch(txn, RepoName(name), "master").head


def test_a_branch_that_exists_can_get_a_trigger(batch: Batch) -> None:
    """
    It stays where it is.
    """
    before = batch.world.commit({"a": b"1"})
    trigger = Trigger(BranchName("staging"), size="1M")

    batch.add(CreateBranch(ref(), trigger=trigger))
    batch.finish()

    with batch.world.store.read() as txn:
        line = branch(txn, ref().repo, "master")
    assert (before.id, trigger) == (line.head, line.trigger)


def test_repos_and_branches_can_be_deleted(batch: Batch) -> None:
    """
    One branch of a repo, and another repo with all it has.
    """
    world = batch.world
    world.commit({"a": b"1"}, repo="foo")
    world.commit({"a": b"1"}, repo="bar", branch="dev")

    batch.add(DeleteRepo(RepoName("foo")), DeleteBranch(ref("bar", "dev")))

    assert ["bar", "foo"] == names(world)
    batch.finish()
    assert ["bar"] == names(world)
    with world.store.read() as txn:
        assert find_branch(txn, RepoName("bar"), "dev") is None


def test_a_commit_finished_with_an_error_is_none_to_build_on(batch: Batch) -> None:
    """
    The commit starts from what the branch had.
    """
    before = batch.world.commit({"a": b"1"})

    batch.add(StartCommit(ref()), FinishCommit(ref(), error="not good"))
    batch.finish()

    with batch.world.store.read() as txn:
        made = commit(txn, ref().repo, batch.id)
    assert ("not good", before.id) == (made.error, made.parent)
    assert {"a": b"1"} == batch.world.files(made.root)


def test_a_commit_that_was_open_before_is_finished_with_its_content(batch: Batch) -> None:
    """
    Its content is handed over at the end; if it is not, nothing is done.
    """
    world = batch.world
    world.repo("images")
    with world.store.write() as txn:
        opened = start_commit(txn, ref().repo, "master")
    batch.add(FinishCommit(ref(), description="whole"))
    with world.store.read() as txn:
        assert [opened] == transactions.commits_to_seal(txn, batch.record)

    with pytest.raises(TransactionFailedError):
        batch.finish()
    root = world.tree({"a": b"1"})
    done = transactions.finish(world.store, world.trees, batch.id, roots={opened.ref: root})

    assert (opened.id,) == done.responses
    with world.store.read() as txn:
        made = commit(txn, ref().repo, opened.id)
    assert ("whole", {"a": b"1"}) == (made.description, world.files(made.root))


def test_a_request_of_an_unknown_kind_is_refused(batch: Batch) -> None:
    """
    Only the program that has the floors above knows what it means.
    """
    with pytest.raises(InvalidNameError, match="create pipeline"):
        batch.add(Foreign("create pipeline", "count", b"{}"))


@pytest.mark.parametrize(
    "requests",
    [
        [],
        [repo("a")],
        [repo("a"), repo("b")],
        [
            repo("a"),
            StartCommit(ref("a")),
            FinishCommit(ref("a")),
            CreateBranch(ref("a", "dev"), head="master"),
            DeleteBranch(ref("a", "dev")),
        ],
    ],
    ids=["none", "one", "two", "five that depend"],
)
def test_a_list_of_requests_is_done_in_one_step(world: World, requests: list[Request]) -> None:
    """
    As many answers as requests, in their order.
    """
    done = transactions.batch(world.store, world.trees, requests)

    kinds = {StartCommit: done.id, FinishCommit: done.id, CreateBranch: done.id}
    assert [kinds.get(type(each)) for each in requests] == list(done.responses)


def test_a_list_of_requests_is_done_whole_or_not(world: World) -> None:
    """
    The last one cannot be done.
    """
    with pytest.raises(RepoNotFoundError):
        transactions.batch(world.store, world.trees, [repo("a"), StartCommit(ref("b"))])

    assert [] == names(world)


# All or nothing


@pytest.mark.parametrize("after", range(5))
def test_a_killed_process_has_done_all_or_nothing(world: World, after: int) -> None:
    """
    It dies after so many of four requests, or when they are done; another process opens the store.
    """
    batch = Batch(world)
    batch.add(repo("foo"), StartCommit(ref("foo")), FinishCommit(ref("foo")), repo("bar"))
    with world.store.read() as txn:
        before = dump(txn)

    finish_and_die(world.root, batch.id, after)

    world.reopen()
    with world.store.read() as txn:
        if after < 4:
            assert before == dump(txn)
        else:
            assert find_commit(txn, RepoName("foo"), batch.id) is not None
            assert find_repo(txn, RepoName("bar")) is not None
            assert [] == transactions.transactions(txn)


# What fsck finds


Break = Callable[[WriteTxn, Transaction, Commit], object]


def _put(txn: WriteTxn, record: Transaction, **changes: object) -> None:
    txn.put(Table.DOCUMENTS, transaction_key(record.id), encode(msgspec.structs.replace(record, **changes)))


BROKEN: list[tuple[str, str, Break]] = [
    ("bytes", "X1", lambda txn, record, made: txn.put(Table.DOCUMENTS, transaction_key(record.id), b"\xc1")),
    ("answers", "X1", lambda txn, record, made: _put(txn, record, responses=())),
    ("another key", "X1", lambda txn, record, made: _put(txn, record, id=made.id)),
    (
        "a commit",
        "X2",
        lambda txn, record, made: txn.put(Table.DOCUMENTS, transaction_key(made.id), encode(Transaction(made.id, 1))),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("what", "invariant", "damage"), BROKEN, ids=[f"{i}: {w}" for w, i, _ in BROKEN])
def test_fsck_names_the_broken_transaction(world: World, what: str, invariant: str, damage: Break) -> None:
    """
    One record is made wrong.
    """
    made = world.commit({"a": b"1"})
    batch = Batch(world)
    batch.add(repo("foo"))
    record = batch.record
    world.is_damaged = True
    with world.store.write() as txn:
        damage(txn, record, made)

    assert invariant in {problem.invariant for problem in world.fsck()}
