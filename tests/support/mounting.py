"""
A mount in a process of its own, without a runner, for tests of the mount itself.

As a program (`python -m tests.support.mounting <store> <point> <autocommit> <traps> <transport> <xattrs> <inodes>`) it
serves the mount.  A *trap* is a file that a test puts into the folder `traps`: while there is a file `write`
there, the vfs method `write` raises what the file names.  That is how tests make handlers fail
without anything of ours that would have to know of them.

The process that serves a mount never touches it; the one that runs the tests may, and is freed by
a watchdog that kills the server when something hangs.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pfsfuse.mount.client import MountClient
from pfsfuse.mount.mount import MOST_INODES
from pfsfuse.mount.mountpoint import mount_kind
from pfsfuse.mount.transports import DEFAULT
from pfsfuse.versions.branches import branch as find_branch
from pfsfuse.versions.branches import create_branch
from pfsfuse.versions.changes import Listener, poke_after_writes
from pfsfuse.versions.commits import head_of, list_commits
from pfsfuse.versions.model import Commit
from pfsfuse.versions.repos import create_repo
from tests.support.builders import World, assert_sound, ref

_SOURCES = Path(__file__).parents[2]
_PATIENCE_S = 30.0


VFS_METHODS = [
    *("lookup", "forget", "make", "link", "remove", "rename", "readlink", "getattr", "setattr", "statfs"),
    *("opendir", "readdir", "release", "fsyncdir", "open", "read", "write", "flush", "fsync"),
]
COMMITS_METHODS = ["finish", "refresh_all", "_finish", "forget_later"]


class Mounted:
    """A store and its mount."""

    def __init__(
        self,
        *,
        autocommit_s: float = 0.3,
        store: Path | None = None,
        folder: Path | None = None,
        transport: str | None = None,
        xattrs: bool = False,
        most_inodes: int | None = None,
    ) -> None:
        """
        *store* is where the store is to be, if not in a folder of this mount's own.

        *folder* is that folder, for who has to tidy up after a test process that is killed.
        *transport* is how the mount talks to the kernel, if not as PFS_TRANSPORT says.
        """
        self.transport = transport or os.environ.get("PFS_TRANSPORT") or DEFAULT
        if folder is not None:
            folder.mkdir()
        self.folder = folder or Path(tempfile.mkdtemp(prefix="pfst-", dir="/tmp"))
        self.point = self.folder / "pfs"
        self.traps = self.folder / "traps"
        self.traps.mkdir()
        self.autocommit_s = autocommit_s
        self.xattrs = xattrs
        self.most_inodes = most_inodes or MOST_INODES
        self.world = World(store or self.folder / "store")
        poke_after_writes(self.world.store)
        self.process: subprocess.Popen[bytes] | None = None
        self.declared: list[str] = []
        """Parts of warnings that a test expects in the log."""

    # Life

    def start(self) -> None:
        """Mount; return when the mount point can be used."""
        arguments = [self.world.root, self.point, str(self.autocommit_s), self.traps]
        arguments += [self.transport, str(self.xattrs), str(self.most_inodes)]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.mounting", *map(os.fspath, arguments)],
                cwd=_SOURCES,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            self.process.wait()
            raise AssertionError(f"the mount did not start:\n{self.log}")

    def kill(self) -> None:
        """kill -9; the mount point is dead afterwards."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """Unmount in good order."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the mount did not end:\n{self.log}") from None
        self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """End everything; fail if the log has an undeclared warning or fsck finds something."""
        try:
            self.stop()
            undeclared = [line for line in self.warnings if not any(part in line for part in self.declared)]
            assert not undeclared, "\n".join(undeclared) + "\n\n" + self.log
            if not self.world.is_damaged:
                assert_sound(self.world)
        finally:
            self._unmount()
            self.world.close()
            shutil.rmtree(self.folder)

    def _unmount(self) -> None:
        for flags in (["-u"], ["-u", "-z"]):
            if mount_kind(self.point) is not None:
                subprocess.run(["fusermount3", *flags, self.point], capture_output=True, check=False)

    @contextmanager
    def watched(self, limit_s: float = _PATIENCE_S) -> Iterator[None]:
        """Kill the mount process if the block takes too long: whoever waits for it gets an error then."""
        process = self.process
        assert process is not None
        timer = threading.Timer(limit_s, process.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @property
    def log(self) -> str:
        """Return the end of what the process said."""
        return (self.folder / "log").read_text(errors="replace")[-8000:]

    @property
    def warnings(self) -> list[str]:
        text = (self.folder / "log").read_text(errors="replace")
        levels = (" WARNING ", " ERROR ", " CRITICAL ", "Traceback")
        return [line for line in text.splitlines() if any(level in f" {line}" for level in levels)]

    # Traps

    @contextmanager
    def trap(self, method: str, error: str = "RuntimeError") -> Iterator[None]:
        """Have a method of the vfs raise *error* while the block runs; the log may tell of it."""
        self.declared += ["failed", "Traceback", "stays open"]
        (self.traps / method).write_text(error)
        try:
            yield
        finally:
            (self.traps / method).unlink()

    # Data

    def repo(self, name: str = "images") -> Path:
        """Create a repo with the branch master; return where that is mounted."""
        with self.world.store.write() as txn:
            create_branch(txn, create_repo(txn, name).name, "master")
        self.barrier()
        return self.master(name)

    def master(self, name: str = "images") -> Path:
        return self.point / name / "master"

    @contextmanager
    def client(self) -> Iterator[MountClient]:
        """A connection to the mount."""
        with MountClient(self.world.store.run, timeout_s=_PATIENCE_S) as client:
            yield client

    def barrier(self) -> None:
        """Return when the mount shows everything that was committed before."""
        with self.client() as client:
            client.barrier()

    def status(self) -> dict[str, Any]:
        with self.client() as client:
            return client.status()

    def finish(self, name: str = "images", *, force: bool = False) -> Commit:
        """Finish the open commit of a repo's master."""
        with self.client() as client:
            client.finish(ref(name), force=force)
        return self.head(name)

    def head(self, name: str = "images") -> Commit:
        """Return the newest finished commit of a repo's master."""
        with self.world.store.read() as txn:
            found = head_of(txn, find_branch(txn, ref(name).repo, "master"))
        assert found is not None
        return found

    def count(self, name: str = "images") -> int:
        """Return the number of finished commits of a repo's master."""
        with self.world.store.read() as txn:
            return sum(c.is_finished for c in list_commits(txn, ref(name).repo, branch_name="master"))

    def files(self, name: str = "images") -> dict[str, bytes]:
        """Return the files of the newest finished commit, as the store has them."""
        return self.world.files(self.head(name).root)

    def wait_for_commits(self, number: int, name: str = "images") -> None:
        """Wait until so many commits of a repo's master are finished."""
        deadline = time.monotonic() + _PATIENCE_S
        with Listener(self.world.store) as listener:
            while self.count(name) < number:
                assert time.monotonic() < deadline, f"{self.count(name)} commits, not {number}:\n{self.log}"
                listener.wait(0.5)
                listener.news()


@contextmanager
def mounted(
    *,
    autocommit_s: float = 0.3,
    store: Path | None = None,
    folder: Path | None = None,
    limit_s: float = 100.0,
    transport: str | None = None,
    xattrs: bool = False,
    most_inodes: int | None = None,
) -> Iterator[Mounted]:
    """A mount that is gone at the end, with all that belongs to it."""
    made = Mounted(
        autocommit_s=autocommit_s,
        store=store,
        folder=folder,
        transport=transport,
        xattrs=xattrs,
        most_inodes=most_inodes,
    )
    try:
        made.start()
        with made.watched(limit_s):
            yield made
    finally:
        made.close()


# The process that serves


def _serve() -> None:
    import trio

    from pfsfuse.mount.mount import Mount
    from pfsfuse.store.store import Store

    root, point, autocommit_s, traps, transport, xattrs, most_inodes = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    store = Store(Path(root))
    mount = Mount(
        store,
        Path(point),
        autocommit_s=float(autocommit_s),
        transport=transport,
        xattrs=xattrs == "True",
        most_inodes=int(most_inodes),
    )
    _set_traps(mount, Path(traps))

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_told)
            await mount.run(ready=lambda: print("ready", flush=True))
            nursery.cancel_scope.cancel()

    async def until_told() -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                mount.stop()

    trio.run(run)
    store.close()


def _set_traps(mount: Any, traps: Path) -> None:
    """Replace the methods that handlers call by ones that look for a trap first."""
    for owner, names in ((mount.vfs, VFS_METHODS), (mount.commits, COMMITS_METHODS)):
        for name in names:
            setattr(owner, name, _trapped(getattr(owner, name), traps / name))


def _trapped(method: Any, trap: Path) -> Any:
    import builtins

    def look_then_do(*arguments: Any, **keywords: Any) -> Any:
        if trap.exists():
            error = trap.read_text()
            if error == "ExceptionGroup":
                raise ExceptionGroup("a trap", [ValueError("a trap")])
            raise getattr(builtins, error)("a trap")
        return method(*arguments, **keywords)

    return look_then_do


if __name__ == "__main__":
    _serve()
