"""
Benchmarks, each figure beside a reference that is measured in the same run.

    python -m tools.bench [NAME ...]

The machine is shared and noisy, so rounds of ours and of the reference alternate, the best of
each counts, and what is to be compared over time is the ratio.  Data sets have fixed seeds.  A
figure that misses what is to be reached is marked; the exit status says only whether it all ran.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools.benchmarks import mount
from tools.benchmarks.report import Figure, paired, run, seconds

_ROOT = Path(__file__).resolve().parent.parent
_PFS = os.fspath(_ROOT / ".venv" / "bin" / "pfs")
GIB = 1 << 30
_DATUMS = 100
_IMAGE = "pfs-base"


class Bench:
    """A store, a mount, a runner and the data sets, in a folder of their own."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.point = scratch / "pfs"
        self.env = {**os.environ, "PFS_ROOT": os.fspath(scratch / "store")}
        self.big = scratch / "big"
        self._serial = 0

    def pfs(self, *arguments: str) -> str:
        """Run the program and return what it printed."""
        done = subprocess.run([_PFS, *arguments], env=self.env, check=True, capture_output=True, text=True)
        return done.stdout

    def repo(self, *, autocommit: bool = True) -> Path:
        """Return the directory of a new repo."""
        self._serial += 1
        path = self.point / f"r{self._serial}"
        path.mkdir()
        return path

    def finish(self, repo: Path) -> Path:
        """Wait until the branch's commit is finished and return the commit's own directory."""
        self.pfs("wait", "commit", f"{repo.name}@master")
        (only,) = os.listdir(repo / ".commits")
        return repo / ".commits" / only


def make_data(bench: Bench) -> None:
    """A 1 GiB file of which half compresses."""
    draw = random.Random(20261120)
    words = [draw.randbytes(5).hex().encode() for _ in range(5000)]
    with open(bench.big, "wb") as file:
        while file.tell() < GIB:
            file.write(draw.randbytes(512 << 10))
            file.write(b" ".join(draw.choices(words, k=50_000))[: 512 << 10].ljust(512 << 10, b"."))


def bench_put(bench: Bench) -> list[Figure]:
    """`pfs put file` of 1 GiB, and `cp` of it into the mount, against `cp` with fsync on the disk."""

    def put() -> float:
        repo = bench.repo()
        return seconds(
            lambda: bench.pfs("put", "file", "-r", f"{repo.name}@master:/", "-f", os.fspath(folder))
        )

    def copy_in() -> float:
        repo = bench.repo()
        taken = seconds(lambda: run("cp", bench.big, repo / "master" / "big"))
        bench.finish(repo)
        return taken

    def copy() -> float:
        target = bench.scratch / "copy"
        taken = seconds(lambda: (run("cp", bench.big, target), run("sync", target)))
        target.unlink()
        return taken

    folder = bench.scratch / "folder"
    folder.mkdir()
    os.link(bench.big, folder / "big")
    ours, ext4 = paired(2, _each_new(bench, put), copy)
    mounted = copy_in()
    return [
        Figure(
            "put file -r of 1 GiB",
            f"{GIB / ours / 1e6:.0f} MB/s",
            f"cp + sync {GIB / ext4 / 1e6:.0f} MB/s",
            f"{ext4 / ours:.2f}",
            ">= 150 MB/s",
            GIB / ours >= 150e6,
        ),
        Figure(
            "cp of 1 GiB into the mount",
            f"{GIB / mounted / 1e6:.0f} MB/s",
            f"cp + sync {GIB / ext4 / 1e6:.0f} MB/s",
            f"{ext4 / mounted:.2f}",
            "",
            True,
        ),
    ]


def _each_new(bench: Bench, work: Callable[[], float]) -> Callable[[], float]:
    """Have every round put bytes that the store does not have: the first byte of each 64 KiB is another."""

    def prepared() -> float:
        with open(bench.big, "r+b") as file:
            for offset in range(0, GIB, 16 << 10):
                file.seek(offset)
                file.write(os.urandom(8))
        return work()

    return prepared


