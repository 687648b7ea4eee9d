"""Which jobs a change starts, on a real store; nothing is run."""

from __future__ import annotations

from itertools import permutations

import pytest

from pfsfuse.errors import ConflictError
from pfsfuse.ids import BranchName, CommitId, RepoName, new_commit_id
from pfsfuse.store.index import Table
from pfsfuse.versions.branches import find_branch
from pfsfuse.versions.commits import find_commit, finish_commit, start_commit
from pfsfuse.versions.model import BranchRef, Commit, commit_key
from pfsfuse.versions.wiring import make_branch, set_head
from runner.jobs.model import JobRecord, PipelineRecord, PipelineState
from runner.jobs.records import change, jobs, put_pipeline
from runner.jobs.scheduler import inputs_state
from runner.jobs.triggers import in_order, newest_input, trigger_all
from tests.support.system import reads
from tests.support.versions import Versions, inputs_of


class Looker:
    """A runner that has seen the change log up to some number, and makes jobs of what came since."""

    def __init__(self, versions: Versions) -> None:
        self.store = versions.store
        self.seen = 0

    def look(self) -> list[JobRecord]:
        """Make jobs of all news at once; return them."""
        with self.store.read() as txn:
            latest = txn.sequence()
            pairs = [pair for _, pairs in txn.changes(self.seen) for pair in pairs]
        touched = list(dict.fromkeys((Table[label.upper()], key) for label, key in pairs))
        self.seen = latest
        with self.store.write() as txn:
            return trigger_all(txn, touched)


@pytest.fixture
def looker(versions: Versions) -> Looker:
    return Looker(versions)


def made_for(found: list[JobRecord]) -> list[str]:
    return [job.pipeline for job in found]


def test_a_finished_commit_starts_the_pipelines_that_read_its_branch(
    versions: Versions, looker: Looker
) -> None:
    """
    Two pipelines read the repo, a third reads another; the jobs have the id of the commit.
    """
    for name in ("data", "other"):
        versions.repo(name)
    versions.pipeline("one", [reads("data")])
    versions.pipeline("two", [reads("data")])
    versions.pipeline("three", [reads("other")])
    looker.look()

    made = versions.commit("data")

    found = looker.look()
    assert ["one", "two"] == made_for(found)
    assert [{"data": made.id}] * 2 == [inputs_of(job) for job in found]
    assert [made.id] * 2 == [job.id for job in found]


def test_what_was_seen_already_starts_nothing_again(versions: Versions, looker: Looker) -> None:
    """
    The runner was killed between making the jobs and noting how far it was.
    """
    versions.repo("data")
    versions.pipeline("one", [reads("data")])
    versions.commit("data")
    looker.look()

    looker.seen = 0

    assert [] == looker.look()


def test_an_open_commit_and_one_with_an_error_start_nothing(versions: Versions, looker: Looker) -> None:
    """
    Neither is data.
    """
    versions.repo("data")
    versions.pipeline("one", [reads("data")])

    started = versions.start("data")
    assert [] == looker.look()
    versions.finish(started.ref, error="half of it is missing")
    assert [] == looker.look()


def test_the_empty_first_commit_of_an_output_branch_is_no_data(versions: Versions, looker: Looker) -> None:
    """
    A pipeline reads data and the output of a pipeline that has not run.
    """
    for name in ("data", "source"):
        versions.repo(name)
    versions.pipeline("middle", [reads("source")])
    versions.pipeline("end", [reads("data"), reads("middle")])

    versions.commit("data")

    assert [] == looker.look()
    with versions.store.read() as txn:
        assert newest_input(txn, BranchRef(RepoName("middle"), BranchName("master"))) is None


def test_a_change_starts_all_that_is_downstream_at_once(versions: Versions, looker: Looker) -> None:
    """
    A diamond with a shortcut; the pipeline at its bottom gets one job, with the change's commits.
    """
    versions.repo("top")
    versions.pipeline("left", [reads("top")])
    versions.pipeline("right", [reads("top")])
    versions.pipeline("bottom", [reads("top"), reads("left"), reads("right")])

    made = versions.commit("top")

    found = looker.look()
    assert ["left", "right", "bottom"] == made_for(found)
    assert dict.fromkeys(["top", "left", "right"], made.id) == inputs_of(found[-1])


