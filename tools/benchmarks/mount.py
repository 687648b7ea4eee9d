"""
The speed of the mount: reading, listing and writing through it, each beside the same work on the disk.

    python -m tools.benchmarks.mount [--transport NAME] [--data FOLDER] [ROW ...]

"First time" is with nothing of the tree known to the kernel (the store is mounted anew before each)
and the packs in the page cache; "second time" directly after it.  The CPU time of the mount process
stands beside each figure: it is firm, where the rates swing with the machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.benchmarks.data import A_BYTES, B_FILES, C_FILES, make_a, make_b, make_c
from tools.benchmarks.report import Figure, read_file, run, seconds

_PFS = [sys.executable, "-P", "-m", "runner.cli.main"]
_SOURCES = os.fspath(Path(__file__).resolve().parents[2])
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    """Seconds on the clock, and of CPU time of the mount process."""

    clock: float
    cpu: float

    def rate(self, count: int, unit: str) -> str:
        return f"{count / self.clock:.0f} {unit} ({1e6 * self.cpu / count:.0f} µs CPU each)"


class MountBench:
    """A store with A and B in it, and its mount."""

    def __init__(self, scratch: Path, data: Path, transport: str | None = None) -> None:
        self.scratch = scratch
        self.data = data
        self.point = scratch / "pfs"
        self.env = {**os.environ, "PFS_ROOT": os.fspath(scratch / "store"), "PYTHONPATH": _SOURCES}
        if transport is not None:
            self.env["PFS_TRANSPORT"] = transport
        self._is_filled = False
        self._process: subprocess.Popen[bytes] | None = None
        self._serial = 0

    def pfs(self, *arguments: str) -> str:
        done = subprocess.run([*_PFS, *arguments], env=self.env, check=True, capture_output=True, text=True)
        return done.stdout

    def fill(self) -> None:
        """Put A and B into the store, without a mount, the first time that it is mounted."""
        if self._is_filled:
            return
        self._is_filled = True
        for name in ("A", "B"):
            self.pfs("create", "repo", name)
        self.pfs("put", "file", "A@master:/A", "-f", os.fspath(self.data / "A"))
        self.pfs("put", "file", "-r", "B@master:/", "-f", os.fspath(self.data / "B"))

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """The mount point, with a process that knows nothing yet."""
        self.fill()
        ready, child = os.pipe()
        arguments = ["mount", os.fspath(self.point), "--autocommit", "off", "--ready-fd", str(child)]
        with open(self.scratch / "mount.log", "ab") as log:
            self._process = subprocess.Popen(
                [*_PFS, *arguments], env=self.env, pass_fds=[child], stdout=log, stderr=log
            )
        os.close(child)
        is_ready = os.read(ready, 1) != b""
        os.close(ready)
        try:
            if not is_ready:
                raise RuntimeError((self.scratch / "mount.log").read_text())
            yield self.point
        finally:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def cpu(self) -> float:
        """Return the CPU time of the mount process."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def memory(self) -> int:
        """Return the most memory that the mount process has had, in bytes."""
        assert self._process is not None
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10

    def measure(self, work: Callable[[], object]) -> Measured:
        before = self.cpu()
        clock = seconds(work)
        return Measured(clock, self.cpu() - before)

    def twice(self, work: Callable[[], object], rounds: int = 2) -> tuple[Measured, Measured]:
        """Return the best first and the best second time."""
        pairs = []
        for _ in range(rounds):
            with self.mounted():
                pairs.append((self.measure(work), self.measure(work)))
        return min((p[0] for p in pairs), key=_clock), min((p[1] for p in pairs), key=_clock)

    def tree(self) -> Path:
        """Return B as it is mounted."""
        return self.point / "B" / "master"

    def repo(self) -> Path:
        """Return the directory of a new branch."""
        self._serial += 1
        path = self.point / f"w{self._serial}"
        path.mkdir()
        return path / "master"


def _clock(measured: Measured) -> float:
    return measured.clock


def _on_disk(work: Callable[[], object], rounds: int = 3) -> float:
    return min(seconds(work) for _ in range(rounds))


