"""Pipelines and jobs that leave with their store: what has ended stays ended over there."""

from __future__ import annotations

import io
from pathlib import Path

from pfsfuse.replication.dump import Dump
from pfsfuse.replication.restore import Restore
from pfsfuse.store.index import Table
from pfsfuse.store.store import Store
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.fsck import check
from pfsfuse.versions.model import commit_key
from runner.jobs.leaving import lasting_documents
from runner.jobs.records import jobs, pipelines
from runner.jobs.triggers import trigger_all
from tests.support.system import reads
from tests.support.versions import Versions


def test_a_runner_in_the_other_store_runs_nothing_again(versions: Versions, tmp_path: Path) -> None:
    """One job has ended, the next has not: over there the runner makes the second anew, and no other."""
    versions.repo("data")
    versions.pipeline("sum", [reads("data")])
    first = versions.commit("data")
    touched = [(Table.COMMITS, commit_key(first.repo, first.id))]
    with versions.store.write() as txn:
        (ended,) = trigger_all(txn, touched)
    versions.end(ended)
    second = versions.commit("data")
    touched.append((Table.COMMITS, commit_key(second.repo, second.id)))
    with versions.store.write() as txn:
        (waiting,) = trigger_all(txn, touched)
    out = io.BytesIO()
    Dump(versions.store, out.write).run(documents=lasting_documents)
    out.seek(0)
    other = Store(tmp_path / "other")

    Restore(other, out.read).run()

    with other.write() as txn:
        assert ["sum"] == [record.name for record in pipelines(txn)]
        assert [ended.id] == [job.id for job in jobs(txn)]
        (again,) = trigger_all(txn, touched)
        assert (waiting.id, waiting.pipeline) == (again.id, again.pipeline)
    assert [] == check(other, Trees(other.chunks))
    other.close()
