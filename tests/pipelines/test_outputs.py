"""What becomes of what containers write to /pfs/out, and one-off jobs.  With real Podman."""

from __future__ import annotations

import os
import subprocess

import pytest

from pfsfuse.trees.entry import Kind
from runner.jobs.logs import Source
from runner.jobs.model import JobRecord, JobState
from tests.support.system import System, method, reads, reads_commit

pytestmark = [pytest.mark.podman, pytest.mark.timeout(60)]

EACH_FILE = method("file", incremental=True)


def run_job(system: System, script: str | list[str], *, after: JobRecord | None = None) -> JobRecord:
    """Run a one-off job of three copies without inputs, which continues *after*."""
    job = system.create_job((), script, parallelism=3, parent_job=after.id.hex() if after else None)
    (ended,) = system.wait(job.id)
    return ended


def output(system: System, job: JobRecord) -> dict[str, bytes]:
    return system.files(job.output_repo, job.id)


def test_three_copies_that_write_one_file_leave_three_lines_in_every_job(shared_system: System) -> None:
    """
    `>` takes away what the parent job left, and the copies' lines are put together.
    """
    first = run_job(shared_system, "echo foo > /pfs/out/file")
    second = run_job(shared_system, "echo foo > /pfs/out/file", after=first)

    assert {"file": b"foo\n" * 3} == output(shared_system, first)
    assert {"file": b"foo\n" * 3} == output(shared_system, second)


def test_three_copies_that_append_to_one_file_leave_three_lines_more(shared_system: System) -> None:
    """
    `>>` keeps what the parent job left.
    """
    first = run_job(shared_system, "echo foo >> /pfs/out/file")
    second = run_job(shared_system, "echo foo >> /pfs/out/file", after=first)

    assert {"file": b"foo\n" * 3} == output(shared_system, first)
    assert {"file": b"foo\n" * 6} == output(shared_system, second)


def test_three_copies_that_remove_and_append_leave_three_lines(shared_system: System) -> None:
    """
    `rm` and then `>>` is like `>`; `rm` alone removes.
    """
    first = run_job(shared_system, "echo foo >> /pfs/out/file; echo x > /pfs/out/other")
    script = "rm /pfs/out/file; echo bar >> /pfs/out/file; rm /pfs/out/other"
    second = run_job(shared_system, script, after=first)

    assert {"file": b"bar\n" * 3} == output(shared_system, second)


def test_each_copy_sees_the_parents_output_and_its_own_changes_only(shared_system: System) -> None:
    """
    No copy sees what another writes at the same time.
    """
    first = run_job(shared_system, "echo parent >> /pfs/out/file")

    second = run_job(shared_system, "echo mine >> /pfs/out/file; wc -l < /pfs/out/file", after=first)

    told = [line.text for line in shared_system.log(second) if line.source is Source.OUT]
    assert [b"4"] * 3 == told


def test_a_pipeline_that_appends_grows_by_what_is_new(shared_system: System) -> None:
    """
    Four files at parallelism 4, then four more; what was put together stands in the order of the input.
    """
    system = shared_system
    system.create_repo("piecewise")
    script = "cat /pfs/piecewise/* >> /pfs/out/all; echo $(ls /pfs/piecewise) > /pfs/out/newest"
    system.create_pipeline("grows", [reads("piecewise", EACH_FILE)], script, parallelism=4)

    system.wait(system.put("piecewise", {name: f"{name}\n".encode() for name in "abcd"}))
    first = system.files("grows")
    system.wait(system.put("piecewise", {name: f"{name}\n".encode() for name in "efgh"}))

    assert {"all": b"a\nb\nc\nd\n", "newest": b"a\nb\nc\nd\n"} == first
    assert {"all": b"a\nb\nc\nd\ne\nf\ng\nh\n", "newest": b"e\nf\ng\nh\n"} == system.files("grows")


def test_overwrite_has_written_files_replace_the_parents(shared_system: System) -> None:
    """
    With `overwrite` /pfs/out begins empty, so `>>` is like `>`; files that are not written stay.
    """
    system = shared_system
    system.create_repo("over")
    script = "cat /pfs/over/* >> /pfs/out/all; touch /pfs/out/$(ls /pfs/over)"
    system.create_pipeline("overwrites", [reads("over", EACH_FILE)], script, overwrite=True)

    system.wait(system.put("over", {"a": b"1\n"}))
    system.wait(system.put("over", {"b": b"2\n"}))

    assert {"all": b"2\n", "a": b"", "b": b""} == system.files("overwrites")


def test_trees_links_modes_and_empty_directories_are_kept(shared_system: System) -> None:
    """
    What the gRPC API could not say, the mount can.
    """
    script = [
        "cd /pfs/out; mkdir -p deep/er/empty",
        "echo x > deep/file; chmod 750 deep/file; touch -d @1000000000 deep/file",
        "ln -s file deep/link; mkfifo deep/fifo",
    ]
    job = shared_system.create_job((), script)
    shared_system.wait(job.id)

    top = shared_system.point / job.output_repo / "master" / "deep"
    status = (top / "file").stat()
    assert (0o750, 1_000_000_000) == (status.st_mode & 0o777, status.st_mtime)
    assert "file" == os.readlink(top / "link")
    assert (top / "fifo").is_fifo()
    assert [] == os.listdir(top / "er" / "empty")