def row_read(bench: MountBench) -> list[Figure]:
    """Sequential read of A."""
    first, second = bench.twice(lambda: read_file(bench.point / "A" / "master" / "A"))
    ext4 = _on_disk(lambda: read_file(bench.data / "A"))
    return [
        _rate("read A, first time", first, ext4, 500),
        _rate("read A, second time", second, ext4, 2000),
    ]


def _rate(what: str, ours: Measured, ext4: float, wanted_mb: int) -> Figure:
    rate = A_BYTES / ours.clock / 1e6
    return Figure(
        what,
        f"{rate:.0f} MB/s, CPU {ours.cpu:.2f} s",
        f"ext4 cached {A_BYTES / ext4 / 1e6:.0f} MB/s",
        f"{ext4 / ours.clock:.2f}",
        f">= {wanted_mb} MB/s",
        rate >= wanted_mb,
    )


def _walk(name: str, command: str, first_s: float, second_s: float) -> Callable[[MountBench], list[Figure]]:
    def row(bench: MountBench) -> list[Figure]:
        first, second = bench.twice(lambda: run("sh", "-c", command.format(bench.tree())))
        ext4 = _on_disk(lambda: run("sh", "-c", command.format(bench.data / "B")))
        return [
            _time(f"{name} of B, first time", first, ext4, first_s),
            _time(f"{name} of B, second time", second, ext4, second_s),
        ]

    row.__doc__ = f"{name} over all of B."
    return row


def _time(what: str, ours: Measured, ext4: float, wanted_s: float) -> Figure:
    return Figure(
        what,
        f"{ours.clock:.3f} s, CPU {1e6 * ours.cpu / B_FILES:.0f} µs/file",
        f"ext4 {ext4:.3f} s",
        f"{ext4 / ours.clock:.2f}",
        f"<= {wanted_s} s",
        ours.clock <= wanted_s,
    )


def row_copy(bench: MountBench) -> list[Figure]:
    """`cp -r` of B into the mount, untar of C, and 4 KiB writes."""
    archive = bench.scratch / "C.tar"
    run("tar", "cf", archive, "-C", bench.data, "C")
    with bench.mounted():
        copied = min((_into(bench, ["cp", "-r", os.fspath(bench.data / "B")]) for _ in range(2)), key=_clock)
        untarred = min((_into(bench, ["tar", "xf", os.fspath(archive), "-C"]) for _ in range(2)), key=_clock)
    copy = bench.scratch / "copy"
    ext4_cp = seconds(lambda: run("cp", "-r", bench.data / "B", copy))
    shutil.rmtree(copy)
    copy.mkdir()
    ext4_tar = seconds(lambda: run("tar", "xf", archive, "-C", copy))
    shutil.rmtree(copy)
    return [
        _files("cp -r of B into the mount", copied, B_FILES, ext4_cp),
        _files("untar of C into the mount", untarred, C_FILES, ext4_tar),
    ]


def _into(bench: MountBench, command: list[str]) -> Measured:
    target = bench.repo()
    return bench.measure(lambda: run(*command, target))


def _files(what: str, ours: Measured, count: int, ext4: float) -> Figure:
    return Figure(
        what,
        ours.rate(count, "files/s"),
        f"ext4 {count / ext4:.0f} files/s",
        f"{ext4 / ours.clock:.2f}",
        ">= 2000 files/s",
        count / ours.clock >= 2000,
    )


_WRITTEN = 256 << 20


