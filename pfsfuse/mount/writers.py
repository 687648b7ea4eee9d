"""
How the processes that write ended.

A copy that was killed in the middle must not be published by the automatic finish.  There are two
ways to know, and both are needed:

- The kernel sends FLUSH for what the dying process has open, while it still exists; proc(5) tells
  then why it ends (`died_by_signal`).
- Between two files a copy has nothing open.  So every process that changes an open commit is held
  by a pidfd, which is readable when the process has ended (`Processes`).  Since Linux 6.15 it also
  tells how, for good; before, /proc does until the parent has heard of it, and a copy killed between
  two files by an impatient parent goes unnoticed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import struct

PF_SIGNALED = 0x00000400
"""The task was killed by a signal (include/linux/sched.h); also the other threads of one that exits."""

_FLAGS_FIELD = 6
_EXIT_CODE_FIELD = 49
"""Positions in /proc/<pid>/stat, counted behind the command name."""

_SIGNAL = 0x7F
"""The bits of a wait status that are 0 for a process that was not killed (wait(2))."""

_PIDFD_GET_INFO = 0xC040FF0B
"""_IOWR(0xFF, 11, struct pidfd_info) of linux/pidfd.h, in its first version of 64 bytes."""

_INFO = struct.Struct("<Q52xi")
"""mask; …; exit_code."""

_INFO_EXIT = 1 << 3


def died_by_signal(pid: int) -> bool:
    """Say whether the process, which exists, is on its way out because of a signal."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except OSError:
        # It is gone: only closed descriptors are flushed, so it ended in its own time.
        return False
    # The command name, in parentheses, may itself contain spaces and parentheses.
    fields = line[line.rfind(b")") + 2 :].split()
    if len(fields) <= _EXIT_CODE_FIELD or not int(fields[_FLAGS_FIELD]) & PF_SIGNALED:
        return False
    # The code reads as 0 for who may not see it, and for the threads of a process that exits.
    return os.geteuid() != 0 or bool(int(fields[_EXIT_CODE_FIELD]) & _SIGNAL)


def is_being_killed(pid: int) -> bool:
    """Say whether SIGKILL is on its way to a process or thread, or it is on its way out already."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return True
    pending = [int(line.split()[1], 16) for line in lines if line.startswith((b"SigPnd:", b"ShdPnd:"))]
    return any(mask >> (signal.SIGKILL - 1) & 1 for mask in pending) or died_by_signal(pid)


class Processes:
    """The processes that changed an open commit and have not ended."""

    def __init__(self) -> None:
        self._pidfds: dict[int, int] = {}
        self._threads: dict[int, int] = {}
        """By thread id: the process, for threads other than the first."""

    def add(self, pid: int) -> None:
        """Note that the process or thread *pid* changes something; 0, of another namespace, is nobody."""
        if not pid or pid in self._pidfds or pid in self._threads:
            return
        try:
            self._open(pid)
        except OSError as error:
            # EINVAL, or ENOENT since 6.9: a thread that is not the first of its process.
            process = _process_of(pid) if error.errno in (errno.EINVAL, errno.ENOENT) else None
            if process is not None:
                self._threads[pid] = process
                self.add(process)

    def _open(self, pid: int) -> None:
        self._pidfds[pid] = os.pidfd_open(pid)

    def any_killed(self) -> bool:
        """Say whether one of them has been killed by a signal, and forget those that have ended."""
        if not self._pidfds:
            return False
        poll = select.poll()
        for fd in self._pidfds.values():
            poll.register(fd, select.POLLIN)
        ended = {fd for fd, _ in poll.poll(0)}
        killed = False
        for pid, fd in [(pid, fd) for pid, fd in self._pidfds.items() if fd in ended]:
            killed = _was_killed(pid, fd) or killed
            self._forget(pid)
        return killed

    def _forget(self, pid: int) -> None:
        os.close(self._pidfds.pop(pid))
        self._threads = {thread: process for thread, process in self._threads.items() if process != pid}

    def clear(self) -> None:
        """Forget all: what they changed is finished."""
        for pid in list(self._pidfds):
            self._forget(pid)


def _process_of(thread: int) -> int | None:
    try:
        with open(f"/proc/{thread}/status", "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith(b"Tgid:")), None)
    process = int(found.split()[1]) if found is not None else thread
    return process if process != thread else None


def _was_killed(pid: int, pidfd: int) -> bool:
    """Say whether a process that has ended was killed."""
    info = bytearray(64)
    _INFO.pack_into(info, 0, _INFO_EXIT, 0)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        # An older kernel, or the process is gone and its pidfd came too late to be told.
        return died_by_signal(pid)
    mask, code = _INFO.unpack_from(info)
    if mask & _INFO_EXIT:
        return bool(code & _SIGNAL)
    # Its parent has not heard of it yet, so /proc still knows.
    return died_by_signal(pid)