def test_an_untouched_input_gives_its_newest_data(versions: Versions, looker: Looker) -> None:
    """
    Its head has an error; the commit before that is the newest that can be used.
    """
    for name in ("data", "other"):
        versions.repo(name)
    versions.pipeline("both", [reads("data"), reads("other")])
    good = versions.commit("other")
    versions.finish(versions.start("other").ref, error="broken")
    looker.look()

    made = versions.commit("data")

    (job,) = looker.look()
    assert {"data": made.id, "other": good.id} == inputs_of(job)


def test_an_untouched_input_that_is_being_made_is_waited_for(versions: Versions, looker: Looker) -> None:
    """
    The pipeline in the middle has a job to run when the other input changes.
    """
    for name in ("data", "other"):
        versions.repo(name)
    versions.pipeline("middle", [reads("other")])
    versions.pipeline("end", [reads("data"), reads("middle")])
    source = versions.commit("other")
    looker.look()

    made = versions.commit("data")

    (job,) = looker.look()
    assert {"data": made.id, "middle": source.id} == inputs_of(job)


def test_an_untouched_input_whose_job_failed_gives_what_was_before(
    versions: Versions, looker: Looker
) -> None:
    """
    The output of the failed job has an error.
    """
    for name in ("data", "other"):
        versions.repo(name)
    versions.pipeline("middle", [reads("other")])
    versions.pipeline("end", [reads("data"), reads("middle")])
    versions.commit("other")
    (good,) = looker.look()
    versions.end(good)
    versions.commit("other")
    (bad,) = looker.look()
    versions.end(bad, reason="exit code 1")

    versions.commit("data")

    (job,) = looker.look()
    assert good.id == inputs_of(job)["middle"]


def test_a_runner_that_looks_late_makes_the_same_jobs(versions: Versions, looker: Looker) -> None:
    """
    The four events of the specification, all seen at once: as if each had been seen when it came.
    """
    for name in ("foo", "bar"):
        versions.repo(name)
    versions.pipeline("both", [reads("foo"), reads("bar")])

    foo1, bar1, foo2, bar2 = (versions.commit(name) for name in ("foo", "bar", "foo", "bar"))

    expected = [
        {"foo": foo1.id, "bar": bar1.id},
        {"foo": foo2.id, "bar": bar1.id},
        {"foo": foo2.id, "bar": bar2.id},
    ]
    assert expected == [inputs_of(job) for job in looker.look()]


def test_jobs_are_made_in_the_order_in_which_commits_were_finished(
    versions: Versions, looker: Looker
) -> None:
    """
    The commit that was started first is finished last, and both are seen at once.
    """
    for name in ("foo", "bar"):
        versions.repo(name)
    versions.pipeline("both", [reads("foo"), reads("bar")])
    versions.commit("bar")
    foo1 = versions.commit("foo")
    looker.look()

    late = versions.start("foo")
    early = versions.commit("bar")
    versions.finish(late.ref)

    found = looker.look()
    assert [early.id, late.id] == [job.id for job in found]
    assert {"foo": foo1.id, "bar": early.id} == inputs_of(found[0])


def test_a_new_pipeline_gets_one_job_for_the_data_that_is_there(versions: Versions, looker: Looker) -> None:
    """
    With or without the runner having seen the data before.
    """
    versions.repo("data")
    versions.commit("data")
    newest = versions.commit("data")

    versions.pipeline("one", [reads("data")])
    looker.look()

    with versions.store.read() as txn:
        assert [{"data": newest.id}] == [inputs_of(job) for job in jobs(txn, pipeline_name="one")]


def test_a_new_pipeline_below_one_that_has_yet_to_run_gets_its_data(
    versions: Versions, looker: Looker
) -> None:
    """
    The pipelines are created in the moment between a commit and the runner's look: the lower one
    finds no data, and must not be forgotten when the upper one's job is made.
    """
    versions.repo("data")
    versions.pipeline("upper", [reads("data")])
    made = versions.commit("data")

    versions.pipeline("lower", [reads("upper")])

    assert ["upper", "lower"] == made_for(looker.look())
    with versions.store.read() as txn:
        assert [{"upper": made.id}] == [inputs_of(job) for job in jobs(txn, pipeline_name="lower")]


