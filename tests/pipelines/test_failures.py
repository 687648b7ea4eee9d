"""Jobs that come to nothing: what is tried again, what people are told, what goes on.  With real Podman."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from runner.jobs.logs import Source
from runner.jobs.model import JobState
from tests.support.system import GATE, System, reads

pytestmark = [pytest.mark.podman, pytest.mark.timeout(60)]


def test_a_failing_command_has_three_tries_and_leaves_an_errored_head(shared_system: System) -> None:
    """
    The second of three commits is bad.  What reads the output is not run for it; the third goes on
    from the first, and the mount never shows the bad one.
    """
    system = shared_system
    system.create_repo("mixed")
    script = ["echo try >&2", "grep -q bad /pfs/mixed/new && exit 3", "cat /pfs/mixed/new >> /pfs/out/all"]
    system.create_pipeline("strict", [reads("mixed")], script)
    system.create_pipeline("below-strict", [reads("strict")], "cat /pfs/strict/all >> /pfs/out/all")
    good = system.put("mixed", {"new": b"1\n"})
    system.wait(good)

    bad = system.put("mixed", {"new": b"bad\n"})
    failed, below = system.wait_ended(bad)
    shown = system.mounted("strict")
    last = system.put("mixed", {"new": b"2\n"})
    system.wait(last)

    assert (JobState.FAILURE, "container 0 failed: exit code 3") == (failed.state, failed.reason)
    (run,) = system.runs(failed)
    assert (3, False, 3) == (run.exit_code, run.ok, run.attempts)
    assert 3 == sum(line.source is Source.ERR and line.text == b"try" for line in system.log(failed))
    assert (JobState.UNRUNNABLE, f"its input strict@{bad.hex()} failed") == (below.state, below.reason)
    assert failed.reason == system.commit("strict", bad).error
    assert {"all": b"1\n"} == shown
    assert {"all": b"1\n2\n"} == system.mounted("strict")
    assert {"all": b"1\n2\n"} == system.mounted("below-strict")
    assert good == system.job("strict", last).parent_job


def test_one_failed_container_fails_the_job_and_is_named(shared_system: System) -> None:
    """
    Four containers, one of them fails; after it no other is begun.
    """
    system = shared_system
    system.create_repo("four")
    script = "test -e /pfs/four/c && exit 1; cat /pfs/four/* >> /pfs/out/all"
    system.create_pipeline("one-of-four", [reads("four", "reduce")], script, parallelism=4)

    (job,) = system.wait_ended(system.put("four", dict.fromkeys("abcd", b"x")))

    assert (JobState.FAILURE, "container 2 failed: exit code 1") == (job.state, job.reason)
    ended = {run.number: run.ok for run in system.runs(job)}
    assert {0: True, 1: True, 2: False} == {number: ended[number] for number in range(3)}


def test_exit_codes_that_the_pipeline_accepts_are_success(shared_system: System) -> None:
    """
    `grep` says 1 when it finds nothing.
    """
    system = shared_system
    system.create_repo("accepting")
    system.create_pipeline(
        "accepts-one",
        [reads("accepting")],
        cmd=["grep", "-r", "nothing", "/pfs/accepting"],
        acceptReturnCode=[1],
    )

    (job,) = system.wait(system.put("accepting", {"f": b"x"}))

    assert [1] == [run.exit_code for run in system.runs(job)]


@pytest.mark.parametrize(
    ("name", "cmd", "reason"),
    [
        ("absent", ["no-such-program"], "cannot run no-such-program: No such file or directory"),
        ("killed-itself", ["sh", "-c", "kill -9 $$"], "killed by SIGKILL"),
    ],
)
def test_a_command_that_cannot_run_or_is_killed_says_so(
    shared_system: System, name: str, cmd: list[str], reason: str
) -> None:
    """
    No traceback, no number that one has to look up.
    """
    system = shared_system
    system.create_repo(f"{name}-data")
    system.create_pipeline(name, [reads(f"{name}-data")], cmd=cmd)

    (job,) = system.wait_ended(system.put(f"{name}-data", {"f": b"x"}))

    assert (JobState.FAILURE, f"container 0 failed: {reason}") == (job.state, job.reason)


def test_a_missing_image_is_named_and_the_next_pipeline_is_not_harmed(shared_system: System) -> None:
    """
    No registry can be reached either.
    """
    system = shared_system
    system.create_repo("imageless")
    system.create_pipeline("no-image", [reads("imageless")], "true", image="127.0.0.1:1/nothing/here:1")
    system.create_pipeline("has-image", [reads("imageless")], "true")

    jobs = {job.pipeline: job for job in system.wait_ended(system.put("imageless", {"f": b"x"}))}

    assert JobState.FAILURE is jobs["no-image"].state
    assert "127.0.0.1:1/nothing/here:1" in jobs["no-image"].reason
    assert JobState.SUCCESS is jobs["has-image"].state


def test_a_container_that_is_killed_from_outside_is_tried_again(own_system: System) -> None:
    """
    `podman kill` in the middle; what the first try wrote is not kept, and it is told in the log.
    """
    system = own_system
    system.create_repo("target")
    system.create_pipeline("victim", [reads("target")], ["echo $PPS_POD_NAME >> /pfs/out/names", GATE])
    change = system.put("target", {"f": b"x"})
    before = system.wait_at_gates()
    (name,) = system.containers()

    subprocess.run(["podman", "kill", name], check=True, capture_output=True)

    (gate,) = system.wait_at_gates(besides=before)
    system.open_gate(gate)
    (job,) = system.wait(change)
    assert 2 == system.runs(job)[0].attempts
    assert 1 == system.files("victim")["names"].count(b"\n")
    told = [line.text.decode() for line in system.log(job) if line.source is Source.RUNNER]
    advice = "it was killed from outside, or the machine ran out of memory"
    assert [f"attempt 1 failed: worker victim-1: the container ended (exit status 137); {advice}"] == told


def test_what_a_command_leaves_running_is_dead_and_its_writes_are_not_in_the_output(
    shared_system: System,
) -> None:
    """
    A background process, out of the process group, that writes on and on and holds a file open.
    """
    system = shared_system
    system.create_repo("leaving")
    script = [
        "n=$(ls /pfs/leaving)",
        "exec 9> /pfs/out/held-$n; echo begun >&9",
        "echo $n: $(grep -l 'whil[e] true' /proc/[0-9]*/cmdline)",
        'setsid sh -c "while true; do echo more >> /pfs/out/late-$n; done" > /dev/null 2>&1 &',
        "while ! test -s /pfs/out/late-$n; do sleep 0.01; done",
    ]
    system.create_pipeline("leaves", [reads("leaving")], script)

    (first,) = system.wait(system.put("leaving", {"1": b"1"}))
    late = system.files("leaves", first.id)["late-1"]
    (second,) = system.wait(system.put("leaving", {"2": b"2"}))

    files = system.files("leaves", second.id)
    assert b"begun\n" == files["held-1"]
    assert late == files["late-1"] != b""
    # The same warm container ran the second job: nothing of the first was there any more.
    assert [b"1:", b"2:"] == [line.text for job in (first, second) for line in system.log(job)]


def test_a_file_and_a_directory_in_one_place_are_told_apart_by_name(shared_system: System) -> None:
    """
    Two containers write /pfs/out/x, one a file, one a directory.
    """
    system = shared_system
    system.create_repo("clash")
    script = "test -e /pfs/clash/a && echo 1 > /pfs/out/x || { mkdir /pfs/out/x; echo 2 > /pfs/out/x/y; }"
    system.create_pipeline("clashes", [reads("clash", "reduce")], script, parallelism=2)

    (job,) = system.wait_ended(system.put("clash", {"a": b"1", "b": b"2"}))

    expected = "/pfs/out/x: one container wrote a file there, another a directory"
    assert (JobState.FAILURE, expected) == (job.state, job.reason)


class Server(http.server.BaseHTTPRequestHandler):
    """Answers every request alike."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"from the host\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_containers_reach_a_server_on_the_host_unless_they_want_no_network(
    shared_system: System, tmp_path: Path
) -> None:
    """
    By default a container has a bridge network; `network: none` has only the loopback.
    """
    system = shared_system
    gateway = subprocess.run(
        ["podman", "network", "inspect", "podman", "--format", "{{range .Subnets}}{{.Gateway}}{{end}}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    system.create_repo("web")
    # The bridge has its address as long as a container is on it: one that stays warm.
    system.create_pipeline("online", [reads("web", "global")], "true", network="bridge")
    system.wait(system.put("web", {"f": b"warm up the bridge"}))
    with http.server.ThreadingHTTPServer((gateway, 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            fetch = f"wget -q -O /pfs/out/got http://{gateway}:{server.server_port}/"
            system.create_pipeline("fetches", [reads("web", "global")], fetch, network="bridge")
            system.create_pipeline("cannot", [reads("web", "global")], fetch, network="none")
            system.wait_all()
        finally:
            server.shutdown()
            thread.join()

    assert {"got": b"from the host\n"} == system.files("fetches")
    assert JobState.FAILURE is system.jobs("cannot")[-1].state
    assert any(b"Network is unreachable" in line.text for line in system.log(system.jobs("cannot")[-1]))


def test_on_a_full_disk_jobs_fail_and_the_next_one_succeeds_when_there_is_room(
    base_image: str, run_dir: Path
) -> None:
    """
    The store has a disk of 64 MB.  The command runs into its end and does not care; since it then
    makes room again, what it could write would pass for a whole output.
    """
    with System(base_image, memory=run_dir, disk="64m") as system:
        system.create_repo("sizes")
        script = [
            "head -c 20000000 /dev/zero > /pfs/out/ballast",
            "head -c $(cat /pfs/sizes/bytes) /dev/zero > /pfs/out/zeros 2>/dev/null",
            "rm /pfs/out/ballast",
        ]
        system.create_pipeline("careless", [reads("sizes", "global")], script)

        (failed,) = system.wait_ended(system.put("sizes", {"bytes": b"60000000"}))
        system.until(lambda: shutil.disk_usage(system.store.root).free > 50_000_000, "there is room again")
        (fits,) = system.wait_ended(system.put("sizes", {"bytes": b"30000000"}))

        assert JobState.FAILURE is failed.state
        assert "no space left" in failed.reason
        assert JobState.SUCCESS is fits.state, fits.reason
        assert 30_000_000 == len(system.mounted("careless")["zeros"])


def test_every_try_has_a_container_of_its_own(shared_system: System) -> None:
    """
    A container whose root file system is broken fails every command in it, whatever the command.
    """
    system = shared_system
    system.create_repo("tries")
    system.create_pipeline("tries-out", [reads("tries")], ["echo $PPS_POD_NAME", "exit 1"])

    change = system.put("tries", {"f": b"1\n"})
    (job,) = system.wait_ended(change)

    tried = [line.text for line in system.log(job) if line.source is Source.OUT]
    assert 3 == len(tried) == len(set(tried))
