"""
The store and its commands against restic, borg, git, mksquashfs and cp: time and stored bytes.

Peers that are not installed are left out (requirements/debian-clients.txt).  Where a row says "in
process" the operation itself is measured, in a process that has the store open, as the servers
and the runner have: the start of an interpreter would hide it.  Where it says "program" it is
the whole command, as somebody types it.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pfsfuse.ids import BranchName, RepoName
from pfsfuse.mount.writing import Writing
from pfsfuse.store.store import Store
from pfsfuse.transfer.streams import Stream
from pfsfuse.transfer.streams import store as store_stream
from pfsfuse.trees.contents import Contents, ContentsWriter, read, store_small
from pfsfuse.trees.diff import diff
from pfsfuse.trees.entry import Entry, Kind
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.branches import branch
from pfsfuse.versions.changesets import Put
from pfsfuse.versions.commits import ancestors, commit
from pfsfuse.versions.gc import Report as GcReport
from pfsfuse.versions.gc import collect_garbage
from pfsfuse.versions.ingest import Source, ingest
from pfsfuse.versions.model import BranchRef, CommitRef
from pfsfuse.versions.repos import create_repo, delete_repo
from tools.benchmarks.report import Figure, read_file, seconds

_PEERS_ENV = {"RESTIC_PASSWORD": "benchmark", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
_PFS = os.fspath(Path(sys.executable).parent / "pfs")
_ROUNDS = 3


def bytes_in(folder: Path) -> int:
    """Return how many bytes the files below a folder have."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


@dataclass(frozen=True)
class Measured:
    """The best of some rounds."""

    seconds: float
    stored: int = 0


