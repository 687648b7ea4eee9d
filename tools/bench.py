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
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools.benchmarks import data, store
from tools.benchmarks.report import Figure, paired, read_file, run, seconds

_PFS = os.fspath(Path(sys.executable).parent / "pfs")
GIB = 1 << 30
_SMALL_FILES = 10_000
_DATUMS = 100
_IMAGE = "pfs-base"


class Bench:
    """A store, a mount, a runner and the data sets, in a folder of their own."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.point = scratch / "pfs"
        self.env = {**os.environ, "PFS_ROOT": os.fspath(scratch / "store")}
        self.big = scratch / "big"
        self.small = scratch / "small"
        self.sets = {"A": scratch / "A", "B": scratch / "B"}
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


def _read_uncached(path: Path) -> float:
    """Read a file of which the kernel holds no page: all of it comes through the mount."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return read_file(path)


def make_data(bench: Bench) -> None:
    """A 1 GiB file of which half compresses, and 10,000 files of 1 to 16 KiB in 100 directories."""
    draw = random.Random(20261120)
    words = [draw.randbytes(5).hex().encode() for _ in range(5000)]
    with open(bench.big, "wb") as file:
        while file.tell() < GIB:
            file.write(draw.randbytes(512 << 10))
            file.write(b" ".join(draw.choices(words, k=50_000))[: 512 << 10].ljust(512 << 10, b"."))
    for folder in range(100):
        path = bench.small / f"d{folder:02}"
        path.mkdir(parents=True)
        for number in range(_SMALL_FILES // 100):
            (path / f"f{number:02}").write_bytes(draw.randbytes(draw.randrange(1024, 16384)))


def bench_read(bench: Bench) -> list[Figure]:
    """Sequential read of a committed 1 GiB file, first and second time, against the same file on the disk."""
    repo = bench.repo()
    bench.pfs("put", "file", f"{repo.name}@master:/big", "-f", os.fspath(bench.big))
    (commit,) = os.listdir(repo / ".commits")
    committed = repo / ".commits" / commit / "big"
    first = min(_read_uncached(committed) for _ in range(3))
    second, ext4 = paired(3, lambda: read_file(committed), lambda: read_file(bench.big))
    return [
        Figure(
            "read 1 GiB, first time",
            f"{GIB / first / 1e6:.0f} MB/s",
            f"ext4 cached {GIB / ext4 / 1e6:.0f} MB/s",
            f"{ext4 / first:.2f}",
            ">= 300 MB/s",
            GIB / first >= 300e6,
        ),
        Figure(
            "read 1 GiB, second time",
            f"{GIB / second / 1e6:.0f} MB/s",
            f"ext4 cached {GIB / ext4 / 1e6:.0f} MB/s",
            f"{ext4 / second:.2f}",
            ">= 0.12 x ext4 and >= 1 GB/s",
            ext4 / second >= 0.12 and GIB / second >= 1e9,
        ),
    ]


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


def bench_small(bench: Bench) -> list[Figure]:
    """10,000 small files: `cp -r` in, `put file -r`, `tar c` out."""

    def copy_in() -> float:
        repo = bench.repo()
        repos.append(repo)
        return seconds(lambda: run("cp", "-r", bench.small, repo / "master"))

    def copy() -> float:
        target = bench.scratch / "copy"
        taken = seconds(lambda: run("cp", "-r", bench.small, target))
        shutil.rmtree(target)
        return taken

    def put() -> float:
        repo = bench.repo()
        return seconds(
            lambda: bench.pfs("put", "file", "-r", f"{repo.name}@master:/", "-f", os.fspath(bench.small))
        )

    def tar(folder: Path) -> float:
        return seconds(lambda: run("sh", "-c", f"tar c -C '{folder}' . | cat"))

    repos: list[Path] = []
    cp_ours, cp_ext4 = paired(2, copy_in, copy)
    put_ours = put()
    committed = bench.finish(repos[-1])
    tar_first = tar(committed)
    tar_second, tar_ext4 = paired(2, lambda: tar(committed), lambda: tar(bench.small))
    rate = _SMALL_FILES / cp_ours
    return [
        Figure(
            "cp -r of 10,000 files into the mount",
            f"{rate:.0f} files/s",
            f"ext4 {_SMALL_FILES / cp_ext4:.0f} files/s",
            f"{cp_ext4 / cp_ours:.2f}",
            ">= 1000 files/s",
            rate >= 1000,
        ),
        Figure(
            "put file -r of the same",
            f"{_SMALL_FILES / put_ours:.0f} files/s",
            f"cp -r in {rate:.0f} files/s",
            f"{cp_ours / put_ours:.2f}",
            "",
            True,
        ),
        Figure(
            "tar c of them, first time",
            f"{_SMALL_FILES / tar_first:.0f} files/s",
            f"ext4 {_SMALL_FILES / tar_ext4:.0f} files/s",
            f"{tar_ext4 / tar_first:.2f}",
            "",
            True,
        ),
        Figure(
            "tar c of them, second time",
            f"{_SMALL_FILES / tar_second:.0f} files/s",
            f"ext4 {_SMALL_FILES / tar_ext4:.0f} files/s",
            f"{tar_ext4 / tar_second:.2f}",
            "",
            True,
        ),
    ]


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


def _of_store(work: Callable[[store.Desk], list[Figure]]) -> Callable[[Bench], list[Figure]]:
    """Have a benchmark of the store measure with the data sets of this run, made when first needed."""

    def measured(bench: Bench) -> list[Figure]:
        for name, path in bench.sets.items():
            if not path.exists():
                data.SETS[name](path)
        return work(store.Desk(bench.scratch, bench.sets["A"], bench.sets["B"], _PFS))

    return measured


BENCHES: dict[str, Callable[[Bench], list[Figure]]] = {
    **{name: _of_store(work) for name, work in store.BENCHES.items()},
    "start": bench_start,
    "read": bench_read,
    "small": bench_small,
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