def test_a_stopped_pipeline_and_what_is_below_it_start_nothing(versions: Versions, looker: Looker) -> None:
    """
    The one beside it does.
    """
    versions.repo("data")
    stopped = versions.pipeline("stopped", [reads("data")])
    versions.pipeline("below", [reads("stopped")])
    versions.pipeline("beside", [reads("data")])
    with versions.store.write() as txn:
        put_pipeline(txn, change(stopped, state=PipelineState.STOPPED))

    versions.commit("data")

    assert ["beside"] == made_for(looker.look())


def test_pipelines_come_behind_those_whose_output_they_read(versions: Versions) -> None:
    """
    A chain and a shortcut, in every order of the records.
    """
    versions.repo("data")
    records = [
        versions.pipeline("c", [reads("data")]),
        versions.pipeline("b", [reads("c")]),
        versions.pipeline("a", [reads("b"), reads("c")]),
    ]

    orders = {tuple(names(list(order))) for order in permutations(records)}

    assert {("c", "b", "a")} == orders


def names(records: list[PipelineRecord]) -> list[str]:
    return [record.name for record in in_order(records)]


def test_a_commit_that_was_dropped_starts_nothing(versions: Versions, looker: Looker) -> None:
    """
    Its key is in the change log, its record is gone.
    """
    versions.repo("data")
    versions.pipeline("one", [reads("data")])
    started = versions.start("data")
    with versions.store.write() as txn:
        txn.delete(Table.COMMITS, commit_key(started.repo, started.id))

    assert [] == looker.look()


# Heads that move, branches that are propagated, several commits of one change


def move(versions: Versions, repo: str, to: Commit) -> CommitId:
    """Move master, and return the id of the change."""
    with versions.store.write() as txn:
        moved = set_head(txn, BranchRef(RepoName(repo), BranchName("master")), to.id).moved
    assert moved is not None
    return moved


def propagated(versions: Versions, repo: str, *sources: str) -> None:
    """Make a repo whose master is made from that of others, by no pipeline."""
    versions.repo(repo)
    with versions.store.write() as txn:
        make_branch(
            txn,
            BranchRef(RepoName(repo), BranchName("master")),
            provenance=[BranchRef(RepoName(source), BranchName("master")) for source in sources],
        )


def test_a_rewound_input_starts_everything_downstream_under_a_new_id(
    versions: Versions, looker: Looker
) -> None:
    """
    Two commits were worked through; the branch goes back to the first.
    """
    versions.repo("data")
    versions.pipeline("upper", [reads("data")])
    versions.pipeline("lower", [reads("upper")])
    old, new = versions.commit("data"), versions.commit("data")
    for job in looker.look():
        versions.end(job)

    change_id = move(versions, "data", old)

    found = looker.look()
    assert ["upper", "lower"] == made_for(found)
    assert [change_id] * 2 == [job.id for job in found]
    assert [{"data": old.id}, {"upper": change_id}] == [inputs_of(job) for job in found]
    assert change_id not in (old.id, new.id)
    assert [] == looker.look()


def test_processing_is_deferred_until_master_moves_to_staging(versions: Versions, looker: Looker) -> None:
    """
    Commits on staging start nothing; master takes the newest over.
    """
    versions.repo("data")
    versions.pipeline("one", [reads("data")])
    staged = [versions.commit("data", branch="staging") for _ in range(3)]
    assert [] == looker.look()

    change_id = move(versions, "data", staged[-1])

    (job,) = looker.look()
    assert (change_id, {"data": staged[-1].id}) == (job.id, inputs_of(job))


def test_a_runner_that_looks_late_uses_the_head_that_there_was(versions: Versions, looker: Looker) -> None:
    """
    A commit to one input, then the other input is rewound, and only then the runner looks.
    """
    for name in ("data", "other"):
        versions.repo(name)
    versions.pipeline("both", [reads("data"), reads("other")])
    old, new = versions.commit("other"), versions.commit("other")
    made = versions.commit("data")
    change_id = move(versions, "other", old)

    found = looker.look()

    assert [made.id, change_id] == [job.id for job in found]
    assert [{"data": made.id, "other": new.id}, {"data": made.id, "other": old.id}] == [
        inputs_of(job) for job in found
    ]


def test_a_move_to_what_is_no_data_starts_nothing(versions: Versions, looker: Looker) -> None:
    """
    A branch goes to a commit with an error.
    """
    versions.repo("data")
    versions.pipeline("one", [reads("data")])
    broken = versions.finish(versions.start("data").ref, error="broken")
    versions.commit("data")
    looker.look()

    move(versions, "data", broken)

    assert [] == looker.look()


