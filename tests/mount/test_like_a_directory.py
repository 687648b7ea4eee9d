"""
The mount against a plain directory: the same random calls, the same answers, the same result.

Between the calls commits are finished, other processes commit or hand over change sets, and the
kernel is made to forget: none of that may show.  PFS_WALK_SEED and PFS_WALK_STEPS take other ways.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pfsfuse.errors import ConflictError
from pfsfuse.versions.changesets import Append, Delete, Put
from pfsfuse.versions.owner import NoOpenCommitError, commit_changes
from tests.support.builders import ref
from tests.support.mounting import Mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(100)]

SEED = int(os.environ.get("PFS_WALK_SEED", "1"))
STEPS = int(os.environ.get("PFS_WALK_STEPS", "1500"))

NAMES = [b"a", b"b", b"c", b"d"]
SIZES = [0, 1, 100, 600, 5_000, 130_000, 140_000, 400_000]
_libc = ctypes.CDLL(None, use_errno=True)


class Walk:
    """Does everything twice."""

    def __init__(self, mount: Mounted, repo: str, tops: tuple[Path, Path], seed: int) -> None:
        """*tops*: below the mount, and the plain directory."""
        self.mount = mount
        self.repo = repo
        self.tops = tops
        self.seed = seed
        self.draw = random.Random(seed)
        self.open: list[tuple[int, int]] = []
        """Descriptors: of the mount, of the plain directory."""
        self.done: list[str] = []

    def path(self) -> bytes:
        return b"/".join(self.draw.choices(NAMES, k=self.draw.randint(1, 3)))

    def data(self) -> bytes:
        return self.draw.randbytes(self.draw.choice(SIZES))

    def both(self, what: str, call: Callable[[bytes], object]) -> tuple[object, object]:
        """Make a call below each top; the answers, or the errors, must be equal."""
        self.done.append(what)
        answers: list[object] = []
        for top in self.tops:
            try:
                answers.append(call(os.fsencode(top) + b"/"))
            except OSError as error:
                answers.append(errno.errorcode[error.errno or 0])
        if any(isinstance(answer, str) for answer in answers):
            assert answers[1] == answers[0], self.last()
        return answers[0], answers[1]

    def last(self) -> str:
        return f"seed {self.seed}; last: " + "; ".join(self.done[-12:])

    def step(self, ways: Ways) -> None:
        method = self.draw.choices(*zip(*ways, strict=True))[0]
        method(self)

    # What programs do

    def create(self) -> None:
        path, data = self.path(), self.data()

        def call(top: bytes) -> None:
            with open(top + path, "wb") as file:
                file.write(data)

        self.both(f"write {path!r} {len(data)}", call)

    def append(self) -> None:
        path, data = self.path(), self.data()

        def call(top: bytes) -> None:
            with open(top + path, "ab") as file:
                file.write(data)

        self.both(f"append {path!r} {len(data)}", call)

    def overwrite(self) -> None:
        path, data, offset = self.path(), self.data(), self.draw.randint(0, 300_000)

        def call(top: bytes) -> None:
            with open(top + path, "r+b") as file:
                file.seek(offset)
                file.write(data)

        self.both(f"overwrite {path!r} at {offset} {len(data)}", call)

    def truncate(self) -> None:
        path, size = self.path(), self.draw.choice([*SIZES, 200_000])
        self.both(f"truncate {path!r} {size}", lambda top: os.truncate(top + path, size))

    def mkdir(self) -> None:
        path = self.path()
        self.both(f"mkdir {path!r}", lambda top: os.mkdir(top + path))

    def rmdir(self) -> None:
        path = self.path()
        self.both(f"rmdir {path!r}", lambda top: os.rmdir(top + path))

    def unlink(self) -> None:
        path = self.path()
        self.both(f"unlink {path!r}", lambda top: os.unlink(top + path))

    def rename(self) -> None:
        old, new = self.path(), self.path()
        self.both(f"rename {old!r} {new!r}", lambda top: os.rename(top + old, top + new))

    def exchange(self) -> None:
        old, new = self.path(), self.path()

        def call(top: bytes) -> None:
            if _libc.renameat2(-100, top + old, -100, top + new, 2):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))

        self.both(f"exchange {old!r} {new!r}", call)

    def symlink(self) -> None:
        path = self.path()
        self.both(f"symlink {path!r}", lambda top: os.symlink(b"a/b", top + path))

    def link(self) -> None:
        old, new = self.path(), self.path()
        self.both(f"link {old!r} {new!r}", lambda top: os.link(top + old, top + new, follow_symlinks=False))

    def chmod(self) -> None:
        path, mode = self.path(), self.draw.choice([0o600, 0o644, 0o755, 0o711])
        self.both(f"chmod {path!r} {mode:o}", lambda top: os.chmod(top + path, mode))

    def keep_open(self) -> None:
        path = self.path()
        one, other = self.both(f"open {path!r}", lambda top: os.open(top + path, os.O_RDWR | os.O_CREAT))
        if isinstance(one, int) and isinstance(other, int):
            self.open.append((one, other))

    def use_open(self) -> None:
        if not self.open:
            return
        pair = self.draw.choice(self.open)
        data, offset = self.data(), self.draw.randint(0, 200_000)
        self.done.append(f"pwrite to an open file at {offset} {len(data)}")
        for fd in pair:
            os.pwrite(fd, data, offset)
        assert os.fstat(pair[1]).st_size == os.fstat(pair[0]).st_size, self.last()

    def close(self) -> None:
        if self.open:
            self.done.append("close")
            pair = self.open.pop(self.draw.randrange(len(self.open)))
            read = [os.pread(fd, 1 << 20, 0) for fd in pair]
            assert read[1] == read[0], self.last()
            for fd in pair:
                os.close(fd)

    # What happens beside them

    def finish(self) -> None:
        if any(os.fstat(fd).st_nlink for _, fd in self.open) and self.draw.random() < 0.95:
            # It would wait a second for them to be closed, and then be refused.
            return
        self.done.append("finish")
        try:
            self.mount.finish(self.repo)
        except (ConflictError, NoOpenCommitError):
            return

    def forget(self) -> None:
        """Have the kernel drop pages, so that the mount is asked again."""
        self.done.append("forget")
        for folder, _, names in os.walk(self.tops[0]):
            for name in names:
                path = os.path.join(folder, name)
                if stat.S_ISREG(os.lstat(path).st_mode):
                    fd = os.open(path, os.O_RDONLY)
                    os.fsync(fd)
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                    os.close(fd)

    def others(self) -> None:
        """Somebody else puts, appends to or deletes a file; by hand in the plain directory."""
        path, data = self.path(), self.data()
        plain = os.fsencode(self.tops[1]) + b"/" + path
        above = os.path.dirname(plain)
        if not os.path.isdir(above) or os.path.islink(above) or os.path.islink(plain) or os.path.isdir(plain):
            return
        if os.path.realpath(above) != above or (os.path.exists(plain) and os.stat(plain).st_nlink > 1):
            return
        if os.path.exists(plain) and os.stat(plain).st_ino in {os.fstat(fd).st_ino for _, fd in self.open}:
            # Who has a file open goes on with what the kernel knows of it (posix.md).
            return
        way = self.draw.choice(["put", "append", "delete"])
        self.done.append(f"others {way} {path!r} {len(data)}")
        entry = self.mount.world.entry(data)
        self.mount.world.store.flush()
        elements = tuple(path.split(b"/"))
        if way == "put":
            change: Put | Append | Delete = Put(elements, entry)
            if os.path.exists(plain):
                os.unlink(plain)
            Path(os.fsdecode(plain)).write_bytes(data)
        elif way == "append":
            change = Append(elements, entry)
            with open(plain, "ab") as file:
                file.write(data)
        else:
            change = Delete(elements)
            if os.path.exists(plain):
                os.unlink(plain)
        if any(each["repo"] == self.repo for each in self.mount.status()["open_commits"]):
            with self.mount.client() as client:
                client.apply(ref(self.repo), [change])
        else:
            commit_changes(self.mount.world.store, self.mount.world.trees, ref(self.repo), [change])
            self.mount.barrier()

    # Comparing

    def compare(self) -> None:
        one, other = (listing(top) for top in self.tops)
        assert other == one, self.last()

    def end(self) -> None:
        while self.open:
            self.close()
        self.compare()
        self.finish()
        self.compare()
        plain = listing(self.tops[1])
        files = {path: found[-1] for path, found in plain.items() if stat.S_ISREG(found[0])}
        if any(c for c in self.mount.status()["open_commits"] if c["repo"] == self.repo):
            raise AssertionError("the commit is open still")
        assert files == {p.encode(): d for p, d in self.mount.files(self.repo).items()}, self.last()


def listing(top: Path) -> dict[bytes, tuple[int, int, int, bytes, bytes]]:
    """Return mode, link count, size, the first of its names, and content of everything below *top*."""
    found: dict[bytes, tuple[int, int, int, bytes, bytes]] = {}
    first: dict[int, bytes] = {}
    for folder, folders, names in os.walk(os.fsencode(top)):
        folders.sort()
        for name in sorted([*folders, *names]):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            size, content = 0, b""
            if stat.S_ISREG(status.st_mode):
                size = status.st_size
                with open(path, "rb") as file:
                    content = file.read()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            shown = os.path.relpath(path, os.fsencode(top))
            name = first.setdefault(status.st_ino, shown)
            found[shown] = (status.st_mode, status.st_nlink, size, name, content)
    return found


Ways = list[tuple[Callable[[Walk], None], int]]

WAYS: Ways = [
    (Walk.create, 8), (Walk.append, 4), (Walk.overwrite, 4), (Walk.truncate, 4), (Walk.mkdir, 5), (Walk.rmdir, 2),
    (Walk.unlink, 4), (Walk.rename, 8), (Walk.exchange, 2), (Walk.symlink, 1), (Walk.link, 1), (Walk.chmod, 2),
    (Walk.keep_open, 2), (Walk.use_open, 3), (Walk.close, 2), (Walk.finish, 3), (Walk.forget, 1), (Walk.others, 3),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(SEED, SEED + 2))
def test_a_random_walk_is_the_same_as_in_a_plain_directory(
    patient: Mounted, tmp_path: Path, seed: int
) -> None:
    """1,500 calls, each compared; the whole tree every 25."""
    plain = tmp_path / "plain"
    plain.mkdir()
    walk = Walk(patient, f"walk-{seed}", (patient.repo(f"walk-{seed}"), plain), seed)
    with patient.watched(90):
        for number in range(STEPS):
            walk.step(WAYS)
            if number % 25 == 0:
                walk.compare()
        walk.end()


def test_several_programs_do_not_disturb_each_other_nor_the_finish(patient: Mounted, tmp_path: Path) -> None:
    """Four walk, each in a directory of its own, while their commits are finished and others commit."""
    master = patient.repo("together")
    patient.repo("others")
    # Who has a file open refuses the finish.
    others = (Walk.finish, Walk.others, Walk.keep_open)
    ways = [(way, weight) for way, weight in WAYS if way not in others]
    walks = []
    for number in range(4):
        (master / f"w{number}").mkdir()
        (tmp_path / f"w{number}").mkdir()
        walks.append(
            Walk(patient, "together", (master / f"w{number}", tmp_path / f"w{number}"), 10 * SEED + number)
        )

    def run(walk: Walk) -> None:
        for number in range(STEPS // 4):
            walk.step(ways)
            if number % 50 == 0:
                walk.compare()
        while walk.open:
            walk.close()
        walk.compare()

    with patient.watched(90), ThreadPoolExecutor(4) as pool:
        running = [pool.submit(run, walk) for walk in walks]
        finished = 0
        while not all(each.done() for each in running):
            try:
                patient.finish("together")
                finished += 1
            except (ConflictError, NoOpenCommitError):
                patient.world.commit({"f": b"%d" % finished}, repo="others")
                patient.barrier()
        for each in running:
            each.result()
    for walk in walks:
        walk.compare()
    walks[0].finish()

    plain = {shown: found[-1] for shown, found in listing(tmp_path).items() if stat.S_ISREG(found[0])}
    assert plain == {path.encode(): data for path, data in patient.files("together").items()}
    assert finished > 1
