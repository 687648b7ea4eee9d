"""What the containers of a job see: files, commits, environment, and the mount itself.  With real Podman."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pfsfuse.ids import BranchName, CommitId, RepoName
from pfsfuse.trees.contents import ContentsWriter
from pfsfuse.versions.changesets import Put
from pfsfuse.versions.model import BranchRef
from runner.jobs.logs import Source
from runner.jobs.model import JobRecord, JobState
from tests.support.system import System, method, reads

pytestmark = [pytest.mark.podman, pytest.mark.timeout(60)]

FRUIT_STAND = Path(__file__).parents[2] / "examples" / "fruit_stand"
LIST = "cd /pfs && find . -type f ! -path './out/*' ! -path './prev/*' | sort"


def printed(system: System, job: JobRecord, container: int | None = None) -> list[str]:
    """Return the lines of standard output of a job, or of one of its containers."""
    return [
        line.text.decode()
        for line in system.log(job)
        if line.source is Source.OUT and container in (None, line.container)
    ]


def test_the_jobs_of_the_four_events_see_exactly_the_files_of_the_table(shared_system: System) -> None:
    """
    The example of the pipeline specification: foo with file/incremental, bar with reduce.
    """
    system = shared_system
    system.create_repo("foo")
    system.create_repo("bar")
    inputs = [reads("foo", method("file", incremental=True)), reads("bar", "reduce")]
    system.create_pipeline("four-events", inputs, LIST)

    assert [] == system.wait(system.put("foo", {"file-1": b"1"}))
    (job1,) = system.wait(system.put("bar", {"file-a": b"a"}))
    (job2,) = system.wait(system.put("foo", {"file-2": b"2"}))
    (job3,) = system.wait(system.put("bar", {"file-b": b"b"}))

    assert ["./bar/file-a", "./foo/file-1"] == printed(system, job1)
    assert ["./bar/file-a", "./foo/file-2"] == printed(system, job2)
    assert ["./bar/file-a", "./bar/file-b", "./foo/file-1", "./foo/file-2"] == printed(system, job3)
    assert [None, job1.id, None] == [job.parent_job for job in (job1, job2, job3)]


def test_the_totals_of_the_fruit_stand_are_right_after_both_days(
    shared_system: System, tmp_path: Path
) -> None:
    """
    The example of the demo; its sums are checked against Python's.
    """
    system = shared_system
    subprocess.run([sys.executable, FRUIT_STAND / "generate.py", tmp_path], check=True)
    day1, day2 = ((tmp_path / name).read_bytes() for name in ("set1.txt", "set2.txt"))
    text = (FRUIT_STAND / "pipeline.json").read_text().replace("pfs-base", system.image)
    system.create_repo("data")
    system.create_pipelines(text)

    system.wait(system.put("data", {"sales": day1}))
    first = system.mounted("sum")
    system.wait(system.put("data", {"sales+": day2}))
    second = system.mounted("sum")

    assert totals(day1) == first
    assert totals(day1 + day2) == second
    # The filter saw the appended lines only: its output has every sale once.
    kept = b"".join(system.files("filter").values())
    assert sorted(line for line in (day1 + day2).splitlines() if is_asked_for(line)) == sorted(
        kept.splitlines()
    )


def is_asked_for(line: bytes) -> bool:
    return line.split(b"\t")[0] in (b"apple", b"banana", b"orange")


def totals(sales: bytes) -> dict[str, bytes]:
    """Return what the pipeline sum is to find."""
    counts: Counter[str] = Counter()
    for line in filter(is_asked_for, sales.splitlines()):
        fruit, sold = line.decode().split("\t")
        counts[fruit] += int(sold)
    return {fruit: b"%d\n" % count for fruit, count in sorted(counts.items())}


def test_a_plain_cp_is_all_it_takes(shared_system: System, tmp_path: Path) -> None:
    """
    `mkdir` makes the repo, `cp` the commit, which is finished when it has been quiet for a while.
    """
    system = shared_system
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "folder" / "below" / "file").write_bytes(b"data\n")
    (system.point / "plain").mkdir()
    system.create_pipeline("counts", [reads("plain")], "find /pfs/plain -type f | wc -l > /pfs/out/count")

    subprocess.run(["cp", "-r", tmp_path / "folder", system.branch("plain")], check=True)
    system.until(lambda: bool(system.jobs("counts")), "the commit has finished by itself")
    system.wait(system.jobs("counts")[0].id)

    assert {"folder/below/file": b"data\n"} == system.mounted("plain")
    assert {"count": b"1\n"} == system.mounted("counts")


def test_prev_is_there_when_the_job_has_a_parent_job_and_shows_its_whole_output(
    shared_system: System,
) -> None:
    """
    The first job has no parent, the second continues it; /pfs/prev cannot be written.
    """
    system = shared_system
    system.create_repo("steps")
    script = "ls /pfs; cat /pfs/prev/*; touch /pfs/prev/new 2>&1; cat /pfs/steps/* > /pfs/out/newest"
    system.create_pipeline("with-prev", [reads("steps", "incremental_reduce")], script)

    (first,) = system.wait(system.put("steps", {"1": b"one\n"}))
    (second,) = system.wait(system.put("steps", {"2": b"two\n"}))

    assert ["out", "steps"] == printed(system, first)[:2]
    refusal = "touch: /pfs/prev/new: Read-only file system"
    assert ["out", "prev", "steps", "one", refusal] == printed(system, second)


def test_several_inputs_give_the_cross_product_of_their_shares(shared_system: System) -> None:
    """
    Two files on the left, two on the right, four containers: each pair of files meets once.
    """
    system = shared_system
    system.create_repo("left")
    system.create_repo("right")
    system.create_pipeline(
        "cross",
        [reads("left", "reduce"), reads("right", "reduce")],
        "echo $(ls /pfs/left) $(ls /pfs/right)",
        parallelism=4,
    )
    system.put("left", {"a": b"1", "b": b"2"})

    (job,) = system.wait(system.put("right", {"x": b"3", "y": b"4"}))

    assert ["a x", "a y", "b x", "b y"] == [line for n in range(4) for line in printed(system, job, n)]


def test_the_environment_names_the_commits(shared_system: System) -> None:
    """
    Repo names in upper case, what is no identifier character as an underscore; own variables too.
    """
    system = shared_system
    system.create_repo("my-input")
    system.create_pipeline("environment", [reads("my-input")], "env", env={"OWN": "value"})

    change = system.put("my-input", {"f": b"x\n"})
    (job,) = system.wait(change)

    got = dict(line.split("=", 1) for line in printed(system, job))
    expected = {
        "PACH_MY_INPUT_COMMIT_ID": change.hex(),
        "PACH_OUTPUT_COMMIT_ID": change.hex(),
        "PACH_JOB_ID": change.hex(),
        "PPS_PIPELINE_NAME": "environment",
        "OWN": "value",
    }
    assert expected == {name: got.get(name) for name in expected}
    assert change == system.commit("environment").id


def test_a_diamond_runs_once_for_a_change_and_sees_consistent_inputs(shared_system: System) -> None:
    """
    top → left and right → bottom; top → bottom too.  Two changes, the second hard on the heels of the first.
    """
    system = shared_system
    system.create_repo("top")
    copy = "cp /pfs/top/n /pfs/out/n"
    system.create_pipeline("left-side", [reads("top", "global")], copy)
    system.create_pipeline("right-side", [reads("top", "global")], f"{copy}; sleep 0.1")
    inputs = [reads(name, "global") for name in ("top", "left-side", "right-side")]
    script = "cat /pfs/top/n /pfs/left-side/n /pfs/right-side/n > /pfs/out/all"
    system.create_pipeline("bottom", inputs, script)

    first = system.put("top", {"n": b"1\n"})
    second = system.put("top", {"n": b"2\n"})
    system.wait(first)
    system.wait(second)

    assert [first, second] == [job.id for job in system.jobs("bottom")]
    assert {"all": b"1\n1\n1\n"} == system.files("bottom", first)
    assert {"all": b"2\n2\n2\n"} == system.files("bottom", second)
    sources = {ref.repo: ref.commit for ref in system.commit("bottom", second).provenance}
    assert dict.fromkeys(["top", "left-side", "right-side"], second) == sources


def test_a_pipeline_that_is_created_after_the_data_runs_once_on_all_of_it(shared_system: System) -> None:
    """
    Two commits are there; one job sees what both brought.
    """
    system = shared_system
    system.create_repo("early")
    system.put("early", {"a": b"1"})
    newest = system.put("early", {"b": b"2"})

    system.create_pipeline("late", [reads("early")], LIST)
    system.create_pipeline("later", [reads("late")], LIST)
    system.wait_all()

    (job,) = system.jobs("late")
    assert [newest] == [ref.commit for ref in job.inputs]
    assert ["./early/a", "./early/b"] == printed(system, job)
    assert [] == system.jobs("later")[1:]


def test_a_pipeline_created_in_the_same_moment_as_a_commit_gets_one_job(shared_system: System) -> None:
    """
    The commit is finished and the pipeline created before the runner has seen either.
    """
    system = shared_system
    system.create_repo("moment")

    for number in range(5):
        change = system.put("moment", {f"f{number}": b"1"})
        system.create_pipeline(f"moment-{number}", [reads("moment")], LIST)
        system.wait_all()
        assert [(change,)] == [
            tuple(ref.commit for ref in job.inputs) for job in system.jobs(f"moment-{number}")
        ]


def test_appended_bytes_are_all_that_an_incremental_job_sees(shared_system: System) -> None:
    """
    A file that grew shows what came to it; one that was rewritten shows whole; removed ones are not shown.
    """
    system = shared_system
    system.create_repo("growing")
    script = "cd /pfs/growing; for f in $(ls); do echo $f $(cat $f); done"
    system.create_pipeline("tail", [reads("growing")], script)
    system.wait(system.put("growing", {"grown": b"1\n", "rewritten": b"1\n", "same": b"1\n", "gone": b"1\n"}))

    (job,) = system.wait(system.put("growing", {"grown+": b"2\n", "rewritten": b"3\n", "gone": None}))

    assert ["grown 2", "rewritten 3"] == printed(system, job)


def test_a_commit_that_brings_nothing_new_makes_an_output_without_running(shared_system: System) -> None:
    """
    Only a file was removed, which an incremental input does not show; `runEmpty` would run.
    """
    system = shared_system
    system.create_repo("shrinking")
    script = "ls /pfs/shrinking; echo ran >> /pfs/out/runs"
    system.create_pipeline("patient", [reads("shrinking")], script)
    system.create_pipeline("eager", [reads("shrinking", runEmpty=True)], script)
    system.wait(system.put("shrinking", {"a": b"1", "b": b"1"}))

    change = system.put("shrinking", {"b": None})
    system.wait(change)

    assert {"runs": b"ran\n"} == system.files("patient", change)
    assert {"runs": b"ran\nran\n"} == system.files("eager", change)
    patient = system.job("patient", change)
    assert ("no new data: nothing was run", 0, 0) == (patient.reason, patient.containers, patient.done)


def test_forty_megabytes_of_lines_are_dealt_to_four_containers_line_by_line(shared_system: System) -> None:
    """
    Method map: blocks of about 8 MB end after a newline.  The lines have lengths of 1 to 200 bytes.
    """
    system = shared_system
    numbers = random.Random(40)
    pool = numbers.randbytes(1 << 16).hex().encode()
    lines = []
    size = 0
    while size < 40_000_000:
        start, length = numbers.randrange(len(pool) - 200), numbers.randrange(1, 200)
        lines.append(b"%d %s\n" % (len(lines), pool[start : start + length]))
        size += len(lines[-1])
    system.create_repo("lines")
    script = "cat /pfs/lines/all >> /pfs/out/all; wc -l < /pfs/lines/all; tail -c 1 /pfs/lines/all | wc -l"
    system.create_pipeline("dealt", [reads("lines", "map")], script, parallelism=4)

    (job,) = system.wait(system.put("lines", {"all": b"".join(lines)}))

    told = [printed(system, job, number) for number in range(4)]
    assert len(lines) == sum(int(count) for count, _ in told)
    assert ["1"] * 4 == [newline for _, newline in told]
    output = system.files("dealt")["all"]
    assert hashlib.sha256(b"".join(lines)).hexdigest() == hashlib.sha256(output).hexdigest()


def put_large_file(system: System, repo: str, size: int) -> CommitId:
    """Put a file of *size* bytes that repeats 16 MiB of noise, so that it is quickly made."""
    noise = random.Random(1).randbytes(16 << 20)
    writer = ContentsWriter(system.store.chunks)
    for _ in range(size // len(noise)):
        writer.write(noise)
    entry = writer.finish().entry(mode=0o644, uid=0, gid=0, mtime_ns=0)
    system.store.flush()
    with system.client() as client:
        made, finished = client.apply(
            BranchRef(RepoName(repo), BranchName("master")), [Put((b"big",), entry)]
        )
    assert finished
    return made


def test_a_container_has_the_mount_itself_and_reads_only_what_it_asks_for(shared_system: System) -> None:
    """
    /pfs is this file system, and 1 KiB of a file of 1 GiB costs less than 2 MiB.
    """
    system = shared_system
    system.create_repo("big")
    script = [
        r"sed -n 's|.* /pfs .* - \([^ ]*\) .*|\1|p' /proc/self/mountinfo",
        "stat -c %s /pfs/big/big",
        "dd if=/pfs/big/big bs=1024 skip=524288 count=1 2>/dev/null | sha256sum | cut -c 1-64",
    ]
    # One container that sees the whole file: nothing has to be cut, so planning reads nothing.
    system.create_pipeline("peek", [reads("big", "global")], script)
    with system.client() as client:
        before = client.status()["read_bytes"]

    (job,) = system.wait(put_large_file(system, "big", 1 << 30))

    with system.client() as client:
        moved = client.status()["read_bytes"] - before
    noise = random.Random(1).randbytes(16 << 20)
    assert ["fuse.pfs", str(1 << 30), hashlib.sha256(noise[:1024]).hexdigest()] == printed(system, job)
    assert 1024 <= moved < 2 << 20


def test_inputs_cannot_be_written_and_vanish_from_no_other_container(shared_system: System) -> None:
    """
    Every way to change an input, or the names in /pfs, is refused; the run goes on.
    """
    system = shared_system
    system.create_repo("fixed")
    script = [
        "cd /pfs/fixed",
        "for c in 'echo x > f' 'echo x >> f' 'rm f' 'mv f g' 'mkdir d' 'chmod 777 f' 'touch /pfs/new' 'rmdir /pfs/out'",
        'do sh -c "$c" 2>/dev/null && echo "not refused: $c"; done',
        "cat f",
    ]
    system.create_pipeline("vandal", [reads("fixed")], script)

    (job,) = system.wait(system.put("fixed", {"f": b"data"}))

    assert ["data"] == printed(system, job)
    assert {"f": b"data"} == system.mounted("fixed")
    assert job.state is JobState.SUCCESS
