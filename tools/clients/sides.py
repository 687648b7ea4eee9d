"""
The two sides that a client runs on: a plain folder, and an open commit of a mounted store.

    Side      where to work; `finished()` is where the same is to be read when it was committed
    Checks    what came of it, by name
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2]
_SHOWN = 600


class ClientError(Exception):
    """A check did not pass; the message is the reason."""


@dataclass
class Checks:
    """Outcomes by name: "" for a check that passed, else what was wrong."""

    outcomes: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def one(self, name: str) -> Iterator[None]:
        """Pass the check *name* if the block raises nothing."""
        try:
            yield
        except (ClientError, OSError, subprocess.SubprocessError, AssertionError) as error:
            self.outcomes[name] = str(error)[-_SHOWN:] or type(error).__name__
        else:
            self.outcomes[name] = ""

    def require(self, name: str, is_so: bool, otherwise: str) -> None:
        """Pass the check *name* if it *is_so*."""
        self.outcomes[name] = "" if is_so else otherwise[-_SHOWN:]


@dataclass
class Side:
    """Where a client works."""

    name: str
    folder: Path
    """Empty at the beginning."""
    scratch: Path
    """A folder elsewhere, of this side's own."""
    cache: Path
    """A folder that outlives the run, of both sides."""
    finish: Callable[[], Path] | None = None

    def finished(self) -> Path:
        """Finish the commit; return where the folder stands in it.  A plain folder is never finished."""
        return self.folder if self.finish is None else self.finish()


@dataclass(frozen=True)
class Client:
    """Some program."""

    name: str
    about: str
    run: Callable[[Side, Checks], None]
    prepare: Callable[[Path], None] = lambda _cache: None
    """Make ready in the cache what both sides need."""
    options: tuple[str, ...] = ()
    """Options of the mount."""
    known: Mapping[str, str] = field(default_factory=dict)
    """Checks that cannot pass on the mount → the reason, which docs/posix.md has too."""


def call(
    *argv: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 600,
    user: str | None = None,
    stdin: str = "",
    passes: Sequence[int] = (0,),
) -> str:
    """Run a program and return what it prints; ClientError if it fails."""
    words = [os.fspath(word) for word in argv]
    if user is not None:
        words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *words]
    done = subprocess.run(
        words,
        cwd=cwd or "/",
        env={**os.environ, **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    if done.returncode not in passes:
        said = (done.stdout + done.stderr).strip()[-_SHOWN:]
        raise ClientError(f"{' '.join(words)[:120]}: exit status {done.returncode}: {said}")
    return done.stdout


def plain_side(base: Path, cache: Path, client: str) -> Side:
    """A folder of the disk."""
    folder, scratch = base / client / "plain", base / client / "plain-scratch"
    folder.mkdir(parents=True)
    scratch.mkdir()
    return Side("plain", folder, scratch, cache)


@contextmanager
def mounted_side(base: Path, cache: Path, client: str, options: Sequence[str] = ()) -> Iterator[Side]:
    """
    An open commit of a store made for this client.

    At the end the commit is finished, the store is checked, and the log of the mount must have no error.
    """
    point, store, scratch = base / client / "pfs", base / client / "store", base / client / "mount-scratch"
    scratch.mkdir(parents=True)
    env = {"PFS_ROOT": os.fspath(store), "PYTHONPATH": os.fspath(SOURCES)}

    def pfs(*words: str | Path) -> str:
        return call(sys.executable, "-P", "-m", "runner.cli.main", *words, env=env)

    def finish() -> Path:
        # Daemons that the client left may hold files open for a moment.
        commit = pfs("finish", "commit", "client@master").strip()
        return point / "client" / ".commits" / commit / "work"

    pfs("up", point, "--detach", "--no-runner", "--autocommit", "off", *options)
    try:
        (point / "client").mkdir()
        pfs("start", "commit", "client@master")
        folder = point / "client" / "master" / "work"
        folder.mkdir()
        yield Side("mount", folder, scratch, cache, finish)
        with suppress(ClientError):  # there may be none open: the client finished it
            pfs("finish", "commit", "client@master", "--force")
        pfs("fsck")
    finally:
        pfs("down")
    log = (
        (store / "run" / "mount.log").read_text(errors="replace")
        if (store / "run" / "mount.log").exists()
        else ""
    )
    wrong = [line for line in log.splitlines() if " ERROR " in line or line.startswith("Traceback")]
    if wrong:
        raise ClientError(f"the log of the mount has {len(wrong)} errors; the first: {wrong[0][:300]}")


def clean(base: Path, client: str) -> None:
    shutil.rmtree(base / client, ignore_errors=True)


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.monotonic()
    try:
        yield
    finally:
        seconds[name] = time.monotonic() - start
