"""
Processes as the supervisor and its children see them: who lives, who may, and who dies with whom.

A process is known by its number and the time of its start, because numbers are used again.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import time
from pathlib import Path

import msgspec

_PR_SET_PDEATHSIG = 1
_ASKING_S = 0.3


class Identity(msgspec.Struct, frozen=True):
    """One process, also after its end."""

    pid: int
    started: int
    """In clock ticks since the machine started."""

    def is_alive(self) -> bool:
        """Say whether it still runs; one that is dead and not yet waited for does not."""
        return _started(self.pid) == self.started

    def send(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # The descriptor is of whoever has the number now; it is ours only if the start fits.
            if self.is_alive():
                signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            return
        finally:
            os.close(fd)

    def wait(self, timeout_s: float) -> bool:
        """Block until it has ended, for *timeout_s* at most; say whether it has."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if self.is_alive():
                select.select([fd], [], [], timeout_s)
        finally:
            os.close(fd)
        return not self.is_alive()


def identity_of(pid: int) -> Identity:
    """Return the identity of a process that runs; ProcessLookupError."""
    started = _started(pid)
    if started is None:
        raise ProcessLookupError(f"there is no process {pid}")
    return Identity(pid, started)


def _started(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name of the program, in parentheses, may contain anything.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def take_lock(path: Path) -> int | None:
    """
    Return a descriptor that holds the flock on *path*, or None if another process keeps it.

    Who only asks whether it is taken (`is_locked`) holds it for an instant; that is waited for.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _ASKING_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(fd)
                return None
            time.sleep(0.01)
        else:
            return fd


def is_locked(path: Path) -> bool:
    """Say whether a process holds the flock on *path*."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def die_with(parent: int) -> None:
    """
    Have this process get SIGTERM when the process *parent*, which started it, ends in any way.

    The signal comes when the *thread* that started it ends, so the parent starts it from its main
    thread.  If the parent is gone already, this process ends here.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        raise SystemExit(0)
