"""Runner and mount killed in the middle of jobs; deletion in the middle; logs while jobs run.  With real Podman."""

from __future__ import annotations

import subprocess
import time

import pytest

from runner.jobs.logs import LogReader, Source
from runner.jobs.model import JobState
from tests.support.system import GATE, System, method, reads

pytestmark = [pytest.mark.podman, pytest.mark.timeout(90)]

EACH_FILE = method("file", incremental=True)
WORK = ["cat /pfs/data/* >> /pfs/out/all", "cat /pfs/data/* > /pfs/out/$(ls /pfs/data)"]
"""What every container does: its part of the input, appended to one file and in a file of its own."""

FILES = {name: f"{name}\n".encode() for name in "abcd"}
UNDISTURBED = {**FILES, "all": b"a\nb\nc\nd\n"}


def held_at_c(system: System) -> bytes:
    """Start a job of four containers, the third of which waits at its gate; return the change."""
    system.create_repo("data")
    script = [*WORK, f"if test -e /pfs/data/c; then {GATE}; fi"]
    system.create_pipeline("copies", [reads("data", EACH_FILE)], script, parallelism=4)
    change = system.put("data", FILES)
    system.wait_at_gates()

    def others_are_done() -> bool:
        done = {run.number for run in system.runs(system.job("copies", change)) if run.ok}
        return done >= {0, 1}

    system.until(others_are_done, "the first two containers are done")
    return change


def test_a_killed_runner_keeps_the_containers_that_had_ended(own_system: System) -> None:
    """
    kill -9 while the third of four containers waits; the next runner runs what is left, and no more.
    """
    system = own_system
    change = held_at_c(system)
    before = {run.number: run.finished_ns for run in system.runs(system.job("copies", change)) if run.ok}

    system.kill_runner()
    system.until(lambda: not system.containers(), "Podman has removed the containers of the killed runner")
    assert JobState.RUNNING is system.job("copies", change).state
    system.start_runner()
    (gate,) = system.wait_at_gates()
    system.open_gate(gate)
    (job,) = system.wait(change)

    assert UNDISTURBED == system.files("copies")
    after = {run.number: run.finished_ns for run in system.runs(job)}
    assert before == {number: after[number] for number in before}
    assert [0, 1, 2, 3] == sorted(after)
    assert 4 == job.done == job.containers


def test_a_mount_killed_in_the_middle_of_a_job_costs_only_what_was_running(own_system: System) -> None:
    """
    kill -9 of the mount; the runner waits for the next one and gives the container another worker.
    """
    system = own_system
    change = held_at_c(system)
    before = {run.number: run.finished_ns for run in system.runs(system.job("copies", change)) if run.ok}
    old = set(system.containers())

    system.kill_mount()
    system.start_mount()
    (gate,) = system.wait_at_gates()
    system.open_gate(gate)
    (job,) = system.wait(change)

    assert UNDISTURBED == system.files("copies")
    assert UNDISTURBED == system.mounted("copies")
    after = {run.number: run for run in system.runs(job)}
    assert before == {number: after[number].finished_ns for number in before}
    # It was no fault of the container.
    assert [1] * 4 == [after[number].attempts for number in range(4)]
    system.until(lambda: not old & set(system.containers()), "no container of the earlier life is left")


def test_a_command_that_does_not_touch_the_dead_mount_is_ended_all_the_same(own_system: System) -> None:
    """
    It would wait for ever for a file that cannot come any more.
    """
    system = own_system
    system.create_repo("data")
    script = ["cd /pfs/out; touch started", "while ! test -e go; do sleep 0.05; done", "rm *; echo ok > f"]
    system.create_pipeline("waits", [reads("data")], script)
    change = system.put("data", {"f": b"x"})
    outs = (system.point / ".workers").glob

    system.until(lambda: any(outs("*/out/started")), "the command waits")
    system.kill_mount()
    system.start_mount()
    system.until(lambda: any(outs("*/out/started")), "it is run again")
    next(outs("*/out/started")).with_name("go").touch()
    (job,) = system.wait(change)

    assert {"f": b"ok\n"} == system.files("waits")
    assert 1 == system.runs(job)[0].attempts


