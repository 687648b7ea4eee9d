"""Pipelines and jobs by the commands that people use, with a supervisor, a runner and real containers."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pfsfuse.mount.mountpoint import mount_kind
from runner.supervisor import MOUNT, RUNNER
from tests.support.up import Up

pytestmark = [pytest.mark.podman, pytest.mark.timeout(110)]

_RUNTIME = "oci-runtime.json"


@pytest.fixture
def it(base_image: str, run_dir: Path) -> Iterator[Up]:
    """Up with a runner, and a repo `data`."""
    made = Up(Path(tempfile.mkdtemp(prefix="pfst-", dir="/tmp")))
    try:
        made.pfs.ok("create", "repo", "data")
        if (run_dir / _RUNTIME).exists():
            # Finding the OCI runtime that works takes a second.
            shutil.copy(run_dir / _RUNTIME, made.run)
        done = made.up(runner=True)
        assert 0 == done.code, done.err
        shutil.copy(made.run / _RUNTIME, run_dir)
        yield made
        assert 0 == made.pfs("down").code
        assert [] == containers(made)
    finally:
        made.close()
        for name in containers(made):
            subprocess.run(["podman", "rm", "--force", "--time", "0", name], check=False, capture_output=True)


def containers(it: Up) -> list[str]:
    """Return the names of the containers of this store."""
    path = it.pfs.root / "format.json"
    if not path.exists():
        return []
    label = f"label=io.pfs.store={json.loads(path.read_text())['store']}"
    done = subprocess.run(
        ["podman", "ps", "--all", "--filter", label, "--format", "{{.Names}}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.split()


def pipeline(it: Up, image: str, name: str, script: Sequence[str], *, reads: str = "data") -> None:
    """Create a pipeline from a file."""
    document = {
        "pipeline": {"name": name},
        "transform": {"image": image, "cmd": ["sh"], "stdin": list(script)},
        "inputs": [{"repo": {"name": reads}, "method": "global"}],
        "network": "none",
    }
    it.pfs.ok("create", "pipeline", "-f", "-", input=json.dumps(document).encode())


def put(it: Up, text: str) -> str:
    """Put a file into data and return the commit."""
    return it.pfs.ok("put", "file", "data:/f", "-f", "-", input=text.encode()).out.strip()


def test_a_change_is_waited_for_to_the_last_pipeline(it: Up, base_image: str) -> None:
    """
    data → upper → count; when `wait` returns, the mount shows the results.
    """
    pipeline(it, base_image, "upper", ["tr a-z A-Z < /pfs/data/f > /pfs/out/f"])
    pipeline(it, base_image, "count", ["wc -c < /pfs/upper/f > /pfs/out/n; echo counted"], reads="upper")
    change = put(it, "hello\n")

    waited = it.pfs.ok("wait", "commit", f"data@{change}", "-o", "json").json

    assert "HELLO\n" == (it.point / "upper" / "master" / "f").read_text()
    assert "6" == (it.point / "count" / "master" / "n").read_text().strip()
    assert [("data", change), ("upper", change), ("count", change)] == [(c["repo"], c["id"]) for c in waited]
    jobs = it.pfs.ok("list", "job", "-o", "json").json
    assert {f"upper@{change}", f"count@{change}"} == {job["name"] for job in jobs}
    assert [f"count@{change}"] == [
        j["name"] for j in it.pfs.ok("list", "job", "-i", f"upper@{change}", "-o", "json").json
    ]
    assert f"upper@{change}" in it.pfs.ok("list", "job", "-o", "upper@master").out
    assert f"count@{change}" not in it.pfs.ok("list", "job", "-o", "upper@master").out
    assert "counted\n" == it.pfs.ok("logs", "--job", f"count@{change[:8]}").out
    assert ["counted"] == [line["text"] for line in it.pfs.ok("logs", "-p", "count", "-o", "json").json]
    inspected = it.pfs.ok("inspect", "job", f"count@{change}", "-o", "json").json
    assert ("success", [f"upper@{change}"], 0) == (
        inspected["state"],
        inspected["inputs"],
        inspected["container_runs"][0]["exit_code"],
    )
    assert 2 == len(it.pfs.ok("wait", "job", change, "-o", "json").json)
    assert [
        "data",
        "└── upper (pipeline, running)",
        "    └── count (pipeline, running)",
    ] == it.pfs.ok("draw").lines
    assert "running" == it.pfs.ok("inspect", "pipeline", "count", "-o", "json").json["state"]
    it.pfs.ok("fsck")


def test_a_job_that_fails_fails_the_wait_and_says_why(it: Up, base_image: str) -> None:
    """
    The command ends with an exit code; another pipeline reads its output.
    """
    pipeline(it, base_image, "bad", ["echo no luck >&2; exit 7"])
    pipeline(it, base_image, "after", ["cp /pfs/bad/* /pfs/out"], reads="bad")
    change = put(it, "x")

    done = it.pfs("wait", "commit", f"data@{change}")

    assert 9 == done.code
    assert f"bad@{change}" in done.err
    assert "7" in done.err
    assert "no luck" in it.pfs.ok("logs", "--job", f"bad@{change}").out
    states = {job["pipeline"]: job["state"] for job in it.pfs.ok("list", "job", "-o", "json").json}
    assert {"bad": "failure", "after": "unrunnable"} == states
    assert 9 == it.pfs("wait", "job", f"after@{change}").code
    assert [f"bad@{change}"] == [
        job["name"] for job in it.pfs.ok("list", "job", "--state", "failure", "-o", "json").json
    ]


def test_a_log_is_followed_while_the_job_runs(it: Up, base_image: str) -> None:
    """
    The first line is printed while the job runs; after the last one `logs -f` ends.
    """
    pipeline(it, base_image, "slow", ["echo begins; sleep 3; echo ends"])
    change = put(it, "x")
    name = f"slow@{change}"
    it.until(lambda: it.pfs("inspect", "job", name).code == 0, "the job is made")

    with subprocess.Popen(
        it.pfs.command("logs", "-f", "--job", name), env=it.pfs.environment, stdout=subprocess.PIPE
    ) as follower:
        assert follower.stdout is not None
        first = follower.stdout.readline()
        state = it.pfs.ok("inspect", "job", name, "-o", "json").json["state"]
        rest = follower.stdout.read()

    assert (b"begins\n", "running", b"ends\n", 0) == (first, state, rest, follower.returncode)


def test_a_one_off_job_runs_over_the_commits_it_names(it: Up, base_image: str) -> None:
    """
    The format of the original's jobs; its output has a repo of its own.
    """
    put(it, "first")
    put(it, "second")
    document = {
        "transform": {"image": base_image, "cmd": ["sh"], "stdin": ["cat /pfs/data/f > /pfs/out/copy"]},
        "inputs": [{"commit": {"repo": {"name": "data"}, "id": "master/0"}, "method": "global"}],
        "network": "none",
    }
    job = it.pfs.ok("create", "job", "-f", "-", input=json.dumps(document).encode()).out.strip()
    it.pfs.ok("wait", "job", job)

    assert "first" == it.pfs.ok("get", "file", f"job_{job}:/copy").out
    assert f"job@{job}" == it.pfs.ok("inspect", "job", job, "-o", "json").json["name"]


def test_a_malformed_specification_names_the_field_and_creates_nothing(it: Up, base_image: str) -> None:
    """
    The second of two pipelines has a method that does not exist.
    """
    good = {"pipeline": {"name": "good"}, "transform": {"image": "i", "cmd": ["true"]}, "inputs": []}
    bad = {
        "pipeline": {"name": "bad"},
        "transform": {"image": "i", "cmd": ["true"]},
        "inputs": [{"repo": {"name": "data"}, "method": {"partition": "row"}}],
    }

    done = it.pfs("create", "pipeline", "-f", "-", input=f"{json.dumps(good)}\n{json.dumps(bad)}".encode())

    assert 5 == done.code
    assert 'inputs[0].method.partition: expected block, file or repo, got "row"' in done.err
    assert [] == it.pfs.ok("list", "pipeline", "-o", "json").json
    missing = {**good, "inputs": [{"repo": {"name": "dta"}}]}
    unknown = it.pfs("create", "pipeline", "-f", "-", input=json.dumps(missing).encode())
    assert 3 == unknown.code
    assert "did you mean data?" in unknown.err


def test_a_killed_runner_comes_back_and_the_job_is_done_again(it: Up, base_image: str) -> None:
    """
    kill -9 of the runner while a container runs.
    """
    pipeline(it, base_image, "slow", ["echo begins; sleep 1; echo done > /pfs/out/f"])
    change = put(it, "x")
    it.until(lambda: "begins" in it.pfs("logs", "--job", f"slow@{change}").out, "the job runs")

    it.state.children[RUNNER].send(signal.SIGKILL)

    it.pfs.ok("wait", "commit", f"data@{change}")
    assert "done\n" == (it.point / "slow" / "master" / "f").read_text()
    it.pfs.ok("fsck")


def test_down_in_the_middle_of_a_job_leaves_no_container_and_the_job_is_done_later(
    it: Up, base_image: str
) -> None:
    """
    A container runs when `down` is given; `up` again finishes the job.
    """
    pipeline(it, base_image, "slow", ["echo begins; sleep 2; echo done > /pfs/out/f"])
    change = put(it, "x")
    it.until(lambda: "begins" in it.pfs("logs", "--job", f"slow@{change}").out, "the job runs")

    it.pfs.ok("down")

    assert [] == containers(it)
    assert mount_kind(it.point) is None
    alone = it.pfs("wait", "commit", f"data@{change}")
    assert 7 == alone.code
    assert re.search(r"no runner runs, .*`pfs up`", alone.err)
    it.up(runner=True)
    it.pfs.ok("wait", "commit", f"data@{change}")
    assert "done\n" == (it.point / "slow" / "master" / "f").read_text()


def test_a_deleted_pipeline_takes_its_output_along_unless_told_otherwise(it: Up, base_image: str) -> None:
    """
    One pipeline reads the other's output.
    """
    pipeline(it, base_image, "first", ["cp /pfs/data/f /pfs/out"])
    pipeline(it, base_image, "second", ["cp /pfs/first/f /pfs/out"], reads="first")
    it.pfs.ok("wait", "commit", f"data@{put(it, 'x')}")

    assert 4 == it.pfs("delete", "pipeline", "first").code
    it.pfs.ok("delete", "pipeline", "second", "--keep-repo")
    it.pfs.ok("delete", "pipeline", "first", "--force")

    assert "x" == it.pfs.ok("get", "file", "second:/f").out
    assert ["data", "second"] == [repo["name"] for repo in it.pfs.ok("list", "repo", "-o", "json").json]
    assert 3 == it.pfs("inspect", "pipeline", "first").code


def test_down_tidies_up_after_everything_was_killed_in_the_middle_of_a_job(it: Up, base_image: str) -> None:
    """
    kill -9 of supervisor, mount and runner at once; a dead mount and a container are left.
    """
    pipeline(it, base_image, "slow", ["echo begins; sleep 60"])
    change = put(it, "x")
    it.until(lambda: "begins" in it.pfs("logs", "--job", f"slow@{change}").out, "the job runs")
    known = it.processes()
    for who in known:
        who.send(signal.SIGKILL)
    assert all(who.wait(10) for who in known)

    it.pfs.ok("down")

    assert [] == containers(it)
    assert mount_kind(it.point) is None
    it.pfs.ok("fsck")


def test_a_killed_mount_comes_back_and_the_job_is_done_again(it: Up, base_image: str) -> None:
    """
    kill -9 of the mount while a container runs: its /pfs is dead for ever, so it gets a new one.
    """
    pipeline(it, base_image, "slow", ["echo begins; sleep 1; cp /pfs/data/f /pfs/out"])
    change = put(it, "x")
    it.until(lambda: "begins" in it.pfs("logs", "--job", f"slow@{change}").out, "the job runs")

    it.state.children[MOUNT].send(signal.SIGKILL)

    it.pfs.ok("wait", "commit", f"data@{change}")
    assert "x" == (it.point / "slow" / "master" / "f").read_text()
    it.pfs.ok("fsck")