class Desk:
    """Where it is measured: the data sets, a folder for stores, the environment of the programs."""

    def __init__(self, scratch: Path, a: Path, b: Path) -> None:
        self.scratch = scratch
        self.a = a
        self.b = b

    def pfs(self, root: Path, *arguments: str, compression: str = "") -> None:
        """Run the program on the store at *root*."""
        env = {**os.environ, "PFS_ROOT": os.fspath(root), "PFS_COMPRESSION": compression}
        subprocess.run([_PFS, *arguments], env=env, check=True, stdout=subprocess.DEVNULL)

    def peer(self, *command: str | Path, cwd: Path | None = None) -> None:
        """Run somebody else's program."""
        env = {**os.environ, **_PEERS_ENV}
        subprocess.run(
            [os.fspath(word) for word in command],
            env=env,
            cwd=cwd,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @contextmanager
    def place(self, name: str) -> Iterator[Path]:
        """A path for one store or repository, gone afterwards."""
        path = self.scratch / name
        shutil.rmtree(path, ignore_errors=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    # One round each: the seconds, and what is stored afterwards

    def put(self, source: Path, *, compression: str = "") -> Measured:
        with self.place("pfs-store") as root:
            self.pfs(root, "create", "repo", "data")
            words = ["put", "file", "-r", "data@master:/", "-f", os.fspath(source)]
            if source.is_file():
                words = ["put", "file", f"data@master:/{source.name}", "-f", os.fspath(source)]
            taken = seconds(lambda: self.pfs(root, *words, compression=compression))
            return Measured(taken, bytes_in(root / "packs"))

    def restic(self, source: Path) -> Measured:
        with self.place("restic") as repository:
            self.peer("restic", "-q", "-r", repository, "init")
            taken = seconds(lambda: self.peer("restic", "-q", "-r", repository, "backup", source))
            return Measured(taken, bytes_in(repository))

    def borg(self, source: Path) -> Measured:
        with self.place("borg") as repository:
            self.peer("borg", "init", "-e", "none", repository)
            taken = seconds(lambda: self.peer("borg", "create", f"{repository}::one", source))
            return Measured(taken, bytes_in(repository))

    def git(self, source: Path) -> Measured:
        with self.place("git") as tree:
            shutil.copytree(source, tree)
            self.peer("git", "init", "-q", tree)

            def add() -> None:
                self.peer("git", "add", "-A", cwd=tree)
                self.peer(*_GIT_COMMIT, cwd=tree)

            return Measured(seconds(add), bytes_in(tree / ".git"))

    def squash(self, source: Path) -> Measured:
        with self.place("squash") as folder:
            folder.mkdir()
            image = folder / "image"
            taken = seconds(
                lambda: self.peer("mksquashfs", source, image, "-comp", "zstd", "-no-progress", "-quiet")
            )
            return Measured(taken, image.stat().st_size)

    def copy(self, source: Path) -> Measured:
        with self.place("copy") as target:

            def copy() -> None:
                self.peer("cp", "-r", source, target)
                self.peer("sync", "-f", target)

            taken = seconds(copy)
            if target.is_file():
                target.unlink()
            return Measured(taken)


_GIT_COMMIT = ("git", "-c", "user.name=b", "-c", "user.email=b@b", "commit", "-q", "-m", "one")


def _best(rounds: int, **works: Callable[[], Measured]) -> dict[str, Measured]:
    """Return the best of each, all measured in turns."""
    found: dict[str, Measured] = {}
    for _ in range(rounds):
        for name, work in works.items():
            one = work()
            if name not in found or one.seconds < found[name].seconds:
                found[name] = one
    return found


def _installed(**works: Callable[[], Measured]) -> dict[str, Callable[[], Measured]]:
    programs = {"squash": "mksquashfs"}
    return {name: work for name, work in works.items() if shutil.which(programs.get(name, name))}


def _shown(found: dict[str, Measured]) -> str:
    return ", ".join(f"{name} {one.seconds:.2f} s" for name, one in found.items()) or "no peer installed"


def _ratio(ours: Measured, peers: dict[str, Measured]) -> str:
    return f"{min(one.seconds for one in peers.values()) / ours.seconds:.2f}" if peers else ""


def row_put_a(desk: Desk) -> list[Figure]:
    """Data set A, with and without compression."""
    peers = _installed(borg=lambda: desk.borg(desk.a), restic=lambda: desk.restic(desk.a))
    found = _best(_ROUNDS, ours=lambda: desk.put(desk.a), **peers)
    ours = found.pop("ours")
    plain = _best(_ROUNDS, ours=lambda: desk.put(desk.a, compression="off"), cp=lambda: desk.copy(desk.a))
    size = desk.a.stat().st_size
    least = min((one.stored for one in found.values()), default=ours.stored)
    return [
        Figure(
            "put A, compressed (program)",
            f"{ours.seconds:.2f} s",
            _shown(found),
            _ratio(ours, found),
            "< borg, restic",
            all(ours.seconds < one.seconds for one in found.values()),
        ),
        Figure(
            "put A, stored bytes",
            f"{ours.stored / size:.3f} of A",
            ", ".join(f"{name} {one.stored / size:.3f}" for name, one in found.items()),
            f"{ours.stored / least:.3f}",
            "<= borg",
            "borg" not in found or ours.stored <= found["borg"].stored,
        ),
        Figure(
            "put A, compression off (program)",
            f"{plain['ours'].seconds:.2f} s",
            f"cp + sync {plain['cp'].seconds:.2f} s",
            f"{plain['cp'].seconds / plain['ours'].seconds:.2f}",
            ">= 0.5 x cp",
            plain["cp"].seconds / plain["ours"].seconds >= 0.5,
        ),
    ]


def row_put_b(desk: Desk) -> list[Figure]:
    """Data set B as one commit."""
    peers = _installed(
        restic=lambda: desk.restic(desk.b),
        borg=lambda: desk.borg(desk.b),
        git=lambda: desk.git(desk.b),
        squash=lambda: desk.squash(desk.b),
    )
    found = _best(_ROUNDS, ours=lambda: desk.put(desk.b), **peers)
    ours = found.pop("ours")
    rate = sum(1 for path in desk.b.rglob("*") if path.is_file()) / ours.seconds
    return [
        Figure(
            "put file -r of B (program)",
            f"{rate:.0f} files/s",
            _shown(found),
            _ratio(ours, found),
            ">= 10,000 files/s, < peers",
            rate >= 10_000 and all(ours.seconds < one.seconds for one in found.values()),
        )
    ]


def row_get(desk: Desk) -> list[Figure]:
    """A and B out of the store into a folder."""
    figures = []
    for name, source in (("A", desk.a), ("B", desk.b)):
        with desk.place("pfs-store") as root, desk.place("restic") as repository, desk.place("git") as tree:
            is_file = source.is_file()
            desk.pfs(root, "create", "repo", "data")
            target = f"data@master:/{source.name}" if is_file else "data@master:/"
            desk.pfs(root, "put", "file", *(() if is_file else ("-r",)), target, "-f", os.fspath(source))
            works: dict[str, Callable[[], Measured]] = {}
            if shutil.which("restic"):
                desk.peer("restic", "-q", "-r", repository, "init")
                desk.peer("restic", "-q", "-r", repository, "backup", source)
                works["restic"] = lambda at=repository: _into(  # type: ignore[misc]
                    desk,
                    lambda out: desk.peer("restic", "-q", "-r", at, "restore", "latest", "--target", out),
                )
            if shutil.which("git") and not is_file:
                shutil.copytree(source, tree)
                desk.peer("git", "init", "-q", tree)
                desk.peer("git", "add", "-A", cwd=tree)
                desk.peer(*_GIT_COMMIT, cwd=tree)
                works["git"] = lambda at=tree: _into(desk, lambda out: _check_out(desk, at, out))  # type: ignore[misc]

            def ours(at: Path = root, target: str = target, is_file: bool = is_file) -> Measured:
                words = ["get", "file", *([] if is_file else ["-r"]), target, "-o"]
                return _into(desk, lambda out: desk.pfs(at, *words, os.fspath(out)))

            found = _best(_ROUNDS, ours=ours, **works)
            mine = found.pop("ours")
            figures.append(
                Figure(
                    f"get {name} (program)",
                    f"{mine.seconds:.2f} s",
                    _shown(found),
                    _ratio(mine, found),
                    "< restic restore" + ("" if is_file else ", git checkout"),
                    all(mine.seconds < one.seconds for one in found.values()),
                )
            )
    return figures


def _check_out(desk: Desk, tree: Path, out: Path) -> None:
    out.mkdir()
    desk.peer("git", "--work-tree", out, "checkout", "-q", "HEAD", "--", ".", cwd=tree)


def _into(desk: Desk, work: Callable[[Path], object]) -> Measured:
    with desk.place("out") as out:
        try:
            return Measured(seconds(lambda: work(out)))
        finally:
            if out.is_file():
                out.unlink()


# In process


class Opened:
    """A store that this process has open, with one repo, `data`."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True)
        self.root = root
        self.store = Store(root)
        self.trees = Trees(self.store.chunks)
        self.writing = Writing(self.store, self.trees)
        self.ref = BranchRef(RepoName("data"), BranchName("master"))
        with self.store.write() as txn:
            create_repo(txn, self.ref.repo)

    def apply(self, changes: list[Put], repo: RepoName | None = None) -> None:
        ref = self.ref if repo is None else BranchRef(repo, self.ref.branch)
        self.writing.apply(ref, list(changes))

    def put_folder(self, folder: Path) -> None:
        made = ingest(self.store.chunks, [Source(os.fsencode(folder), ())], recursive=True)
        self.writing.apply(self.ref, made.changes)

    def file(self, path: tuple[bytes, ...], data: bytes) -> Put:
        return Put(path, store_stream(self.store.chunks, Stream(path, lambda: iter([data]))))

    def stored(self) -> int:
        return bytes_in(self.root / "packs")


@contextmanager
def _opened(desk: Desk) -> Iterator[Opened]:
    with desk.place("opened") as root:
        made = Opened(root)
        try:
            yield made
        finally:
            made.store.close()


def _median_ms(rounds: int, work: Callable[[int], object]) -> float:
    return statistics.median(seconds(lambda number=number: work(number)) for number in range(rounds)) * 1000  # type: ignore[misc]


def row_second_a(desk: Desk) -> list[Figure]:
    """A again, with 100 inserts of 1 KiB."""
    draw = random.Random(20261124)
    with _opened(desk) as opened:

        def put(inserts: list[int]) -> float:
            def work() -> None:
                writer = ContentsWriter(opened.store.chunks)
                buffer = bytearray(1 << 20)
                at = 0
                with open(desk.a, "rb", buffering=0) as file:
                    for insert in [*inserts, desk.a.stat().st_size]:
                        while at < insert:
                            count = file.readinto(memoryview(buffer)[: insert - at]) or 0
                            writer.write(memoryview(buffer)[:count])
                            at += count
                        writer.write(draw.randbytes(1024))
                entry = writer.finish().entry(mode=0o644, uid=0, gid=0, mtime_ns=0)
                opened.apply([Put((b"A",), entry)])

            return seconds(work)

        put([])
        before = opened.stored()
        reading = min(_read_cold(desk.a) for _ in range(_ROUNDS))
        size = desk.a.stat().st_size
        taken = put(sorted(draw.randrange(size) for _ in range(100)))
        added = opened.stored() - before
    return [
        Figure(
            "A with 100 inserts of 1 KiB, added bytes",
            f"{added / 1e6:.1f} MB",
            "",
            "",
            "<= 8 MB",
            added <= 8e6,
        ),
        Figure(
            "A with 100 inserts of 1 KiB (in process)",
            f"{taken:.2f} s",
            f"reading A from the disk {reading:.2f} s",
            f"{taken / reading:.2f}",
            "<= 1.5 x reading",
            taken <= 1.5 * reading,
        ),
    ]


def _read_cold(path: Path) -> float:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return read_file(path)


def row_changes(desk: Desk) -> list[Figure]:
    """Small changes of B, durable: 100 files by path, and one file."""
    draw = random.Random(20261125)
    with _opened(desk) as opened:
        opened.put_folder(desk.b)
        names = sorted(path.relative_to(desk.b).parts for path in desk.b.rglob("*") if path.is_file())
        paths = [tuple(os.fsencode(part) for part in parts) for parts in names]
        own = 0

        def change(count: int) -> None:
            nonlocal own
            data = {path: draw.randbytes(8192) for path in draw.sample(paths, count)}
            own += sum(map(len, data.values()))
            opened.apply([opened.file(path, each) for path, each in data.items()])

        change(1)
        before, own = opened.stored(), 0
        rounds = 9
        hundred = _median_ms(rounds, lambda _: change(100))
        beyond = (opened.stored() - before - own) / rounds
        one = _median_ms(20, lambda _: change(1))
    return [
        Figure(
            "100 of B's files changed, durable (in process)",
            f"{hundred:.1f} ms",
            "",
            "",
            "<= 50 ms",
            hundred <= 50,
        ),
        Figure(
            "the same: bytes beyond the files' own",
            f"{beyond / 1024:.0f} KiB",
            "",
            "",
            "<= 300 KiB",
            beyond <= 300 * 1024,
        ),
        Figure("one-file commit in B, durable (in process)", f"{one:.1f} ms", "", "", "<= 10 ms", one <= 10),
        *_one_file_by_program(desk),
    ]


def _one_file_by_program(desk: Desk) -> list[Figure]:
    draw = random.Random(20261126)
    with desk.place("pfs-store") as root, desk.place("git") as tree:
        desk.pfs(root, "create", "repo", "data")
        desk.pfs(root, "put", "file", "-r", "data@master:/", "-f", os.fspath(desk.b))
        one = desk.scratch / "one"

        def ours() -> Measured:
            one.write_bytes(draw.randbytes(8192))
            return Measured(
                seconds(lambda: desk.pfs(root, "put", "file", "data@master:/d000/f000", "-f", os.fspath(one)))
            )

        shutil.copytree(desk.b, tree)
        desk.peer("git", "init", "-q", tree)
        desk.peer("git", "add", "-A", cwd=tree)
        desk.peer(*_GIT_COMMIT, cwd=tree)

        def git() -> Measured:
            (tree / "d000" / "f000").write_bytes(draw.randbytes(8192))

            def work() -> None:
                desk.peer("git", "add", "d000/f000", cwd=tree)
                desk.peer(*_GIT_COMMIT, cwd=tree)

            return Measured(seconds(work))

        found = _best(5, ours=ours, git=git)
        mine = found.pop("ours")
    return [
        Figure(
            "the same, as a program",
            f"{mine.seconds * 1000:.0f} ms",
            f"git add, commit {found['git'].seconds * 1000:.0f} ms",
            _ratio(mine, found),
            "",
            True,
        )
    ]


def row_million(desk: Desk) -> list[Figure]:
    """10 changes in 1,000,000 files, durable."""
    draw = random.Random(20261127)
    with _opened(desk) as opened:
        entry = Entry(Kind.FILE, 0o644, 0, 0, 0, 3, 1, 0, b"one", Contents.of(_inline(b"one")).content)
        for start in range(0, 1_000_000, 100_000):
            opened.apply([Put(_path(number), entry) for number in range(start, start + 100_000)])

        def change(number: int) -> None:
            opened.apply(
                [
                    opened.file(_path(draw.randrange(1_000_000)), b"%d %d" % (number, each))
                    for each in range(10)
                ]
            )

        change(0)
        taken = _median_ms(20, change)
    return [
        Figure(
            "10 changes in 1,000,000 files (in process)", f"{taken:.1f} ms", "", "", "<= 30 ms", taken <= 30
        )
    ]


def _inline(data: bytes) -> Entry:
    from pfsfuse.trees.chunk_list import inline

    return inline(data).entry(mode=0o644, uid=0, gid=0, mtime_ns=0)


def _path(number: int) -> tuple[bytes, bytes]:
    return b"d%03d" % (number // 1000), b"f%06d" % number


def row_history(desk: Desk) -> list[Figure]:
    """A log of 1,000 commits, the diff of two neighbours, one old file."""
    with _opened(desk) as opened:
        opened.put_folder(desk.b)
        for number in range(1000):
            opened.apply([opened.file((b"d%03d" % (number % 200), b"f000"), b"%d" % number)])
        with opened.store.read() as txn:
            head = branch(txn, opened.ref.repo, opened.ref.branch).head
            assert head is not None
            newest = CommitRef(opened.ref.repo, head)

        def log(_: int) -> None:
            with opened.store.read() as txn:
                assert sum(1 for _ in ancestors(txn, commit(txn, newest.repo, newest.commit))) >= 1000

        with opened.store.read() as txn:
            history = list(ancestors(txn, commit(txn, newest.repo, newest.commit)))

        def compare(number: int) -> None:
            new, old = history[number], history[number + 1]
            assert sum(1 for _ in diff(Trees(opened.store.chunks), old.root, new.root)) == 1

        def old_file(number: int) -> None:
            root = history[500 + number].root
            assert root is not None
            found = Trees(opened.store.chunks).resolve(root, (b"d100", b"f050"))
            assert found is not None
            assert read(opened.store.chunks, Contents.of(found), 0, found.size)

        log_ms, diff_ms, old_ms = _median_ms(9, log), _median_ms(50, compare), _median_ms(50, old_file)
        root = opened.root
        program = min(
            seconds(lambda: desk.pfs(root, "list", "commit", "data@master", "-o", "json")) for _ in range(3)
        )
    return [
        Figure("log of 1,000 commits (in process)", f"{log_ms:.1f} ms", "", "", "<= 30 ms", log_ms <= 30),
        Figure("the same, as a program", f"{program * 1000:.0f} ms", "", "", "", True),
        Figure("diff of neighbours (in process)", f"{diff_ms:.2f} ms", "", "", "<= 2 ms", diff_ms <= 2),
        Figure("read one old file (in process)", f"{old_ms:.2f} ms", "", "", "<= 1 ms", old_ms <= 1),
    ]


def row_gc(desk: Desk) -> list[Figure]:
    """gc of 1,000,000 chunks in two repos, of which one has been deleted."""
    draw = random.Random(20261128)
    with _opened(desk) as opened:
        gone = RepoName("gone")
        with opened.store.write() as txn:
            create_repo(txn, gone)
        for batch in range(50):
            # Just too long to stand in their directory entries, and all different: one chunk each.
            contents = store_small(opened.store.chunks, [draw.randbytes(520) for _ in range(20_000)])
            entries = [each.entry(mode=0o644, uid=0, gid=0, mtime_ns=0) for each in contents]
            changes = [Put(_path(20_000 * batch + at), entry) for at, entry in enumerate(entries)]
            opened.apply(changes, gone if batch % 2 else None)
        with opened.store.write() as txn:
            delete_repo(txn, gone)
        report: list[GcReport] = []
        taken = seconds(lambda: report.append(collect_garbage(opened.store)))
    return [
        Figure(
            "gc of 1,000,000 chunks (in process)",
            f"{taken:.1f} s",
            f"{report[0].removed_objects} objects, {report[0].freed_bytes / 1e6:.0f} MB freed",
            "",
            "<= 20 s",
            taken <= 20 and report[0].removed_objects > 400_000,
        )
    ]


ROWS: dict[str, Callable[[Desk], list[Figure]]] = {
    "put-a": row_put_a,
    "put-b": row_put_b,
    "get": row_get,
    "second-a": row_second_a,
    "changes": row_changes,
    "million": row_million,
    "history": row_history,
    "gc": row_gc,
}