def test_a_mount_that_stays_away_is_waited_for(own_system: System) -> None:
    """
    The runner is idle when the mount dies; a commit comes by another way; the mount comes back.
    """
    system = own_system
    system.create_repo("data")
    system.create_pipeline("patient", [reads("data")], "cat /pfs/data/* >> /pfs/out/all")
    system.wait(system.put("data", {"a": b"a\n"}))

    system.kill_mount()
    change = system.put_without_mount("data", {"b": b"b\n"})

    def waits() -> bool:
        return any(b"waiting for it" in line.text for line in system.log(system.job("patient", change)))

    system.until(lambda: system.job_exists("patient", change) and waits(), "the runner waits for the mount")
    system.start_mount()
    system.wait(change)

    assert {"all": b"a\nb\n"} == system.mounted("patient")


def test_mount_and_runner_killed_together_go_on_together(own_system: System) -> None:
    """
    As after a power cut, but for the disk.
    """
    system = own_system
    change = held_at_c(system)

    system.kill_runner()
    system.kill_mount()
    system.start_mount()
    system.start_runner()
    (gate,) = system.wait_at_gates()
    system.open_gate(gate)
    system.wait(change)

    assert UNDISTURBED == system.files("copies")
    assert UNDISTURBED == system.mounted("copies")


def test_a_runner_that_is_stopped_leaves_its_job_to_the_next(own_system: System) -> None:
    """
    SIGTERM in the middle: no container is left, the job is not failed.
    """
    system = own_system
    change = held_at_c(system)

    system.stop_runner()

    assert [] == system.containers()
    assert JobState.RUNNING is system.job("copies", change).state
    system.start_runner()
    (gate,) = system.wait_at_gates()
    system.open_gate(gate)
    system.wait(change)
    assert UNDISTURBED == system.files("copies")


def test_changes_that_come_while_no_runner_runs_are_not_forgotten(own_system: System) -> None:
    """
    Two commits and a pipeline; each commit gets its job, in order.
    """
    system = own_system
    system.create_repo("data")
    system.create_pipeline("all", [reads("data")], "cat /pfs/data/* >> /pfs/out/all")
    system.stop_runner()

    first = system.put("data", {"a": b"a\n"})
    second = system.put("data", {"b": b"b\n"})
    system.start_runner()
    system.wait(second)

    assert [first, second] == [job.id for job in system.jobs("all")]
    assert {"all": b"a\n"} == system.files("all", first)
    assert {"all": b"a\nb\n"} == system.files("all", second)


def test_an_idle_worker_that_was_killed_costs_no_try(own_system: System) -> None:
    """
    Somebody removed the warm containers; the next job is given new ones.
    """
    system = own_system
    system.create_repo("data")
    system.create_pipeline("unlucky", [reads("data", "reduce")], GATE, parallelism=4)
    change = system.put("data", dict.fromkeys("abcd", b"1"))
    for gate in system.wait_at_gates(4):
        system.open_gate(gate)
    system.wait(change)
    names = system.containers()
    assert 4 == len(names)

    subprocess.run(["podman", "rm", "--force", "--time", "0", *names], check=True, capture_output=True)
    change = system.put("data", {"a": b"2"})
    for gate in system.wait_at_gates(4):
        system.open_gate(gate)

    (job,) = system.wait(change)
    assert [1] * 4 == [run.attempts for run in system.runs(job)]


def test_a_store_that_is_mounted_elsewhere_is_found_by_the_runner(own_system: System) -> None:
    """
    The mount is stopped and started on another folder while the runner runs.
    """
    system = own_system
    system.create_repo("data")
    system.create_pipeline("follows", [reads("data")], "cat /pfs/data/* >> /pfs/out/all")
    system.wait(system.put("data", {"a": b"a\n"}))

    system.stop_mount()
    system.point = system.root / "elsewhere"
    system.start_mount()
    system.wait(system.put("data", {"b": b"b\n"}))

    assert {"all": b"a\nb\n"} == system.mounted("follows")


# --- logs -----------------------------------------------------------------------------------------


def test_a_log_is_followed_while_the_job_runs_and_kept_when_it_has_ended(shared_system: System) -> None:
    """
    Both streams, a line without its end; afterwards the plain file is gone and the store has it all.
    """
    system = shared_system
    system.create_repo("talk")
    script = ["echo out; echo err >&2", GATE, "printf 'no newline'; printf 'bad\\xff' >&2"]
    system.create_pipeline("talks", [reads("talk")], script)
    change = system.put("talk", {"f": b"x"})
    (gate,) = system.wait_at_gates()
    running = system.job("talks", change)
    reader = LogReader(system.store, running)

    system.until(lambda: len(system.log(running)) == 2, "both lines are in the log")
    first = [(line.source, line.text) for line in reader.read(running)]
    system.open_gate(gate)
    (job,) = system.wait(change)
    rest = [(line.source, line.text) for line in reader.read(job)]

    assert {(Source.OUT, b"out"), (Source.ERR, b"err")} == set(first)
    assert {(Source.OUT, b"no newline"), (Source.ERR, b"bad\xff")} == set(rest)
    assert first + rest == [(line.source, line.text) for line in system.log(job)]
    logs = system.store.root / "logs"
    system.until(lambda: not list(logs.glob(f"*{change.hex()}*")), "the plain file is gone")