def bench_datums(bench: Bench) -> list[Figure]:
    """100 datums through one pipeline, against 100 times `podman run`."""
    from runner.containers import shim_path
    from runner.containers.runtimes import find_runtime  # the product's own choice, for both sides

    runtime = find_runtime(Path(bench.env["PFS_ROOT"]) / "run", shim_path())
    spec = bench.scratch / "noop.json"
    spec.write_text(
        f'{{"pipeline": {{"name": "noop"}}, "transform": {{"image": "{_IMAGE}", "cmd": ["true"]}}, '
        f'"parallelism": {_DATUMS + 28}, "inputs": [{{"repo": {{"name": "many"}}, "method": "reduce"}}]}}'
    )
    (bench.point / "many").mkdir()
    bench.pfs("create", "pipeline", "-f", os.fspath(spec))
    folder = bench.scratch / "many"
    folder.mkdir()

    def job() -> float:
        # 128 top-level files at a parallelism of 128 are 128 containers of one file each.
        for number in range(128):
            (folder / f"f{number:03}").write_bytes(os.urandom(64))
        bench.pfs("put", "file", "-r", "many@master:/", "-f", os.fspath(folder))
        return seconds(lambda: bench.pfs("wait", "commit", "many@master"))

    def podman() -> float:
        command = ["podman", "--runtime", runtime, "run", "--rm", "--network", "none"]
        command += ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=32768:32768", _IMAGE, "true"]
        return seconds(lambda: [run(*command) for _ in range(10)]) * _DATUMS / 10

    job()
    ours_128, reference = paired(2, job, podman)
    ours = ours_128 * _DATUMS / 128
    return [
        Figure(
            "100 datums of one pipeline",
            f"{ours / _DATUMS * 1000:.1f} ms each",
            f"podman run {reference / _DATUMS * 1000:.0f} ms each",
            f"{ours / reference:.3f}",
            "<= 0.1 x podman run",
            ours <= 0.1 * reference,
        )
    ]


def bench_start(bench: Bench) -> list[Figure]:
    """The CPU time of `pfs version`, against an interpreter that does nothing."""

    def cpu(*command: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(*command)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    ours, bare = paired(5, lambda: cpu(_PFS, "version"), lambda: cpu(sys.executable, "-c", ""))
    return [
        Figure(
            "pfs version, CPU time",
            f"{ours * 1000:.0f} ms",
            f"python -c '' {bare * 1000:.0f} ms",
            f"{bare / ours if ours else 1:.2f}",
            "< 150 ms",
            ours < 0.15,
        )
    ]


def bench_mount(bench: Bench) -> list[Figure]:
    """Reading, listing and writing through a mount of its own, with the data sets A, B and C."""
    made = mount.MountBench(bench.scratch, bench.scratch)
    made.prepare()
    return [figure for row in mount.ROWS.values() for figure in row(made)]


BENCHES: dict[str, Callable[[Bench], list[Figure]]] = {
    "start": bench_start,
    "mount": bench_mount,
    "put": bench_put,
    "datums": bench_datums,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="which; all without names")
    names = parser.parse_args().names or list(BENCHES)
    with tempfile.TemporaryDirectory(prefix="pfs-bench-", dir="/var/tmp") as scratch:
        bench = Bench(Path(scratch))
        if "datums" in names:
            run(sys.executable, "-m", "tools.base_image")
        make_data(bench)
        bench.pfs("up", os.fspath(bench.point), "--detach")
        try:
            print(f"      {'':44} {'ours':>16}   {'reference':>24}   {'ratio':>8}   to reach", flush=True)
            for name in names:
                for figure in BENCHES[name](bench):
                    print(figure.line(), flush=True)
        finally:
            bench.pfs("down")
    return 0


if __name__ == "__main__":
    sys.exit(main())
