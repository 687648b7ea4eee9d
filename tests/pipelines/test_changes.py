"""Triggers and transactions, from files written into the mount to what containers make of them.  With real Podman."""

from __future__ import annotations

import pytest

from pfsfuse.ids import CommitId
from pfsfuse.mount.writing import Writing
from pfsfuse.versions import transactions
from pfsfuse.versions.model import Trigger
from pfsfuse.versions.requests import CreateBranch, FinishCommit, StartCommit
from pfsfuse.versions.transactions import commits_to_seal, transaction
from runner.jobs.model import JobRecord, JobState
from tests.support.builders import ref
from tests.support.system import System, reads

pytestmark = [pytest.mark.podman, pytest.mark.timeout(60)]


def follow(system: System, repo: str, **conditions: object) -> None:
    """Create a repo whose master follows its branch `staging`."""
    trigger = Trigger(ref(branch="staging").branch, **conditions)  # type: ignore[arg-type]
    system.create_repo(repo)
    transactions.batch(system.store, system.trees, [CreateBranch(ref(repo), trigger=trigger)])


def stage(system: System, repo: str, name: str, data: bytes) -> CommitId:
    """Write a file into the branch `staging`, through the mount, and finish the commit."""
    with system.client() as client:
        client.barrier()
        (system.point / repo / "staging" / name).write_bytes(data)
        return client.finish(ref(repo, "staging"))


def count_of(system: System, job: JobRecord) -> bytes:
    return system.files(job.output_repo, job.id)["count"]


def test_a_trigger_holds_back_what_is_not_enough_yet(shared_system: System) -> None:
    """
    Every second commit of staging makes a job, which sees both and has the id of the second.
    """
    system = shared_system
    follow(system, "held", commits=2)
    system.create_pipeline("count-held", [reads("held", "reduce")], "ls /pfs/held | wc -l > /pfs/out/count")

    first, second = (stage(system, "held", name, b"x") for name in ("a", "b"))

    (job,) = system.wait(second)
    assert [job] == system.jobs("count-held")
    assert b"2" == count_of(system, job).strip()
    assert {"a": b"x", "b": b"x"} == system.mounted("held")
    assert first == system.commit("held", "master^").id


def test_a_clock_moves_a_branch_and_jobs_follow(shared_system: System) -> None:
    """
    Every second the runner looks; nothing else moves master.
    """
    system = shared_system
    follow(system, "timed", cron_spec="@every 1s")
    system.create_pipeline(
        "count-timed", [reads("timed", "reduce")], "ls /pfs/timed | wc -l > /pfs/out/count"
    )

    staged = stage(system, "timed", "a", b"x")

    def done() -> bool:
        return any(job.state is JobState.SUCCESS for job in system.jobs("count-timed"))

    system.until(done, "a job follows the clock")
    (job,) = system.jobs("count-timed")
    assert staged != job.id
    assert [staged] == [each.commit for each in job.inputs]
    assert b"1" == count_of(system, job).strip()


def test_two_repos_written_in_one_transaction_make_one_job(shared_system: System) -> None:
    """
    Commits are started together, files are copied into the mount, and both are finished together.
    """
    system = shared_system
    names = ["west", "east"]
    for name in names:
        system.create_repo(name)
        system.put(name, {"old": b"1"})
    script = "cat /pfs/west/new /pfs/east/new > /pfs/out/both"
    system.create_pipeline("both", [reads(name, "reduce") for name in names], f"{script} || true")
    system.wait_all()
    before = len(system.jobs("both"))
    store, trees = system.store, system.trees

    begun = transactions.start(store)
    transactions.append(store, trees, begun.id, *(StartCommit(ref(name)) for name in names))
    transactions.finish(store, trees, begun.id)
    with system.client() as client:
        client.barrier()
    for name in names:
        (system.branch(name) / "new").write_bytes(name.encode())
    ended = transactions.start(store)
    transactions.append(store, trees, ended.id, *(FinishCommit(ref(name)) for name in names))
    with store.read() as txn:
        opened = commits_to_seal(txn, transaction(txn, ended.id))
    with Writing(store, trees).holding([ref(each.repo) for each in opened]) as held:
        transactions.finish(store, trees, ended.id, roots=held.roots, assure=held.assure)

    (job,) = system.wait(begun.id)
    assert before + 1 == len(system.jobs("both"))
    assert {begun.id} == {each.commit for each in job.inputs}
    assert {"both": b"westeast"} == {
        path: data for path, data in system.files("both", job.id).items() if data
    }