# --- deletion -------------------------------------------------------------------------------------


def test_deleting_a_pipeline_kills_its_job_and_leaves_nothing(own_system: System) -> None:
    """
    The command waits; its container, its workers, its log, its repo and its views go.
    """
    system = own_system
    system.create_repo("data")
    system.create_pipeline("doomed", [reads("data")], ["echo working", GATE])
    change = system.put("data", {"f": b"x"})
    system.wait_at_gates()

    system.delete_pipeline("doomed")

    system.until(lambda: not system.containers(), "the containers are gone")
    system.until(lambda: not any((system.store.root / "logs").iterdir()), "the log is gone")
    assert [] == system.jobs()
    assert ["data"] == [path.name for path in system.point.iterdir() if not path.name.startswith(".")]
    assert not (system.point / ".jobs" / f"doomed@{change.hex()}").exists()
    system.until(lambda: not any((system.point / ".workers").iterdir()), "the view is gone")


def test_a_pipeline_that_is_deleted_and_created_again_starts_clean(shared_system: System) -> None:
    """
    At once, while its job runs; the new one has other code, and none of the old output.
    """
    system = shared_system
    system.create_repo("again")
    system.create_pipeline("phoenix", [reads("again")], ["echo old >> /pfs/out/all", GATE])
    system.put("again", {"f": b"x"})
    before = system.wait_at_gates()

    system.delete_pipeline("phoenix")
    system.create_pipeline("phoenix", [reads("again")], "ls /pfs; echo new >> /pfs/out/all")
    system.wait_all()

    (job,) = system.jobs("phoenix")
    assert JobState.SUCCESS is job.state
    assert {"all": b"new\n"} == system.files("phoenix")
    assert [b"again", b"out"] == [line.text for line in system.log(job)]
    system.until(lambda: not [gate for gate in before if gate.exists()], "the old run is gone")


def test_deleting_an_idle_pipeline_ends_its_warm_workers(shared_system: System) -> None:
    """
    Nothing runs; the container that waited for the next job goes at once.
    """
    system = shared_system
    system.create_repo("short")
    system.create_pipeline("brief", [reads("short")], "true")
    system.wait(system.put("short", {"f": b"x"}))
    assert [name for name in system.containers() if "-brief-" in name]

    system.delete_pipeline("brief")

    system.until(
        lambda: not [name for name in system.containers() if "-brief-" in name], "the worker is gone"
    )


def test_an_image_that_was_built_anew_is_used_by_the_next_job(shared_system: System) -> None:
    """
    The name is the same; the warm worker of the old image is not used any more.
    """
    system = shared_system
    name = f"localhost/pfs-rebuilt-{system.store.id.hex()[:8]}:latest"
    made = []

    def build() -> None:
        text = f"FROM {system.image}\nENV BUILT={len(made) + 1}\n"
        command = ["podman", "build", "--quiet", "--tag", name, "-"]
        done = subprocess.run(command, input=text.encode(), check=True, capture_output=True)
        made.append(done.stdout.decode().strip())

    try:
        build()
        system.create_repo("rebuilt")
        system.create_pipeline("modern", [reads("rebuilt")], "echo $BUILT > /pfs/out/built", image=name)
        system.wait(system.put("rebuilt", {"a": b"x"}))
        first = system.files("modern")
        build()
        system.wait(system.put("rebuilt", {"b": b"x"}))
    finally:
        subprocess.run(["podman", "rmi", "--force", *made], check=True, capture_output=True)

    assert ({"built": b"1\n"}, {"built": b"2\n"}) == (first, system.files("modern"))


def test_a_warm_worker_begins_a_job_at_once(shared_system: System) -> None:
    """
    The second job takes no new container: from the finish of the commit to its end well under a second.
    """
    system = shared_system
    system.create_repo("warm")
    system.create_pipeline("quick", [reads("warm")], "echo $PPS_POD_NAME")
    (first,) = system.wait(system.put("warm", {"a": b"x"}))

    change = system.put("warm", {"b": b"x"})
    began = time.monotonic()
    (second,) = system.wait(change)

    assert time.monotonic() - began < 1
    assert [line.text for line in system.log(first)] == [line.text for line in system.log(second)]
