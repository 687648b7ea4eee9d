"""
How a writing process ended.

A copy that was killed in the middle must not be published by the automatic finish.  The kernel
sends FLUSH while the dying process still exists, and proc(5) shows the flags of its task.
"""

from __future__ import annotations

PF_SIGNALED = 0x00000400
"""The task was killed by a signal (include/linux/sched.h)."""

_FLAGS_FIELD = 6
"""Position of `flags` in /proc/<pid>/stat, counted behind the command name."""


def died_by_signal(pid: int) -> bool:
    """Say whether the process is on its way out because of a signal."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except OSError:
        # It is gone: only closed descriptors are flushed, so it ended in its own time.
        return False
    # The command name, in parentheses, may itself contain spaces and parentheses.
    fields = line[line.rfind(b")") + 2 :].split()
    return len(fields) > _FLAGS_FIELD and bool(int(fields[_FLAGS_FIELD]) & PF_SIGNALED)
