"""Transactions and triggers, and the jobs that they start."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from pfsfuse.errors import InvalidNameError
from pfsfuse.ids import BranchName, CommitId, RepoName
from pfsfuse.store.index import WriteTxn
from pfsfuse.versions import requests, transactions
from pfsfuse.versions.branches import branch
from pfsfuse.versions.changes import Listener
from pfsfuse.versions.commits import find_commit, finish_commit, start_commit
from pfsfuse.versions.model import Trigger
from pfsfuse.versions.requests import Change, CreateBranch, FinishCommit, Foreign, Request, StartCommit
from runner.jobs.model import JobRecord
from runner.jobs.records import find_pipeline
from runner.jobs.requests import creating, perform_foreign, squashing
from runner.jobs.triggers import trigger_all
from runner.spec.era1 import load_pipelines
from tests.support.builders import ref
from tests.support.versions import Versions, inputs_of


def perform(txn: WriteTxn, request: Request, change: Change) -> CommitId | None:
    """Do what the command line does."""
    if isinstance(request, Foreign):
        return perform_foreign(txn, request, change)
    return requests.perform(txn, request, change)


def do(versions: Versions, wanted: Sequence[Request]) -> CommitId:
    """Do requests in one transaction and return its id."""
    store, trees = versions.store, versions.trees
    begun = transactions.start(store)
    transactions.append(store, trees, begun.id, *wanted, perform=perform)
    return transactions.finish(store, trees, begun.id, perform=perform).id


def jobs_of(versions: Versions, listener: Listener) -> list[JobRecord]:
    """Return the jobs that the runner makes of the news."""
    with versions.store.write() as txn:
        return trigger_all(txn, listener.news())


@pytest.fixture
def crossed(versions: Versions) -> Versions:
    """A pipeline that reads two repos, which have data."""
    for name in ("data", "parameters"):
        versions.repo(name)
        versions.commit(name)
    versions.pipeline("train", [{"repo": {"name": "data"}}, {"repo": {"name": "parameters"}}])
    return versions


def test_two_repos_written_by_one_transaction_make_one_job(crossed: Versions) -> None:
    """
    Its commits are finished one after the other; the job sees both.
    """
    with Listener(crossed.store) as listener:
        both = do(crossed, [StartCommit(ref("data")), StartCommit(ref("parameters"))])
        found = []
        for name in ("data", "parameters"):
            with crossed.store.read() as txn:
                opened = find_commit(txn, RepoName(name), both)
            assert opened is not None
            crossed.finish(opened.ref)
            found += jobs_of(crossed, listener)

    (job,) = found
    assert both == job.id
    assert {"data": both, "parameters": both} == inputs_of(job)


def test_commits_that_were_open_before_are_changes_of_their_own(crossed: Versions) -> None:
    """
    They keep their ids though one transaction publishes them, so there are two jobs; the last sees both.
    """
    opened = [crossed.start(name) for name in ("data", "parameters")]
    roots = {each.ref: crossed.trees.empty_directory() for each in opened}
    begun = transactions.start(crossed.store)
    wanted = [FinishCommit(ref("data")), FinishCommit(ref("parameters"))]
    transactions.append(crossed.store, crossed.trees, begun.id, *wanted)

    with Listener(crossed.store) as listener:
        transactions.finish(crossed.store, crossed.trees, begun.id, roots=roots)
        found = jobs_of(crossed, listener)

    assert [each.id for each in opened] == [job.id for job in found]
    assert {"data": opened[0].id, "parameters": opened[1].id} == inputs_of(found[1])


def test_a_pipeline_and_its_first_data_come_in_one_transaction(versions: Versions) -> None:
    """
    The first job has the id of the transaction; the runner makes no second one.
    """
    (spec,) = load_pipelines(
        '{"pipeline": {"name": "count"}, "transform": {"image": "none", "cmd": ["true"]},'
        ' "inputs": [{"repo": {"name": "data"}}]}'
    )
    versions.repo("data")
    with Listener(versions.store) as listener:
        both = do(versions, [StartCommit(ref("data")), FinishCommit(ref("data")), creating(spec)])

        with versions.store.read() as txn:
            assert find_pipeline(txn, "count") is not None
            line = branch(txn, RepoName("data"), "master")
        made = jobs_of(versions, listener)

    assert both == line.head
    assert [] == made


def test_a_set_of_commits_is_squashed_by_a_transaction(versions: Versions) -> None:
    """
    And a new commit is started on top by the same transaction.
    """
    versions.repo("data")
    first, second = versions.commit("data"), versions.commit("data")

    both = do(versions, [squashing(first.id), StartCommit(ref("data"))])

    with versions.store.read() as txn:
        assert find_commit(txn, RepoName("data"), first.id) is None
        opened = find_commit(txn, RepoName("data"), both)
        assert opened is not None
        assert second.id == opened.parent


def test_a_request_of_no_floor_is_refused(versions: Versions) -> None:
    """
    A newer program has kept it.
    """
    with pytest.raises(InvalidNameError, match="fly"):
        do(versions, [Foreign("fly", "away", b"")])


# Triggers


def test_a_triggered_branch_starts_jobs_with_the_id_of_the_commit(versions: Versions) -> None:
    """
    The pipeline reads master, which follows every second commit of staging.
    """
    versions.repo("data")
    trigger = Trigger(BranchName("staging"), commits=2)
    transactions.batch(versions.store, versions.trees, [CreateBranch(ref("data"), trigger=trigger)])
    versions.pipeline("count", [{"repo": {"name": "data"}}])
    made = []
    with Listener(versions.store) as listener:
        for _ in range(4):
            with versions.store.write() as txn:
                started = start_commit(txn, RepoName("data"), "staging")
                done = finish_commit(txn, started.ref, versions.trees.empty_directory())
            made.append((done.id, [(job.id, inputs_of(job)) for job in jobs_of(versions, listener)]))

    assert [[], [(made[1][0], {"data": made[1][0]})], [], [(made[3][0], {"data": made[3][0]})]] == [
        jobs for _, jobs in made
    ]


def test_what_a_job_made_can_move_a_branch_that_others_read(versions: Versions) -> None:
    """
    The second pipeline reads a branch that takes over every second output of the first.
    """
    versions.repo("data")
    versions.pipeline("first", [{"repo": {"name": "data"}}])
    release = CreateBranch(ref("first", "release"), trigger=Trigger(BranchName("master"), commits=2))
    transactions.batch(versions.store, versions.trees, [release])
    (second,) = load_pipelines(
        '{"pipeline": {"name": "second"}, "transform": {"image": "none", "cmd": ["true"]},'
        ' "inputs": [{"repo": {"name": "first"}}]}'
    )
    # Specifications of the 1.0 era cannot say so yet.
    of_branch = msgspec.structs.replace(second.inputs[0], branch="release")
    do(versions, [creating(msgspec.structs.replace(second, inputs=(of_branch,)))])
    ids = []
    made = []
    with Listener(versions.store) as listener:
        for _ in range(3):
            ids.append(versions.commit("data").id)
            (job,) = jobs_of(versions, listener)
            versions.end(job)
            made.append([(each.pipeline, each.id) for each in jobs_of(versions, listener)])

    assert [[], [("second", ids[1])], []] == made