def test_a_pipeline_that_reads_a_propagated_branch_runs_with_the_change(
    versions: Versions, looker: Looker
) -> None:
    """
    data → marks, which no pipeline makes → one.
    """
    versions.repo("data")
    propagated(versions, "marks", "data")
    versions.pipeline("one", [reads("marks"), reads("data")])
    looker.look()

    made = versions.commit("data")

    (job,) = looker.look()
    assert {"marks": made.id, "data": made.id} == inputs_of(job)
    with versions.store.read() as txn:
        assert (False, "") == inputs_state(txn, job)


def test_what_reads_a_propagated_branch_waits_for_all_that_it_is_made_from(
    versions: Versions, looker: Looker
) -> None:
    """
    data → left, right (pipelines) → marks (propagated) → end (pipeline); left ends first.
    """
    versions.repo("data")
    for name in ("left", "right"):
        versions.pipeline(name, [reads("data")])
    propagated(versions, "marks", "left", "right")
    versions.pipeline("end", [reads("marks")])
    looker.look()
    made = versions.commit("data")
    left, right, end = looker.look()
    assert {"marks": made.id} == inputs_of(end)

    states = []
    for job in (left, right):
        with versions.store.read() as txn:
            states.append(inputs_state(txn, end))
        versions.end(job)
    with versions.store.read() as txn:
        states.append(inputs_state(txn, end))
        marks = find_commit(txn, RepoName("marks"), made.id)

    assert [(True, ""), (True, ""), (False, "")] == states
    assert marks is not None
    assert {"left", "right"} == {source.repo for source in marks.provenance}
    assert {made.id} == {source.commit for source in marks.provenance}


def test_commits_of_one_id_are_one_change(versions: Versions, looker: Looker) -> None:
    """
    A transaction has written both inputs of a pipeline.
    """
    for name in ("data", "other"):
        versions.repo(name)
    versions.pipeline("both", [reads("data"), reads("other")])
    looker.look()
    change_id = new_commit_id()

    with versions.store.write() as txn:
        for name in ("data", "other"):
            started = start_commit(txn, RepoName(name), "master", commit_id=change_id)
            finish_commit(txn, started.ref, versions.trees.empty_directory())

    (job,) = looker.look()
    assert {"data": change_id, "other": change_id} == inputs_of(job)


def test_a_change_with_a_commit_that_is_still_open_waits_for_it(versions: Versions, looker: Looker) -> None:
    """
    A transaction started commits in both inputs; they are finished one after the other.
    """
    for name in ("data", "other"):
        versions.repo(name)
    versions.pipeline("both", [reads("data"), reads("other")])
    change_id = new_commit_id()
    with versions.store.write() as txn:
        first, second = (
            start_commit(txn, RepoName(name), "master", commit_id=change_id) for name in ("data", "other")
        )

    versions.finish(first.ref)
    (job,) = looker.look()
    with versions.store.read() as txn:
        before = inputs_state(txn, job)
    versions.finish(second.ref)
    with versions.store.read() as txn:
        after = inputs_state(txn, job)

    assert [(True, ""), (False, "")] == [before, after]
    assert {"data": change_id, "other": change_id} == inputs_of(job)
    assert [] == looker.look()


def test_nothing_takes_the_id_that_a_job_needs_for_its_output(versions: Versions, looker: Looker) -> None:
    """
    The output repo has other branches: one is propagated from the input, one is written in the same change.
    """
    versions.repo("data")
    versions.pipeline("one", [reads("data")])
    with versions.store.write() as txn:
        make_branch(
            txn,
            BranchRef(RepoName("one"), BranchName("marks")),
            provenance=[BranchRef(RepoName("data"), BranchName("master"))],
        )
    made = versions.commit("data")
    with pytest.raises(ConflictError, match="pipeline"), versions.store.write() as txn:
        start_commit(txn, RepoName("one"), "notes", commit_id=made.id)

    (job,) = looker.look()
    versions.end(job)

    with versions.store.read() as txn:
        output = find_commit(txn, RepoName("one"), made.id)
        marks = find_branch(txn, RepoName("one"), "marks")
    assert output is not None
    assert "master" == output.branch
    assert marks is not None
    assert marks.head not in (None, made.id)
