"""Moving heads and taking commits away while pipelines run.  With real Podman."""

from __future__ import annotations

import pytest

from pfsfuse.ids import CommitId, RepoName
from pfsfuse.versions.commits import list_commits
from pfsfuse.versions.wiring import set_head
from runner.jobs.model import JobState
from runner.jobs.removal import drop_set, squash_set
from tests.support.builders import ref
from tests.support.system import GATE, System, method, reads
from tests.support.versions import inputs_of

pytestmark = [pytest.mark.podman, pytest.mark.timeout(90)]

WHOLE = method("repo", incremental=False)
COPY = "cat /pfs/*-data/* > /pfs/out/all"


def test_a_rewound_input_gives_new_outputs_under_a_new_id(shared_system: System) -> None:
    """
    Two pipelines in a row; the input goes back to its first commit, and on from there.
    """
    system = shared_system
    system.create_repo("rewound-data")
    system.create_pipeline("rewound", [reads("rewound-data", WHOLE)], COPY)
    system.create_pipeline("rewound-2", [reads("rewound", WHOLE)], "cat /pfs/rewound/all > /pfs/out/again")
    old = system.put("rewound-data", {"f": b"old\n"})
    system.wait(old)
    new = system.put("rewound-data", {"f": b"new\n"})
    system.wait(new)

    change = rewind(system, "rewound-data", old)
    system.until(lambda: len(system.jobs("rewound-2")) == 3, "the jobs of the move are made")
    system.wait_all()

    job = system.job("rewound", change)
    assert (JobState.SUCCESS, {"rewound-data": old}) == (job.state, inputs_of(job))
    assert {"again": b"old\n"} == system.mounted("rewound-2")
    assert {"again": b"new\n"} == system.files("rewound-2", new)
    assert old == system.commit("rewound-data", change.hex()).id
    assert change not in (old, new)
    later = system.put("rewound-data", {"g": b"more\n"})
    system.wait(later)
    assert {"again": b"old\nmore\n"} == system.mounted("rewound-2")


def rewind(system: System, repo: str, to: CommitId) -> CommitId:
    with system.store.write() as txn:
        change = set_head(txn, ref(repo), to).moved
    assert change is not None
    return change


def test_a_change_that_is_dropped_while_its_job_runs_leaves_what_was_before(shared_system: System) -> None:
    """
    The container waits at its gate; the next change is worked through as if nothing had been.
    """
    system = shared_system
    system.create_repo("dropped-data")
    hold = f"if grep -q hold /pfs/dropped-data/f; then {GATE}; fi"
    system.create_pipeline("dropped", [reads("dropped-data", WHOLE)], [COPY, hold])
    old = system.put("dropped-data", {"f": b"first\n"})
    system.wait(old)
    before = system.gates()
    change = system.put("dropped-data", {"f": b"hold\n"})
    system.wait_at_gates(besides=before)

    with system.store.write() as txn:
        drop_set(txn, change)

    assert not system.job_exists("dropped", change)
    assert [{"f": b"first\n"}, {"all": b"first\n"}] == [
        system.mounted(name) for name in ("dropped-data", "dropped")
    ]
    after = system.put("dropped-data", {"f": b"second\n"})
    (job,) = system.wait(after)
    assert JobState.SUCCESS is job.state
    assert {"all": b"second\n"} == system.mounted("dropped")
    assert [after, old] == [c.commit for c in job.inputs] + [system.commit("dropped-data", "master^").id]


def test_a_squashed_change_leaves_the_results_of_later_ones(shared_system: System) -> None:
    """
    Of two changes the first is squashed with its job; then a third comes.
    """
    system = shared_system
    system.create_repo("squashed-data")
    system.create_pipeline("squashed", [reads("squashed-data", WHOLE)], COPY)
    changes = [system.put("squashed-data", {name: name.encode()}) for name in "ab"]
    for change in changes:
        system.wait(change)

    with system.store.write() as txn:
        squash_set(txn, changes[0])

    assert [changes[1]] == [job.id for job in system.jobs("squashed")]
    assert {"all": b"ab"} == system.mounted("squashed")
    system.wait(system.put("squashed-data", {"c": b"c"}))
    assert {"all": b"abc"} == system.mounted("squashed")
    with system.store.read() as txn:
        assert changes[0] not in [c.id for c in list_commits(txn, RepoName("squashed"))]
