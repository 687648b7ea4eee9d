"""
Mount points, from the outside: what is mounted where, whether it lives, how to take it away.

For processes other than the one that serves the mount.  All but `prepare_point` look into /proc only,
since whoever touches a mount whose process hangs, hangs too.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConflictError, UnavailableError

FUSE_KIND = "fuse.pfs"
"""The type of our mounts."""

_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mounted:
    """A line of /proc/self/mountinfo."""

    device: str
    """major:minor"""
    kind: str
    """The type of the file system: `fuse.pfs` for ours."""
    source: str


def find_mount(point: Path) -> Mounted | None:
    """Return what is mounted at *point*, the uppermost if several; looks in /proc only."""
    wanted = os.path.realpath(point.parent) + "/" + point.name
    found = None
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split(" ")
            if _ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4]) == wanted:
                after = fields.index("-")
                found = Mounted(fields[2], fields[after + 1], fields[after + 2])
    return found


def mount_kind(point: Path) -> str | None:
    """Return the type of the file system mounted at *point*, or None; looks in /proc only."""
    found = find_mount(point)
    return found.kind if found is not None else None


def prepare_point(point: Path) -> None:
    """Make *point* a folder that can be mounted on; take away a dead mount; ConflictError for a live one."""
    kind = mount_kind(point)
    if kind is not None:
        if not _is_dead(point):
            raise ConflictError(f"{point} is a mount point already, of type {kind}; choose another folder")
        unmount(point, lazily=True)
    point.mkdir(parents=True, exist_ok=True)
    if any(point.iterdir()):
        raise ConflictError(f"{point} is not empty; mount on an empty folder")


def _is_dead(point: Path) -> bool:
    """Say whether the process behind a FUSE mount has died.  Never asked of a mount of this process."""
    try:
        # Always asks the process; stat(2) may be answered by the kernel from what it remembers.
        os.statvfs(point)
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


def unmount(point: Path, *, lazily: bool = False) -> None:
    """Unmount *point*, at once if nobody uses it, else as soon as nobody does."""
    for flags in ([["-u"]] if not lazily else []) + [["-u", "-z"]]:
        done = subprocess.run(
            ["fusermount3", *flags, os.fspath(point)], capture_output=True, text=True, check=False
        )
        if done.returncode == 0 or mount_kind(point) is None:
            return
    raise UnavailableError(f"{point} cannot be unmounted: {done.stderr.strip()}")
