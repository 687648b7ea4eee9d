"""gc beside the runner: jobs that run keep what they have in hand, and ended ones nothing.  With real Podman."""

from __future__ import annotations

import threading

import pytest

from pfsfuse.versions.gc import collect_garbage
from pfsfuse.versions.repos import delete_repo
from tests.support.system import System, method, reads

pytestmark = [pytest.mark.podman, pytest.mark.timeout(120)]

LINES = b"".join(b"line %d\n" % n for n in range(3_000))


def test_gc_that_runs_all_the_time_takes_nothing_of_jobs(own_system: System) -> None:
    """
    Three commits go through two pipelines; between them a repo comes and goes whose bytes are the same.
    """
    system = own_system
    system.create_repo("data")
    each = method("file", incremental=True)
    system.create_pipeline("copy", [reads("data", each)], "cp /pfs/data/* /pfs/out/", parallelism=2)
    system.create_pipeline(
        "twice", [reads("copy", each)], "for f in /pfs/copy/*; do cat $f $f > /pfs/out/${f##*/}; done"
    )
    stop = threading.Event()
    swept = []

    def collect() -> None:
        while not stop.is_set():
            swept.append(collect_garbage(system.store, threshold=0.0, wait_s=0.2))

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        files = {}
        for number in range(3):
            more = {f"f{number}-{n}": b"%d\n" % number + LINES[n * 1000 :] for n in range(3)}
            files |= more
            last = system.put("data", more)
            with system.store.hold():
                system.create_repo("passing")
                system.put_without_mount("passing", {"x": LINES * 2})
                with system.store.write() as txn:
                    delete_repo(txn, "passing")
        system.wait(last)
    finally:
        stop.set()
        thread.join()

    assert files == system.files("data")
    assert files == system.files("copy")
    assert {name: 2 * data for name, data in files.items()} == system.files("twice")
    assert all(not report.damage for report in swept)
    report = collect_garbage(system.store, threshold=0.0, wait_s=20.0)
    assert ([], 0) == (report.waits_for, report.waiting_packs)
    assert {name: 2 * data for name, data in files.items()} == system.files("twice")