def test_a_large_output_is_whole(shared_system: System) -> None:
    """
    64 MB through `dd` in large and in small pieces, and a file with a hole.
    """
    script = [
        "yes 0123456789abcde | head -c 64000000 > /pfs/out/large",
        "yes 0123456789abcde | dd of=/pfs/out/small bs=512 count=4000 iflag=fullblock 2>/dev/null",
        "echo end | dd of=/pfs/out/hole bs=1M seek=16 2>/dev/null",
    ]
    job = shared_system.create_job((), script)
    shared_system.wait(job.id)

    files = shared_system.files(job.output_repo)
    assert b"0123456789abcde\n" * 4_000_000 == files["large"]
    assert b"0123456789abcde\n" * 128_000 == files["small"]
    assert bytes(16 << 20) + b"end\n" == files["hole"]


def test_what_containers_saw_and_wrote_can_be_looked_at_afterwards(shared_system: System) -> None:
    """
    /pfs/.jobs/<job>/<container>/, with /pfs/out as that container left it.
    """
    system = shared_system
    system.create_repo("seen")
    script = "cat /pfs/seen/* > /pfs/out/copy"
    system.create_pipeline("shows", [reads("seen", EACH_FILE)], script, parallelism=2)

    (job,) = system.wait(system.put("seen", {"a": b"1", "b": b"2"}))

    top = system.point / ".jobs" / job.name
    assert ["0", "1"] == sorted(os.listdir(top))
    assert (b"1", b"1") == ((top / "0/seen/a").read_bytes(), (top / "0/out/copy").read_bytes())
    assert (b"2", b"2") == ((top / "1/seen/b").read_bytes(), (top / "1/out/copy").read_bytes())
    assert ["b"] == os.listdir(top / "1/seen")


def test_a_one_off_job_reads_the_commits_that_it_names(shared_system: System) -> None:
    """
    `master/0` is the first commit, `master~1` the one before the newest; the output is job_<id>.
    """
    system = shared_system
    system.create_repo("history")
    for number in range(3):
        system.put("history", {"n": f"{number}\n".encode()})

    first, second = (
        system.create_job([reads_commit("history", text, "global")], "cat /pfs/history/n > /pfs/out/n")
        for text in ("master/0", "master~1")
    )
    system.wait_all()

    assert [f"job_{job.id.hex()}" for job in (first, second)] == [first.output_repo, second.output_repo]
    assert {"n": b"0\n"} == system.files(first.output_repo)
    assert {"n": b"1\n"} == system.files(second.output_repo)
    assert JobState.SUCCESS is system.job("", first.id).state


def test_a_one_off_job_continues_the_job_that_it_names(shared_system: System) -> None:
    """
    It sees what is new since that job's input, /pfs/prev, and goes on with its output.
    """
    system = shared_system
    system.create_repo("log")
    system.put("log", {"lines": b"1\n"})
    script = "test -d /pfs/prev && echo prev >> /pfs/out/all; cat /pfs/log/lines >> /pfs/out/all"
    first = system.create_job([reads_commit("log", "master")], script)
    system.wait(first.id)
    system.put("log", {"lines+": b"2\n"})

    second = system.create_job([reads_commit("log", "master")], script, parent_job=first.id.hex())
    system.wait(second.id)

    assert first.output_repo == second.output_repo
    assert {"all": b"1\nprev\n2\n"} == system.files(second.output_repo)


def test_an_empty_output_is_an_empty_directory(shared_system: System) -> None:
    """
    The command writes nothing at all.
    """
    job = shared_system.create_job((), "true")
    shared_system.wait(job.id)

    root = shared_system.commit(job.output_repo).root
    assert root is not None
    assert (Kind.DIRECTORY, 0) == (root.kind, root.files)


def test_an_image_with_a_user_of_its_own_can_write_its_output_in_every_job(shared_system: System) -> None:
    """
    User 1000 runs the command; the second job begins with the output that the first one left.
    """
    system = shared_system
    name = f"localhost/pfs-user-{system.store.id.hex()[:8]}:latest"
    text = f"FROM {system.image}\nUSER 1000:1000\n"
    subprocess.run(
        ["podman", "build", "--quiet", "--tag", name, "-"],
        input=text.encode(),
        check=True,
        capture_output=True,
    )
    try:
        system.create_repo("people")
        script = "set -e; id -u >> /pfs/out/ids; mkdir /pfs/out/$(ls /pfs/people)"
        system.create_pipeline("somebody", [reads("people", EACH_FILE)], script, image=name)
        for file in ("a", "b"):
            system.wait(system.put("people", {file: b"x"}))
    finally:
        subprocess.run(["podman", "rmi", "--force", name], check=True, capture_output=True)

    assert {"ids": b"1000\n1000\n"} == system.files("somebody")
    assert ["a", "b", "ids"] == sorted(os.listdir(system.point / "somebody" / "master"))
    assert 1000 == (system.point / "somebody" / "master" / "ids").stat().st_uid