def row_write(bench: MountBench) -> list[Figure]:
    """Sequential writes of 4 KiB."""

    def write(path: Path) -> None:
        block = os.urandom(4096)
        with open(path, "wb", buffering=0) as file:
            for _ in range(_WRITTEN // 4096):
                file.write(block)

    with bench.mounted():
        ours = min((bench.measure(lambda: write(bench.repo() / "f")) for _ in range(3)), key=_clock)
    target = bench.scratch / "written"
    ext4 = _on_disk(lambda: write(target))
    target.unlink()
    rate = _WRITTEN / ours.clock / 1e6
    return [
        Figure(
            "4 KiB writes, one after the other",
            f"{rate:.0f} MB/s, CPU {ours.cpu:.2f} s",
            f"ext4 {_WRITTEN / ext4 / 1e6:.0f} MB/s",
            f"{ext4 / ours.clock:.2f}",
            ">= 300 MB/s",
            rate >= 300,
        )
    ]


_MANY = 1_000_000
_MANY_DIRECTORIES = 1000


def _fill_many(root: Path) -> None:
    """Commit 1,000,000 files of 600 bytes, each another, to the repo `many`; not through the mount."""
    from pfsfuse.ids import BranchName
    from pfsfuse.store.store import Store
    from pfsfuse.trees.contents import ContentsWriter
    from pfsfuse.trees.entry import Entry
    from pfsfuse.trees.tree import Trees
    from pfsfuse.versions.changesets import PutTree
    from pfsfuse.versions.model import BranchRef
    from pfsfuse.versions.owner import commit_changes
    from pfsfuse.versions.repos import create_repo

    store = Store(root)
    trees = Trees(store.chunks)

    def directory(number: int) -> Entry:
        files: dict[bytes, Entry | None] = {}
        for name in range(_MANY // _MANY_DIRECTORIES):
            writer = ContentsWriter(store.chunks)
            writer.write(b"%012d " % (number * _MANY + name) * 46)
            files[b"file%06d" % name] = writer.finish().entry(mode=0o644, uid=0, gid=0, mtime_ns=1)
        return trees.update(trees.empty_directory(), files)

    with store.write() as txn:
        repo = create_repo(txn, "many").name
    top: dict[bytes, Entry | None] = {}
    for number in range(_MANY_DIRECTORIES):
        top[b"dir%04d" % number] = directory(number)
        if number % 50 == 49:
            store.flush()
    root_entry = trees.update(trees.empty_directory(), top)
    commit_changes(store, trees, BranchRef(repo, BranchName("master")), [PutTree((), root_entry)])
    store.close()


def row_memory(bench: MountBench) -> list[Figure]:
    """The memory of the mount process while 1,000,000 files are listed and read, and read again."""
    _fill_many(Path(bench.env["PFS_ROOT"]))
    tree = bench.point / "many" / "master"
    command = f"tar c -C '{tree}' . | cat > /dev/null"
    with bench.mounted():
        first = bench.measure(lambda: run("sh", "-c", command))
        after_first = bench.memory()
        run("sh", "-c", command)
        after_second = bench.memory()
    mib = after_second / (1 << 20)
    return [
        Figure(
            "memory with 1,000,000 files listed and read",
            f"{after_first / (1 << 20):.0f}, then {mib:.0f} MiB",
            f"tar c {first.clock:.0f} s",
            f"{after_second / after_first:.2f}",
            "<= 400 MiB, flat",
            mib <= 400 and after_second <= 1.1 * after_first,
        )
    ]


ROWS: dict[str, Callable[[MountBench], list[Figure]]] = {
    "read": row_read,
    "find": _walk("find", "find {} > /dev/null", 0.25, 0.05),
    "ls": _walk("ls -lR", "ls -lR {} > /dev/null", 1.0, 0.5),
    "tar": _walk("tar c", "tar c -C {} . | cat > /dev/null", 2.5, 0.8),
    "grep": _walk("grep -r", "grep -r nothing-has-this {} > /dev/null || true", 2.5, 0.8),
    "copy": row_copy,
    "write": row_write,
    "memory": row_memory,
}


def make_data(folder: Path) -> None:
    """Make the data sets in *folder* where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (("A", make_a), ("B", make_b), ("C", make_c)):
        if not (folder / name).exists():
            make(folder / name)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="which; all without names")
    parser.add_argument("--transport", help="how the mount talks to the kernel")
    parser.add_argument(
        "--data", type=Path, help="a folder that has the data sets, or gets them and keeps them"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pfs-bench-", dir="/var/tmp") as scratch:
        bench = MountBench(Path(scratch), chosen.data or Path(scratch) / "data", chosen.transport)
        make_data(bench.data)
        started = time.monotonic()
        for name in chosen.rows or list(ROWS):
            for figure in ROWS[name](bench):
                print(figure.line(), flush=True)
        print(f"      {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
