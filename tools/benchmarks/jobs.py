"""Containers through a pipeline against `podman run`, and how long the program takes to start."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.benchmarks.report import Figure, paired, run, seconds

IMAGE = "pfs-base"
_PFS = os.fspath(Path(sys.executable).parent / "pfs")
_DATUMS = 100


class JobBench:
    """A store with its mount and its runner."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.point = scratch / "pfs"
        self.env = {**os.environ, "PFS_ROOT": os.fspath(scratch / "store")}

    def pfs(self, *arguments: str) -> None:
        subprocess.run([_PFS, *arguments], env=self.env, check=True, stdout=subprocess.DEVNULL)

    @contextmanager
    def up(self) -> Iterator[None]:
        self.pfs("up", os.fspath(self.point), "--detach")
        try:
            yield
        finally:
            self.pfs("down")


def row_datums(bench: JobBench) -> list[Figure]:
    """100 containers of one pipeline, against 100 times `podman run`."""
    from runner.containers import shim_path
    from runner.containers.runtimes import find_runtime  # the product's own choice, for both sides

    run(sys.executable, "-m", "tools.base_image")
    runtime = find_runtime(Path(bench.env["PFS_ROOT"]) / "run", shim_path())
    spec = bench.scratch / "noop.json"
    spec.write_text(
        f'{{"pipeline": {{"name": "noop"}}, "transform": {{"image": "{IMAGE}", "cmd": ["true"]}}, '
        f'"parallelism": {_DATUMS + 28}, "inputs": [{{"repo": {{"name": "many"}}, "method": "reduce"}}]}}'
    )
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
        command += ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=32768:32768", IMAGE, "true"]

        def ten() -> None:
            for _ in range(10):
                run(*command)

        return seconds(ten) * _DATUMS / 10

    with bench.up():
        (bench.point / "many").mkdir()
        bench.pfs("create", "pipeline", "-f", os.fspath(spec))
        job()
        ours_128, reference = paired(2, job, podman)
    ours = ours_128 * _DATUMS / 128
    return [
        Figure(
            "100 containers of one pipeline",
            f"{ours / _DATUMS * 1000:.1f} ms each",
            f"podman run {reference / _DATUMS * 1000:.0f} ms each",
            f"{ours / reference:.3f}",
            "<= 0.1 x podman run",
            ours <= 0.1 * reference,
        )
    ]


def row_start(_bench: JobBench) -> list[Figure]:
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


ROWS: dict[str, Callable[[JobBench], list[Figure]]] = {"start": row_start, "datums": row_datums}
