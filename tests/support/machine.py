"""
A state machine: what a program does below the mount and, at the same time, in a plain folder.

Hypothesis draws the operations; every answer (a result or an errno), and after every step the whole
tree, must be the same in both: names, types, modes, sizes, bytes, link counts.  Between the operations
commits are started and finished, and read again later: each must stay what the folder was then.

Each example has a repo of its own in one mount, so a failure can be shrunk to the few steps that matter.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import mmap
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pfsfuse.versions.repos import delete_repo
from tests.support.builders import ref
from tests.support.mounting import Mounted

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100

NAMES = st.sampled_from([b"a", b"b", b"c\xff\xc3"])
PATHS = st.one_of(NAMES, st.lists(NAMES, min_size=2, max_size=3).map(b"/".join))
THERE = st.one_of(st.integers(0, 9), PATHS)
"""A path, or the number of one that leads somewhere: few others would."""
OFFSETS = st.sampled_from([0, 1, 100, 4095, 4096, 5000, 131_072, 140_000, 300_000])
LENGTHS = st.sampled_from([0, 1, 10, 512, 513, 4096, 10_000, 131_072, 131_073, 200_000])
BYTE = st.integers(1, 255)
MODES = st.sampled_from([0o600, 0o644, 0o755, 0o711, 0o4755, 0o1777, 0o2775])
OPENED = st.integers(0, 3)
"""Which of the files that are kept open."""


@dataclass(frozen=True)
class Seen:
    """What there is at a path."""

    mode: int
    links: int
    size: int
    content: bytes


def tree_of(top: bytes) -> dict[bytes, Seen]:
    """Return everything below *top*."""
    found: dict[bytes, Seen] = {}
    for folder, folders, names in os.walk(top):
        for name in [*folders, *names]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content = b""
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = file.read()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            is_folder = stat.S_ISDIR(status.st_mode)
            found[os.path.relpath(path, top)] = Seen(
                status.st_mode,
                1 if is_folder else status.st_nlink,
                0 if is_folder else status.st_size,
                content,
            )
    return found


class MountAndFolder(RuleBasedStateMachine):
    """See the module."""

    mount: Mounted
    """Set by the test, for all examples."""
    plain_top: Path
    numbers = itertools.count()
    steps = 0
    done = 0
    """Those of the steps that were not refused."""

    def __init__(self) -> None:
        super().__init__()
        self.repo = f"machine-{next(self.numbers)}"
        self.shown = os.fsencode(self.mount.repo(self.repo))
        self.plain = os.fsencode(self.plain_top / self.repo)
        os.mkdir(self.plain)
        self.there: dict[bytes, Seen] = {}
        """What is in the folder."""
        self.opened: list[tuple[int, int]] = []
        """Descriptors of the same file: in the mount, in the folder."""
        self.commits: dict[str, dict[bytes, Seen]] = {}
        """What each finished commit must be."""
        self.is_started = False
        """Whether the open commit was started by name."""
        for top in (self.shown, self.plain):
            os.mkdir(top + b"/b")
            for name in (b"/a", b"/b/a"):
                with open(top + name, "wb") as file:
                    file.write(b"there")

    def teardown(self) -> None:
        try:
            for commit_id in self.commits:
                self._check_commit(commit_id)
        finally:
            for pair in self.opened:
                for fd in pair:
                    os.close(fd)
            self.opened = []
            shutil.rmtree(self.plain)
            with self.mount.world.store.write() as txn:
                delete_repo(txn, self.repo, force=True)
            self.mount.barrier()

    # Doing everything twice

    def _both(self, call: Callable[[bytes], object]) -> tuple[object, object]:
        """Make a call below each top; return the answers, which are equal, or are equal errnos."""
        type(self).steps += 1
        answers: list[object] = []
        for top in (self.shown, self.plain):
            try:
                answers.append(call(top + b"/"))
            except OSError as error:
                answers.append(errno.errorcode[error.errno or 0])
        assert isinstance(answers[0], str) == isinstance(answers[1], str), answers
        if isinstance(answers[1], str):
            assert answers[1] == answers[0]
        else:
            type(self).done += 1
        return answers[0], answers[1]

    def _same(self, call: Callable[[bytes], object]) -> None:
        got, expected = self._both(call)
        assert expected == got

    def _named(self, path: bytes | int) -> bytes:
        """Return the path that is meant."""
        if isinstance(path, bytes):
            return path
        there = sorted(self.there)
        return there[path % len(there)] if there else b"a"

    # Files

    @rule(path=THERE, offset=OFFSETS, length=LENGTHS, byte=BYTE)
    def write(self, path: bytes | int, offset: int, length: int, byte: int) -> None:
        path = self._named(path)

        def call(top: bytes) -> int:
            fd = os.open(top + path, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                return os.pwrite(fd, bytes([byte]) * length, offset)
            finally:
                os.close(fd)

        self._same(call)

    @rule(path=THERE, length=LENGTHS, byte=BYTE)
    def replace(self, path: bytes | int, length: int, byte: int) -> None:
        path = self._named(path)

        def call(top: bytes) -> None:
            with open(top + path, "wb") as file:
                file.write(bytes([byte]) * length)

        self._same(call)

    @rule(path=THERE, length=LENGTHS, byte=BYTE)
    def append(self, path: bytes | int, length: int, byte: int) -> None:
        path = self._named(path)

        def call(top: bytes) -> None:
            with open(top + path, "ab") as file:
                file.write(bytes([byte]) * length)

        self._same(call)

    @rule(path=PATHS)
    def create_new(self, path: bytes) -> None:
        def call(top: bytes) -> None:
            os.close(os.open(top + path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

        self._same(call)

    @rule(path=THERE, size=OFFSETS)
    def truncate(self, path: bytes | int, size: int) -> None:
        path = self._named(path)
        self._same(lambda top: os.truncate(top + path, size))

    @rule(path=THERE, offset=OFFSETS, length=LENGTHS)
    def read(self, path: bytes | int, offset: int, length: int) -> None:
        path = self._named(path)

        def call(top: bytes) -> bytes:
            fd = os.open(top + path, os.O_RDONLY)
            try:
                return os.pread(fd, length, offset)
            finally:
                os.close(fd)

        self._same(call)

    @rule(path=THERE, offset=OFFSETS, byte=BYTE)
    def write_mapped(self, path: bytes | int, offset: int, byte: int) -> None:
        path = self._named(path)

        def call(top: bytes) -> None:
            with open(top + path, "r+b") as file:
                size = os.fstat(file.fileno()).st_size
                if offset < size:
                    with mmap.mmap(file.fileno(), size) as mapped:
                        mapped[offset] = byte
                        mapped.flush()

        self._same(call)

    @rule(path=THERE)
    def sync(self, path: bytes | int) -> None:
        path = self._named(path)

        def call(top: bytes) -> None:
            fd = os.open(top + path, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

        self._same(call)

    # Names

    @rule(path=PATHS)
    def mkdir(self, path: bytes) -> None:
        self._same(lambda top: os.mkdir(top + path))

    @rule(path=THERE)
    def rmdir(self, path: bytes | int) -> None:
        path = self._named(path)
        self._same(lambda top: os.rmdir(top + path))

    @rule(path=THERE)
    def unlink(self, path: bytes | int) -> None:
        path = self._named(path)
        self._same(lambda top: os.unlink(top + path))

    @rule(old=THERE, new=PATHS, flags=st.sampled_from([0, 0, 0, 1, 2]))
    def rename(self, old: bytes | int, new: bytes, flags: int) -> None:
        old = self._named(old)

        def call(top: bytes) -> None:
            if _libc.renameat2(_AT_FDCWD, top + old, _AT_FDCWD, top + new, flags):
                raise OSError(ctypes.get_errno(), "renameat2")

        self._same(call)

    @rule(old=THERE, new=PATHS)
    def link(self, old: bytes | int, new: bytes) -> None:
        old = self._named(old)
        self._same(lambda top: os.link(top + old, top + new, follow_symlinks=False))

    @rule(path=PATHS, points_to=PATHS)
    def symlink(self, path: bytes, points_to: bytes) -> None:
        self._same(lambda top: os.symlink(points_to, top + path))

    @rule(path=THERE, mode=MODES)
    def chmod(self, path: bytes | int, mode: int) -> None:
        path = self._named(path)
        self._same(lambda top: os.chmod(top + path, mode))

    @rule(path=THERE, seconds=st.integers(0, 2_000_000_000), ns=st.integers(0, 999_999_999))
    def utime(self, path: bytes | int, seconds: int, ns: int) -> None:
        path = self._named(path)

        def call(top: bytes) -> int:
            os.utime(top + path, ns=(0, seconds * 10**9 + ns))
            return os.stat(top + path).st_mtime_ns

        self._same(call)

    # Files that are kept open

    @precondition(lambda self: len(self.opened) < 4)
    @rule(path=THERE)
    def open(self, path: bytes | int) -> None:
        path = self._named(path)
        got, expected = self._both(lambda top: os.open(top + path, os.O_RDWR | os.O_CREAT, 0o644))
        if isinstance(got, int) and isinstance(expected, int):
            self.opened.append((got, expected))

    @precondition(lambda self: self.opened)
    @rule(which=OPENED, offset=OFFSETS, length=LENGTHS, byte=BYTE)
    def write_opened(self, which: int, offset: int, length: int, byte: int) -> None:
        pair = self.opened[which % len(self.opened)]
        for fd in pair:
            os.pwrite(fd, bytes([byte]) * length, offset)

    @precondition(lambda self: self.opened)
    @rule(which=OPENED, size=OFFSETS)
    def truncate_opened(self, which: int, size: int) -> None:
        for fd in self.opened[which % len(self.opened)]:
            os.ftruncate(fd, size)

    @precondition(lambda self: self.opened)
    @rule(which=OPENED)
    def close(self, which: int) -> None:
        pair = self.opened.pop(which % len(self.opened))
        for fd in pair:
            os.close(fd)

    # Commits

    def _open_commit(self) -> bool:
        return any(each["repo"] == self.repo for each in self.mount.status()["open_commits"])

    @precondition(lambda self: not self.is_started)
    @rule()
    def start_commit(self) -> None:
        if not self._open_commit():
            with self.mount.client() as client:
                client.start(ref(self.repo))
            self.is_started = True

    @precondition(lambda self: not self.opened)
    @rule()
    def finish_commit(self) -> None:
        if self._open_commit():
            done = self.mount.finish(self.repo)
            self.commits[done.id.hex()] = tree_of(self.plain)
            self.is_started = False

    @precondition(lambda self: self.commits)
    @rule(which=st.integers(0, 100))
    def read_finished(self, which: int) -> None:
        self._check_commit(list(self.commits)[which % len(self.commits)])

    def _check_commit(self, commit_id: str) -> None:
        top = os.fsencode(self.mount.point / self.repo / ".commits" / commit_id)
        assert self.commits[commit_id] == tree_of(top)

    # Comparing

    @invariant()
    def trees_are_equal(self) -> None:
        self.there = tree_of(self.plain)
        assert self.there == tree_of(self.shown)
        for got, expected in self.opened:
            assert os.fstat(expected).st_size == os.fstat(got).st_size
            assert os.fstat(expected).st_nlink == os.fstat(got).st_nlink
            assert os.pread(expected, 1 << 20, 0) == os.pread(got, 1 << 20, 0)
