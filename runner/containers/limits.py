"""
The limits that every container gets.

Podman asks for 1 048 576 open files and 32 768 processes whatever the caller may have.  Where
the hard limits are lower and the caller lacks CAP_SYS_RESOURCE, no container starts then, so
both are always sent, at or below what this process may have itself.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass

_WANTED = (("nofile", resource.RLIMIT_NOFILE, 1_048_576), ("nproc", resource.RLIMIT_NPROC, 32_768))


@dataclass(frozen=True, slots=True)
class Ulimit:
    """One limit; soft and hard are equal."""

    name: str
    value: int

    def argument(self) -> str:
        """Return the value of the command's --ulimit."""
        return f"{self.name}={self.value}:{self.value}"

    def record(self) -> dict[str, str | int]:
        """Return what podman-py takes."""
        return {"Name": self.name, "Soft": self.value, "Hard": self.value}


def ulimits() -> list[Ulimit]:
    """Return the limits for containers started by this process."""
    return [Ulimit(name, _at_most(which, wanted)) for name, which, wanted in _WANTED]


def _at_most(which: int, wanted: int) -> int:
    hard = resource.getrlimit(which)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
